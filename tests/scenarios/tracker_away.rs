//! Connections to the tracker break while the media goes on.

use std::time::Duration;

use crate::for_seeds;
use crate::world::World;

#[test]
fn a_broken_tracker_connection_costs_no_packet() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, true);
        world.grow(6, 2);
        let ids = world.viewers();
        for id in &ids {
            world.close_session(*id);
        }
        world.run(Duration::from_secs(2));
        for id in &ids {
            world.open_session(*id);
        }
        world.run(Duration::from_secs(10));
        assert!(world.all_fed());
        world.assert_all_bit_identical();
        world.assert_nobody_moved();
    });
}

#[test]
fn a_node_that_was_away_from_its_tracker_still_gets_another_parent() {
    for_seeds(|seed| {
        // A full tree: root with one slot, a relay with one, and a leaf below it.
        let mut world = World::new(seed, 2, true);
        let relay = world.join(1);
        world.settle();
        let other = world.join(1);
        world.settle();
        let leaf = world.join(0);
        world.settle();
        let parent = world.parent(leaf).expect("it is fed");
        assert!(parent == relay || parent == other);
        world.close_session(leaf);
        world.run(Duration::from_millis(700));
        world.open_session(leaf);
        world.run(Duration::from_secs(8));
        world.kill(parent);
        let took = world.run_until(Duration::from_secs(3), World::all_fed);
        assert!(took.is_some(), "the leaf is fed by somebody else");
        world.run(Duration::from_secs(3));
        world.assert_bit_identical(leaf);
    });
}

#[test]
fn a_tracker_connection_that_stays_away_costs_no_feed() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, true);
        let relay = world.join(2);
        world.settle();
        let leaf = world.join(0);
        world.settle();
        for id in [relay, leaf] {
            world.close_session(id);
        }
        world.run(Duration::from_secs(20));
        for id in [relay, leaf] {
            assert!(world.parent(id).is_some(), "it is fed still");
            world.open_session(id);
        }
        world.run(Duration::from_secs(12));
        world.assert_all_bit_identical();
        world.assert_nobody_moved();
    });
}

#[test]
fn a_root_that_comes_back_to_its_tracker_keeps_its_tree() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, true);
        world.grow(4, 2);
        let root = world.root;
        world.close_session(root);
        world.run(Duration::from_secs(2));
        world.open_session(root);
        world.run(Duration::from_secs(8));
        world.assert_all_bit_identical();
        world.assert_nobody_moved();
    });
}
