//! One peer in the tree.

use std::time::Instant;

use super::free::Place;
use super::{MAX_DEPTH, Tree};
use crate::id::NodeId;

/// What a peer is, as far as placement cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Forwards RTP as it came.
    Native,
    /// Writes RTP anew; feeds browsers only.
    Browser,
    /// Feeds nobody. A browser cannot be its parent: browsers begin to send when they are asked
    /// to, and a player cannot ask.
    Player,
}

impl Class {
    /// Whether a peer of this class may be the parent of one of class `child`.
    pub fn may_feed(self, child: Self) -> bool {
        self == Self::Native || (self == Self::Browser && child == Self::Browser)
    }

    pub(super) fn position(self) -> usize {
        match self {
            Self::Native => 0,
            Self::Browser => 1,
            Self::Player => 2,
        }
    }
}

/// Names a peer in one [`Tree`] as long as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A peer that is put into a [`Tree`].
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    /// Its name.
    pub node: NodeId,
    /// What it is.
    pub class: Class,
    /// Children it can serve.
    pub slots: u16,
    /// When it came.
    pub joined: Instant,
}

/// A peer in a [`Tree`].
#[derive(Debug)]
pub struct Peer {
    pub(super) node: NodeId,
    pub(super) joined: Instant,
    pub(super) parent: Option<u32>,
    pub(super) first_child: Option<u32>,
    pub(super) next: Option<u32>,
    pub(super) prev: Option<u32>,
    /// Where a slot is kept for it.
    pub(super) pending: Option<Handle>,
    /// Its entry in the free index.
    pub(super) place: Option<Place>,
    /// Free slots the index counts for it.
    pub(super) counted: u16,
    pub(super) depth: u16,
    pub(super) slots: u16,
    pub(super) used: u16,
    pub(super) reserved: u16,
    pub(super) delay_ms: u32,
    pub(super) class: Class,
    pub(super) attached: bool,
    pub(super) open: bool,
}

impl Peer {
    pub(super) fn new(new: Newcomer) -> Self {
        Self {
            node: new.node,
            joined: new.joined,
            parent: None,
            first_child: None,
            next: None,
            prev: None,
            pending: None,
            place: None,
            counted: 0,
            depth: 0,
            slots: new.slots,
            used: 0,
            reserved: 0,
            delay_ms: 0,
            class: new.class,
            attached: false,
            open: true,
        }
    }

    /// Its name.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What it is.
    pub fn class(&self) -> Class {
        self.class
    }

    /// When it came.
    pub fn joined(&self) -> Instant {
        self.joined
    }

    /// Hops from the top of its tree: from the root if it is attached.
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// Whether it hangs under the root, or is the root.
    pub fn attached(&self) -> bool {
        self.attached
    }

    /// Children it can serve.
    pub fn slots(&self) -> u16 {
        self.slots
    }

    /// Children it has.
    pub fn used(&self) -> u16 {
        self.used
    }

    /// Slots kept for children on their way.
    pub fn reserved(&self) -> u16 {
        self.reserved
    }

    /// Its delay from the root in milliseconds, as last set.
    pub fn delay_ms(&self) -> u32 {
        self.delay_ms
    }

    /// Whether one more child fits in its slots.
    pub(super) fn has_room(&self) -> bool {
        self.used.saturating_add(self.reserved) < self.slots
    }

    /// Slots that placement may give away.
    pub(super) fn room(&self) -> u16 {
        if self.attached && self.open && self.depth < MAX_DEPTH {
            self.slots
                .saturating_sub(self.used)
                .saturating_sub(self.reserved)
        } else {
            0
        }
    }
}

impl Tree {
    /// Whether the peer behind `handle` has children or slots: somebody could live below it.
    pub fn brings_room(&self, handle: Handle) -> bool {
        self.get(handle)
            .is_some_and(|peer| peer.slots > 0 || peer.first_child.is_some())
    }
}
