//! Peers by what placement looks for, level by level.

use super::MAX_DEPTH;

/// Where a peer stands in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    shelf: u8,
    depth: u8,
    position: u32,
    /// What it counts for in the shelf's sum.
    weight: u16,
}

/// Where a peer belongs in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) shelf: usize,
    pub(super) depth: u16,
    pub(super) weight: u16,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The peers at each depth, in no order.
    peers: Vec<Vec<u32>>,
    /// Bit d: somebody is at depth d.
    occupied: u64,
    /// Sum of all weights.
    weight: u64,
}

/// One dense vector per shelf and depth, with constant-time insertion and removal, and a bitmap
/// that names the first depth with somebody.
#[derive(Debug)]
pub(super) struct Index<const SHELVES: usize> {
    shelves: [Shelf; SHELVES],
}

const _: () = assert!(MAX_DEPTH < 64, "a depth is a bit of a u64");

impl<const SHELVES: usize> Default for Index<SHELVES> {
    fn default() -> Self {
        Self {
            shelves: std::array::from_fn(|_| Shelf::default()),
        }
    }
}

impl<const SHELVES: usize> Index<SHELVES> {
    pub(super) fn add(&mut self, peer: u32, wanted: Wanted) -> Place {
        let shelf = &mut self.shelves[wanted.shelf];
        let level = usize::from(wanted.depth);
        if shelf.peers.len() <= level {
            shelf.peers.resize_with(level + 1, Vec::new);
        }
        let bucket = &mut shelf.peers[level];
        bucket.push(peer);
        shelf.occupied |= 1 << wanted.depth;
        shelf.weight += u64::from(wanted.weight);
        Place {
            shelf: wanted.shelf as u8,
            depth: wanted.depth as u8,
            position: (bucket.len() - 1) as u32,
            weight: wanted.weight,
        }
    }

    /// Takes the peer at `place` out; the peer that now stands at this place is returned.
    pub(super) fn remove(&mut self, place: Place) -> Option<u32> {
        let shelf = &mut self.shelves[usize::from(place.shelf)];
        let bucket = &mut shelf.peers[usize::from(place.depth)];
        bucket.swap_remove(place.position as usize);
        if bucket.is_empty() {
            shelf.occupied &= !(1 << place.depth);
        }
        shelf.weight -= u64::from(place.weight);
        bucket.get(place.position as usize).copied()
    }

    /// A peer stays where it is and counts for another number.
    pub(super) fn weigh(&mut self, place: &mut Place, weight: u16) {
        let sum = &mut self.shelves[usize::from(place.shelf)].weight;
        *sum = *sum - u64::from(place.weight) + u64::from(weight);
        place.weight = weight;
    }

    /// The sum of a shelf's weights.
    pub(super) fn weight(&self, shelf: usize) -> u64 {
        self.shelves[shelf].weight
    }

    /// Bitmap of the depths where a shelf has somebody.
    pub(super) fn occupied(&self, shelf: usize) -> u64 {
        self.shelves[shelf].occupied
    }

    pub(super) fn bucket(&self, shelf: usize, depth: u16) -> &[u32] {
        self.shelves[shelf]
            .peers
            .get(usize::from(depth))
            .map_or(&[], Vec::as_slice)
    }
}

impl Place {
    /// Whether the peer stands where it belongs, its weight aside.
    pub(super) fn fits(&self, wanted: &Wanted) -> bool {
        usize::from(self.shelf) == wanted.shelf && u16::from(self.depth) == wanted.depth
    }

    /// Its peer was moved within its bucket to where this one stood.
    pub(super) fn moved_to(&mut self, other: Place) {
        self.position = other.position;
    }

    pub(super) fn weight(&self) -> u16 {
        self.weight
    }
}
