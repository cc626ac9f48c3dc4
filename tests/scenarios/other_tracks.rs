//! The publisher comes back with other codecs: a later epoch of the same tree.

use std::time::Duration;

use banyan::broadcast::BroadcastCounters;
use banyan::id::NodeId;

use crate::for_seeds;
use crate::world::World;

/// Where the numbers of each epoch's picture begin, far above those of the one before.
const FIRST: [u64; 4] = [0, 0x1_ff00, 0x5_0000, 0x9_0000];

/// The first packet of an epoch's picture that a node's sink got.
fn first_picture(world: &World, id: NodeId, epoch: usize) -> Option<u64> {
    let mut delivered = world.nodes[&id].delivered.iter();
    let first = delivered.find(|(track, seq, _)| *track == 0 && *seq >= FIRST[epoch])?;
    Some(first.1)
}

fn newest(world: &World, id: NodeId) -> u64 {
    let newest = world.nodes[&id].delivered.last();
    newest.map_or(0, |(_, seq, _)| *seq)
}

/// Everybody gets packets of the epoch.
fn renewed(world: &World, epoch: usize) -> bool {
    let mut viewers = world.viewers().into_iter();
    viewers.all(|id| newest(world, id) >= FIRST[epoch])
}

/// What is delivered from here on is bit-identical everywhere.
fn assert_whole(world: &mut World) {
    world.settle();
    for id in world.viewers() {
        if let Some(place) = world.nodes.get_mut(&id) {
            place.delivered.clear();
        }
    }
    world.run(Duration::from_secs(5));
    world.assert_all_bit_identical();
}

/// A tree of `count` below a root, all of two slots, that has played for a while.
fn grown(seed: u64, count: usize) -> World {
    let mut world = World::new(seed, 2, true);
    world.grow(count, 2);
    world.settle();
    // Until nobody looks for another standby any more.
    for _ in 0..10 {
        let before = world.closed;
        world.run(Duration::from_secs(6));
        if world.closed == before {
            return world;
        }
    }
    panic!("the tree does not come to rest");
}

/// What tells that anybody asked for a place: links closed, and the tracker's counts.
fn movements(world: &World) -> (usize, BroadcastCounters) {
    (world.closed, world.counters())
}

#[test]
fn other_tracks_reach_everybody_within_two_seconds() {
    for_seeds(|seed| {
        let mut world = grown(seed, 13);
        world.tell_tracks(2, FIRST[2]);
        let took = world.run_until(Duration::from_secs(2), |world| renewed(world, 2));
        assert!(took.is_some(), "somebody is left behind");
        assert_whole(&mut world);
    });
}

#[test]
fn other_tracks_close_no_link_and_begin_with_the_first_key_frame() {
    for_seeds(|seed| {
        let mut world = grown(seed, 30);
        assert!(world.depth() >= 4);
        let parents: Vec<_> = world.viewers().iter().map(|id| world.parent(*id)).collect();
        let before = movements(&world);
        world.tell_tracks(2, FIRST[2]);
        world.run(Duration::from_secs(6));
        assert_eq!(movements(&world), before, "somebody asked for a place");
        world.assert_nobody_moved();
        let after: Vec<_> = world.viewers().iter().map(|id| world.parent(*id)).collect();
        assert_eq!(after, parents);
        let standbys = (world.nodes.values())
            .filter(|place| place.node.snapshot().standby.is_some())
            .count();
        assert!(standbys > 10, "{standbys} nodes have a standby");
        assert_eq!(world.offers, 30 + standbys, "one on each link");
        let first = first_picture(&world, world.root, 2);
        assert!(first.is_some());
        for id in world.viewers() {
            assert_eq!(first_picture(&world, id, 2), first, "{id:?} began later");
        }
        assert_whole(&mut world);
    });
}

