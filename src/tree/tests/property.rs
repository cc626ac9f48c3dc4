//! The tree against a naive one, operation by operation.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::member::normal_shelf;
use super::naive::{Naive, NaivePeer, NaiveWish};
use super::*;

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
    Confirm(usize),
    Prove(usize),
    Move(u64),
    Promote(usize, u64),
    Place {
        joiner: usize,
        keep_last: bool,
        spare: Spare,
        surge: bool,
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 0..1000_usize;
    let spare = prop_oneof![Just(Spare::Never), Just(Spare::Last), Just(Spare::Freely)];
    prop_oneof![
        4 => (prop::bool::weighted(0.7), prop_oneof![3 => 0..4_u16, 1 => 4..40_u16])
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
        6 => peer().prop_map(Step::Confirm),
        1 => peer().prop_map(Step::Prove),
        8 => (peer(), prop::bool::weighted(0.2), spare, any::<bool>(), any::<u64>())
            .prop_map(|(joiner, keep_last, spare, surge, seed)| {
                Step::Place { joiner, keep_last, spare, surge, seed }
            }),
        2 => any::<u64>().prop_map(Step::Move),
        2 => (peer(), any::<u64>()).prop_map(|(a, seed)| Step::Promote(a, seed)),
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
        let peer = NaivePeer::new(tree.insert(new), class, slots);
        naive.peers.push(peer);
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
                naive.peers[n].shown = u16::MAX;
                naive.peers[n].proven = true;
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
                naive.peers[c].confirmed &= held;
                if reserved {
                    naive.peers[c].pending = None;
                }
            }
        }
        Step::Detach(c) => {
            let c = c % count;
            let had = naive.peers[c].parent.take().is_some();
            naive.peers[c].confirmed = false;
            assert_eq!(tree.detach(handle(naive, c)), had);
        }
        Step::Remove(n) => {
            let n = n % count;
            let orphans: BTreeSet<Handle> = tree.remove(handle(naive, n)).into_iter().collect();
            let mut expected = BTreeSet::new();
            for peer in naive.peers.iter_mut() {
                if peer.parent == Some(n) {
                    peer.parent = None;
                    peer.confirmed = false;
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
            naive.peers[n % count].declared = slots;
        }
        Step::Open(n, open) => {
            tree.set_open(handle(naive, n % count), open);
            naive.peers[n % count].open = open;
        }
        Step::Confirm(n) => {
            let n = n % count;
            tree.confirm(handle(naive, n));
            if let Some(parent) = naive.peers[n].parent {
                naive.peers[n].confirmed = true;
                let confirmed = |&child: &usize| naive.peers[child].confirmed;
                let feeding = naive.children(parent).filter(confirmed).count() as u16;
                let shown = &mut naive.peers[parent].shown;
                *shown = feeding.max(*shown);
            }
        }
        Step::Prove(n) => {
            tree.prove(handle(naive, n % count));
            naive.peers[n % count].proven = true;
        }
        Step::Move(seed) => move_one(tree, naive, seed),
        Step::Promote(n, seed) => promote(tree, naive, n % count, seed),
        Step::Place {
            joiner,
            keep_last,
            spare,
            surge,
            seed,
        } => {
            let wish = NaiveWish {
                keep_last,
                spare,
                seed,
            };
            let regime = if surge { Regime::Surge } else { Regime::Steady };
            place(tree, naive, joiner % count, &wish, regime);
        }
    }
}

/// Moves somebody to a slot that is free, as a tracker does once a second.
fn move_one(tree: &mut Tree, naive: &mut Naive, seed: u64) {
    let index: HashMap<Handle, usize> = naive.here().map(|n| (naive.peers[n].handle, n)).collect();
    let wish = NaiveWish {
        keep_last: false,
        spare: Spare::Never,
        seed,
    };
    let excluded = |child, parent| wish.excluded(index[&child], index[&parent]);
    let Some(found) = tree.find_move(&excluded, &mut StdRng::seed_from_u64(seed)) else {
        return;
    };
    let (child, parent) = (index[&found.child], index[&found.parent]);
    let old = naive.peers[child].parent.expect("it has a place");
    assert_eq!(naive.peers[child].pending, None);
    assert!(naive.offers(parent, false) > 0);
    assert!(!wish.excluded(child, parent));
    let strained = naive.used(old) + naive.reserved(old) + naive.spare(old) > naive.slots(old);
    assert!(strained || naive.depth(parent) + 1 < naive.depth(child));
    run(tree, naive, &Step::Attach(child, parent));
    assert_eq!(naive.peers[child].parent, Some(parent));
}

/// Gives a peer the place of another, if it has earned one.
fn promote(tree: &mut Tree, naive: &mut Naive, better: usize, seed: u64) {
    let peer = &naive.peers[better];
    if !peer.here || peer.pending.is_some() || !naive.attached(better) {
        return;
    }
    let index: HashMap<Handle, usize> = naive.here().map(|n| (naive.peers[n].handle, n)).collect();
    let wish = NaiveWish {
        keep_last: false,
        spare: Spare::Freely,
        seed,
    };
    let excluded = |child, parent| wish.excluded(index[&child], index[&parent]);
    let mut rng = StdRng::seed_from_u64(seed);
    let Some(place) = tree.find_promotion(peer.handle, start(), &excluded, &mut rng) else {
        return;
    };
    let above = naive.depth(better);
    let victim = index[&place.victim];
    assert!(
        naive
            .victims_for(better, above, true, &wish)
            .contains(&victim)
    );
    run(tree, naive, &Step::Attach(better, index[&place.parent]));
    run(tree, naive, &Step::Attach(victim, better));
    assert_eq!(naive.peers[victim].parent, Some(better));
    assert!(naive.depth(better) < above);
}

