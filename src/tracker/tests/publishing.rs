//! Who is the root, and what of.

use super::world::*;
use crate::id::Epoch;
use crate::wire::announcement::{CHALLENGE_DOMAIN, SignedStreamInfo, sign};
use crate::wire::tracker::*;
use ed25519_dalek::SigningKey;

fn publish(world: &World, epoch: u64) -> ClientMessage {
    ClientMessage::Publish(Publish {
        stream: world.stream(),
        epoch: Epoch(epoch),
        title: "Show".into(),
        listed: false,
    })
}

fn nonce(world: &mut World, client: Client) -> String {
    let messages = world.read(client);
    let nonce = messages.into_iter().find_map(|message| match message {
        ServerMessage::Challenge { nonce } => Some(nonce),
        _ => None,
    });
    nonce.unwrap()
}

#[test]
fn a_root_is_published_and_its_stream_waits_for_media() {
    let mut world = World::new(1);
    let root = world.root(0, 2);
    let heard = world.read(root);
    assert!(matches!(heard[1], ServerMessage::Challenge { .. }));
    assert_eq!(heard[2], ServerMessage::Published);
    assert_eq!(world.status().state, StreamState::Waiting);
    world.go_live(root, 1);
    assert_eq!(world.status().state, StreamState::Live);
    assert!(world.status().info.is_some());
}

#[test]
fn a_proof_by_another_key_for_another_host_or_node_is_worth_nothing() {
    let other_key = SigningKey::from_bytes(&[2; 32]);
    for (key, authority, name) in [
        (&other_key, AUTHORITY, 0),
        (&SigningKey::from_bytes(&[1; 32]), "other.example", 0),
        (&SigningKey::from_bytes(&[1; 32]), AUTHORITY, 1),
    ] {
        let mut world = World::new(1);
        let client = world.native(0, 2);
        let message = publish(&world, 1);
        world.say(client, message);
        let text = challenge_text(&nonce(&mut world, client), authority, &node(name));
        let signature = sign(key, CHALLENGE_DOMAIN, text.as_bytes());
        world.say(client, ClientMessage::Prove { signature });
        assert_eq!(world.errors(client), [(ErrorCode::BadSignature, true)]);
        assert!(world.tracker.stream(&world.stream()).is_none());
        assert_eq!(world.closed, [client.session]);
    }
}

#[test]
fn a_nonce_is_good_for_one_proof() {
    let mut world = World::new(1);
    let client = world.native(0, 2);
    let message = publish(&world, 1);
    world.say(client, message);
    let text = challenge_text(&nonce(&mut world, client), AUTHORITY, &client.node);
    let signature = sign(&world.key, CHALLENGE_DOMAIN, text.as_bytes());
    world.say(client, ClientMessage::Prove { signature });
    world.read(client);
    world.say(client, ClientMessage::Prove { signature });
    assert_eq!(world.errors(client), [(ErrorCode::Unexpected, false)]);
}

#[test]
fn a_second_root_for_a_live_stream_is_refused() {
    let (mut world, _) = World::live(2);
    let second = world.native(1, 2);
    world.publish(second, 2);
    assert_eq!(world.errors(second), [(ErrorCode::StreamBusy, false)]);
    assert_eq!(world.status().state, StreamState::Live);
}

