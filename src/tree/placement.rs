//! Who gets which parent.
//!
//! - J1: the shallowest free slot; among up to `SAMPLES` peers with one, the lowest delay from
//!   the root; at one depth, native parents before browsers; proven parents before those that may
//!   be gone in a minute, unless these are two levels nearer to the root.
//! - J2: a peer that brings slots takes the place of a weaker one that is nearer to the root; that one
//!   goes below it.
//! - J3: a peer without slots leaves the last free slot under a native parent to one that brings
//!   some, where the caller says that one is about to come.
//! - B1: a browser never parents a native node, nor a player.
//! - P1: a peer that finds no slot takes a weaker one's place and adopts it.
//! - C2: parents keep slots for heals and displacement as long as others have some.

use rand::{Rng, RngExt};

use super::index::Index;
use super::member::normal_shelf;
use super::{Class, Handle, MAX_DEPTH, Peer, Strength, Tree};

/// Peers that are compared before one is chosen: enough that a slow parent is rarely the best of
/// them, few enough that a join costs microseconds.
const SAMPLES: usize = 16;

/// Peers that are looked at in one place for one that gives way: in a tree without spare slots none
/// does, and a join must not look at everybody to find that out.
const TRIES: usize = 64;

/// How much nearer to the root an unproven parent has to be.
const UNPROVEN_HANDICAP: u16 = 2;

/// What a peer that needs a parent asks for.
pub struct Wish<'a> {
    /// The peer, in the same tree.
    pub joiner: Handle,
    /// Whether it must not take the last free slot (J3).
    pub keep_last: bool,
    /// How free it is to take a slot that is kept for heals (C2).
    pub spare: Spare,
    /// Whether the first must not become the child of the second.
    pub excluded: &'a dyn Fn(Handle, Handle) -> bool,
}

/// Whether slots that are kept for heals are for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spare {
    /// They are not: it has a place already.
    Never,
    /// If there is no other slot.
    Last,
    /// Like all others: others wait for what hangs below it.
    Freely,
}

/// Whose place a peer that brings slots may take when it comes (J2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// That of a peer without slots: nothing else has to move.
    Steady,
    /// That of any weaker peer: while most of a tree is new, its shape is left to chance otherwise.
    Surge,
}

/// By what a peer is compared with those whose place it might take.
pub(super) struct Contest<'a> {
    /// Places at this depth or deeper are not worth it.
    pub(super) above: u16,
    /// The more, the nearer to the root a peer belongs.
    pub(super) score: &'a dyn Fn(&Peer) -> f32,
    /// The best that is displaced.
    pub(super) at_most: f32,
    /// Whether the victim keeps its parent until it has another: that one serves both meanwhile.
    pub(super) gently: bool,
}

/// Where a peer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Under this peer, which has a slot.
    Slot(Handle),
    /// To the place of another one.
    Displace(Displacement),
}

/// A peer that gives its place to a better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Displacement {
    /// Who gives it, and goes below the better one.
    pub victim: Handle,
    /// Whose child it is, and the better one will be.
    pub parent: Handle,
}

impl Tree {
    /// The best place for a peer without parent: a free slot, or that of a weaker peer that is nearer
    /// to the root (J2).
    pub fn find_place(
        &self,
        wish: &Wish<'_>,
        regime: Regime,
        rng: &mut impl Rng,
    ) -> Option<Placement> {
        let slot = self.find_parent(wish, rng)?;
        let contest = Contest {
            above: self.get(slot)?.depth() + 1,
            score: &|peer| f32::from(peer.strength().0),
            at_most: match regime {
                Regime::Steady => 0.0,
                Regime::Surge => f32::from(self.get(wish.joiner)?.strength().0) - 1.0,
            },
            gently: true,
        };
        let displaced = self.find_victim(wish, &contest, rng);
        Some(displaced.map_or(Placement::Slot(slot), Placement::Displace))
    }

    /// Where a peer goes for which there is no slot at all, though it has one for another: to the
    /// place of a weaker peer as near to the root as possible, which loses its parent by that and
    /// goes below it (P1). Leaves could fill a tree otherwise while all its slots hang in pieces
    /// beside it.
    pub fn find_eviction(&self, wish: &Wish<'_>, rng: &mut impl Rng) -> Option<Displacement> {
        let contest = Contest {
            above: MAX_DEPTH,
            score: &|peer| f32::from(peer.strength().0),
            at_most: f32::from(self.get(wish.joiner)?.strength().0) - 1.0,
            gently: false,
        };
        self.find_victim(wish, &contest, rng)
    }

    /// The best parent for a joiner, never below itself; none if there is no free slot it may
    /// have.
    pub fn find_parent(&self, wish: &Wish<'_>, rng: &mut impl Rng) -> Option<Handle> {
        let joiner = self.resolve(wish.joiner)?;
        if self.root == Some(joiner) {
            return None;
        }
        let deepest = MAX_DEPTH.checked_sub(1 + self.height(joiner))?;
        let reach = u64::MAX >> (63 - deepest);
        let spared = wish.keep_last && self.free_slots(Class::Native) <= 1;
        let allowed = |class: Class| match class {
            Class::Native => !spared,
            Class::Browser => self.at(joiner).class == Class::Browser,
            Class::Player => false,
        };
        if wish.spare != Spare::Freely
            && let Some(parent) =
                self.search(&self.normal, wish, joiner, reach, rng, |class, proven| {
                    allowed(class).then(|| normal_shelf(class, proven))
                })
        {
            return Some(parent);
        }
        if wish.spare == Spare::Never {
            return None;
        }
        self.search(&self.any, wish, joiner, reach, rng, |class, proven| {
            (allowed(class) && !proven).then(|| class.position())
        })
    }

