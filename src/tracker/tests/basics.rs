//! The plain course of things: hello, publish, join, connect, leave.

use super::world::*;
use crate::wire::tracker::*;

#[test]
fn a_peer_joins_gets_a_parent_and_attaches() {
    let (mut world, root) = World::live(2);
    let child = world.native(1, 3);
    assert!(matches!(world.read(child)[..], [ServerMessage::Welcome(_)]));
    world.join(child, 1, None);
    let messages = world.read(child);
    assert!(matches!(&messages[0], ServerMessage::Stream(status) if status.title == "Show"));
    let ServerMessage::Assigned {
        link,
        parent,
        generation,
        depth,
        ..
    } = messages[1]
    else {
        panic!("{messages:?}");
    };
    assert_eq!((parent, depth), (root.node, 1));
    let told = world.read(root);
    assert!(matches!(
        &told[..],
        [ServerMessage::Expect { link: expected, class: PeerClass::Native, offer, .. }]
            if *expected == link && offer.starts_with("offer 1")
    ));
    let sdp = "answer".to_string();
    world.say(root, ClientMessage::Answer { link, sdp });
    assert!(matches!(
        world.read(child)[..],
        [ServerMessage::Answer { .. }]
    ));
    let candidate = "candidate:1".to_string();
    world.say(child, ClientMessage::Candidate { link, candidate });
    assert!(matches!(
        world.read(root)[..],
        [ServerMessage::Candidate { .. }]
    ));
    assert_eq!(world.parent_of(child), None);
    world.say(child, ClientMessage::Attached { link, generation });
    assert_eq!(world.parent_of(child), Some(root.node));
    assert_eq!(world.status().viewers, 1);

    world.say(child, ClientMessage::Leave);
    let told = world.read(root);
    assert!(told.contains(&ServerMessage::Release { link }));
    assert_eq!(world.status().viewers, 0);
}

#[test]
fn candidates_that_come_before_the_parent_are_kept_for_it() {
    let mut world = World::new(1);
    let root = world.root(0, 2);
    let child = world.native(1, 0);
    world.join(child, 1, None);
    let link = link(child, 1);
    for candidate in ["candidate:1", "candidate:2", ""] {
        let candidate = candidate.to_string();
        world.say(child, ClientMessage::Candidate { link, candidate });
    }
    world.read(root);
    world.go_live(root, 1);
    let told: Vec<_> = world
        .read(root)
        .into_iter()
        .filter_map(|message| match message {
            ServerMessage::Expect { offer, .. } => Some(offer),
            ServerMessage::Candidate { candidate, .. } => Some(candidate),
            _ => None,
        })
        .collect();
    let offer = format!("offer 1 of {}", child.node);
    assert_eq!(told, [offer.as_str(), "candidate:1", "candidate:2", ""]);
}

#[test]
fn the_tree_grows_level_by_level() {
    let (mut world, root) = World::live(2);
    let mut depths = Vec::new();
    for n in 1..=14 {
        let (_, order) = world.placed(n, 2);
        depths.push(order.depth);
    }
    assert_eq!(depths, [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]);
    assert_eq!(world.shown(root.node).unwrap().used, 2);
}

#[test]
fn an_attached_peer_moves_without_losing_its_old_edge_first() {
    let (mut world, root) = World::live(2);
    let (a, _) = world.placed(1, 2);
    let (b, _) = world.placed(2, 2);
    let (c, _) = world.placed(3, 0);
    world.say(a, ClientMessage::Leave);
    world.say(b, ClientMessage::Leave);
    // Its parent left, so it is healed under the root.
    let (d, _) = world.placed(4, 2);
    world.join(c, 2, None);
    let order = world.order(c).unwrap();
    assert_eq!(order.parent, root.node);
    world.attach(c, order);
    assert_eq!(world.parent_of(c), Some(root.node));
    // A planned move: the edge stays until the new one stands.
    world.join(c, 3, None);
    let order = world.order(c).unwrap();
    assert_eq!(order.parent, d.node);
    assert_eq!(world.parent_of(c), Some(root.node));
    world.read(root);
    world.attach(c, order);
    assert_eq!(world.parent_of(c), Some(d.node));
    let release = ServerMessage::Release { link: link(c, 2) };
    assert!(world.read(root).contains(&release));
}

#[test]
fn a_newer_request_replaces_an_unfinished_one() {
    let (mut world, root) = World::live(1);
    let child = world.native(1, 0);
    world.join(child, 1, None);
    let first = world.order(child).unwrap();
    world.read(root);
    world.join(child, 2, None);
    let second = world.order(child).unwrap();
    let told = world.read(root);
    assert_eq!(told[0], ServerMessage::Release { link: first.link });
    assert!(matches!(told[1], ServerMessage::Expect { link, .. } if link == second.link));
    world.attach(child, first);
    assert_eq!(world.parent_of(child), None);
    world.attach(child, second);
    assert_eq!(world.parent_of(child), Some(root.node));
}

#[test]
fn a_reservation_that_is_not_confirmed_frees_itself() {
    let (mut world, root) = World::live(1);
    let child = world.native(1, 0);
    world.join(child, 1, None);
    let order = world.order(child).unwrap();
    let next = world.native(2, 0);
    world.join(next, 1, None);
    assert!(world.order(next).is_none());
    world.read(root);
    world.pass(ms(5100), &[root, child, next]);
    assert!(
        world
            .read(root)
            .contains(&ServerMessage::Release { link: order.link })
    );
    assert!(world.order(next).is_some());
    world.attach(child, order);
    assert_eq!(world.parent_of(child), None);
}

#[test]
fn a_tree_of_a_thousand_peers_is_shallow() {
    let (mut world, _) = World::live(8);
    let mut deepest = 0;
    for n in 1..=1000 {
        // Every other one relays four, the others only watch.
        let slots = if n % 2 == 1 { 4 } else { 0 };
        let (_, order) = world.placed(n, slots);
        deepest = deepest.max(order.depth);
    }
    assert_eq!(world.status().viewers, 1000);
    assert!(deepest <= 24, "{deepest} levels");
}
