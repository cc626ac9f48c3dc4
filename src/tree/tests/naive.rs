//! A forest as a table of parents; every question is answered by looking at everything.

use std::collections::BTreeSet;

use super::*;

#[derive(Default)]
pub(super) struct Naive {
    pub(super) peers: Vec<NaivePeer>,
    pub(super) root: Option<usize>,
}

pub(super) struct NaivePeer {
    pub(super) handle: Handle,
    pub(super) here: bool,
    pub(super) class: Class,
    pub(super) declared: u16,
    pub(super) shown: u16,
    pub(super) confirmed: bool,
    pub(super) proven: bool,
    pub(super) open: bool,
    pub(super) parent: Option<usize>,
    pub(super) pending: Option<usize>,
}

impl NaivePeer {
    pub(super) fn new(handle: Handle, class: Class, slots: u16) -> Self {
        Self {
            handle,
            here: true,
            class,
            declared: slots,
            shown: 0,
            confirmed: false,
            proven: false,
            open: true,
            parent: None,
            pending: None,
        }
    }
}

impl Naive {
    pub(super) fn here(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.peers.len()).filter(|&n| self.peers[n].here)
    }

    pub(super) fn children(&self, of: usize) -> impl Iterator<Item = usize> + '_ {
        self.here()
            .filter(move |&n| self.peers[n].parent == Some(of))
    }

    pub(super) fn used(&self, of: usize) -> usize {
        self.children(of).count()
    }

    pub(super) fn reserved(&self, of: usize) -> usize {
        let waits = |&n: &usize| self.peers[n].pending == Some(of);
        self.here().filter(waits).count()
    }

    pub(super) fn path(&self, of: usize) -> Vec<usize> {
        std::iter::successors(Some(of), |&n| self.peers[n].parent).collect()
    }

    pub(super) fn attached(&self, of: usize) -> bool {
        self.path(of).last().copied() == self.root
    }

    pub(super) fn depth(&self, of: usize) -> usize {
        self.path(of).len() - 1
    }

    pub(super) fn height(&self, of: usize) -> usize {
        let below = self.here().filter(|&n| self.path(n).contains(&of));
        below.map(|n| self.depth(n)).max().unwrap_or(0) - self.depth(of)
    }

    pub(super) fn is_above(&self, upper: usize, lower: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![lower];
        while let Some(at) = next.pop() {
            if at == upper {
                return true;
            }
            if seen.insert(at) {
                next.extend(self.peers[at].parent);
                next.extend(self.peers[at].pending);
            }
        }
        false
    }

    /// Children a peer may be given.
    pub(super) fn slots(&self, of: usize) -> usize {
        let peer = &self.peers[of];
        let believed = (2 * usize::from(peer.shown)).max(4);
        usize::from(peer.declared).min(believed)
    }

    pub(super) fn spare(&self, of: usize) -> usize {
        match self.slots(of) {
            0..=2 => 0,
            slots => (slots / 10).max(1),
        }
    }

    pub(super) fn strength(&self, of: usize) -> usize {
        let promise = usize::from(self.peers[of].declared).min(4 * self.slots(of));
        (0..6).filter(|step| promise >> step > 0).count()
    }

    pub(super) fn room(&self, of: usize) -> usize {
        let taken = self.used(of) + self.reserved(of);
        self.slots(of).saturating_sub(taken)
    }

    /// Slots it offers: to whoever comes, and to all together with those kept for heals.
    pub(super) fn offers(&self, of: usize, heals: bool) -> usize {
        let peer = &self.peers[of];
        if !peer.here
            || !peer.open
            || !self.attached(of)
            || self.depth(of) >= usize::from(MAX_DEPTH)
        {
            return 0;
        }
        match heals {
            true => self.room(of),
            false => self.room(of).saturating_sub(self.spare(of)),
        }
    }

    /// What an edge would be refused for, the parent's slots left aside.
    pub(super) fn refusal(&self, child: usize, parent: usize) -> Option<AttachError> {
        let (c, p) = (&self.peers[child], &self.peers[parent]);
        if !c.here || !p.here {
            Some(AttachError::Gone)
        } else if self.root == Some(child) {
            Some(AttachError::Root)
        } else if p.class == Class::Browser && c.class == Class::Native {
            Some(AttachError::Class)
        } else if self.is_above(child, parent) {
            Some(AttachError::Cycle)
        } else if self.depth(parent) + 1 + self.height(child) > usize::from(MAX_DEPTH) {
            Some(AttachError::Depth)
        } else {
            None
        }
    }

    /// Those who would serve a joiner by the policy's first preference.
    pub(super) fn parents_for(&self, joiner: usize, wish: &NaiveWish) -> Vec<usize> {
        let native = |&n: &usize| self.peers[n].class == Class::Native;
        let native_slots: usize = self
            .here()
            .filter(native)
            .map(|n| self.offers(n, true))
            .sum();
        let spared = wish.keep_last && native_slots <= 1;
        let allowed = |heals: bool| -> Vec<usize> {
            self.here()
                .filter(|&n| self.offers(n, heals) > 0 && !wish.excluded(joiner, n))
                .filter(|&n| self.refusal(joiner, n).is_none())
                .filter(|n| !(spared && native(n)))
                .collect()
        };
        let mut best = Vec::new();
        if wish.spare != Spare::Freely {
            best = allowed(false);
            // An unproven parent has to be two levels nearer.
            let proven = |n: &&usize| self.peers[**n].proven;
            let depth = |n: &usize| self.depth(*n);
            let tried = best.iter().filter(proven).map(depth).min();
            let others = best.iter().filter(|n| !proven(n)).map(depth).min();
            let takes_proven = match (tried, others) {
                (Some(tried), Some(others)) => others + 2 > tried,
                (tried, _) => tried.is_some(),
            };
            best.retain(|n| proven(&n) == takes_proven);
        }
        if best.is_empty() && wish.spare != Spare::Never {
            best = allowed(true);
        }
        let rank = |&n: &usize| (self.depth(n), self.peers[n].class);
        let first = best.iter().map(rank).min();
        best.retain(|n| Some(rank(n)) == first);
        best
    }

    /// Those whose place a joiner could take above a depth, as far as edges and slots go. `gently`:
    /// their parent can serve both for a while.
    pub(super) fn victims_for(
        &self,
        joiner: usize,
        above: usize,
        gently: bool,
        wish: &NaiveWish,
    ) -> Vec<usize> {
        let here = self.peers[joiner].here && self.root != Some(joiner) && self.room(joiner) > 0;
        self.here()
            .filter(|_| here)
            .filter(|&victim| {
                let Some(parent) = self.peers[victim].parent else {
                    return false;
                };
                self.attached(victim)
                    && self.depth(victim) < above
                    && victim != joiner
                    && self.peers[victim].pending.is_none()
                    && self.peers[parent].open
                    && (self.room(parent) > 0 || !gently)
                    && self.strength(victim) <= self.strength(joiner)
                    && self.peers[joiner].class.may_feed(self.peers[victim].class)
                    && self.depth(victim) + self.height(victim) < usize::from(MAX_DEPTH)
                    && !wish.excluded(joiner, parent)
                    && !wish.excluded(victim, joiner)
                    && self.refusal(joiner, parent).is_none()
            })
            .collect()
    }
}

/// What a joiner asks for.
pub(super) struct NaiveWish {
    pub(super) keep_last: bool,
    pub(super) spare: Spare,
    pub(super) seed: u64,
}

impl NaiveWish {
    /// One pair in eight must not connect.
    pub(super) fn excluded(&self, child: usize, parent: usize) -> bool {
        (self.seed >> ((child + 3 * parent) % 64)) & 7 == 7
    }
}
