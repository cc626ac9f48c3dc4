//! The root is gone and comes back: the tree holds meanwhile.

use std::time::Duration;

use banyan::id::NodeId;
use banyan::node::PeerEvent;
use banyan::wire::tracker::StreamState;

use crate::for_seeds;
use crate::world::World;

/// Where the numbers of the second life's picture begin.
const SECOND: u64 = 0x5_0000;

fn grown(seed: u64) -> World {
    let mut world = World::new(seed, 2, true);
    world.grow(12, 2);
    world.run(Duration::from_secs(12));
    assert!(world.depth() >= 3);
    world
}

/// The state of the stream that a node heard last.
fn told(world: &World, id: NodeId) -> Option<StreamState> {
    let events = world.nodes[&id].events.iter().rev();
    let mut states = events.filter_map(|(_, event)| match event {
        PeerEvent::Stream { state, .. } => Some(*state),
        _ => None,
    });
    states.next()
}

/// Everybody gets packets of the second life.
fn resumed(world: &World) -> bool {
    let newest = |id: &NodeId| world.nodes[id].delivered.last().map(|last| last.1);
    let viewers = world.viewers();
    (viewers.iter()).all(|id| newest(id).is_some_and(|newest| newest >= SECOND))
}

fn return_and_check(world: &mut World) {
    world.restart_root(2, 2);
    world.tell_tracks(2, SECOND);
    let took = world.run_until(Duration::from_secs(3), resumed);
    assert!(took.is_some(), "somebody does not get the second life");
    assert!(
        world
            .viewers()
            .iter()
            .all(|id| told(world, *id) == Some(StreamState::Live))
    );
    for id in world.viewers() {
        if let Some(place) = world.nodes.get_mut(&id) {
            place.delivered.clear();
        }
    }
    world.run(Duration::from_secs(20));
    world.assert_all_bit_identical();
}

#[test]
fn a_root_that_is_started_again_finds_its_tree() {
    for_seeds(|seed| {
        for away in [0, 300, 2_000, 20_000] {
            let mut world = grown(seed);
            let root = world.root;
            let pairs = |world: &World| -> Vec<(NodeId, NodeId)> {
                let viewers = world.viewers().into_iter();
                let pairs = viewers.filter_map(|id| Some((id, world.parent(id)?)));
                pairs.filter(|(_, parent)| *parent != root).collect()
            };
            let before = pairs(&world);
            let joins = world.counters().joins;
            world.kill(root);
            world.run(Duration::from_millis(away));
            if away >= 2_000 {
                for id in world.viewers() {
                    assert_eq!(told(&world, id), Some(StreamState::Away), "{id:?}");
                }
            }
            assert!(
                world.counters().joins <= joins + 2,
                "who hangs below others asks for a parent"
            );
            assert_eq!(pairs(&world), before, "after {away} ms");
            return_and_check(&mut world);
        }
    });
}

#[test]
fn nobody_loses_its_standby_while_the_root_is_away() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let standbys = |world: &World| {
            let viewers = world.viewers().into_iter();
            viewers
                .map(|id| world.nodes[&id].node.snapshot().standby)
                .collect::<Vec<_>>()
        };
        let before = standbys(&world).iter().flatten().count();
        assert!(before > 3);
        let closed = world.closed;
        let root = world.root;
        world.kill(root);
        world.run(Duration::from_secs(20));
        // Only the links to the root itself.
        assert!(world.closed <= closed + 2, "{}", world.closed - closed);
    });
}

#[test]
fn after_half_a_minute_the_broadcast_is_over_and_a_later_one_is_found() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let root = world.root;
        world.kill(root);
        world.run(Duration::from_secs(29));
        for id in world.viewers() {
            assert_eq!(told(&world, id), Some(StreamState::Away));
        }
        world.run(Duration::from_secs(2));
        for id in world.viewers() {
            assert_eq!(told(&world, id), Some(StreamState::Offline));
            assert_eq!(world.parent(id), None);
        }
        world.run(Duration::from_secs(20));
        return_and_check(&mut world);
    });
}

#[test]
fn a_root_without_its_publisher_is_away_until_there_is_media() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let root = world.root;
        world.kill(root);
        world.run(Duration::from_secs(4));
        world.restart_root(2, 2);
        // Longer than a root may be gone: this one is there.
        world.run(Duration::from_secs(40));
        for id in world.viewers() {
            assert_eq!(told(&world, id), Some(StreamState::Away));
        }
        world.tell_tracks(2, SECOND);
        let took = world.run_until(Duration::from_secs(3), resumed);
        assert!(took.is_some(), "somebody does not get the second life");
    });
}

#[test]
fn a_viewer_that_comes_while_the_root_is_away_gets_the_second_life() {
    for_seeds(|seed| {
        let mut world = grown(seed);
        let root = world.root;
        world.kill(root);
        world.run(Duration::from_secs(3));
        world.join(2);
        world.run(Duration::from_secs(3));
        return_and_check(&mut world);
    });
}
