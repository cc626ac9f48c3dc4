//! Parents die in all the ways they can, and their children find others.

use std::time::Duration;

use banyan::id::NodeId;

use crate::for_seeds;
use crate::world::World;

/// A full tree of two slots each and twelve nodes, and one that hangs under the root and feeds
/// others.
fn grown(seed: u64) -> (World, NodeId) {
    let mut world = World::new(seed, 2, true);
    world.grow(12, 2);
    world.run(Duration::from_secs(2));
    let victim = world
        .nodes
        .keys()
        .copied()
        .find(|id| {
            world.parent(*id) == Some(world.root)
                && !world.nodes[id].node.snapshot().children.is_empty()
        })
        .expect("somebody hangs under the root and feeds others");
    (world, victim)
}

#[test]
fn a_killed_parent_is_replaced_within_two_seconds() {
    for_seeds(|seed| {
        let (mut world, victim) = grown(seed);
        world.kill(victim);
        let took = world.run_until(Duration::from_secs(2), World::all_fed);
        assert!(took.is_some(), "the orphans have new parents");
        world.run(Duration::from_secs(10));
        world.assert_all_bit_identical();
    });
}

#[test]
fn a_frozen_parent_is_replaced_within_two_seconds() {
    for_seeds(|seed| {
        let (mut world, victim) = grown(seed);
        world.freeze(victim);
        let orphaned = |world: &World| {
            world
                .nodes
                .keys()
                .all(|id| *id == victim || world.parent(*id) != Some(victim))
        };
        let took = world.run_until(Duration::from_secs(2), |world| {
            orphaned(world)
                && world
                    .nodes
                    .keys()
                    .all(|id| *id == world.root || *id == victim || world.parent(*id).is_some())
        });
        assert!(
            took.is_some(),
            "the children of the frozen node hang elsewhere"
        );
        world.run(Duration::from_secs(8));
        world.thaw(victim);
        let took = world.run_until(Duration::from_secs(5), World::all_fed);
        assert!(took.is_some(), "the thawed node finds its way back");
    });
}

#[test]
fn a_parent_that_leaves_politely_is_replaced_at_once() {
    for_seeds(|seed| {
        let (mut world, victim) = grown(seed);
        world.leave(victim);
        world.run(Duration::from_millis(100));
        world.kill(victim);
        let took = world.run_until(Duration::from_secs(1), World::all_fed);
        assert!(took.is_some(), "the orphans have new parents");
        world.run(Duration::from_secs(5));
        world.assert_all_bit_identical();
    });
}

#[test]
fn half_of_the_nodes_die_at_once_and_the_rest_plays_on() {
    for_seeds(|seed| {
        let (mut world, _) = grown(seed);
        for id in world.viewers().into_iter().step_by(2) {
            world.kill(id);
        }
        let took = world.run_until(Duration::from_secs(5), World::all_fed);
        assert!(took.is_some(), "the survivors have parents");
    });
}