#[test]
fn a_root_whose_session_is_gone_may_be_replaced_at_once() {
    let (mut world, root) = World::live(2);
    let (viewer, _) = world.placed(1, 0);
    world.disconnect(root);
    let second = world.native(2, 2);
    world.read(viewer);
    world.publish(second, 2);
    let states: Vec<StreamState> = world
        .read(viewer)
        .into_iter()
        .filter_map(|message| match message {
            ServerMessage::Stream(status) => Some(status.state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [StreamState::Away]);
    world.join(viewer, 2, lost(root.node, LostReason::Closed));
    world.go_live(second, 2);
    assert_eq!(world.order(viewer).unwrap().parent, second.node);
}

#[test]
fn an_earlier_life_does_not_come_back() {
    let (mut world, root) = World::live(2);
    world.say(root, ClientMessage::Leave);
    let again = world.native(1, 2);
    world.publish(again, 0);
    assert_eq!(world.errors(again), [(ErrorCode::StreamBusy, false)]);
}

#[test]
fn only_the_root_describes_tracks_and_only_signed_and_of_its_epoch() {
    let (mut world, root) = World::live(2);
    let (viewer, _) = world.placed(1, 0);
    let before = world.status().info;
    let signed = |key: &SigningKey, epoch| SignedStreamInfo::sign(&info(epoch), key).unwrap();
    let key = world.key.clone();
    let other = SigningKey::from_bytes(&[2; 32]);
    world.inbox.clear();
    world.say(viewer, ClientMessage::Info(signed(&key, 1)));
    assert_eq!(world.errors(viewer), [(ErrorCode::Unexpected, false)]);
    world.say(root, ClientMessage::Info(signed(&other, 1)));
    assert_eq!(world.errors(root), [(ErrorCode::BadSignature, false)]);
    world.say(root, ClientMessage::Info(signed(&key, 0)));
    assert_eq!(world.errors(root), [(ErrorCode::Unexpected, false)]);
    assert_eq!(world.status().info, before);
}

#[test]
fn other_tracks_are_a_later_epoch_and_no_parent_is_blamed_for_its_links() {
    let (mut world, root) = World::live(1);
    let (viewer, order) = world.placed(1, 0);
    let signed = SignedStreamInfo::sign(&info(2), &world.key).unwrap();
    world.inbox.clear();
    world.say(root, ClientMessage::Info(signed.clone()));
    assert_eq!(world.errors(root), []);
    assert_eq!(world.status().info, Some(signed));
    assert_eq!(world.status().state, StreamState::Live);
    // The root ended the link of the former tracks; its only child comes back to it at once.
    let again = world.place(viewer, 2, lost(order.parent, LostReason::Closed));
    assert_eq!(again.parent, root.node);
    // A root that comes back after its session broke continues the later epoch.
    world.disconnect(root);
    let root = world.native(0, 1);
    world.publish(root, 2);
    assert_eq!(world.parent_of(viewer), Some(root.node));
}

#[test]
fn a_viewer_cannot_end_a_stream_and_its_root_can() {
    let (mut world, root) = World::live(2);
    let (viewer, _) = world.placed(1, 0);
    let (other, _) = world.placed(2, 0);
    world.say(viewer, ClientMessage::Leave);
    assert_eq!(world.status().state, StreamState::Live);
    world.read(other);
    world.say(root, ClientMessage::Leave);
    assert_eq!(world.status().state, StreamState::Offline);
    let heard = world.read(other);
    assert!(matches!(&heard[..], [ServerMessage::Stream(s)] if s.state == StreamState::Offline));
    // Who comes later reads that it is offline, and waits.
    let late = world.native(3, 0);
    world.join(late, 1, None);
    let heard = world.read(late);
    assert!(matches!(&heard[1], ServerMessage::Stream(s) if s.state == StreamState::Offline));
    let reason = WaitReason::NoMedia;
    assert_eq!(heard[2], ServerMessage::Waiting { reason, ahead: 0 });
}

#[test]
fn an_ended_stream_is_forgotten_in_the_end() {
    let (mut world, root) = World::live(2);
    world.say(root, ClientMessage::Leave);
    let waiting = world.native(3, 0);
    world.join(waiting, 1, None);
    world.read(waiting);
    world.pass(ms(3_590_000), &[waiting]);
    assert!(world.tracker.stream(&world.stream()).is_some());
    world.read(waiting);
    world.pass(ms(20_000), &[waiting]);
    assert!(world.tracker.stream(&world.stream()).is_none());
    assert_eq!(world.errors(waiting), [(ErrorCode::Ended, false)]);
}

#[test]
fn an_unknown_stream_is_an_error_and_the_session_goes_on() {
    let mut world = World::new(1);
    let viewer = world.native(1, 0);
    world.join(viewer, 1, None);
    assert_eq!(world.errors(viewer), [(ErrorCode::UnknownStream, false)]);
    let root = world.root(0, 2);
    world.go_live(root, 1);
    world.join(viewer, 2, None);
    assert!(world.closed.is_empty());
}
