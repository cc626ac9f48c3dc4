//! Peers that have a place get a better one: told to move, and fed by their old parent until then.

use super::crowd::Mesh;
use super::world::*;
use crate::id::NodeId;
use crate::wire::tracker::*;

/// The newest order to move in a client's inbox.
fn told_to_move(world: &mut World, client: Client) -> bool {
    let heard = world.read(client);
    heard
        .iter()
        .any(|m| matches!(m, ServerMessage::Move { .. }))
}

fn releases(heard: &[ServerMessage], link: crate::id::LinkKey) -> bool {
    heard.contains(&ServerMessage::Release { link })
}

/// A root of four slots, one of them kept for heals, with three leaves, and a relay that has come
/// into the kept slot and is fed there.
fn displaced() -> (World, Client, Client, Client) {
    let (mut world, root) = World::live(4);
    let mut alive = vec![root];
    for n in 1..=3 {
        let (leaf, order) = world.placed(n, 0);
        assert_eq!(order.parent, root.node);
        alive.push(leaf);
    }
    world.pass(ms(2500), &alive);
    let (relay, order) = world.placed(10, 8);
    assert_eq!(order.parent, root.node, "as near to the root as the leaves");
    alive.push(relay);
    world.inbox.clear();
    world.pass(ms(1000), &alive);
    let told: Vec<Client> = alive[1..]
        .iter()
        .copied()
        .filter(|&client| told_to_move(&mut world, client))
        .collect();
    let [leaf] = told[..] else {
        panic!("one leaf goes: {told:?}");
    };
    assert_ne!(leaf, relay);
    (world, root, relay, leaf)
}

#[test]
fn a_leaf_makes_room_for_a_relay_and_is_fed_until_the_relay_feeds_it() {
    let (mut world, root, relay, leaf) = displaced();
    assert_eq!(world.parent_of(leaf), Some(root.node));
    world.read(root);
    world.join(leaf, 2, None);
    let order = world.order(leaf).expect("its slot is kept");
    assert_eq!(order.parent, relay.node);
    assert_eq!(world.parent_of(leaf), Some(root.node));
    assert!(!releases(&world.read(root), link(leaf, 1)));
    world.attach(leaf, order);
    assert_eq!(world.parent_of(leaf), Some(relay.node));
    assert!(releases(&world.read(root), link(leaf, 1)));
}

#[test]
fn a_peer_that_does_not_move_stays_where_it_is() {
    let (mut world, root, relay, leaf) = displaced();
    world.pass(ms(5100), &[root, relay, leaf]);
    assert_eq!(world.parent_of(leaf), Some(root.node));
    assert_eq!(world.shown(relay.node).unwrap().used, 0);
    // The slot is nobody's: the leaf is sent wherever there is one.
    world.join(leaf, 2, None);
    let order = world.order(leaf).expect("a free slot");
    world.attach(leaf, order);
    assert_eq!(world.parent_of(leaf), Some(order.parent));
}

#[test]
fn a_move_that_is_refused_changes_nothing() {
    let (mut world, root, relay, leaf) = displaced();
    world.join(leaf, 2, None);
    let order = world.order(leaf).unwrap();
    let reason = RefuseReason::Full;
    world.say(
        relay,
        ClientMessage::Refuse {
            link: order.link,
            reason,
        },
    );
    assert!(
        releases(&world.read(leaf), order.link),
        "it gives the link up"
    );
    assert_eq!(world.parent_of(leaf), Some(root.node));
    world.attach(leaf, order);
    assert_eq!(world.parent_of(leaf), Some(root.node));
}

#[test]
fn a_parent_that_dies_before_a_peer_has_moved_to_it_takes_nothing_along() {
    let (mut world, root, relay, leaf) = displaced();
    world.disconnect(relay);
    assert_eq!(world.parent_of(leaf), Some(root.node));
    world.join(leaf, 2, None);
    world.pass(ms(6000), &[root, leaf]);
    assert_eq!(world.parent_of(leaf), Some(root.node));
}

#[test]
fn a_peer_that_is_told_to_move_and_loses_its_parent_goes_to_the_kept_slot() {
    let (mut world, root, relay, leaf) = displaced();
    world.join(leaf, 2, lost(root.node, LostReason::Silent));
    assert_eq!(world.order(leaf).unwrap().parent, relay.node);
}

