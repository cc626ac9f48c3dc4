//! Attached peers with a free slot, by class and depth.

use super::MAX_DEPTH;
use super::member::Class;

/// Where a peer stands in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) depth: u16,
    pub(super) position: u32,
}

#[derive(Debug, Default)]
struct Levels {
    /// Peers with a free slot at each depth, in no order.
    peers: Vec<Vec<u32>>,
    /// Bit d: somebody is at depth d.
    occupied: u64,
    /// Free slots of all of them.
    slots: u64,
}

/// One dense vector per class and depth, with constant-time insertion and removal, and a bitmap
/// that names the first depth with a free slot.
#[derive(Debug, Default)]
pub(super) struct FreeIndex {
    levels: [Levels; 3],
}

const _: () = assert!(MAX_DEPTH < 64, "a depth is a bit of a u64");

impl FreeIndex {
    pub(super) fn add(&mut self, class: Class, depth: u16, peer: u32, room: u16) -> Place {
        let levels = &mut self.levels[class.position()];
        let level = usize::from(depth);
        if levels.peers.len() <= level {
            levels.peers.resize_with(level + 1, Vec::new);
        }
        let bucket = &mut levels.peers[level];
        bucket.push(peer);
        levels.occupied |= 1 << depth;
        levels.slots += u64::from(room);
        Place {
            depth,
            position: (bucket.len() - 1) as u32,
        }
    }

    /// Takes the peer at `place` out; the peer that now stands at this place is returned.
    pub(super) fn remove(&mut self, class: Class, place: Place, room: u16) -> Option<u32> {
        let levels = &mut self.levels[class.position()];
        let bucket = &mut levels.peers[usize::from(place.depth)];
        bucket.swap_remove(place.position as usize);
        if bucket.is_empty() {
            levels.occupied &= !(1 << place.depth);
        }
        levels.slots -= u64::from(room);
        bucket.get(place.position as usize).copied()
    }

    pub(super) fn recount(&mut self, class: Class, before: u16, room: u16) {
        let slots = &mut self.levels[class.position()].slots;
        *slots = *slots - u64::from(before) + u64::from(room);
    }

    pub(super) fn slots(&self, class: Class) -> u64 {
        self.levels[class.position()].slots
    }

    /// Bitmap of the depths where peers of this class have free slots.
    pub(super) fn occupied(&self, class: Class) -> u64 {
        self.levels[class.position()].occupied
    }

    pub(super) fn bucket(&self, class: Class, depth: u16) -> &[u32] {
        self.levels[class.position()]
            .peers
            .get(usize::from(depth))
            .map_or(&[], Vec::as_slice)
    }
}