/// Looks for a place as a joiner does. Half of the time it moves there, so that real trees grow.
fn place(tree: &mut Tree, naive: &mut Naive, joiner: usize, wish: &NaiveWish, regime: Regime) {
    let index: HashMap<Handle, usize> = naive.here().map(|n| (naive.peers[n].handle, n)).collect();
    let excluded = |child, parent| wish.excluded(index[&child], index[&parent]);
    let asked = Wish {
        joiner: naive.peers[joiner].handle,
        keep_last: wish.keep_last,
        spare: wish.spare,
        excluded: &excluded,
    };
    let mut rng = StdRng::seed_from_u64(wish.seed);
    let parents = match naive.peers[joiner].here {
        true => naive.parents_for(joiner, wish),
        false => Vec::new(),
    };
    let found = tree.find_parent(&asked, &mut rng);
    match found {
        Some(parent) => assert!(parents.contains(&index[&parent])),
        None => assert!(parents.is_empty()),
    }
    let slot_depth = parents.first().map(|&parent| naive.depth(parent) + 1);
    let strength = naive.strength(joiner);
    let most = match regime {
        Regime::Steady => 1,
        Regime::Surge => strength,
    };
    let weakest = |mut victims: Vec<usize>, below: usize| {
        victims.retain(|&victim| naive.strength(victim) < below);
        let rank = |&victim: &usize| (naive.depth(victim), naive.strength(victim));
        let first = victims.iter().map(rank).min();
        victims.retain(|victim| Some(rank(victim)) == first);
        victims
    };
    let victims = slot_depth.map_or(Vec::new(), |depth| {
        weakest(naive.victims_for(joiner, depth, true, wish), most)
    });
    let placed = tree.find_place(&asked, regime, &mut rng);
    match placed {
        Some(Placement::Displace(displacement)) => {
            assert!(victims.contains(&index[&displacement.victim]));
            assert_eq!(tree.parent(displacement.victim), Some(displacement.parent));
        }
        Some(Placement::Slot(parent)) => {
            assert!(victims.is_empty());
            assert!(parents.contains(&index[&parent]));
        }
        None => assert!(parents.is_empty()),
    }
    let evicted = tree.find_eviction(&asked, &mut rng);
    let victims = naive.victims_for(joiner, MAX_DEPTH.into(), false, wish);
    let victims = weakest(victims, strength);
    match evicted {
        Some(place) => assert!(victims.contains(&index[&place.victim])),
        None => assert!(victims.is_empty()),
    }
    if wish.seed & 1 == 1 {
        return;
    }
    match placed {
        Some(Placement::Slot(parent)) => {
            run(tree, naive, &Step::Attach(joiner, index[&parent]));
        }
        Some(Placement::Displace(Displacement { victim, parent })) => {
            let (victim, parent) = (index[&victim], index[&parent]);
            run(tree, naive, &Step::Attach(joiner, parent));
            run(tree, naive, &Step::Attach(victim, joiner));
            assert_eq!(naive.peers[joiner].parent, Some(parent));
            assert_eq!(naive.peers[victim].parent, Some(joiner));
        }
        None => {}
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

        assert_eq!(usize::from(seen.slots()), naive.slots(n));
        assert_eq!(usize::from(seen.spare()), naive.spare(n));
        assert!(seen.strength() == Strength(naive.strength(n) as u8));

        // In each index exactly when it belongs there, and once.
        let index = peer.handle.index;
        let shelf = normal_shelf(peer.class, peer.proven);
        let normal = naive.offers(n, false) > 0;
        check_entry(&tree.normal, (index, seen.depth()), normal.then_some(shelf));
        let any = naive.offers(n, true) > 0;
        check_entry(
            &tree.any,
            (index, seen.depth()),
            any.then_some(peer.class.position()),
        );
        let rank = peer.parent.is_some() && naive.attached(n);
        check_entry(
            &tree.rank,
            (index, seen.depth()),
            rank.then_some(naive.strength(n)),
        );
        offered[peer.class.position()] += naive.offers(n, true) as u64;
        if seen.attached() {
            let depth = naive.depth(n);
            per_depth.resize(per_depth.len().max(depth + 1), 0_u32);
            per_depth[depth] += 1;
        }
    }
    let proven = naive.here().filter(|&n| naive.peers[n].proven).count();
    assert_eq!(tree.proven, proven);
    assert_eq!(tree.per_depth(), per_depth);
    assert_eq!(tree.free_slots(Class::Native), offered[0]);
    assert_eq!(tree.free_slots(Class::Browser), offered[1]);
}

/// Whether a peer stands in an index where it belongs and nowhere else.
fn check_entry<const SHELVES: usize>(
    index: &Index<SHELVES>,
    (peer, at_depth): (u32, u16),
    shelf: Option<usize>,
) {
    let mut found = Vec::new();
    for at in 0..SHELVES {
        for depth in 0..=MAX_DEPTH {
            let bucket = index.bucket(at, depth);
            assert_eq!(index.occupied(at) >> depth & 1 == 1, !bucket.is_empty());
            let here = bucket.iter().filter(|&&i| i == peer);
            found.extend(here.map(|_| (at, depth)));
        }
    }
    let expected: Vec<_> = shelf.map(|at| (at, at_depth)).into_iter().collect();
    assert_eq!(found, expected);
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
