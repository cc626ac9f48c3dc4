//! Edges come and go: attach, detach, reserve, and what keeps the tree acyclic.

use super::{Handle, MAX_DEPTH, Tree};

/// Most peers the search for a cycle visits before it says there is one. A path has at most
/// [`MAX_PATH`](crate::limits::MAX_PATH); reservations on the way add a few more.
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
    /// A browser feeds browsers alone, and a player nobody.
    #[error("a peer of this class does not feed one of that class")]
    Class,
    /// Some peer would be deeper than [`MAX_DEPTH`].
    #[error("the tree would be too deep")]
    Depth,
    /// The parent has no free slot.
    #[error("the parent has no free slot")]
    Full,
}

impl Tree {
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
        // The broadcaster's word is good.
        self.at_mut(index).shown = u16::MAX;
        self.prove(handle);
        self.relabel(index, 0, true);
        self.changes += 1;
        Ok(())
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
        self.proven -= usize::from(self.at(index).proven);
        let entry = &mut self.arena[index as usize];
        entry.peer = None;
        entry.generation = entry.generation.wrapping_add(1);
        self.vacant.push(index);
        self.len -= 1;
        self.changes += 1;
        orphans
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
    pub(super) fn is_above(&self, upper: u32, lower: u32) -> bool {
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
    pub(super) fn height(&self, top: u32) -> u16 {
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
        let confirmed = std::mem::take(&mut self.at_mut(c).confirmed);
        let parent = self.at_mut(p);
        parent.used = parent.used.saturating_sub(1);
        parent.feeding -= u16::from(confirmed);
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
}
