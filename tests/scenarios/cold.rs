//! The tracker is away when parents and standbys die.

use std::time::Duration;

use banyan::id::NodeId;
use banyan::limits::{MAX_COLD_PARENTS, MAX_GRANTS};

use crate::for_seeds;
use crate::world::World;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A tree of twenty nodes, with standbys, and others to ask, for all that are two or more hops below
/// the root.
fn grown(seed: u64) -> World {
    let mut world = World::new(seed, 3, true);
    world.grow(20, 3);
    let ready = |world: &World| {
        let deep = world.viewers().into_iter();
        deep.filter(|id| world.path(*id).len() >= 2)
            .all(|id| world.standby(id).is_some() && !cold_parents(world, id).is_empty())
    };
    let took = world.run_until(Duration::from_secs(30), ready);
    assert!(took.is_some(), "somebody has no standby or nobody to ask");
    world.run(Duration::from_secs(8));
    world.reset_gaps();
    world
}

fn cold_parents(world: &World, id: NodeId) -> Vec<NodeId> {
    let place = world.nodes.get(&id);
    place.map_or_else(Vec::new, |place| place.node.snapshot().cold_parents)
}

fn below(world: &World, top: NodeId) -> Vec<NodeId> {
    let ids = world.viewers().into_iter();
    ids.filter(|id| world.path(*id).contains(&top)).collect()
}

/// A node below the root's children, its parent and its standby, both not the root, that has a way to
/// somebody it may ask when those two are gone: over a child, the standby of that, and a link of this.
fn in_danger(world: &World) -> Option<(NodeId, NodeId, NodeId)> {
    let ids = world.viewers().into_iter();
    let threes = ids.filter_map(|id| Some((id, world.parent(id)?, world.standby(id)?)));
    let threes = threes.filter(|(_, parent, standby)| ![*parent, *standby].contains(&world.root));
    let threes = threes.filter(|&(id, parent, standby)| {
        let lives = |node: NodeId| ![id, parent, standby].contains(&node);
        let children = world.viewers().into_iter();
        let children = children.filter(|child| world.parent(*child) == Some(id));
        let hubs = children.filter_map(|child| world.standby(child));
        let hubs: Vec<_> = hubs.filter(|hub| lives(*hub)).collect();
        let linked =
            |a: NodeId, b: NodeId| a == b || [world.parent(a), world.standby(a)].contains(&Some(b));
        let serves = |node: NodeId| {
            let below = world.path(node);
            lives(node)
                && !below.contains(&parent)
                && !below.contains(&standby)
                && world.nodes[&node].node.taken() < usize::from(world.nodes[&node].slots)
                && hubs
                    .iter()
                    .any(|hub| linked(*hub, node) || linked(node, *hub))
        };
        cold_parents(world, id).into_iter().any(serves)
    });
    // Not where the death of two takes most of the tree with them.
    threes.max_by_key(|(id, ..)| world.path(*id).len())
}

/// The tracker's process is gone, and comes back.
fn tracker_goes(world: &mut World) {
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        world.close_session(id);
    }
}

fn tracker_returns(world: &mut World) {
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        world.open_session(id);
        world.run(ms(30));
    }
}

/// Panics if a slot stays taken by nobody, or more are than there are, or links are left over.
fn assert_nothing_leaks(world: &mut World) {
    // Somebody may just be moving.
    let idle = |world: &World| {
        let mut places = world.nodes.values();
        places.all(|place| place.node.taken() == place.node.snapshot().children.len())
    };
    let took = world.run_until(Duration::from_secs(5), idle);
    assert!(took.is_some(), "a slot is kept for nobody");
    for (id, place) in &world.nodes {
        let snapshot = place.node.snapshot();
        let fed = snapshot.children.len();
        assert!(fed <= usize::from(place.slots), "{id:?} feeds too many");
        assert!(snapshot.cold_parents.len() <= MAX_COLD_PARENTS);
        assert!(snapshot.admitted <= MAX_GRANTS);
    }
    assert_eq!((world.exceeded, world.cycles), (0, 0));
    let most = 2 * world.viewers().len();
    assert!(world.links() <= most, "{} links of {most}", world.links());
}

