//! What the deepest node gets is what the root sent.

use std::time::Duration;

use crate::for_seeds;
use crate::world::{Network, World};

fn chain(seed: u64, network: Network) -> (World, Vec<banyan::id::NodeId>) {
    let mut world = World::new(seed, 1, true);
    world.network = network;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(world.join(1));
        assert!(
            world
                .run_until(Duration::from_secs(5), World::all_fed)
                .is_some()
        );
    }
    assert_eq!(world.depth(), 4);
    (world, ids)
}

#[test]
fn four_hops_change_nothing() {
    for_seeds(|seed| {
        let (mut world, ids) = chain(seed, Network::default());
        world.run(Duration::from_secs(20));
        for id in ids {
            world.assert_bit_identical(id);
        }
    });
}

#[test]
fn five_percent_loss_on_every_hop_loses_nothing() {
    for_seeds(|seed| {
        let lossy = Network {
            loss: 0.05,
            ..Network::default()
        };
        let (mut world, ids) = chain(seed, lossy);
        world.run(Duration::from_secs(20));
        for id in ids {
            world.assert_bit_identical(id);
            let snapshot = world.nodes[&id].node.snapshot();
            for (kind, stats) in snapshot.tracks {
                assert_eq!(stats.lost, 0, "{id:?} {kind:?}");
            }
        }
    });
}

#[test]
fn reordering_is_no_loss() {
    for_seeds(|seed| {
        let delay = Duration::from_millis(5);
        let shaky = Network {
            spread: 0.0,
            delay,
            jitter: Duration::from_millis(30),
            loss: 0.0,
        };
        let (mut world, ids) = chain(seed, shaky);
        world.run(Duration::from_secs(10));
        for id in ids {
            world.assert_bit_identical(id);
        }
    });
}
