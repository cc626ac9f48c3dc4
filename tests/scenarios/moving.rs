//! Nodes get better places while they play, and nobody misses a packet.

use std::time::Duration;

use crate::for_seeds;
use crate::world::World;

/// Leaves that came first fill a root of four slots; then relays come.
fn with_relays(seed: u64) -> World {
    let mut world = World::new(seed, 4, true);
    for _ in 0..8 {
        world.join(1);
        world.run(Duration::from_millis(200));
    }
    world.settle();
    for _ in 0..2 {
        world.join(6);
        world.run(Duration::from_millis(200));
    }
    world
}

#[test]
fn relays_take_the_places_of_leaves_and_nobody_misses_a_packet() {
    for_seeds(|seed| {
        let mut world = with_relays(seed);
        world.run(Duration::from_secs(40));
        assert!(world.counters().moved > 0, "nobody has moved");
        assert_eq!(world.counters().heals, 0, "a move looked like a loss");
        let relays = world.viewers().into_iter().filter(|id| {
            world.nodes[id].node.snapshot().slots == 6 && world.parent(*id) == Some(world.root)
        });
        assert_eq!(relays.count(), 2, "a relay hangs below somebody weaker");
        world.assert_all_bit_identical();
        let before = world.counters().moved;
        world.run(Duration::from_secs(60));
        assert_eq!(
            world.counters().moved,
            before,
            "the tree does not come to rest"
        );
        world.assert_all_bit_identical();
    });
}

#[test]
fn moves_on_a_bad_network_lose_nothing() {
    for_seeds(|seed| {
        let mut world = with_relays(seed);
        world.network.loss = 0.02;
        world.network.jitter = Duration::from_millis(20);
        world.run(Duration::from_secs(40));
        assert!(world.counters().moved > 0);
        world.assert_all_bit_identical();
    });
}

#[test]
fn moves_that_cross_deaths_leave_everybody_fed() {
    for_seeds(|seed| {
        let mut world = with_relays(seed);
        for _ in 0..3 {
            world.run(Duration::from_millis(700 + 90 * seed));
            let viewers = world.viewers();
            world.kill(viewers[seed as usize % viewers.len()]);
            world.join(3);
        }
        let took = world.run_until(Duration::from_secs(6), World::all_fed);
        assert!(took.is_some(), "somebody is not fed");
        world.run(Duration::from_secs(20));
        assert!(world.all_fed());
    });
}