#[test]
fn those_that_may_be_asked_are_neither_above_nor_below_nor_gone_with_the_parent() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        for id in world.viewers() {
            let asked = cold_parents(&world, id);
            assert!(asked.len() <= MAX_COLD_PARENTS);
            for other in asked {
                assert_ne!(Some(other), world.parent(id));
                assert_ne!(Some(other), world.standby(id));
                let path = world.path(other);
                assert!(!path.contains(&id), "{other:?} is below {id:?}");
                assert!(!world.parent(id).is_some_and(|p| path.contains(&p)));
            }
        }
        assert_nothing_leaks(&mut world);
    });
}

#[test]
fn a_branch_without_tracker_parent_and_standby_finds_another_place() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let (orphan, parent, standby) = in_danger(&world).expect("somebody to try it with");
        tracker_goes(&mut world);
        world.kill(parent);
        world.kill(standby);
        let living = |world: &World| {
            let fed = world.parent(orphan);
            fed.is_some_and(|fed| fed != parent && world.nodes.contains_key(&fed))
        };
        let took = world.run_until(ms(1500), living);
        assert!(
            took.is_some(),
            "it has no parent: {:?}",
            world.nodes[&orphan]
        );
        world.run(ms(500));
        let gap = world.largest_gap(orphan);
        assert!(gap <= ms(1200), "a gap of {gap:?}");
        world.run(ms(500));
        let fed = world.parent(orphan);
        let heals = |world: &World| world.nodes[&orphan].node.snapshot().heals;
        let healed = heals(&world);
        tracker_returns(&mut world);
        world.run(Duration::from_secs(10));
        assert_eq!(heals(&world), healed, "it lost its place again");
        assert!(fed.is_some_and(|fed| world.nodes.contains_key(&fed)));
        assert!(world.all_fed());
        world.assert_all_bit_identical();
        assert_nothing_leaks(&mut world);
    });
}

#[test]
fn who_has_no_link_left_waits_for_the_tracker() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let mut ids = world.viewers().into_iter();
        let leaf = ids.find(|id| {
            let above = [world.parent(*id), world.standby(*id)];
            !above.contains(&Some(world.root))
                && !above.contains(&None)
                && below(&world, *id).is_empty()
        });
        let leaf = leaf.expect("a leaf");
        let above = [world.parent(leaf), world.standby(leaf)];
        tracker_goes(&mut world);
        above.into_iter().flatten().for_each(|id| world.kill(id));
        world.run(Duration::from_secs(2));
        assert_eq!(world.parent(leaf), None);
        tracker_returns(&mut world);
        let took = world.run_until(Duration::from_secs(8), World::all_fed);
        assert!(took.is_some(), "somebody is not fed");
        world.run(Duration::from_secs(10));
        world.assert_all_bit_identical();
        assert_nothing_leaks(&mut world);
    });
}

#[test]
fn where_no_slot_is_free_nobody_gets_one() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let (_, parent, standby) = in_danger(&world).expect("somebody to try it with");
        // More than fit, so that somebody waits.
        for _ in 0..60 {
            world.join(0);
            world.run(ms(20));
        }
        world.run(Duration::from_secs(10));
        tracker_goes(&mut world);
        world.kill(parent);
        world.kill(standby);
        world.run(Duration::from_secs(3));
        for (id, place) in &world.nodes {
            let taken = place.node.taken();
            assert!(taken <= usize::from(place.slots), "{id:?} feeds too many");
        }
        tracker_returns(&mut world);
        world.run(Duration::from_secs(20));
        assert_nothing_leaks(&mut world);
    });
}

#[test]
fn a_tracker_and_others_that_are_asked_at_once_leave_one_parent() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let (orphan, parent, standby) = in_danger(&world).expect("somebody to try it with");
        world.kill(parent);
        world.kill(standby);
        let took = world.run_until(ms(2500), World::all_fed);
        assert!(took.is_some(), "somebody is not fed");
        world.run(ms(500));
        let gap = world.largest_gap(orphan);
        assert!(gap <= ms(1200), "a gap of {gap:?}");
        world.run(Duration::from_secs(10));
        assert!(world.all_fed());
        world.assert_all_bit_identical();
        assert_nothing_leaks(&mut world);
        for id in world.viewers() {
            let fed = world.parent(id).expect("it is fed");
            let children = world.nodes[&fed].node.snapshot().children;
            assert_eq!(children.iter().filter(|child| **child == id).count(), 1);
        }
    });
}
