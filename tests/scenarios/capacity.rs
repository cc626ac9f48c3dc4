//! Nodes that carry less than they say, and children that take less than they are sent.

use std::time::Duration;

use banyan::id::NodeId;
use banyan::node::PeerEvent;

use crate::for_seeds;
use crate::world::World;

/// Bits per second that the virtual stream takes on the wire, about.
const STREAM: f64 = 330_000.0;

fn children(world: &World, id: NodeId) -> usize {
    let viewers = world.viewers().into_iter();
    viewers
        .filter(|child| world.parent(*child) == Some(id))
        .count()
}

/// Three relays below the root, with leaves below them; the one of them that has most to do. The other two have
/// room for all leaves but two.
fn with_a_full_relay(seed: u64) -> (World, NodeId) {
    let mut world = World::new(seed, 3, true);
    for slots in [12, 7, 7] {
        world.join(slots);
        world.settle();
    }
    let mut leaves = Vec::new();
    for _ in 0..14 {
        let leaf = world.join(0);
        leaves.push(leaf);
        world.run(Duration::from_millis(1100));
    }
    world.settle();
    world.run(Duration::from_secs(20));
    let relays = world
        .viewers()
        .into_iter()
        .filter(|id| !leaves.contains(id));
    let busier = relays
        .max_by_key(|id| children(&world, *id))
        .expect("a relay");
    assert!(
        children(&world, busier) >= 5,
        "{}",
        children(&world, busier)
    );
    (world, busier)
}

/// Nobody misses a packet from here on.
fn assert_whole(world: &mut World, time: u64) {
    for id in world.viewers() {
        if let Some(place) = world.nodes.get_mut(&id) {
            place.delivered.clear();
        }
    }
    world.run(Duration::from_secs(time));
    assert!(world.all_fed());
    world.assert_all_bit_identical();
}

#[test]
fn a_relay_that_carries_less_than_it_says_keeps_as_many_children_as_it_carries() {
    for_seeds(|seed| {
        let (mut world, relay) = with_a_full_relay(seed);
        world.limit_uplink(relay, 3.3 * STREAM);
        world.run(Duration::from_secs(60));
        let left = children(&world, relay);
        assert!((1..=3).contains(&left), "{left} children");
        assert!(world.nodes[&relay].node.snapshot().slots <= 4);
        assert_whole(&mut world, 20);
    });
}

#[test]
fn a_relay_that_tells_nothing_of_its_overload_is_found_out_by_its_children() {
    for_seeds(|seed| {
        let (mut world, relay) = with_a_full_relay(seed);
        world.limit_uplink(relay, 3.3 * STREAM);
        world.boasters.insert(relay, 12);
        world.run(Duration::from_secs(60));
        assert!(world.counters().doubted > 0);
        let left = children(&world, relay);
        assert!((1..=3).contains(&left), "{left} children");
        assert_whole(&mut world, 20);
    });
}

#[test]
fn a_child_with_a_narrow_line_keeps_the_sound_and_costs_its_parent_no_slot() {
    for_seeds(|seed| {
        let (mut world, relay) = with_a_full_relay(seed);
        let before = world.nodes[&relay].node.snapshot().slots;
        let narrow = (world.viewers().into_iter())
            .find(|id| world.parent(*id) == Some(relay))
            .expect("it has children");
        world.limit_downlink(narrow, 0.5 * STREAM);
        world.run(Duration::from_secs(30));
        let told = world.nodes[&narrow].events.iter();
        let told = told.filter(|(_, event)| matches!(event, PeerEvent::Picture { held: true }));
        assert!(told.count() > 0, "it does not know why");
        assert_eq!(world.nodes[&relay].node.snapshot().slots, before);
        // The sound goes on: 50 packets a second.
        let packets = |world: &World| world.nodes[&narrow].node.snapshot().tracks[1].1.packets;
        let heard = packets(&world);
        world.run(Duration::from_secs(20));
        let heard = packets(&world) - heard;
        assert!(heard > 900, "{heard} packets of sound in 20 s");
        world.nodes.remove(&narrow);
        assert_whole(&mut world, 10);
    });
}

#[test]
fn children_of_a_relay_that_gets_no_picture_move_to_one_that_does() {
    for_seeds(|seed| {
        let (mut world, relay) = with_a_full_relay(seed);
        world.limit_downlink(relay, 0.5 * STREAM);
        world.run(Duration::from_secs(45));
        // The others have room for all but two, and the relay itself may have gone below one of them.
        let left = children(&world, relay);
        assert!(left <= 3, "{left} children");
        world.nodes.remove(&relay);
        world.run(Duration::from_secs(10));
        assert_whole(&mut world, 10);
    });
}

#[test]
fn what_a_relay_lacks_itself_is_no_fault_of_its_childrens_lines() {
    for_seeds(|seed| {
        let (mut world, relay) = with_a_full_relay(seed);
        let below: Vec<NodeId> = (world.viewers().into_iter())
            .filter(|id| world.parent(*id) == Some(relay))
            .collect();
        world.limit_downlink(relay, 0.75 * STREAM);
        world.run(Duration::from_secs(20));
        let held = |id: &NodeId| {
            let told = world.nodes[id].events.iter();
            let told = told.filter(|(_, event)| matches!(event, PeerEvent::Picture { held: true }));
            told.count()
        };
        assert!(held(&relay) > 0);
        let below = below.iter().map(held).sum::<usize>();
        assert_eq!(below, 0, "of lines that carry everything");
    });
}