#[test]
fn other_tracks_on_a_bad_network_reach_everybody() {
    for_seeds(|seed| {
        let mut world = grown(seed, 13);
        world.network.loss = 0.1;
        world.network.jitter = Duration::from_millis(40);
        world.tell_tracks(2, FIRST[2]);
        let took = world.run_until(Duration::from_secs(4), |world| renewed(world, 2));
        assert!(took.is_some(), "somebody is left behind");
        assert_eq!(world.closed, 0);
        world.assert_nobody_moved();
        assert_whole(&mut world);
    });
}

#[test]
fn tracks_that_change_twice_in_a_moment_end_as_the_last() {
    for_seeds(|seed| {
        for pause in [0, 5, 11, 12, 25, 40, 100] {
            let mut world = grown(seed, 13);
            let before = movements(&world);
            world.tell_tracks(2, FIRST[2]);
            world.run(Duration::from_millis(pause));
            world.tell_tracks(3, FIRST[3]);
            world.run(Duration::from_secs(4));
            assert!(renewed(&world, 3), "after {pause} ms");
            assert_eq!(movements(&world), before, "after {pause} ms");
            world.assert_nobody_moved();
            assert_whole(&mut world);
        }
    });
}

#[test]
fn a_parent_that_does_not_renegotiate_is_asked_by_a_new_link() {
    for_seeds(|seed| {
        for refuses in [false, true] {
            let mut world = grown(seed, 13);
            let viewers = world.viewers().into_iter();
            let inner: Vec<_> = viewers
                .filter(|id| !world.nodes[id].node.snapshot().children.is_empty())
                .collect();
            let other = if refuses {
                &mut world.unwilling
            } else {
                &mut world.older
            };
            other.extend(inner.iter().take(2));
            let lost = world.counters().heals;
            world.tell_tracks(2, FIRST[2]);
            let took = world.run_until(Duration::from_secs(6), |world| renewed(world, 2));
            assert!(took.is_some(), "somebody is left behind");
            assert!(world.closed > 0);
            assert_eq!(world.counters().heals, lost, "nobody is to blame");
            assert_whole(&mut world);
        }
    });
}

#[test]
fn tracks_that_change_while_somebody_joins_reach_it_too() {
    for_seeds(|seed| {
        for pause in (0..200).step_by(10) {
            let mut world = grown(seed, 6);
            let late = world.join(2);
            world.run(Duration::from_millis(pause));
            world.tell_tracks(2, FIRST[2]);
            let took = world.run_until(Duration::from_secs(4), |world| renewed(world, 2));
            assert!(took.is_some(), "{late:?} is left behind after {pause} ms");
            assert_whole(&mut world);
        }
    });
}

#[test]
fn tracks_that_change_while_somebody_changes_its_parent_reach_it_too() {
    for_seeds(|seed| {
        for pause in (900..1400).step_by(50) {
            let mut world = grown(seed, 13);
            let viewers = world.viewers();
            let inner = |id: &&NodeId| !world.nodes[*id].node.snapshot().children.is_empty();
            let dead = *viewers.iter().find(inner).expect("a node with children");
            world.kill(dead);
            world.run(Duration::from_millis(pause));
            world.tell_tracks(2, FIRST[2]);
            let took = world.run_until(Duration::from_secs(5), |world| renewed(world, 2));
            assert!(took.is_some(), "somebody is left behind after {pause} ms");
            assert_whole(&mut world);
        }
    });
}

#[test]
fn tracks_that_change_while_the_tracker_is_away_need_no_tracker() {
    for_seeds(|seed| {
        let mut world = grown(seed, 13);
        for id in world.nodes.keys().copied().collect::<Vec<_>>() {
            world.close_session(id);
        }
        world.tell_tracks(2, FIRST[2]);
        let took = world.run_until(Duration::from_secs(2), |world| renewed(world, 2));
        assert!(took.is_some(), "somebody is left behind");
        assert_eq!(world.closed, 0);
    });
}
