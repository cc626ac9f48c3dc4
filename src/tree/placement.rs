//! Who gets which parent.
//!
//! - J1: the shallowest free slot; among up to `SAMPLES` peers with one, the lowest delay from
//!   the root; at one depth, native parents before browsers.
//! - J3: a peer without slots leaves the last free slot under a native parent to one that brings
//!   some, where the caller says that one is about to come.
//! - B1: a browser never parents a native node, nor a player.

use rand::{Rng, RngExt};

use super::{Class, Handle, MAX_DEPTH, Tree};
use crate::id::NodeId;

/// Peers that are compared before one is chosen: enough that a slow parent is rarely the best of
/// them, few enough that a join costs microseconds.
const SAMPLES: usize = 16;

/// What a peer that needs a parent asks for.
pub struct Wish<'a> {
    /// The peer, in the same tree.
    pub joiner: Handle,
    /// Whether it must not take the last free slot (J3).
    pub keep_last: bool,
    /// Parents it must not get.
    pub excluded: &'a dyn Fn(Handle, NodeId) -> bool,
}

impl Tree {
    /// The best parent for a joiner, never below itself; none if there is no free slot it may
    /// have.
    pub fn find_parent(&self, wish: &Wish<'_>, rng: &mut impl Rng) -> Option<Handle> {
        let joiner = self.resolve(wish.joiner)?;
        if self.root == Some(joiner) {
            return None;
        }
        let class = self.at(joiner).class;
        let spared = wish.keep_last && self.free_slots(Class::Native) <= 1;
        let native = if spared {
            0
        } else {
            self.free.occupied(Class::Native)
        };
        let browser = match class {
            Class::Native | Class::Player => 0,
            Class::Browser => self.free.occupied(Class::Browser),
        };
        let deepest = MAX_DEPTH.checked_sub(1 + self.height(joiner))?;
        let mut depths = (native | browser) & (u64::MAX >> (63 - deepest));
        while depths != 0 {
            let depth = depths.trailing_zeros() as u16;
            depths &= depths - 1;
            for (class, occupied) in [(Class::Native, native), (Class::Browser, browser)] {
                if occupied >> depth & 1 == 1
                    && let Some(parent) = self.sample(class, depth, joiner, wish, rng)
                {
                    return Some(parent);
                }
            }
        }
        None
    }

    fn sample(
        &self,
        class: Class,
        depth: u16,
        joiner: u32,
        wish: &Wish<'_>,
        rng: &mut impl Rng,
    ) -> Option<Handle> {
        let bucket = self.free.bucket(class, depth);
        if bucket.is_empty() {
            return None;
        }
        // A run from a random start: the order in a bucket means nothing, and a run finds the
        // only allowed peer where single draws could miss it.
        let start = rng.random_range(0..bucket.len());
        let (tail, head) = bucket.split_at(start);
        head.iter()
            .chain(tail)
            .copied()
            .filter(|&at| {
                !(wish.excluded)(self.handle(at), self.at(at).node) && !self.is_above(joiner, at)
            })
            .take(SAMPLES)
            .min_by_key(|&at| self.at(at).delay_ms)
            .map(|at| self.handle(at))
    }
}
