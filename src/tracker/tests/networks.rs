//! Peers whose networks keep them apart.

use super::world::*;
use crate::id::NodeId;
use crate::reachability::{Reach, Reachability};
use crate::wire::tracker::*;

fn ipv4(reach: Reach) -> Reachability {
    Reachability {
        v4: Some(reach),
        v6: None,
    }
}

/// A native peer at an address of its own, which has said how far strangers come to it.
fn native(world: &mut World, n: u64, slots: u16, reach: Reach) -> Client {
    let client = world.native_at(n, slots, &format!("198.51.100.{n}"));
    world.say(client, ClientMessage::Reachability(ipv4(reach)));
    client
}

/// A stream whose root is reachable for everybody.
fn live(root_slots: u16, reach: Reach) -> (World, Client) {
    let (mut world, root) = World::live(root_slots);
    world.say(root, ClientMessage::Reachability(ipv4(reach)));
    (world, root)
}

fn placed(world: &mut World, n: u64, slots: u16, reach: Reach) -> (Client, NodeId) {
    let client = native(world, n, slots, reach);
    let order = world.place(client, 1, None);
    (client, order.parent)
}

fn reason(world: &mut World, client: Client) -> Option<WaitReason> {
    let messages = world.read(client).into_iter().rev();
    let mut reasons = messages.filter_map(|message| match message {
        ServerMessage::Waiting { reason, .. } => Some(reason),
        _ => None,
    });
    reasons.next()
}

#[test]
fn who_cannot_be_reached_is_passed_over_and_an_open_parent_taken_instead() {
    let (mut world, root) = live(2, Reach::Open);
    let (cone, _) = placed(&mut world, 1, 4, Reach::Cone);
    let (_, parent) = placed(&mut world, 2, 0, Reach::Symmetric);
    assert_eq!(parent, root.node);
    // Only the cone has room now.
    let (_, parent) = placed(&mut world, 3, 0, Reach::Cone);
    assert_eq!(parent, cone.node);
    let apart = native(&mut world, 4, 0, Reach::Symmetric);
    world.join(apart, 1, None);
    assert_eq!(reason(&mut world, apart), Some(WaitReason::NoRoute));
    // One that both can reach lets it in.
    let (open, _) = placed(&mut world, 5, 1, Reach::Open);
    assert_eq!(world.order(apart).unwrap().parent, open.node);
}

#[test]
fn a_waiting_peer_is_let_in_when_its_network_turns_out_better() {
    let (mut world, root) = live(1, Reach::Cone);
    let peer = native(&mut world, 1, 0, Reach::Symmetric);
    world.join(peer, 1, None);
    assert_eq!(reason(&mut world, peer), Some(WaitReason::NoRoute));
    world.say(peer, ClientMessage::Reachability(ipv4(Reach::Cone)));
    assert_eq!(world.order(peer).unwrap().parent, root.node);
}

#[test]
fn a_connection_that_turns_out_hopeless_is_taken_back_at_once() {
    let (mut world, root) = live(1, Reach::Cone);
    let peer = world.native_at(1, 0, "198.51.100.1");
    world.join(peer, 1, None);
    let order = world.order(peer).unwrap();
    world.read(root);
    world.say(peer, ClientMessage::Reachability(ipv4(Reach::Symmetric)));
    let release = ServerMessage::Release { link: order.link };
    assert!(world.read(peer).contains(&release));
    assert!(world.read(root).contains(&release));
    // The slot is free again, and this peer does not get it.
    world.join(peer, 2, None);
    assert_eq!(reason(&mut world, peer), Some(WaitReason::NoRoute));
    let (_, parent) = placed(&mut world, 2, 0, Reach::Cone);
    assert_eq!(parent, root.node);
}

#[test]
fn a_connection_that_stands_is_left_alone() {
    let (mut world, root) = live(1, Reach::Cone);
    let (peer, _) = placed(&mut world, 1, 0, Reach::Cone);
    world.say(peer, ClientMessage::Reachability(ipv4(Reach::Symmetric)));
    assert_eq!(world.parent_of(peer), Some(root.node));
    assert_eq!(world.shown(peer.node).unwrap().reach, Reach::Symmetric);
}

#[test]
fn neighbours_behind_one_address_are_paired_whatever_their_router() {
    let (mut world, _) = live(1, Reach::Open);
    let (first, _) = placed(&mut world, 1, 1, Reach::Symmetric);
    let second = world.native_at(2, 0, "198.51.100.1");
    world.say(second, ClientMessage::Reachability(ipv4(Reach::Symmetric)));
    assert_eq!(world.place(second, 1, None).parent, first.node);
}

#[test]
fn silence_of_stun_is_believed_once_somebody_was_answered() {
    let (mut world, root) = World::live(2);
    // Nobody was: the server may be what is out of reach.
    let (_, parent) = placed(&mut world, 1, 0, Reach::Blocked);
    assert_eq!(parent, root.node);
    world.say(root, ClientMessage::Reachability(ipv4(Reach::Open)));
    let blocked = native(&mut world, 2, 0, Reach::Blocked);
    world.join(blocked, 1, None);
    assert_eq!(reason(&mut world, blocked), Some(WaitReason::NoRoute));
}

