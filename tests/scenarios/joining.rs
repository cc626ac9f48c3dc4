//! Nodes join and a tree grows.

use std::time::Duration;

use crate::for_seeds;
use crate::world::World;

#[test]
fn seven_nodes_with_two_slots_make_a_tree_of_depth_three() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, true);
        for _ in 0..7 {
            world.join(2);
            world.run(Duration::from_millis(50));
        }
        let took = world.run_until(Duration::from_secs(3), World::all_fed);
        assert!(took.is_some(), "everybody is fed");
        assert_eq!(world.depth(), 3);
    });
}

#[test]
fn a_join_storm_finds_room_for_everybody() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 3, true);
        for _ in 0..60 {
            world.join(3);
        }
        let took = world.run_until(Duration::from_secs(8), World::all_fed);
        assert!(took.is_some(), "everybody is fed");
        assert!(world.depth() <= 5, "depth {}", world.depth());
    });
}

#[test]
fn a_pair_that_cannot_connect_is_given_up_within_five_seconds() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, true);
        let first = world.join(2);
        assert!(
            world
                .run_until(Duration::from_secs(2), World::all_fed)
                .is_some()
        );
        let second = world.join(2);
        world.unreachable.insert((second, world.root));
        world.unreachable.insert((first, second));
        let took = world.run_until(Duration::from_secs(5), World::all_fed);
        assert!(took.is_some(), "it is placed elsewhere within 5 s");
        assert_eq!(world.parent(second), Some(first));
    });
}
