//! Who hangs under whom in one stream.
//!
//! A forest: the tree under the stream's root, and beside it subtrees that lost their parent and
//! stay together until they are placed again. Peers live in an arena and are named by [`Handle`]s
//! that go stale when their peer leaves. The tree is acyclic by construction, reservations
//! included: nothing is attached or reserved under its own descendants.
//!
//! Costs: insert, reserve and every setter O(1); attach, detach and remove O(size of the subtree
//! moved); a placement query O(samples x depth).

mod edges;
mod index;
mod member;
mod placement;
mod rebalance;
mod standby;
#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::id::NodeId;
use crate::limits::MAX_PATH;

pub use edges::AttachError;
use index::{Index, Place, Wanted};
pub use member::{Class, Handle, Newcomer, Peer, Strength};
pub use placement::{Displacement, Placement, Regime, Spare, Wish};
pub use rebalance::{Move, Round};

/// Greatest depth of a peer, the root at 0: its path to the root fits in a heartbeat.
pub const MAX_DEPTH: u16 = (MAX_PATH - 1) as u16;

#[derive(Debug, Default)]
struct Entry {
    generation: u32,
    peer: Option<Peer>,
}

/// The peers of one stream and the edges between them.
#[derive(Debug, Default)]
pub struct Tree {
    arena: Vec<Entry>,
    vacant: Vec<u32>,
    root: Option<u32>,
    len: usize,
    /// Peers with a slot for whoever comes, by class and by whether they are proven.
    normal: Index<6>,
    /// Peers with any slot, by class.
    any: Index<3>,
    /// Peers that have given away slots which they should keep for heals.
    strained: Index<1>,
    /// Peers that may be displaced, by strength.
    rank: Index<{ Strength::STEPS }>,
    per_depth: Vec<u32>,
    attached: u32,
    /// Peers that are trusted to stay.
    proven: usize,
    openings: u64,
    changes: u64,
}

