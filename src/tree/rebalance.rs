//! Who gets another parent although it has one. Everybody keeps its present parent until the next one
//! delivers.
//!
//! - C2, L4: a slot that is kept for heals and has been taken is freed again: one child of that parent
//!   moves to a slot for whoever comes.
//! - Slots open near the root, as their owners show what they can, and as peers leave: whoever would be
//!   two levels nearer in one moves up with everything below it, those who carry most first.
//! - A peer takes the place of one that is worth less to the tree, by slots and age (ROST: what is worth
//!   most fails least near the root).

use std::time::{Duration, Instant};

use rand::Rng;

use super::member::normal_shelf;
use super::placement::{Contest, run};
use super::{Class, Displacement, Handle, Peer, Regime, Spare, Strength, Tree, Wish};
use crate::limits::PROVEN_AGE;

/// How much better than another a peer has to be to take its place: half as many slots more, or more
/// than twice the age.
const PROMOTION_MARGIN: f32 = 0.4;

/// Peers that are looked at in one place for one that may move.
const TRIES: usize = 8;

/// Time between two looks at one peer.
const ROUND: Duration = Duration::from_secs(60);

/// The same while most peers are new.
const SURGE_ROUND: Duration = Duration::from_secs(5);

/// A peer that is to get another parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Who.
    pub child: Handle,
    /// Which; it has a free slot.
    pub parent: Handle,
}

/// Where a round through all peers stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Round {
    at: usize,
}

impl Tree {
    /// How places are given at the moment: boldly while most peers are new.
    pub fn regime(&self) -> Regime {
        if 2 * self.proven < self.len {
            Regime::Surge
        } else {
            Regime::Steady
        }
    }

    /// Moves that may begin within a second: a tree that has just grown gets its shape within a
    /// minute.
    pub fn moves_per_second(&self) -> usize {
        (self.attached as usize).div_ceil(100)
    }

    /// The next peer that should move to a slot that is free. `excluded`: whether the first must not
    /// become the child of the second.
    pub fn find_move(
        &self,
        excluded: &dyn Fn(Handle, Handle) -> bool,
        rng: &mut impl Rng,
    ) -> Option<Move> {
        self.find_relief(excluded, rng)
            .or_else(|| self.find_rise(excluded, rng))
    }

    /// The next peer to leave a slot that is kept for heals: the weakest child of one that has given
    /// such a slot away, of one as near to the root as possible.
    pub fn find_relief(
        &self,
        excluded: &dyn Fn(Handle, Handle) -> bool,
        rng: &mut impl Rng,
    ) -> Option<Move> {
        let mut depths = self.strained.occupied(0);
        while depths != 0 {
            let depth = depths.trailing_zeros() as u16;
            depths &= depths - 1;
            for parent in run(self.strained.bucket(0, depth), rng).take(TRIES) {
                let children = || {
                    let handles = self.children(self.handle(parent));
                    handles.filter_map(|child| Some((child, self.get(child)?)))
                };
                // Those on their way elsewhere may be enough.
                let leave = children().filter(|(_, peer)| self.is_moving(peer)).count();
                let peer = self.at(parent);
                let load = usize::from(peer.taken() + peer.spare());
                if load <= usize::from(peer.slots()) + leave {
                    continue;
                }
                let weakest = children()
                    .filter(|(_, peer)| !self.is_moving(peer) && peer.class != Class::Player)
                    .min_by_key(|(_, peer)| (peer.strength(), peer.used));
                if let Some((child, _)) = weakest
                    && let Some(other) = self.find_normal(child, excluded, rng)
                {
                    return Some(Move {
                        child,
                        parent: other,
                    });
                }
            }
        }
        None
    }

    /// Somebody who would be at least two levels nearer to the root: who carries most, and of those
    /// the deepest.
    fn find_rise(
        &self,
        excluded: &dyn Fn(Handle, Handle) -> bool,
        rng: &mut impl Rng,
    ) -> Option<Move> {
        let levels = |class| {
            let occupied = |proven| self.normal.occupied(normal_shelf(class, proven));
            occupied(false) | occupied(true)
        };
        let free = levels(Class::Native) | levels(Class::Browser);
        let nearest = free.trailing_zeros() as u16;
        for shelf in (0..Strength::STEPS).rev() {
            for depth in (nearest + 2..self.per_depth.len() as u16).rev() {
                for at in run(self.rank.bucket(shelf, depth), rng).take(TRIES) {
                    let child = self.handle(at);
                    if !self.is_moving(self.at(at))
                        && let Some(parent) = self.find_normal(child, excluded, rng)
                        && self.get(parent).is_some_and(|peer| peer.depth + 1 < depth)
                    {
                        return Some(Move { child, parent });
                    }
                }
            }
        }
        None
    }

    /// The best slot for whoever comes, for a peer that has a place.
    fn find_normal(
        &self,
        joiner: Handle,
        excluded: &dyn Fn(Handle, Handle) -> bool,
        rng: &mut impl Rng,
    ) -> Option<Handle> {
        let wish = Wish {
            joiner,
            keep_last: false,
            spare: Spare::Never,
            excluded,
        };
        self.find_parent(&wish, rng)
    }

    /// Goes on with a round for a second: the peers whose turn it is to look for a better place.
    pub fn next_candidates(&self, round: &mut Round) -> Vec<Handle> {
        let regime = self.regime();
        let time = match regime {
            Regime::Surge => SURGE_ROUND,
            Regime::Steady => ROUND,
        };
        let looks = self.arena.len().div_ceil(time.as_secs() as usize);
        let turns = (0..looks).map(|n| (round.at + n) % self.arena.len().max(1));
        let capable = |&at: &usize| {
            let peer = self.arena[at].peer.as_ref();
            peer.is_some_and(|peer| {
                let trusted = peer.proven || regime == Regime::Surge;
                let placed = peer.attached && peer.parent.is_some() && !self.is_moving(peer);
                trusted && placed && peer.has_room()
            })
        };
        let candidates = turns.filter(capable).map(|at| self.handle(at as u32));
        let candidates = candidates.collect();
        round.at = (round.at + looks) % self.arena.len().max(1);
        candidates
    }

    /// The place nearer to the root that a peer has earned by what it carries and how long it has
    /// been here.
    pub fn find_promotion(
        &self,
        candidate: Handle,
        now: Instant,
        excluded: &dyn Fn(Handle, Handle) -> bool,
        rng: &mut impl Rng,
    ) -> Option<Displacement> {
        let peer = self.get(candidate)?;
        let score = |peer: &Peer| {
            // Whoever has not been here for long is as likely to go as another.
            let age = now.saturating_duration_since(peer.joined).max(PROVEN_AGE);
            f32::from(peer.promise()).max(0.5).ln() + 0.5 * age.as_secs_f32().ln()
        };
        let wish = Wish {
            joiner: candidate,
            keep_last: false,
            spare: Spare::Freely,
            excluded,
        };
        let contest = Contest {
            above: peer.depth(),
            score: &score,
            at_most: score(peer) - PROMOTION_MARGIN,
            gently: true,
        };
        self.find_victim(&wish, &contest, rng)
    }
}
