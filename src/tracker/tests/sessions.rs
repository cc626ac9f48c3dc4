//! Sessions: their beginning, their bounds, their end.

use super::world::*;
use crate::limits::*;
use crate::tracker::{Input, SessionId};
use crate::wire::tracker::*;

fn hello(version: u16) -> ClientMessage {
    ClientMessage::Hello(Hello {
        version,
        node: node(1),
        class: PeerClass::Native,
        agent: "test".into(),
        slots: 0,
    })
}

#[test]
fn another_version_is_told_so_and_let_go() {
    let mut world = World::new(1);
    let session = world.connect();
    let client = Client {
        session,
        node: node(1),
    };
    world.say(client, hello(99));
    assert_eq!(world.errors(client), [(ErrorCode::Version, true)]);
    assert_eq!(world.closed, [session]);
}

#[test]
fn the_welcome_tells_the_address_the_peer_is_seen_at() {
    let mut world = World::new(1);
    let session = SessionId(77);
    let observed = "::ffff:198.51.100.3".parse().unwrap();
    let authority = "t".to_string();
    world.input(Input::Connected {
        session,
        observed,
        authority,
    });
    let client = Client {
        session: 77,
        node: node(1),
    };
    world.say(client, hello(1));
    let heard = world.read(client);
    assert!(matches!(&heard[..], [ServerMessage::Welcome(w)] if w.observed == "198.51.100.3"));
}

#[test]
fn nothing_comes_before_hello_and_hello_comes_once() {
    let mut world = World::new(1);
    let session = world.connect();
    let client = Client {
        session,
        node: node(1),
    };
    world.join(client, 1, None);
    assert_eq!(world.errors(client), [(ErrorCode::Unexpected, false)]);
    world.say(client, hello(1));
    world.say(client, hello(1));
    assert_eq!(world.errors(client), [(ErrorCode::Unexpected, false)]);
}

#[test]
fn a_live_node_id_is_taken_and_a_silent_one_is_taken_over() {
    let (mut world, root) = World::live(2);
    let (peer, _) = world.placed(1, 0);
    let twin = world.native(1, 0);
    assert_eq!(world.errors(twin), [(ErrorCode::NodeBusy, true)]);
    assert_eq!(world.parent_of(peer), Some(root.node));
    world.pass(ms(2100), &[root]);
    let back = world.native(1, 0);
    assert!(matches!(world.read(back)[..], [ServerMessage::Welcome(_)]));
    assert_eq!(world.closed, [twin.session, peer.session]);
    assert_eq!(world.parent_of(back), None);
    world.place(back, 2, None);
    assert_eq!(world.parent_of(back), Some(root.node));
}

#[test]
fn messages_beyond_their_bounds_end_the_session_and_name_what_is_wrong() {
    let (mut world, _) = World::live(2);
    let client = world.native(1, 0);
    world.read(client);
    let report = Report {
        slots: MAX_CHILDREN + 1,
        ..Report::default()
    };
    world.say(client, ClientMessage::Report(report));
    let heard = world.read(client);
    assert!(matches!(
        &heard[..],
        [ServerMessage::Error { code: ErrorCode::Malformed, message, fatal: true }]
            if message.contains("slots")
    ));
    assert_eq!(world.closed, [client.session]);
}

#[test]
fn a_session_that_never_says_hello_is_closed() {
    let mut world = World::new(1);
    let session = world.connect();
    world.pass(HELLO_TIMEOUT, &[]);
    assert_eq!(world.closed, [session]);
    assert_eq!(world.tracker.deadline(), None);
}

#[test]
fn a_session_without_stream_may_be_silent_for_a_while() {
    let mut world = World::new(1);
    let client = world.native(1, 0);
    world.pass(IDLE_TIMEOUT - ms(1), &[]);
    assert!(world.closed.is_empty());
    world.pass(ms(1), &[]);
    assert_eq!(world.closed, [client.session]);
}

#[test]
fn messages_out_of_turn_are_errors_that_end_nothing() {
    let (mut world, root) = World::live(2);
    let outsider = world.native(1, 0);
    world.read(outsider);
    world.say(outsider, ClientMessage::FollowTree { follow: true });
    assert_eq!(world.errors(outsider), [(ErrorCode::Unexpected, false)]);
    world.join(root, 1, None);
    assert_eq!(world.errors(root), [(ErrorCode::Unexpected, false)]);
    world.join(outsider, 1, None);
    let message = ClientMessage::Publish(Publish {
        stream: world.stream(),
        epoch: crate::id::Epoch(9),
        title: String::new(),
        listed: false,
    });
    world.read(outsider);
    world.say(outsider, message);
    assert_eq!(world.errors(outsider), [(ErrorCode::Unexpected, false)]);
    assert!(world.closed.is_empty());
}

#[test]
fn the_budget_refills_with_time() {
    let (mut world, root) = World::live(2);
    let (peer, _) = world.placed(1, 0);
    for _ in 0..60 {
        for _ in 0..MESSAGES_PER_SECOND {
            let report = world.bland_report(peer);
            world.say(peer, ClientMessage::Report(report));
        }
        world.pass(ms(1050), &[root]);
    }
    assert!(world.closed.is_empty());
    for _ in 0..=MESSAGE_BURST + 1 {
        world.say(peer, ClientMessage::Report(Report::default()));
    }
    assert_eq!(world.closed, [peer.session]);
}
