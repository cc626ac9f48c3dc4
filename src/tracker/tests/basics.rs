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
