//! Those for whom there is no parent yet, and whose turn it is.

use super::world::*;
use crate::wire::tracker::*;

fn told_to_wait(world: &mut World, client: Client) -> Option<(WaitReason, u32)> {
    let messages = world.read(client);
    messages
        .into_iter()
        .rev()
        .find_map(|message| match message {
            ServerMessage::Waiting { reason, ahead } => Some((reason, ahead)),
            _ => None,
        })
}

#[test]
fn who_comes_before_the_media_waits_and_is_let_in_by_itself() {
    let mut world = World::new(1);
    let root = world.root(0, 2);
    let child = world.native(1, 1);
    world.join(child, 1, None);
    assert_eq!(
        told_to_wait(&mut world, child),
        Some((WaitReason::NoMedia, 0))
    );
    world.go_live(root, 1);
    assert_eq!(world.order(child).unwrap().parent, root.node);
}

#[test]
fn a_full_tree_lets_in_by_itself_first_come_first_served() {
    let (mut world, root) = World::live(1);
    let (first, _) = world.placed(1, 0);
    let waiting: Vec<Client> = (2..5).map(|n| world.native(n, 0)).collect();
    for (ahead, &client) in waiting.iter().enumerate() {
        world.join(client, 1, None);
        let told = told_to_wait(&mut world, client);
        assert_eq!(told, Some((WaitReason::Full, ahead as u32)));
    }
    assert_eq!(world.status().waiting, 3);
    world.say(first, ClientMessage::Leave);
    assert!(world.order(waiting[0]).is_some());
    world.pass(ms(1100), &[root, waiting[0], waiting[1], waiting[2]]);
    assert_eq!(
        told_to_wait(&mut world, waiting[1]),
        Some((WaitReason::Full, 0))
    );
    assert_eq!(
        told_to_wait(&mut world, waiting[2]),
        Some((WaitReason::Full, 1))
    );
}

#[test]
fn the_last_slot_is_kept_for_relays_while_a_tree_is_young() {
    let mut world = World::new(1);
    let root = world.root(0, 1);
    let leaf = world.native(1, 0);
    world.join(leaf, 1, None);
    world.read(leaf);
    world.go_live(root, 1);
    assert_eq!(told_to_wait(&mut world, leaf), Some((WaitReason::Full, 0)));
    let relay = world.native(2, 1);
    let order = world.place(relay, 1, None);
    assert_eq!(order.parent, root.node);
    // Now the relay's slot is the last one; with time it is the leaf's.
    world.pass(ms(2100), &[root, leaf, relay]);
    assert_eq!(world.order(leaf).unwrap().parent, relay.node);
}

#[test]
fn the_last_slot_is_kept_for_a_relay_that_lost_its_parent() {
    let (mut world, root) = World::live(2);
    let (hub, _) = world.placed(1, 1);
    world.placed(2, 0);
    let (relay, _) = world.placed(3, 5);
    assert_eq!(world.parent_of(relay), Some(hub.node));
    world.disconnect(hub);
    // The root's only free slot would strand the relay's five.
    let leaf = world.native(4, 0);
    world.join(leaf, 1, None);
    assert_eq!(told_to_wait(&mut world, leaf), Some((WaitReason::Full, 0)));
    world.join(relay, 2, lost(hub.node, LostReason::Closed));
    let order = world.order(relay).unwrap();
    assert_eq!(order.parent, root.node);
    world.attach(relay, order);
    assert_eq!(world.order(leaf).unwrap().parent, relay.node);
}

#[test]
fn a_browser_never_feeds_a_native_node() {
    let (mut world, root) = World::live(1);
    let browser = world.client(1, PeerClass::Browser, 6);
    world.place(browser, 1, None);
    let native = world.native(2, 0);
    world.join(native, 1, None);
    assert_eq!(
        told_to_wait(&mut world, native),
        Some((WaitReason::Full, 0))
    );
    let second = world.client(3, PeerClass::Browser, 0);
    assert_eq!(world.place(second, 1, None).parent, browser.node);
    // Not even by its own word.
    let report = Report {
        parent: Some(browser.node),
        ..Report::default()
    };
    let claims = Report {
        parent: Some(root.node),
        children: vec![native.node, second.node],
        slots: 6,
        ..Report::default()
    };
    world.say(browser, ClientMessage::Report(claims));
    world.say(native, ClientMessage::Report(report));
    assert_eq!(world.parent_of(native), None);
}

#[test]
fn a_pair_that_cannot_connect_is_not_tried_again() {
    let (mut world, root) = World::live(2);
    let child = world.native(1, 0);
    world.join(child, 1, None);
    world.order(child).unwrap();
    world.join(child, 2, lost(root.node, LostReason::Unreachable));
    assert_eq!(
        told_to_wait(&mut world, child),
        Some((WaitReason::NoRoute, 0))
    );
    world.pass(ms(15_000), &[root, child]);
    assert!(world.order(child).is_none());
    // A new parent is another chance, taken at once.
    let (relay, _) = world.placed(2, 1);
    assert_eq!(world.order(child).unwrap().parent, relay.node);
}

