//! One peer in the tree.

use std::time::Instant;

use super::index::{Place, Wanted};
use super::{MAX_DEPTH, Tree};
use crate::id::NodeId;
use crate::limits::UNPROVEN_SLOTS;

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

/// How much of a tree a peer can carry, in steps of doubling: 0 without slots, 1 with one slot, 2 with
/// two or three, 3 with four to seven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strength(pub(super) u8);

impl Strength {
    /// Steps that are told apart; the highest begins at 32 slots.
    pub(super) const STEPS: usize = 7;

    /// That of a peer with this many slots.
    pub fn of(slots: u16) -> Self {
        let bits = u16::BITS - slots.leading_zeros();
        Self((bits as u8).min(Self::STEPS as u8 - 1))
    }

    pub(super) fn position(self) -> usize {
        usize::from(self.0)
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
    /// Its entries in the indexes of the same names.
    pub(super) normal: Option<Place>,
    pub(super) any: Option<Place>,
    pub(super) rank: Option<Place>,
    pub(super) strained: Option<Place>,
    pub(super) depth: u16,
    pub(super) declared: u16,
    /// Children it feeds, as they say.
    pub(super) feeding: u16,
    /// Most children it was seen to feed at one time.
    pub(super) shown: u16,
    /// What it carries at most, after its children said that it carries no more.
    pub(super) doubted: Option<u16>,
    pub(super) used: u16,
    pub(super) reserved: u16,
    pub(super) delay_ms: u32,
    pub(super) class: Class,
    pub(super) attached: bool,
    pub(super) open: bool,
    pub(super) proven: bool,
    /// Whether it says that its parent feeds it.
    pub(super) confirmed: bool,
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
            normal: None,
            any: None,
            rank: None,
            strained: None,
            depth: 0,
            declared: new.slots,
            feeding: 0,
            shown: 0,
            doubted: None,
            used: 0,
            reserved: 0,
            delay_ms: 0,
            class: new.class,
            attached: false,
            open: true,
            proven: false,
            confirmed: false,
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

    /// Children it says it can serve.
    pub fn declared(&self) -> u16 {
        self.declared
    }

    /// Children it may be given: claims are not facts, so it is a few at first, and twice as many
    /// as it was ever seen to feed after that; less if its children say so.
    pub fn slots(&self) -> u16 {
        let believed = self.shown.saturating_mul(2).max(UNPROVEN_SLOTS);
        let doubted = self.doubted.unwrap_or(u16::MAX);
        self.declared.min(believed).min(doubted)
    }

    /// What it carries at most by what its children say, if they complained.
    pub fn doubted(&self) -> Option<u16> {
        self.doubted
    }

    /// Those of its slots that are kept for heals and displacement while there are others (rule
    /// C2).
    pub fn spare(&self) -> u16 {
        match self.slots() {
            0..3 => 0,
            slots => (slots / 10).max(1),
        }
    }

    /// What it may turn out to serve: a step beyond what is believed.
    pub(super) fn promise(&self) -> u16 {
        let doubted = self.doubted.unwrap_or(u16::MAX);
        self.declared
            .min(self.slots().saturating_mul(4))
            .min(doubted)
    }

    /// How much of a tree it can carry.
    pub fn strength(&self) -> Strength {
        Strength::of(self.promise())
    }

    /// Whether it has been here for long enough to be trusted to stay.
    pub fn proven(&self) -> bool {
        self.proven
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

    /// Children it has or is about to have.
    pub(super) fn taken(&self) -> u16 {
        self.used.saturating_add(self.reserved)
    }

    /// Whether one more child fits in its slots.
    pub fn has_room(&self) -> bool {
        self.taken() < self.slots()
    }

    fn takes_children(&self) -> bool {
        self.attached && self.open && self.depth < MAX_DEPTH
    }

    /// Where it belongs among those with a slot for whoever comes.
    pub(super) fn wanted_normal(&self) -> Option<Wanted> {
        let room = self.slots().saturating_sub(self.spare() + self.taken());
        (room > 0 && self.takes_children()).then(|| Wanted {
            shelf: normal_shelf(self.class, self.proven),
            depth: self.depth,
            weight: room,
        })
    }

    /// Where it belongs among those with any slot.
    pub(super) fn wanted_any(&self) -> Option<Wanted> {
        let room = self.slots().saturating_sub(self.taken());
        (room > 0 && self.takes_children()).then(|| Wanted {
            shelf: self.class.position(),
            depth: self.depth,
            weight: room,
        })
    }

    /// Where it belongs among those that have given away what they should keep.
    pub(super) fn wanted_strained(&self) -> Option<Wanted> {
        let strained = self.attached && self.taken() + self.spare() > self.slots();
        strained.then_some(Wanted {
            shelf: 0,
            depth: self.depth,
            weight: 0,
        })
    }

    /// Where it belongs among those that a stronger peer may displace. A player cannot be told to
    /// move.
    pub(super) fn wanted_rank(&self) -> Option<Wanted> {
        let moves = self.attached && self.parent.is_some() && self.class != Class::Player;
        moves.then(|| Wanted {
            shelf: self.strength().position(),
            depth: self.depth,
            weight: 0,
        })
    }
}

/// The shelf of peers of one class with normal slots.
pub(super) fn normal_shelf(class: Class, proven: bool) -> usize {
    2 * class.position() + usize::from(proven)
}

impl Tree {
    /// Whether the peer behind `handle` has children or slots: somebody could live below it.
    pub fn brings_room(&self, handle: Handle) -> bool {
        self.get(handle)
            .is_some_and(|peer| peer.slots() > 0 || peer.first_child.is_some())
    }
}
