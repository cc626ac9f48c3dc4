//! The tree against a naive one, operation by operation.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::virtual_clock::start;

fn node(n: usize) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// A forest as a table of parents; every question is answered by looking at everything.
#[derive(Default)]
struct Naive {
    peers: Vec<NaivePeer>,
    root: Option<usize>,
}

struct NaivePeer {
    handle: Handle,
    here: bool,
    class: Class,
    slots: u16,
    open: bool,
    parent: Option<usize>,
    pending: Option<usize>,
}

impl Naive {
    fn here(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.peers.len()).filter(|&n| self.peers[n].here)
    }

    fn used(&self, of: usize) -> usize {
        let is_child = |&n: &usize| self.peers[n].parent == Some(of);
        self.here().filter(is_child).count()
    }

    fn reserved(&self, of: usize) -> usize {
        let waits = |&n: &usize| self.peers[n].pending == Some(of);
        self.here().filter(waits).count()
    }

    fn path(&self, of: usize) -> Vec<usize> {
        std::iter::successors(Some(of), |&n| self.peers[n].parent).collect()
    }

    fn attached(&self, of: usize) -> bool {
        self.path(of).last().copied() == self.root
    }

    fn depth(&self, of: usize) -> usize {
        self.path(of).len() - 1
    }

    fn height(&self, of: usize) -> usize {
        let below = self.here().filter(|&n| self.path(n).contains(&of));
        below.map(|n| self.depth(n)).max().unwrap_or(0) - self.depth(of)
    }

    fn is_above(&self, upper: usize, lower: usize) -> bool {
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

    fn room(&self, of: usize) -> usize {
        usize::from(self.peers[of].slots).saturating_sub(self.used(of) + self.reserved(of))
    }

    fn offers(&self, of: usize) -> usize {
        let peer = &self.peers[of];
        let usable = peer.here && peer.open && self.attached(of);
        if usable && self.depth(of) < usize::from(MAX_DEPTH) {
            self.room(of)
        } else {
            0
        }
    }

    /// What an edge would be refused for, the parent's slots left aside.
    fn refusal(&self, child: usize, parent: usize) -> Option<AttachError> {
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
}

#[derive(Debug, Clone)]
enum Step {
    Insert {
        native: bool,
        slots: u16,
    },
    Root(usize),
    Reserve(usize, usize),
    Unreserve(usize),
    Attach(usize, usize),
    Adopt(usize, usize),
    Detach(usize),
    Remove(usize),
    Slots(usize, u16),
    Open(usize, bool),
    Place {
        joiner: usize,
        keep_last: bool,
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 0..1000_usize;
    prop_oneof![
        4 => (prop::bool::weighted(0.7), 0..4_u16)
            .prop_map(|(native, slots)| Step::Insert { native, slots }),
        1 => peer().prop_map(Step::Root),
        2 => (peer(), peer()).prop_map(|(a, b)| Step::Reserve(a, b)),
        1 => peer().prop_map(Step::Unreserve),
        4 => (peer(), peer()).prop_map(|(a, b)| Step::Attach(a, b)),
        1 => (peer(), peer()).prop_map(|(a, b)| Step::Adopt(a, b)),
        1 => peer().prop_map(Step::Detach),
        1 => peer().prop_map(Step::Remove),
        1 => (peer(), 0..5_u16).prop_map(|(a, slots)| Step::Slots(a, slots)),
        1 => (peer(), any::<bool>()).prop_map(|(a, open)| Step::Open(a, open)),
        8 => (peer(), prop::bool::weighted(0.2), any::<u64>())
            .prop_map(|(joiner, keep_last, seed)| Step::Place { joiner, keep_last, seed }),
    ]
}

fn run(tree: &mut Tree, naive: &mut Naive, step: &Step) {
    let count = naive.peers.len();
    if let Step::Insert { native, slots } = *step {
        let class = if native {
            Class::Native
        } else {
            Class::Browser
        };
        // The clock is only carried, never compared, so any instant does.
        let new = Newcomer::new(node(count), class, slots, start());
        naive.peers.push(NaivePeer {
            handle: tree.insert(new),
            here: true,
            class,
            slots,
            open: true,
            parent: None,
            pending: None,
        });
        return;
    }
    if count == 0 {
        return;
    }
    let handle = |naive: &Naive, n: usize| naive.peers[n].handle;
    match *step {
        Step::Insert { .. } => {}
        Step::Root(n) => {
            let n = n % count;
            let peer = &naive.peers[n];
            let allowed = peer.here && peer.parent.is_none() && peer.pending.is_none();
            let is_root = naive.root == Some(n);
            let done = tree.set_root(peer.handle).is_ok();
            assert_eq!(done, is_root || allowed);
            if done {
                naive.root = Some(n);
            }
        }
        Step::Reserve(c, p) => {
            let (c, p) = (c % count, p % count);
            naive.peers[c].pending = None;
            let expected = naive.refusal(c, p);
            let expected = expected.or((naive.room(p) == 0).then_some(AttachError::Full));
            let found = tree.reserve(handle(naive, c), handle(naive, p));
            assert_eq!(found.err(), expected);
            if expected.is_none() {
                naive.peers[c].pending = Some(p);
            }
        }
        Step::Unreserve(c) => {
            let c = c % count;
            tree.unreserve(handle(naive, c));
            naive.peers[c].pending = None;
        }
        Step::Attach(c, p) | Step::Adopt(c, p) => {
            let (c, p) = (c % count, p % count);
            let adopt = matches!(step, Step::Adopt(..));
            let reserved = naive.peers[c].pending == Some(p);
            let held = naive.peers[c].parent == Some(p);
            let full = !adopt && !reserved && !held && naive.room(p) == 0;
            let expected = naive.refusal(c, p);
            let expected = expected.or(full.then_some(AttachError::Full));
            let (child, parent) = (handle(naive, c), handle(naive, p));
            let found = if adopt {
                tree.adopt(child, parent)
            } else {
                tree.attach(child, parent)
            };
            assert_eq!(found.err(), expected);
            if expected.is_none() {
                naive.peers[c].parent = Some(p);
                if reserved {
                    naive.peers[c].pending = None;
                }
            }
        }
        Step::Detach(c) => {
            let c = c % count;
            let had = naive.peers[c].parent.take().is_some();
            assert_eq!(tree.detach(handle(naive, c)), had);
        }
        Step::Remove(n) => {
            let n = n % count;
            let orphans: BTreeSet<Handle> = tree.remove(handle(naive, n)).into_iter().collect();
            let mut expected = BTreeSet::new();
            for peer in naive.peers.iter_mut() {
                if peer.parent == Some(n) {
                    peer.parent = None;
                    expected.insert(peer.handle);
                }
                if peer.pending == Some(n) {
                    peer.pending = None;
                }
            }
            assert_eq!(orphans, expected);
            naive.peers[n].here = false;
            naive.peers[n].parent = None;
            naive.peers[n].pending = None;
            if naive.root == Some(n) {
                naive.root = None;
            }
        }
        Step::Slots(n, slots) => {
            tree.set_slots(handle(naive, n % count), slots);
            naive.peers[n % count].slots = slots;
        }
        Step::Open(n, open) => {
            tree.set_open(handle(naive, n % count), open);
            naive.peers[n % count].open = open;
        }
        Step::Place {
            joiner,
            keep_last,
            seed,
        } => {
            place(tree, naive, joiner % count, keep_last, seed);
        }
    }
}

fn place(tree: &mut Tree, naive: &mut Naive, joiner: usize, keep_last: bool, seed: u64) {
    let excluded = |n: usize| seed >> (n % 64) & 7 == 7;
    let native_slots: usize = naive
        .here()
        .filter(|&n| naive.peers[n].class == Class::Native)
        .map(|n| naive.offers(n))
        .sum();
    let last = keep_last && native_slots <= 1;
    let allowed = |n: &usize| {
        naive.offers(*n) > 0
            && !excluded(*n)
            && naive.refusal(joiner, *n).is_none()
            && !(last && naive.peers[*n].class == Class::Native)
    };
    let best = naive
        .here()
        .filter(allowed)
        .map(|n| (naive.depth(n), naive.peers[n].class))
        .min();
    let index: std::collections::HashMap<NodeId, usize> =
        (0..naive.peers.len()).map(|n| (node(n), n)).collect();
    let wish = Wish {
        joiner: naive.peers[joiner].handle,
        keep_last,
        excluded: &|_, id| excluded(index[&id]),
    };
    let found = tree.find_parent(&wish, &mut StdRng::seed_from_u64(seed));
    let found_at = found.map(|parent| {
        let parent = index[&tree.get(parent).unwrap().node()];
        assert!(allowed(&parent));
        (naive.depth(parent), naive.peers[parent].class)
    });
    assert_eq!(found_at, best);
    // Half of the time the peer moves there, so that real trees grow.
    if let Some(parent) = found
        && seed & 1 == 0
    {
        let parent = index[&tree.get(parent).unwrap().node()];
        run(tree, naive, &Step::Attach(joiner, parent));
    }
}

fn compare(tree: &Tree, naive: &Naive) {
    assert_eq!(tree.len(), naive.here().count());
    let attached = naive.here().filter(|&n| naive.attached(n)).count();
    assert_eq!(tree.attached() as usize, attached);
    assert_eq!(tree.breadth_first().count(), attached);
    let mut per_depth = Vec::new();
    let mut offered = [0, 0];
    for (n, peer) in naive.peers.iter().enumerate() {
        let Some(seen) = tree.get(peer.handle) else {
            assert!(!peer.here);
            continue;
        };
        assert!(peer.here);
        let parent = peer.parent.map(|p| naive.peers[p].handle);
        assert_eq!(tree.parent(peer.handle), parent);
        let children: BTreeSet<Handle> = tree.children(peer.handle).collect();
        let expected = naive.here().filter(|&c| naive.peers[c].parent == Some(n));
        let expected: BTreeSet<Handle> = expected.map(|c| naive.peers[c].handle).collect();
        assert_eq!(children, expected);
        assert_eq!(usize::from(seen.used()), expected.len());
        assert_eq!(tree.children(peer.handle).count(), expected.len());
        assert_eq!(usize::from(seen.reserved()), naive.reserved(n));
        assert_eq!(usize::from(seen.depth()), naive.depth(n));
        assert_eq!(seen.attached(), naive.attached(n));
        let below = naive.here().filter(|&c| naive.path(c).contains(&n)).count();
        assert_eq!(tree.subtree(peer.handle).count(), below);
        assert!(
            peer.parent
                .is_none_or(|p| naive.peers[p].class.may_feed(peer.class))
        );

        let in_bucket = |depth| {
            let bucket = tree.free.bucket(peer.class, depth);
            bucket.iter().filter(|&&i| i == peer.handle.index).count()
        };
        let entries: usize = (0..=MAX_DEPTH).map(in_bucket).sum();
        assert_eq!(entries, usize::from(naive.offers(n) > 0));
        assert_eq!(in_bucket(seen.depth()), entries);
        offered[peer.class.position()] += naive.offers(n) as u64;
        if seen.attached() {
            let depth = naive.depth(n);
            per_depth.resize(per_depth.len().max(depth + 1), 0_u32);
            per_depth[depth] += 1;
        }
    }
    assert_eq!(tree.per_depth(), per_depth);
    assert_eq!(tree.free_slots(Class::Native), offered[0]);
    assert_eq!(tree.free_slots(Class::Browser), offered[1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn does_what_a_naive_tree_does(steps in prop::collection::vec(step(), 1..120)) {
        let (mut tree, mut naive) = (Tree::new(), Naive::default());
        run(&mut tree, &mut naive, &Step::Insert { native: true, slots: 3 });
        run(&mut tree, &mut naive, &Step::Root(0));
        for step in &steps {
            run(&mut tree, &mut naive, step);
            compare(&tree, &naive);
        }
    }
}

fn grown(slots: &[u16]) -> (Tree, Vec<Handle>) {
    let mut tree = Tree::new();
    let insert = |(n, &slots): (usize, &u16)| {
        tree.insert(Newcomer::new(node(n), Class::Native, slots, start()))
    };
    let handles: Vec<Handle> = slots.iter().enumerate().map(insert).collect();
    tree.set_root(handles[0]).unwrap();
    (tree, handles)
}

#[test]
fn a_chain_ends_where_a_path_no_longer_fits_in_a_heartbeat() {
    let (mut tree, peers) = grown(&[1; 40]);
    let mut rng = StdRng::seed_from_u64(1);
    let mut placed = 0;
    for &joiner in &peers[1..] {
        let wish = Wish {
            joiner,
            keep_last: false,
            excluded: &|_, _| false,
        };
        if let Some(parent) = tree.find_parent(&wish, &mut rng) {
            tree.attach(joiner, parent).unwrap();
            placed += 1;
        }
    }
    assert_eq!(placed, MAX_DEPTH);
}

#[test]
fn among_equals_the_parent_with_the_least_delay_is_chosen() {
    let (mut tree, peers) = grown(&[4, 1, 1, 1, 1, 0]);
    for (n, &peer) in peers[1..5].iter().enumerate() {
        tree.attach(peer, peers[0]).unwrap();
        tree.set_delay(peer, 100 - n as u32);
    }
    for seed in 0..20 {
        let wish = Wish {
            joiner: peers[5],
            keep_last: false,
            excluded: &|_, _| false,
        };
        let found = tree.find_parent(&wish, &mut StdRng::seed_from_u64(seed));
        assert_eq!(found, Some(peers[4]));
    }
}

#[test]
fn two_peers_on_the_move_cannot_end_up_under_each_other() {
    let (mut tree, peers) = grown(&[2, 2, 2]);
    tree.attach(peers[1], peers[0]).unwrap();
    tree.attach(peers[2], peers[0]).unwrap();
    tree.reserve(peers[1], peers[2]).unwrap();
    assert_eq!(tree.reserve(peers[2], peers[1]), Err(AttachError::Cycle));
}

#[test]
fn a_handle_of_a_departed_peer_names_nobody_even_when_its_place_is_taken() {
    let (mut tree, peers) = grown(&[2, 2]);
    tree.remove(peers[1]);
    let new = tree.insert(Newcomer::new(node(9), Class::Native, 1, start()));
    assert!(tree.get(peers[1]).is_none());
    assert_eq!(tree.attach(peers[1], peers[0]), Err(AttachError::Gone));
    assert_eq!(tree.get(new).unwrap().node(), node(9));
}