#[test]
fn a_parent_that_closed_is_avoided_while_there_are_others() {
    let (mut world, root) = World::live(3);
    let (relay, _) = world.placed(1, 1);
    let (child, order) = world.placed(2, 0);
    assert_eq!(order.parent, root.node);
    world.join(child, 2, lost(root.node, LostReason::Closed));
    let order = world.order(child).unwrap();
    assert_eq!(order.parent, relay.node);
    world.attach(child, order);
    world.say(relay, ClientMessage::Leave);
    // Now it is the only one, and gets its chance after a moment.
    world.join(child, 3, None);
    assert_eq!(
        told_to_wait(&mut world, child),
        Some((WaitReason::NoRoute, 0))
    );
    world.pass(ms(2100), &[root, child]);
    assert_eq!(world.order(child).unwrap().parent, root.node);
}

#[test]
fn a_parent_that_says_full_is_full_and_the_same_offer_goes_elsewhere() {
    let (mut world, root) = World::live(3);
    let (relay, _) = world.placed(1, 1);
    let child = world.native(2, 0);
    world.join(child, 1, None);
    let first = world.order(child).unwrap();
    assert_eq!(first.parent, root.node);
    world.read(relay);
    let link = first.link;
    let reason = RefuseReason::Full;
    world.say(root, ClientMessage::Refuse { link, reason });
    let second = world.order(child).unwrap();
    assert_eq!((second.parent, second.link), (relay.node, first.link));
    assert!(second.generation > first.generation);
    let told = world.read(relay);
    assert!(
        matches!(&told[..], [ServerMessage::Expect { offer, .. }] if offer.starts_with("offer 1"))
    );
    // The stale order is void.
    world.attach(child, first);
    assert_eq!(world.parent_of(child), None);
    // Nobody else is sent to the root before its next report.
    let next = world.native(3, 0);
    world.join(next, 1, None);
    assert!(world.order(next).is_none());
    let report = world.bland_report(root);
    world.say(root, ClientMessage::Report(report));
    assert_eq!(world.order(next).unwrap().parent, root.node);
}

#[test]
fn an_offer_nobody_can_answer_is_an_error_and_not_tried_elsewhere() {
    for (reason, code) in [
        (RefuseReason::Offer, ErrorCode::Offer),
        (RefuseReason::Codec, ErrorCode::Codec),
    ] {
        let (mut world, root) = World::live(3);
        world.placed(1, 2);
        let child = world.native(2, 0);
        world.join(child, 1, None);
        let link = world.order(child).unwrap().link;
        world.say(root, ClientMessage::Refuse { link, reason });
        assert_eq!(world.errors(child), [(code, false)]);
        world.pass(ms(3000), &[root, child]);
        assert!(world.order(child).is_none());
    }
}

#[test]
fn slots_that_open_by_a_report_are_given_away() {
    let (mut world, root) = World::live(0);
    let child = world.native(1, 0);
    world.join(child, 1, None);
    assert_eq!(told_to_wait(&mut world, child), Some((WaitReason::Full, 0)));
    let report = Report {
        slots: 2,
        ..Report::default()
    };
    world.say(root, ClientMessage::Report(report));
    assert_eq!(world.order(child).unwrap().parent, root.node);
}

#[test]
fn a_peer_that_asks_again_and_again_is_put_off() {
    let (mut world, root) = World::live(2);
    let child = world.native(1, 0);
    world.read(child);
    for link in 1..=20 {
        world.join(child, link, None);
    }
    let heard = world.read(child);
    let orders = |m: &&ServerMessage| matches!(m, ServerMessage::Assigned { .. });
    assert_eq!(heard.iter().filter(orders).count(), 8);
    world.pass(ms(2000), &[root, child]);
    world.join(child, 30, None);
    assert!(world.order(child).is_some());
}

#[test]
fn so_many_may_wait_and_no_more() {
    let (mut world, root) = World::live(1);
    let (first, _) = world.placed(1, 0);
    for n in 0..=crate::limits::MAX_WAITING as u64 {
        let client = world.native(100 + n, 0);
        world.join(client, 1, None);
    }
    let last = Client {
        session: 2 + 1 + crate::limits::MAX_WAITING as u64,
        node: root.node,
    };
    assert_eq!(world.errors(last), [(ErrorCode::Overloaded, false)]);
    let waiting = world.status().waiting as usize;
    assert_eq!(waiting, crate::limits::MAX_WAITING);
    world.say(first, ClientMessage::Leave);
    assert_eq!(world.status().waiting as usize, waiting - 1);
}
