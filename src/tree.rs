//! Who hangs under whom in one stream.
//!
//! A forest: the tree under the stream's root, and beside it subtrees that lost their parent and
//! stay together until they are placed again. Peers live in an arena and are named by [`Handle`]s
//! that go stale when their peer leaves. The tree is acyclic by construction, reservations
//! included: nothing is attached or reserved under its own descendants.
//!
//! Costs: insert, reserve and every setter O(1); attach, detach and remove O(size of the subtree
//! moved); a placement query O(samples x depth).

mod free;
mod member;
mod placement;
#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::id::NodeId;
use crate::limits::MAX_PATH;

use free::FreeIndex;
pub use member::{Class, Handle, Newcomer, Peer};
pub use placement::Wish;

/// Greatest depth of a peer, the root at 0: its path to the root fits in a heartbeat.
pub const MAX_DEPTH: u16 = (MAX_PATH - 1) as u16;

/// Most peers the search for a cycle visits before it says there is one. A path has at most
/// [`MAX_PATH`]; reservations on the way add a few more.
const CYCLE_SEARCH: usize = 512;

/// Why a peer was not put under another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// One of the two has left.
    #[error("one of the two peers has left")]
    Gone,
    /// The root hangs under nobody.
    #[error("the root has no parent")]
    Root,
    /// The parent is, or is about to be, below the child.
    #[error("the parent is below the child")]
    Cycle,
    /// A browser never feeds a native node.
    #[error("a browser feeds no native node")]
    Class,
    /// Some peer would be deeper than [`MAX_DEPTH`].
    #[error("the tree would be too deep")]
    Depth,
    /// The parent has no free slot.
    #[error("the parent has no free slot")]
    Full,
}

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
    free: FreeIndex,
    per_depth: Vec<u32>,
    attached: u32,
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

    /// Makes a peer without parent the root; an older root is detached.
    ///
    /// # Errors
    /// [`AttachError::Gone`] for a stale handle, [`AttachError::Root`] for a peer with a parent,
    /// [`AttachError::Cycle`] for one with a reserved slot under another.
    pub fn set_root(&mut self, handle: Handle) -> Result<(), AttachError> {
        let index = self.resolve(handle).ok_or(AttachError::Gone)?;
        if self.root == Some(index) {
            return Ok(());
        }
        let peer = self.at(index);
        if peer.parent.is_some() {
            return Err(AttachError::Root);
        }
        if peer.pending.is_some_and(|at| self.resolve(at).is_some()) {
            return Err(AttachError::Cycle);
        }
        if let Some(old) = self.root.take() {
            self.relabel(old, 0, false);
        }
        self.root = Some(index);
        self.relabel(index, 0, true);
        self.changes += 1;
        Ok(())
    }

    /// The root.
    pub fn root(&self) -> Option<Handle> {
        self.root.map(|index| self.handle(index))
    }

    /// Keeps a slot of `parent` for `child` until it attaches or [`unreserve`](Self::unreserve)
    /// is called. An older reservation of the child is given back.
    ///
    /// # Errors
    /// Any [`AttachError`]; nothing has changed then, except that an older reservation is gone.
    pub fn reserve(&mut self, child: Handle, parent: Handle) -> Result<(), AttachError> {
        self.unreserve(child);
        let (c, p) = self.check(child, parent)?;
        if !self.at(p).has_room() {
            return Err(AttachError::Full);
        }
        self.at_mut(c).pending = Some(parent);
        self.at_mut(p).reserved += 1;
        self.reindex(p);
        Ok(())
    }

    /// Gives back the slot kept for `child`, if there is one.
    pub fn unreserve(&mut self, child: Handle) {
        let Some(c) = self.resolve(child) else {
            return;
        };
        let pending = self.at_mut(c).pending.take();
        if let Some(p) = pending.and_then(|parent| self.resolve(parent)) {
            let parent = self.at_mut(p);
            parent.reserved = parent.reserved.saturating_sub(1);
            self.reindex(p);
        }
    }

    /// Puts `child`, with everything below it, under `parent`; its old edge, if any, goes. A
    /// slot reserved for it there is used, and is good even if the parent's slots have shrunk
    /// since.
    ///
    /// # Errors
    /// Any [`AttachError`]; nothing has changed then.
    pub fn attach(&mut self, child: Handle, parent: Handle) -> Result<(), AttachError> {
        self.link(child, parent, false)
    }

    /// [`attach`](Self::attach) for an edge that exists already in the world: it counts even if
    /// the parent has no slot for it.
    ///
    /// # Errors
    /// Any [`AttachError`] but [`AttachError::Full`]; nothing has changed then.
    pub fn adopt(&mut self, child: Handle, parent: Handle) -> Result<(), AttachError> {
        self.link(child, parent, true)
    }

    fn link(&mut self, child: Handle, parent: Handle, adopt: bool) -> Result<(), AttachError> {
        let (c, p) = self.check(child, parent)?;
        let (old, pending) = (self.at(c).parent, self.at(c).pending);
        let reserved = pending == Some(parent);
        if old == Some(p) {
            if reserved {
                self.unreserve(child);
            }
            return Ok(());
        }
        let full = !adopt && !reserved && !self.at(p).has_room();
        if full || self.at(p).used == u16::MAX {
            return Err(AttachError::Full);
        }
        if reserved {
            self.unreserve(child);
        }
        self.unlink(c);
        let first = self.at(p).first_child;
        let peer = self.at_mut(c);
        peer.parent = Some(p);
        peer.next = first;
        peer.prev = None;
        if let Some(first) = first {
            self.at_mut(first).prev = Some(c);
        }
        let parent = self.at_mut(p);
        parent.first_child = Some(c);
        parent.used += 1;
        let (depth, attached) = (parent.depth + 1, parent.attached);
        self.reindex(p);
        self.relabel(c, depth, attached);
        self.changes += 1;
        Ok(())
    }

    /// Takes `child`, with everything below it, away from its parent. Whether it had one.
    pub fn detach(&mut self, child: Handle) -> bool {
        let Some(c) = self.resolve(child) else {
            return false;
        };
        if !self.unlink(c) {
            return false;
        }
        self.relabel(c, 0, false);
        self.changes += 1;
        true
    }

    /// Removes a peer; its children are detached subtrees now and are returned.
    pub fn remove(&mut self, handle: Handle) -> Vec<Handle> {
        let Some(index) = self.resolve(handle) else {
            return Vec::new();
        };
        self.unreserve(handle);
        let orphans: Vec<Handle> = self.children(handle).collect();
        for &orphan in &orphans {
            self.detach(orphan);
        }
        self.unlink(index);
        self.relabel(index, 0, false);
        if self.root == Some(index) {
            self.root = None;
        }
        let entry = &mut self.arena[index as usize];
        entry.peer = None;
        entry.generation = entry.generation.wrapping_add(1);
        self.vacant.push(index);
        self.len -= 1;
        self.changes += 1;
        orphans
    }

    /// Sets how many children a peer can serve. Children beyond that stay.
    pub fn set_slots(&mut self, handle: Handle, slots: u16) {
        if let Some(index) = self.resolve(handle)
            && self.at(index).slots != slots
        {
            self.at_mut(index).slots = slots;
            self.reindex(index);
            self.changes += 1;
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
        self.free.slots(class)
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

    /// Checks everything about an edge but the parent's slots.
    fn check(&self, child: Handle, parent: Handle) -> Result<(u32, u32), AttachError> {
        let c = self.resolve(child).ok_or(AttachError::Gone)?;
        let p = self.resolve(parent).ok_or(AttachError::Gone)?;
        if self.root == Some(c) {
            return Err(AttachError::Root);
        }
        if !self.at(p).class.may_feed(self.at(c).class) {
            return Err(AttachError::Class);
        }
        if self.is_above(c, p) {
            return Err(AttachError::Cycle);
        }
        if self.at(p).depth + 1 + self.height(c) > MAX_DEPTH {
            return Err(AttachError::Depth);
        }
        Ok((c, p))
    }

    /// Whether `upper` is `lower` itself or upstream of it, by edges or reservations.
    fn is_above(&self, upper: u32, lower: u32) -> bool {
        if upper == lower {
            return true;
        }
        let peer = self.at(upper);
        if peer.first_child.is_none() && peer.reserved == 0 {
            return false;
        }
        // Without reservations on the way this is a walk along one path, with nothing to store.
        let mut branches: Vec<u32> = Vec::new();
        let mut visited = 0;
        let mut next = Some(lower);
        while let Some(at) = next.or_else(|| branches.pop()) {
            visited += 1;
            if at == upper || visited > CYCLE_SEARCH {
                return true;
            }
            let peer = self.at(at);
            branches.extend(peer.pending.and_then(|pending| self.resolve(pending)));
            next = peer.parent;
        }
        false
    }

    /// Levels below a peer in its own subtree.
    fn height(&self, top: u32) -> u16 {
        let base = self.at(top).depth;
        let mut deepest = base;
        let mut next = Some(top);
        while let Some(at) = next {
            deepest = deepest.max(self.at(at).depth);
            next = self.preorder_next(at, top);
        }
        deepest - base
    }

    /// Takes a peer out of its parent's list. Whether it was in one.
    fn unlink(&mut self, c: u32) -> bool {
        let peer = self.at_mut(c);
        let (parent, next, prev) = (peer.parent.take(), peer.next.take(), peer.prev.take());
        let Some(p) = parent else {
            return false;
        };
        if let Some(next) = next {
            self.at_mut(next).prev = prev;
        }
        match prev {
            Some(prev) => self.at_mut(prev).next = next,
            None => self.at_mut(p).first_child = next,
        }
        let parent = self.at_mut(p);
        parent.used = parent.used.saturating_sub(1);
        self.reindex(p);
        true
    }

    /// Writes depth and attachment into a subtree and keeps the counts and the index right.
    fn relabel(&mut self, top: u32, depth: u16, attached: bool) {
        let base = self.at(top).depth;
        let mut next = Some(top);
        while let Some(at) = next {
            let peer = self.at_mut(at);
            let (was, old) = (peer.attached, peer.depth);
            peer.depth = depth + (old - base);
            peer.attached = attached;
            let new = peer.depth;
            if was {
                self.attached -= 1;
                self.per_depth[usize::from(old)] -= 1;
            }
            if attached {
                self.attached += 1;
                let level = usize::from(new);
                if self.per_depth.len() <= level {
                    self.per_depth.resize(level + 1, 0);
                }
                self.per_depth[level] += 1;
            }
            self.reindex(at);
            next = self.preorder_next(at, top);
        }
        while self.per_depth.last() == Some(&0) {
            self.per_depth.pop();
        }
    }

    /// Brings a peer's entry in the free index up to date.
    fn reindex(&mut self, index: u32) {
        let Some(peer) = self.arena[index as usize].peer.as_mut() else {
            return;
        };
        let room = peer.room();
        let (class, depth) = (peer.class, peer.depth);
        if let Some(place) = peer.place
            && (place.depth != depth || room == 0)
        {
            peer.place = None;
            let (counted, moved) = (std::mem::take(&mut peer.counted), place.position);
            if let Some(other) = self.free.remove(class, place, counted)
                && let Some(place) = self.at_mut(other).place.as_mut()
            {
                place.position = moved;
            }
        }
        if room == 0 {
            return;
        }
        let Some(peer) = self.arena[index as usize].peer.as_mut() else {
            return;
        };
        let before = std::mem::replace(&mut peer.counted, room);
        match peer.place {
            None => {
                peer.place = Some(self.free.add(class, depth, index, room));
                self.openings += 1;
            }
            Some(_) => {
                self.free.recount(class, before, room);
                self.openings += u64::from(room > before);
            }
        }
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
