//! Standbys take over before anybody notices.

use std::cell::RefCell;
use std::time::Duration;

use banyan::id::NodeId;

use crate::for_seeds;
use crate::world::World;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A tree of twenty nodes, three and more levels deep, in which everybody below the second level
/// has a standby.
fn grown(seed: u64) -> World {
    let mut world = World::new(seed, 3, true);
    world.grow(20, 3);
    let ready = |world: &World| {
        let deep = world.viewers().into_iter();
        deep.filter(|id| world.path(*id).len() >= 2)
            .all(|id| world.standby(id).is_some())
    };
    let took = world.run_until(Duration::from_secs(20), ready);
    assert!(took.is_some(), "somebody has no standby");
    world.assert_all_bit_identical();
    world.reset_gaps();
    world
}

/// A node with children, at a depth.
fn inner(world: &World, depth: usize) -> NodeId {
    let mut ids = world.viewers().into_iter();
    ids.find(|id| {
        let children = world.nodes[id].node.snapshot().children;
        world.path(*id).len() == depth && !children.is_empty()
    })
    .expect("an inner node")
}

/// Everybody below a node.
fn below(world: &World, top: NodeId) -> Vec<NodeId> {
    let ids = world.viewers().into_iter();
    ids.filter(|id| world.path(*id).contains(&top)).collect()
}

/// Panics if one of these nodes saw a longer pause.
fn assert_no_gap(world: &World, nodes: &[NodeId], longest: Duration) {
    for id in nodes {
        let gap = world.largest_gap(*id);
        let events = &world.nodes[id].events;
        assert!(gap <= longest, "{id:?} saw a gap of {gap:?}: {events:?}");
    }
}

#[test]
fn a_standby_is_outside_of_what_dies_with_the_parent() {
    for_seeds(|seed| {
        let world = grown(seed);
        for id in world.viewers() {
            let (Some(parent), Some(standby)) = (world.parent(id), world.standby(id)) else {
                continue;
            };
            assert_ne!(standby, id);
            assert_ne!(standby, parent);
            assert!(!world.path(standby).contains(&parent), "below the parent");
            assert!(!world.path(standby).contains(&id), "below itself");
        }
    });
}

#[test]
fn a_dead_parent_is_replaced_without_a_gap_that_anybody_sees() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let victim = inner(&world, 1);
        let orphans = below(&world, victim);
        assert!(!orphans.is_empty());
        world.kill(victim);
        world.run(ms(1500));
        assert_no_gap(&world, &orphans, ms(350));
        world.run(Duration::from_secs(8));
        assert!(world.all_fed());
        world.assert_all_bit_identical();
    });
}

#[test]
fn one_death_after_another_costs_nothing() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        for _ in 0..5 {
            let victim = inner(&world, 1);
            world.reset_gaps();
            world.kill(victim);
            world.run(Duration::from_secs(8));
            assert!(world.all_fed());
        }
        world.assert_all_bit_identical();
    });
}

#[test]
fn two_deaths_in_one_path_are_survived() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let lower = inner(&world, 2);
        let upper = world.parent(lower).expect("a parent");
        world.kill(upper);
        world.kill(lower);
        let took = world.run_until(Duration::from_secs(3), World::all_fed);
        assert!(took.is_some(), "the orphans have new parents");
        world.run(Duration::from_secs(8));
        world.assert_all_bit_identical();
    });
}

#[test]
fn a_parent_and_the_standby_that_freeze_together_are_replaced() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let pairs = world.viewers().into_iter();
        let mut pairs = pairs.filter_map(|id| Some((world.parent(id)?, world.standby(id)?)));
        let frozen = pairs.find(|(parent, standby)| ![*parent, *standby].contains(&world.root));
        let (parent, standby) = frozen.expect("a parent and a standby that are not the root");
        world.freeze(parent);
        world.freeze(standby);
        let took = world.run_until(Duration::from_secs(4), |world| {
            let awake = |id: &NodeId| ![parent, standby].contains(id);
            let mut others = world.viewers().into_iter().filter(awake);
            others.all(|id| world.parent(id).is_some_and(|fed| awake(&fed)))
        });
        assert!(took.is_some(), "the orphans have new parents");
        let living = world.viewers().into_iter();
        let living: Vec<_> = living
            .filter(|id| ![parent, standby].contains(id))
            .collect();
        world.run(Duration::from_secs(8));
        for id in living {
            world.assert_bit_identical(id);
        }
    });
}