    /// Looks through the shelves that `shelf` names for a class and whether it is proven.
    fn search<const SHELVES: usize>(
        &self,
        index: &Index<SHELVES>,
        wish: &Wish<'_>,
        joiner: u32,
        reach: u64,
        rng: &mut impl Rng,
        shelf: impl Fn(Class, bool) -> Option<usize>,
    ) -> Option<Handle> {
        // Bit d of each: somebody who could take the joiner is at depth d.
        let occupied = |proven| {
            let shelves = [Class::Native, Class::Browser].map(|class| shelf(class, proven));
            let depths = shelves.into_iter().flatten().map(|s| index.occupied(s));
            depths.fold(0, |all, one| all | one) & reach
        };
        let (mut unproven, mut proven) = (occupied(false), occupied(true));
        while unproven | proven != 0 {
            let (first, second) = (unproven.trailing_zeros(), proven.trailing_zeros());
            let prefers =
                proven == 0 || (unproven != 0 && first + u32::from(UNPROVEN_HANDICAP) <= second);
            let (depths, tried) = match prefers {
                true => (&mut unproven, false),
                false => (&mut proven, true),
            };
            let depth = depths.trailing_zeros() as u16;
            *depths &= *depths - 1;
            for class in [Class::Native, Class::Browser] {
                if let Some(shelf) = shelf(class, tried)
                    && let Some(parent) = self.sample(index.bucket(shelf, depth), joiner, wish, rng)
                {
                    return Some(parent);
                }
            }
        }
        None
    }

    fn sample(
        &self,
        bucket: &[u32],
        joiner: u32,
        wish: &Wish<'_>,
        rng: &mut impl Rng,
    ) -> Option<Handle> {
        run(bucket, rng)
            .filter(|&at| self.may_serve(at, joiner, wish))
            .take(SAMPLES)
            .min_by_key(|&at| self.at(at).delay_ms)
            .map(|at| self.handle(at))
    }

    fn may_serve(&self, parent: u32, joiner: u32, wish: &Wish<'_>) -> bool {
        !(wish.excluded)(wish.joiner, self.handle(parent)) && !self.is_above(joiner, parent)
    }

    /// The place a better peer should take, the nearest to the root. The better one has a slot for
    /// the victim.
    pub(super) fn find_victim(
        &self,
        wish: &Wish<'_>,
        contest: &Contest<'_>,
        rng: &mut impl Rng,
    ) -> Option<Displacement> {
        let joiner = self.resolve(wish.joiner)?;
        let better = self.at(joiner);
        if self.root == Some(joiner) || !better.has_room() {
            return None;
        }
        let deepest = MAX_DEPTH.checked_sub(1 + self.height(joiner))?;
        let shelves = ..=better.strength().position();
        for depth in 1..contest.above.min(deepest) {
            for shelf in (0..Strength::STEPS).filter(|shelf| shelves.contains(shelf)) {
                let bucket = self.rank.bucket(shelf, depth);
                let victim = run(bucket, rng)
                    .take(TRIES)
                    .filter(|&at| self.may_displace(joiner, at, wish, contest.gently))
                    .take(SAMPLES)
                    .map(|at| (at, (contest.score)(self.at(at))))
                    .filter(|&(_, score)| score <= contest.at_most)
                    .min_by(|a, b| a.1.total_cmp(&b.1));
                if let Some((victim, _)) = victim {
                    let parent = self.at(victim).parent?;
                    return Some(Displacement {
                        victim: self.handle(victim),
                        parent: self.handle(parent),
                    });
                }
            }
        }
        None
    }

    /// Whether a slot is kept for a peer somewhere.
    pub(super) fn is_moving(&self, peer: &Peer) -> bool {
        peer.pending.is_some_and(|at| self.resolve(at).is_some())
    }

    /// Whether what hangs below a peer may be one level deeper.
    fn sinks(&self, top: u32) -> bool {
        self.per_depth.len() <= usize::from(MAX_DEPTH)
            || self.at(top).depth + self.height(top) < MAX_DEPTH
    }

    fn may_displace(&self, joiner: u32, victim: u32, wish: &Wish<'_>, gently: bool) -> bool {
        let (better, weaker) = (self.at(joiner), self.at(victim));
        let Some(parent) = weaker.parent else {
            return false;
        };
        let above = self.at(parent);
        victim != joiner
            && !self.is_moving(weaker)
            && above.open
            && (!gently || above.has_room())
            && above.attached
            && above.class.may_feed(better.class)
            && self.sinks(victim)
            && better.class.may_feed(weaker.class)
            && !(wish.excluded)(self.handle(victim), wish.joiner)
            && self.may_serve(parent, joiner, wish)
    }
}

/// A run from a random start: the order in a bucket means nothing, and a run finds the only allowed
/// peer where single draws could miss it.
pub(super) fn run<'a>(bucket: &'a [u32], rng: &mut impl Rng) -> impl Iterator<Item = u32> + 'a {
    let start = match bucket.len() {
        0 => 0,
        count => rng.random_range(0..count),
    };
    let (tail, head) = bucket.split_at(start);
    head.iter().chain(tail).copied()
}