impl Tree {
    /// An empty forest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a peer without parent.
    pub fn insert(&mut self, new: Newcomer) -> Handle {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.arena.push(Entry::default());
            (self.arena.len() - 1) as u32
        });
        let entry = &mut self.arena[index as usize];
        entry.peer = Some(Peer::new(new));
        self.len += 1;
        Handle {
            index,
            generation: entry.generation,
        }
    }

    /// The root.
    pub fn root(&self) -> Option<Handle> {
        self.root.map(|index| self.handle(index))
    }

    /// Sets how many children a peer says it can serve. Children beyond that stay.
    pub fn set_slots(&mut self, handle: Handle, slots: u16) {
        if let Some(index) = self.resolve(handle)
            && self.at(index).declared != slots
        {
            self.at_mut(index).declared = slots;
            self.reindex(index);
            self.changes += 1;
        }
    }

    /// Sets what a peer carries at most, by what its children say; none: whatever else is known of it.
    /// Children it has stay.
    pub fn set_doubted(&mut self, handle: Handle, doubted: Option<u16>) {
        if let Some(index) = self.resolve(handle)
            && self.at(index).doubted != doubted
        {
            self.at_mut(index).doubted = doubted;
            self.reindex(index);
            self.changes += 1;
        }
    }

    /// A child says that its present parent feeds it: with as many as never before at one time,
    /// more of the parent's slots count.
    pub fn confirm(&mut self, child: Handle) {
        let Some(c) = self.resolve(child) else {
            return;
        };
        let Some(p) = self.at(c).parent else {
            return;
        };
        if std::mem::replace(&mut self.at_mut(c).confirmed, true) {
            return;
        }
        let parent = self.at_mut(p);
        parent.feeding += 1;
        if parent.feeding > parent.shown {
            parent.shown = parent.feeding;
            self.reindex(p);
            self.changes += 1;
        }
    }

    /// A peer has been here for long enough to be trusted to stay.
    pub fn prove(&mut self, handle: Handle) {
        if let Some(index) = self.resolve(handle)
            && !std::mem::replace(&mut self.at_mut(index).proven, true)
        {
            self.proven += 1;
            self.reindex(index);
        }
    }

    /// Sets a peer's delay from the root in milliseconds.
    pub fn set_delay(&mut self, handle: Handle, delay_ms: u32) {
        if let Some(index) = self.resolve(handle) {
            self.at_mut(index).delay_ms = delay_ms;
        }
    }

    /// Sets whether a peer takes new children at all.
    pub fn set_open(&mut self, handle: Handle, open: bool) {
        if let Some(index) = self.resolve(handle) {
            self.at_mut(index).open = open;
            self.reindex(index);
        }
    }

    /// The peer behind a handle, unless it has left.
    pub fn get(&self, handle: Handle) -> Option<&Peer> {
        self.resolve(handle).map(|index| self.at(index))
    }

    /// Its parent.
    pub fn parent(&self, handle: Handle) -> Option<Handle> {
        let index = self.get(handle)?.parent?;
        Some(self.handle(index))
    }

    /// Its children, the newest first.
    pub fn children(&self, handle: Handle) -> impl Iterator<Item = Handle> + '_ {
        let first = self.get(handle).and_then(|peer| peer.first_child);
        std::iter::successors(first, |&at| self.at(at).next).map(|index| self.handle(index))
    }

    /// The peers from this one (included) up to the top of its tree.
    pub fn ancestry(&self, handle: Handle) -> impl Iterator<Item = Handle> + '_ {
        std::iter::successors(self.resolve(handle), |&at| self.at(at).parent)
            .map(|index| self.handle(index))
    }

    /// The peer and everything below it, parents before children.
    pub fn subtree(&self, handle: Handle) -> impl Iterator<Item = Handle> + '_ {
        let top = self.resolve(handle);
        std::iter::successors(top, move |&at| self.preorder_next(at, top?))
            .map(|index| self.handle(index))
    }

    /// The peers nearest to the root, level by level.
    pub fn breadth_first(&self) -> impl Iterator<Item = Handle> + '_ {
        let mut queue: std::collections::VecDeque<Handle> = self.root().into_iter().collect();
        std::iter::from_fn(move || {
            let next = queue.pop_front()?;
            queue.extend(self.children(next));
            Some(next)
        })
    }

    /// Peers, attached or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Peers that hang under the root, the root counted.
    pub fn attached(&self) -> u32 {
        self.attached
    }

    /// How many attached peers are at each depth, the root at 0.
    pub fn per_depth(&self) -> &[u32] {
        &self.per_depth
    }

    /// Free slots under attached peers of this class.
    pub fn free_slots(&self, class: Class) -> u64 {
        self.any.weight(class.position())
    }

    /// Counts how often a slot has become free: as long as it stands still, who found no parent
    /// finds none.
    pub fn openings(&self) -> u64 {
        self.openings
    }

    /// Counts changes of edges and slots.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Brings a peer's entries in the indexes up to date.
    fn reindex(&mut self, index: u32) {
        let Some(peer) = self.arena[index as usize].peer.as_ref() else {
            return;
        };
        let room = |place: Option<Place>| place.map_or(0, |place| place.weight());
        let before = room(peer.any);
        let (normal, any, rank) = (peer.wanted_normal(), peer.wanted_any(), peer.wanted_rank());
        let strained = peer.wanted_strained();
        let arena = &mut self.arena;
        file(&mut self.normal, arena, index, normal, |peer| {
            &mut peer.normal
        });
        file(&mut self.any, arena, index, any, |peer| &mut peer.any);
        file(&mut self.rank, arena, index, rank, |peer| &mut peer.rank);
        file(&mut self.strained, arena, index, strained, |peer| {
            &mut peer.strained
        });
        let after = room(self.at(index).any);
        self.openings += u64::from(after > before);
    }

    fn preorder_next(&self, at: u32, top: u32) -> Option<u32> {
        if let Some(child) = self.at(at).first_child {
            return Some(child);
        }
        let mut at = at;
        while at != top {
            let peer = self.at(at);
            if peer.next.is_some() {
                return peer.next;
            }
            at = peer.parent?;
        }
        None
    }

    fn resolve(&self, handle: Handle) -> Option<u32> {
        let entry = self.arena.get(handle.index as usize)?;
        (entry.generation == handle.generation && entry.peer.is_some()).then_some(handle.index)
    }

    fn handle(&self, index: u32) -> Handle {
        Handle {
            index,
            generation: self.arena[index as usize].generation,
        }
    }

    /// An index taken from a link or from [`resolve`](Self::resolve) always names a peer.
    #[expect(
        clippy::expect_used,
        reason = "links are removed with the peer they name"
    )]
    fn at(&self, index: u32) -> &Peer {
        let peer = self.arena[index as usize].peer.as_ref();
        peer.expect("links name peers that are present")
    }

    #[expect(
        clippy::expect_used,
        reason = "links are removed with the peer they name"
    )]
    fn at_mut(&mut self, index: u32) -> &mut Peer {
        let peer = self.arena[index as usize].peer.as_mut();
        peer.expect("links name peers that are present")
    }
}

/// Puts a peer where it belongs in one index, and keeps the entry of whoever is moved by that right.
fn file<const SHELVES: usize>(
    shelves: &mut Index<SHELVES>,
    arena: &mut [Entry],
    index: u32,
    wanted: Option<Wanted>,
    entry: fn(&mut Peer) -> &mut Option<Place>,
) {
    let Some(peer) = arena[index as usize].peer.as_mut() else {
        return;
    };
    let place = entry(peer);
    match (&mut *place, &wanted) {
        (None, None) => {}
        (Some(place), Some(wanted)) if place.fits(wanted) => shelves.weigh(place, wanted.weight),
        _ => {
            if let Some(old) = place.take()
                && let Some(moved) = shelves.remove(old)
                && let Some(other) = arena[moved as usize].peer.as_mut()
                && let Some(other) = entry(other)
            {
                other.moved_to(old);
            }
            if let Some(wanted) = wanted
                && let Some(peer) = arena[index as usize].peer.as_mut()
            {
                *entry(peer) = Some(shelves.add(index, wanted));
            }
        }
    }
}

impl Newcomer {
    /// A peer that has just arrived.
    pub fn new(node: NodeId, class: Class, slots: u16, joined: Instant) -> Self {
        Self {
            node,
            class,
            slots,
            joined,
        }
    }
}