#[test]
fn a_stall_of_200_ms_moves_nobody() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let stalls = inner(&world, 1);
        for _ in 0..5 {
            world.freeze(stalls);
            world.run(ms(200));
            world.thaw(stalls);
            world.run(Duration::from_secs(3));
        }
        world.assert_nobody_moved();
        world.assert_all_bit_identical();
    });
}

#[test]
fn a_publisher_that_pauses_moves_nobody() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        world.paused = true;
        world.run(Duration::from_secs(20));
        world.assert_nobody_moved();
        world.paused = false;
        world.run(Duration::from_secs(3));
        world.assert_nobody_moved();
        world.assert_all_bit_identical();
    });
}

#[test]
fn a_clean_leave_is_not_seen_at_all() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let leaver = inner(&world, 1);
        let orphans = below(&world, leaver);
        let before = orphans.iter().map(|id| world.largest_gap(*id)).max();
        let before = before.expect("somebody hangs below the leaver");
        world.reset_gaps();
        world.leave(leaver);
        world.run(Duration::from_secs(3));
        world.kill(leaver);
        assert_no_gap(&world, &orphans, before.max(ms(60)));
        world.run(Duration::from_secs(5));
        assert!(world.all_fed());
        world.assert_all_bit_identical();
    });
}

#[test]
fn standbys_need_no_tracker() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        for id in world.nodes.keys().copied().collect::<Vec<_>>() {
            world.close_session(id);
        }
        let victim = inner(&world, 1);
        let orphans = below(&world, victim);
        world.kill(victim);
        world.run(ms(1500));
        assert_no_gap(&world, &orphans, ms(350));
        let parents = |world: &World| -> Vec<_> {
            let ids = world.viewers().into_iter();
            ids.map(|id| (id, world.parent(id))).collect()
        };
        let healed = parents(&world);
        for id in world.nodes.keys().copied().collect::<Vec<_>>() {
            world.open_session(id);
            world.run(ms(30));
        }
        world.run(Duration::from_secs(10));
        assert_eq!(
            parents(&world),
            healed,
            "the returning tracker moved somebody"
        );
        world.assert_all_bit_identical();
    });
}

/// Kills a node with others below it, one level lower each second time, and tells how long each of
/// those saw nothing.
fn fell(world: &mut World, round: usize) -> Vec<Duration> {
    let ready = |world: &World| {
        let deep = world.viewers().into_iter();
        deep.filter(|id| world.path(*id).len() >= 2)
            .all(|id| world.standby(id).is_some())
    };
    let took = world.run_until(Duration::from_secs(20), ready);
    assert!(took.is_some(), "somebody has no standby");
    world.run(ms(1000));
    let depth = 1 + round % 2;
    let rank = |id: &NodeId| (world.path(*id).len() == depth, below(world, *id).len());
    let victim = world
        .viewers()
        .into_iter()
        .max_by_key(rank)
        .expect("a node");
    let orphans = below(world, victim);
    world.reset_gaps();
    world.kill(victim);
    world.run(ms(2500));
    orphans.iter().map(|id| world.largest_gap(*id)).collect()
}

#[test]
fn one_death_after_another_is_noticed_by_few() {
    let gaps = RefCell::new(Vec::new());
    for_seeds(|seed| {
        let mut world = World::new(seed, 4, true);
        world.network.delay = ms(1);
        world.network.jitter = ms(1);
        world.grow(12, 4);
        let mut seen = Vec::new();
        for round in 0..12 {
            seen.extend(fell(&mut world, round));
            world.join(4);
            world.run(ms(500));
        }
        world.assert_all_bit_identical();
        gaps.borrow_mut().extend(seen);
    });
    let mut gaps = gaps.into_inner();
    gaps.sort();
    let at = |share: usize| gaps[(gaps.len() - 1) * share / 100];
    assert!(
        at(50) <= ms(150),
        "half of the pauses are over {:?}",
        at(50)
    );
    assert!(
        at(95) <= ms(250),
        "a twentieth of them is over {:?}",
        at(95)
    );
}
