//! Who could take over from a peer's parent.

use rand::{Rng, RngExt};

use super::{Handle, Tree};

/// Trees up to this size are looked through as a whole, in others peers are drawn at random.
const LOOK_THROUGH: usize = 256;

/// Draws from a large tree: with one peer in five able to feed others, about twenty candidates.
const DRAWS: usize = 96;

impl Tree {
    /// Peers that might be the standby of one in the tree, nearest to the root first where the
    /// tree is small. Whoever hangs below the peer's parent would be lost together with it, and is
    /// not among them.
    pub fn standby_candidates(&self, of: Handle, rng: &mut impl Rng) -> Vec<Handle> {
        let Some(child) = self.resolve(of) else {
            return Vec::new();
        };
        let Some(parent) = self.at(child).parent else {
            return Vec::new();
        };
        let class = self.at(child).class;
        let suits = |&index: &u32| {
            let Some(peer) = self.arena[index as usize].peer.as_ref() else {
                return false;
            };
            peer.attached
                && peer.open
                && peer.slots() > 0
                && peer.class.may_feed(class)
                && !self.is_above(parent, index)
        };
        if self.len <= LOOK_THROUGH {
            let all = self.breadth_first().filter_map(|at| self.resolve(at));
            return all.filter(suits).map(|index| self.handle(index)).collect();
        }
        let mut drawn: Vec<u32> = (0..DRAWS)
            .map(|_| rng.random_range(0..self.arena.len()) as u32)
            .filter(suits)
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn.into_iter().map(|index| self.handle(index)).collect()
    }
}
