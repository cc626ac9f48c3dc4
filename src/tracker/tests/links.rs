//! Who may say what about a connection.

use super::world::*;
use crate::id::Generation;
use crate::limits::MAX_CANDIDATES;
use crate::wire::tracker::*;

fn answers(messages: &[ServerMessage]) -> usize {
    let is_answer = |m: &&ServerMessage| matches!(m, ServerMessage::Answer { .. });
    messages.iter().filter(is_answer).count()
}

fn candidates(messages: &[ServerMessage]) -> usize {
    let is_candidate = |m: &&ServerMessage| matches!(m, ServerMessage::Candidate { .. });
    messages.iter().filter(is_candidate).count()
}

#[test]
fn only_the_assigned_parent_answers_and_only_once() {
    let (mut world, root) = World::live(3);
    let (stranger, _) = world.placed(1, 0);
    let child = world.native(2, 0);
    world.join(child, 1, None);
    let link = world.order(child).unwrap().link;
    let sdp = || "answer".to_string();
    world.say(stranger, ClientMessage::Answer { link, sdp: sdp() });
    world.say(child, ClientMessage::Answer { link, sdp: sdp() });
    assert_eq!(answers(&world.read(child)), 0);
    world.say(root, ClientMessage::Answer { link, sdp: sdp() });
    world.say(root, ClientMessage::Answer { link, sdp: sdp() });
    assert_eq!(answers(&world.read(child)), 1);
}

#[test]
fn strangers_change_nothing_about_a_connection() {
    let (mut world, root) = World::live(4);
    let (stranger, _) = world.placed(1, 2);
    let (child, order) = world.placed(2, 0);
    let coming = world.native(3, 0);
    world.join(coming, 1, None);
    let expected = world.order(coming).unwrap();
    world.inbox.clear();
    for order in [order, expected] {
        let link = order.link;
        let generation = order.generation;
        for reason in [RefuseReason::Full, RefuseReason::Offer, RefuseReason::Cycle] {
            world.say(stranger, ClientMessage::Refuse { link, reason });
        }
        let candidate = "candidate:9".to_string();
        world.say(stranger, ClientMessage::Candidate { link, candidate });
        world.say(stranger, ClientMessage::Attached { link, generation });
        world.say(root, ClientMessage::Attached { link, generation });
    }
    for client in [child, coming, root] {
        let heard = world.read(client);
        let unrest = heard.iter().any(|m| !matches!(m, ServerMessage::Stream(_)));
        assert!(!unrest, "{heard:?}");
    }
    assert_eq!(world.parent_of(child), Some(root.node));
    assert_eq!(world.parent_of(coming), None);
    world.attach(coming, expected);
    assert_eq!(world.parent_of(coming), Some(expected.parent));
}

#[test]
fn stale_generations_and_links_change_nothing() {
    let (mut world, root) = World::live(3);
    let (child, first) = world.placed(1, 0);
    // Another parent to move to.
    world.placed(2, 2);
    world.join(child, 2, None);
    let second = world.order(child).unwrap();
    world.read(root);
    // An older order, a made-up one, and a number that was used before.
    world.attach(child, first);
    let generation = Generation(second.generation.0 + 1);
    world.attach(
        child,
        Order {
            generation,
            ..second
        },
    );
    world.join(child, 2, lost(root.node, LostReason::Silent));
    world.join(child, 1, lost(root.node, LostReason::Silent));
    assert_eq!(world.parent_of(child), Some(root.node));
    assert!(world.read(root).is_empty());
    world.attach(child, second);
    assert_eq!(
        world.read(root)[0],
        ServerMessage::Release { link: first.link }
    );
}

#[test]
fn each_end_has_so_many_candidates_and_an_end_marker() {
    let (mut world, root) = World::live(3);
    let child = world.native(1, 0);
    world.join(child, 1, None);
    let order = world.order(child).unwrap();
    let link = order.link;
    world.inbox.clear();
    for (from, to) in [(child, root), (root, child)] {
        for n in 0..20 {
            let candidate = format!("candidate:{n}");
            world.say(from, ClientMessage::Candidate { link, candidate });
        }
        for _ in 0..3 {
            let candidate = String::new();
            world.say(from, ClientMessage::Candidate { link, candidate });
        }
        assert_eq!(candidates(&world.read(to)), MAX_CANDIDATES + 1);
    }
}

#[test]
fn candidates_may_still_come_when_the_connection_stands() {
    let (mut world, root) = World::live(3);
    let (child, order) = world.placed(1, 0);
    let link = order.link;
    world.inbox.clear();
    for (from, to) in [(child, root), (root, child)] {
        let candidate = "candidate:1".to_string();
        world.say(from, ClientMessage::Candidate { link, candidate });
        assert_eq!(candidates(&world.read(to)), 1);
    }
}

#[test]
fn a_flood_of_candidates_ends_the_session_that_sends_it_and_no_other() {
    let (mut world, root) = World::live(3);
    let child = world.native(1, 0);
    world.join(child, 1, None);
    let link = world.order(child).unwrap().link;
    for _ in 0..1000 {
        let candidate = "candidate:1".to_string();
        world.say(child, ClientMessage::Candidate { link, candidate });
    }
    assert_eq!(world.errors(child), [(ErrorCode::Flood, true)]);
    assert_eq!(world.closed, [child.session]);
    assert_eq!(candidates(&world.read(root)), MAX_CANDIDATES);
    let (_, order) = world.placed(2, 0);
    assert_eq!(order.parent, root.node);
}

#[test]
fn a_parent_of_many_may_say_much_in_a_moment() {
    let (mut world, root) = World::live(200);
    for n in 1..=100 {
        let child = world.native(n, 0);
        world.join(child, 1, None);
        let order = world.order(child).unwrap();
        let link = order.link;
        let sdp = String::from("answer");
        world.say(root, ClientMessage::Answer { link, sdp });
        for n in 0..MAX_CANDIDATES {
            let candidate = format!("candidate:{n}");
            world.say(root, ClientMessage::Candidate { link, candidate });
        }
        world.attach(child, order);
    }
    assert!(world.closed.is_empty());
    assert_eq!(world.status().viewers, 100);
}