#[test]
fn slots_kept_for_heals_are_free_again_within_three_seconds() {
    let (mut world, root) = World::live(4);
    let mut alive = vec![root];
    for n in 1..=3 {
        alive.push(world.placed(n, 4).0);
    }
    let hub = alive[1];
    world.pass(ms(3000), &alive);
    // Two hubs below one of them; what hangs below these waits for them.
    let mut below = Vec::new();
    let mut n = 10;
    while below.len() < 2 {
        let (client, order) = world.placed(n, 4);
        alive.push(client);
        if order.parent == hub.node {
            below.push(client);
        }
        n += 1;
        assert!(n < 30);
    }
    world.pass(ms(3000), &alive);
    let mut fed = Vec::new();
    while fed.len() < 2 {
        let (client, order) = world.placed(n, 0);
        alive.push(client);
        fed.extend(below.iter().filter(|b| b.node == order.parent).copied());
        fed.dedup();
        n += 1;
        assert!(n < 60);
    }
    world.pass(ms(3000), &alive);
    world.disconnect(hub);
    alive.retain(|&client| client != hub);
    for &orphan in &below {
        world.join(orphan, 9, lost(hub.node, LostReason::Closed));
        let order = world.order(orphan).unwrap();
        assert_eq!(order.parent, root.node);
        world.attach(orphan, order);
    }
    assert_eq!(world.shown(root.node).unwrap().used, 4);
    world.inbox.clear();
    for _ in 0..6 {
        world.pass(ms(500), &alive);
        for &client in &alive {
            if told_to_move(&mut world, client) {
                let was = world.parent_of(client);
                world.join(client, 20, None);
                let order = world.order(client).unwrap();
                assert_ne!(Some(order.parent), was);
                world.attach(client, order);
            }
        }
    }
    assert_eq!(world.shown(root.node).unwrap().used, 3);
}

#[test]
fn a_relay_takes_a_leafs_place_where_there_is_no_slot_at_all() {
    let (mut world, root) = World::live(2);
    let (leaf, _) = world.placed(1, 0);
    let (other, _) = world.placed(2, 0);
    let waits = world.native(3, 0);
    world.join(waits, 1, None);
    assert!(world.order(waits).is_none());
    world.pass(ms(2000), &[root, leaf, other, waits]);
    world.inbox.clear();
    let relay = world.native(4, 3);
    world.join(relay, 1, None);
    let order = world.order(relay).expect("the place of a leaf");
    assert_eq!(order.parent, root.node);
    let victim = if world.parent_of(leaf).is_none() {
        leaf
    } else {
        other
    };
    assert_eq!(world.parent_of(victim), None);
    assert!(releases(&world.read(root), link(victim, 1)));
    // What it says before it knows brings it no slot that is another's.
    world.pass_reporting(
        ms(100),
        &[(
            victim,
            Some(Report {
                parent: Some(root.node),
                received: 9,
                ..Report::default()
            }),
        )],
    );
    assert_eq!(world.parent_of(victim), None);
    world.join(victim, 2, lost(root.node, LostReason::Closed));
    assert!(world.order(victim).is_none());
    world.attach(relay, order);
    // It comes before those who are new.
    for client in [victim, waits] {
        let order = world.order(client).expect("a slot of the relay");
        assert_eq!(order.parent, relay.node);
    }
    assert_eq!(world.shown(root.node).unwrap().used, 2);
}

#[test]
fn nobody_takes_one_place_after_another_by_force() {
    let (mut world, root) = World::live(3);
    let mut alive = vec![root];
    for n in 1..=3 {
        alive.push(world.placed(n, 0).0);
    }
    world.pass(ms(2000), &alive);
    let liar = world.native(9, 5);
    for attempt in 1..=5 {
        world.join(liar, attempt, None);
        world.pass(ms(1000), &alive);
    }
    let fed = |client: &&Client| world.parent_of(**client).is_some();
    assert_eq!(alive[1..].iter().filter(fed).count(), 2);
}

#[test]
fn a_tree_left_alone_comes_to_rest() {
    let mut mesh = Mesh::new(3, 6);
    for n in 0..150_u16 {
        let (class, slots) = match n % 5 {
            0 => (PeerClass::Native, 4 + n % 7),
            1 | 2 => (PeerClass::Native, 0),
            3 => (PeerClass::Native, n % 3),
            _ => (PeerClass::Browser, 0),
        };
        mesh.arrive(class, slots, false);
        mesh.run(ms(40));
    }
    mesh.run(ms(60_000));
    assert!(mesh.moves > 0, "a tree that grew by chance has its shape");
    mesh.run(ms(240_000));
    let before = mesh.moves;
    mesh.run(ms(180_000));
    assert_eq!(mesh.moves, before);
    let nodes: Vec<NodeId> = mesh.actors.keys().copied().collect();
    for node in nodes {
        assert!(mesh.is_fed(node));
    }
}