#[test]
fn a_page_counts_as_most_homes_do() {
    let (mut world, root) = live(2, Reach::Open);
    let (symmetric, _) = placed(&mut world, 1, 4, Reach::Symmetric);
    let page = |world: &mut World, n: u64| {
        let page = world.client(n, PeerClass::Browser, 0);
        world.join(page, 1, None);
        page
    };
    let first = page(&mut world, 2);
    assert_eq!(world.order(first).unwrap().parent, root.node);
    let second = page(&mut world, 3);
    assert_eq!(reason(&mut world, second), Some(WaitReason::NoRoute));
    assert_eq!(world.shown(symmetric.node).unwrap().used, 0);
}

fn turn() -> IceServer {
    IceServer {
        urls: vec!["turn:turn.example:3478".into()],
        username: None,
        credential: None,
    }
}

/// The newest order of a client, and the relays it names.
fn relays(world: &mut World, client: Client) -> Option<(NodeId, Vec<IceServer>)> {
    let messages = world.read(client).into_iter().rev();
    let mut orders = messages.filter_map(|message| match message {
        ServerMessage::Assigned { parent, relay, .. } => Some((parent, relay)),
        _ => None,
    });
    orders.next()
}

#[test]
fn where_there_is_a_relay_it_is_the_last_resort() {
    let (mut world, root) = World::live_with_relays(1, vec![turn()]);
    world.say(root, ClientMessage::Reachability(ipv4(Reach::Cone)));
    let (open, _) = placed(&mut world, 1, 1, Reach::Open);
    // Deeper down, but direct.
    let peer = native(&mut world, 2, 0, Reach::Symmetric);
    world.join(peer, 1, None);
    assert_eq!(relays(&mut world, peer), Some((open.node, Vec::new())));
    world.say(peer, ClientMessage::Leave);
    world.say(open, ClientMessage::Leave);
    let peer = native(&mut world, 3, 0, Reach::Symmetric);
    world.join(peer, 1, None);
    assert_eq!(relays(&mut world, peer), Some((root.node, vec![turn()])));
    world.say(peer, ClientMessage::Leave);
    // Not where even the relay is out of reach.
    let blocked = native(&mut world, 4, 0, Reach::Blocked);
    world.join(blocked, 1, None);
    assert_eq!(reason(&mut world, blocked), Some(WaitReason::NoRoute));
}

#[test]
fn a_pair_that_found_no_way_tries_a_relay_and_then_nothing_more() {
    let (mut world, root) = World::live_with_relays(1, vec![turn()]);
    world.say(root, ClientMessage::Reachability(ipv4(Reach::Cone)));
    let peer = native(&mut world, 1, 0, Reach::Cone);
    world.join(peer, 1, None);
    assert_eq!(relays(&mut world, peer), Some((root.node, Vec::new())));
    let unreachable = lost(root.node, LostReason::Unreachable);
    world.join(peer, 2, unreachable);
    assert_eq!(relays(&mut world, peer), Some((root.node, vec![turn()])));
    world.join(peer, 3, unreachable);
    assert_eq!(reason(&mut world, peer), Some(WaitReason::NoRoute));
}

#[test]
fn a_page_uses_the_relay_it_has() {
    let (mut world, root) = World::live_with_relays(1, vec![turn()]);
    world.say(root, ClientMessage::Reachability(ipv4(Reach::Symmetric)));
    let page = world.page_at(1, "198.51.100.1");
    world.join(page, 1, None);
    assert_eq!(relays(&mut world, page), Some((root.node, Vec::new())));
}

#[test]
fn many_without_a_way_are_tried_a_few_at_a_time_and_none_is_forgotten() {
    let (mut world, root) = live(3, Reach::Cone);
    let mut waiting = Vec::new();
    for n in 10..110 {
        let peer = native(&mut world, n, 0, Reach::Symmetric);
        world.join(peer, 1, None);
        assert_eq!(reason(&mut world, peer), Some(WaitReason::NoRoute));
        waiting.push(peer);
    }
    // Who can be served is not held up by them.
    let (open, parent) = placed(&mut world, 1, 2, Reach::Open);
    assert_eq!(parent, root.node);
    let mut alive = waiting.clone();
    alive.extend([root, open]);
    let mut served = 0;
    for _ in 0..2 {
        world.pass(ms(2000), &alive);
        served += waiting
            .iter()
            .filter(|&&peer| world.order(peer).is_some())
            .count();
    }
    assert_eq!(served, 2);
    // The last of all becomes reachable by itself.
    let last = waiting[99];
    world.say(last, ClientMessage::Reachability(ipv4(Reach::Cone)));
    assert_eq!(world.order(last).unwrap().parent, root.node);
}
