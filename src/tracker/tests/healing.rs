//! Parents that go, children that stay together, liars.

use super::world::*;
use crate::wire::tracker::*;

#[test]
fn children_of_a_dead_parent_keep_their_own_children_and_get_another() {
    let (mut world, root) = World::live(2);
    let (hub, _) = world.placed(1, 1);
    world.placed(2, 0);
    let (child, under) = world.placed(3, 1);
    let (grandchild, below) = world.placed(4, 0);
    assert_eq!((under.parent, below.parent), (hub.node, child.node));
    world.disconnect(hub);
    // The slot at the root is free at once.
    world.join(child, 2, lost(hub.node, LostReason::Silent));
    let healed = world.order(child).unwrap();
    assert_eq!(healed.parent, root.node);
    world.attach(child, healed);
    assert_eq!(world.shown(child.node).unwrap().depth, 1);
    assert_eq!(world.parent_of(grandchild), Some(child.node));
    assert_eq!(world.shown(grandchild.node).unwrap().depth, 2);
}

#[test]
fn an_orphan_is_never_placed_under_its_own_subtree() {
    let (mut world, root) = World::live(1);
    let (hub, _) = world.placed(1, 1);
    let (child, _) = world.placed(2, 5);
    assert_eq!(world.parent_of(hub), Some(root.node));
    // The child lost the hub; five slots are free, all of them its own.
    world.join(child, 2, lost(hub.node, LostReason::Silent));
    assert!(world.order(child).is_none());
    world.pass(ms(2100), &[root, hub, child]);
    // The hub is the only one, so it gets another chance.
    assert_eq!(world.order(child).unwrap().parent, hub.node);
}

#[test]
fn a_lost_parent_is_told_at_once_that_its_child_went() {
    let (mut world, _) = World::live(2);
    let (hub, _) = world.placed(1, 1);
    world.placed(2, 0);
    let (child, order) = world.placed(3, 0);
    assert_eq!(order.parent, hub.node);
    world.read(hub);
    world.join(child, 2, lost(hub.node, LostReason::Silent));
    let release = ServerMessage::Release { link: order.link };
    assert!(world.read(hub).contains(&release));
    assert_eq!(world.parent_of(child), None);
}

#[test]
fn silence_of_three_reports_is_a_departure() {
    let (mut world, root) = World::live(2);
    let (child, order) = world.placed(1, 0);
    world.read(root);
    world.pass(ms(3400), &[root]);
    assert_eq!(world.parent_of(child), Some(root.node));
    world.pass(ms(200), &[root]);
    assert_eq!(world.parent_of(child), None);
    assert_eq!(world.closed, [child.session]);
    // Its place is kept for a reconnection, then its parent lets it go.
    let release = ServerMessage::Release { link: order.link };
    assert!(!world.read(root).contains(&release));
    world.pass(ms(1600), &[root]);
    assert!(world.read(root).contains(&release));
}

#[test]
fn a_place_that_is_kept_goes_when_its_slot_is_needed() {
    let (mut world, root) = World::live(1);
    let (child, order) = world.placed(1, 0);
    world.disconnect(child);
    world.read(root);
    let next = world.native(2, 0);
    world.join(next, 1, None);
    let told = world.read(root);
    let kept: Vec<_> = told
        .iter()
        .filter(|m| !matches!(m, ServerMessage::Stream(_)))
        .collect();
    assert_eq!(kept[0], &ServerMessage::Release { link: order.link });
    assert!(matches!(kept[1], ServerMessage::Expect { .. }));
}

#[test]
fn a_peer_that_reconnects_and_is_still_fed_has_its_place_back() {
    let (mut world, root) = World::live(2);
    let (hub, order) = world.placed(1, 1);
    world.placed(9, 0);
    let (child, under) = world.placed(2, 0);
    assert_eq!(under.parent, hub.node);
    world.disconnect(hub);
    assert_eq!(world.parent_of(child), None);
    world.read(root);
    let hub = world.native(1, 1);
    let report = Report {
        parent: Some(root.node),
        children: vec![child.node],
        slots: 1,
        ..Report::default()
    };
    world.say(hub, ClientMessage::Report(report));
    assert_eq!(world.parent_of(hub), Some(root.node));
    let report = Report {
        parent: Some(hub.node),
        ..Report::default()
    };
    world.say(child, ClientMessage::Report(report));
    assert_eq!(world.parent_of(child), Some(hub.node));
    world.pass(ms(3000), &[root, hub, child]);
    let release = ServerMessage::Release { link: order.link };
    assert!(!world.read(root).contains(&release));
    // The old connection's name is known again.
    world.say(hub, ClientMessage::Leave);
    assert!(world.read(root).contains(&release));
}

#[test]
fn an_edge_is_believed_when_both_ends_report_it() {
    let (mut world, root) = World::live(1);
    let stranger = world.native(5, 1);
    let claim = Report {
        parent: Some(root.node),
        slots: 1,
        ..Report::default()
    };
    world.say(stranger, ClientMessage::Report(claim.clone()));
    assert_eq!(world.parent_of(stranger), None);
    let confirmed = Report {
        children: vec![stranger.node],
        slots: 0,
        ..Report::default()
    };
    world.say(root, ClientMessage::Report(confirmed));
    world.say(stranger, ClientMessage::Report(claim));
    // Even beyond the parent's slots: it is a fact.
    assert_eq!(world.parent_of(stranger), Some(root.node));
    assert_eq!(world.shown(root.node).unwrap().used, 1);
}

#[test]
fn reports_never_close_a_circle() {
    let (mut world, root) = World::live(1);
    let (a, _) = world.placed(1, 1);
    let (b, _) = world.placed(2, 1);
    assert_eq!(world.parent_of(b), Some(a.node));
    world.join(a, 2, lost(root.node, LostReason::Closed));
    let report = |parent: Client, children| Report {
        parent: Some(parent.node),
        children,
        slots: 1,
        ..Report::default()
    };
    world.say(b, ClientMessage::Report(report(a, vec![a.node])));
    world.say(a, ClientMessage::Report(report(b, vec![b.node])));
    assert_eq!(world.parent_of(a), None);
    assert_eq!(world.parent_of(b), None);
    assert_eq!(world.parent_of(root), None);
}

#[test]
fn one_complaint_harms_no_parent_and_three_stop_new_children_only() {
    let (mut world, root) = World::live(1);
    let (hub, _) = world.placed(1, 20);
    let mut alive = vec![root, hub];
    for n in 2..8 {
        alive.push(world.placed(n, 0).0);
        // Its slots open as its children say that it feeds them.
        world.pass(ms(2500), &alive);
    }
    let children = alive[2..].to_vec();
    for &child in &children[..2] {
        world.join(child, 2, lost(hub.node, LostReason::Silent));
        let (_, order) = world.placed(100 + u64::from(child.node.as_bytes()[7]), 0);
        assert_eq!(order.parent, hub.node);
    }
    world.join(children[2], 2, lost(hub.node, LostReason::Silent));
    let late = world.native(50, 0);
    world.join(late, 1, None);
    assert!(world.order(late).is_none());
    assert_eq!(world.parent_of(children[4]), Some(hub.node));
    let alive: Vec<Client> = children.iter().copied().chain([root, hub, late]).collect();
    world.pass(ms(30_100), &alive);
    assert_eq!(world.order(late).unwrap().parent, hub.node);
}

#[test]
fn complaints_about_somebody_elses_parent_count_for_nothing() {
    let (mut world, _) = World::live(5);
    let (hub, _) = world.placed(1, 3);
    for n in 2..6 {
        let liar = world.native(n, 0);
        world.join(liar, 1, lost(hub.node, LostReason::Silent));
        let order = world.order(liar).unwrap();
        world.attach(liar, order);
    }
    let (_, order) = world.placed(20, 0);
    assert_eq!(order.parent, hub.node);
}

#[test]
fn children_on_their_way_to_a_parent_that_dies_are_sent_elsewhere_by_themselves() {
    let (mut world, root) = World::live(1);
    let (hub, _) = world.placed(1, 2);
    let child = world.native(2, 0);
    world.join(child, 1, None);
    let first = world.order(child).unwrap();
    assert_eq!(first.parent, hub.node);
    world.disconnect(hub);
    let second = world.order(child).unwrap();
    assert_eq!((second.parent, second.link), (root.node, first.link));
}

#[test]
fn the_roots_session_may_drop_and_return_and_the_tree_stands() {
    let (mut world, root) = World::live(2);
    let (hub, _) = world.placed(1, 2);
    let (child, _) = world.placed(2, 0);
    world.inbox.clear();
    world.disconnect(root);
    let late = world.native(3, 0);
    world.join(late, 1, None);
    // Nobody is sent to a root that cannot be told.
    assert_eq!(world.order(late).unwrap().parent, hub.node);
    world.pass(ms(4000), &[hub, child, late]);
    let root = world.root(0, 2);
    assert_eq!(world.status().state, StreamState::Live);
    assert_eq!(world.parent_of(hub), Some(root.node));
    let states = states(&mut world, child);
    assert_eq!(states.last(), Some(&StreamState::Live));
    assert!(!states.contains(&StreamState::Offline));
}

fn states(world: &mut World, client: Client) -> Vec<StreamState> {
    let heard = world.read(client).into_iter();
    let states = heard.filter_map(|message| match message {
        ServerMessage::Stream(status) => Some(status.state),
        _ => None,
    });
    states.collect()
}

#[test]
fn a_root_that_lost_only_its_tracker_is_not_called_away() {
    let (mut world, root) = World::live(2);
    let (hub, _) = world.placed(1, 2);
    let (child, _) = world.placed(2, 0);
    world.inbox.clear();
    world.disconnect(root);
    let fed = [hub, child].map(|client| {
        let mut report = world.bland_report(client);
        report.received = 50;
        (client, Some(report))
    });
    world.pass_reporting(ms(20_000), &fed);
    let seen = states(&mut world, child);
    assert!(seen.iter().all(|s| *s == StreamState::Live), "{seen:?}");
}

#[test]
fn who_hung_below_a_lost_root_waits_for_it_and_whoever_comes_new() {
    let (mut world, root) = World::live(2);
    let (hub, _) = world.placed(1, 2);
    let (other, _) = world.placed(2, 2);
    world.disconnect(root);
    world.join(hub, 2, lost(root.node, LostReason::Silent));
    assert!(world.order(hub).is_none());
    world.join(other, 2, lost(root.node, LostReason::Silent));
    assert!(world.order(other).is_none());
    world.pass(ms(1200), &[hub, other]);
    let late = world.native(3, 0);
    world.join(late, 1, None);
    assert!(world.order(late).is_none());
    assert_eq!(world.status().state, StreamState::Away);
    let second = world.native(4, 2);
    world.publish(second, 5);
    world.go_live(second, 5);
    for orphan in [hub, other] {
        let order = world.order(orphan).unwrap();
        assert_eq!(order.parent, second.node);
        world.attach(orphan, order);
    }
    assert!(world.order(late).is_some());
}

#[test]
fn without_its_root_the_tree_is_dropped_after_the_grace() {
    let (mut world, root) = World::live(2);
    let (hub, _) = world.placed(1, 2);
    world.disconnect(root);
    world.pass(ms(29_900), &[hub]);
    assert!(!states(&mut world, hub).contains(&StreamState::Offline));
    world.pass(ms(200), &[hub]);
    let heard = world.read(hub);
    let offline = |m: &ServerMessage| matches!(m, ServerMessage::Stream(s) if s.state == StreamState::Offline);
    assert!(heard.iter().any(offline));
    assert_eq!(world.parent_of(hub), None);
    // It asks again, waits, and is let in when the same broadcast is back.
    world.join(hub, 2, None);
    let heard = world.read(hub);
    let reason = WaitReason::NoMedia;
    assert!(heard.contains(&ServerMessage::Waiting { reason, ahead: 0 }));
    let root = world.root(0, 2);
    world.go_live(root, 1);
    assert_eq!(world.order(hub).unwrap().parent, root.node);
}

#[test]
fn a_parent_that_is_silent_to_its_child_and_to_the_tracker_loses_its_slot_in_time() {
    let (mut world, root) = World::live(1);
    let (parent, order) = world.placed(1, 2);
    let (first, _) = world.placed(2, 2);
    let (second, _) = world.placed(3, 2);
    // The parent stops; its children notice after a second of silence.
    world.pass(ms(1000), &[root, first, second]);
    let reason = LostReason::Silent;
    world.read(root);
    world.join(first, 2, lost(parent.node, reason));
    world.join(second, 2, lost(parent.node, reason));
    assert!(world.order(first).is_none());
    world.pass(ms(350), &[root, first, second]);
    let healed = world.order(first).unwrap();
    assert_eq!(healed.parent, root.node);
    // The root lets the stopped one go before it takes the other.
    let told = world.read(root);
    let release = ServerMessage::Release { link: order.link };
    let release = told.iter().position(|message| *message == release).unwrap();
    assert!(matches!(told[release + 1], ServerMessage::Expect { .. }));
    world.attach(first, healed);
    let healed = world.order(second).unwrap();
    assert_eq!(healed.parent, first.node);
}

#[test]
fn a_parent_that_was_only_late_has_its_place_back() {
    let (mut world, root) = World::live(3);
    let (parent, order) = world.placed(1, 2);
    let (other, _) = world.placed(8, 0);
    let (another, _) = world.placed(9, 0);
    let (child, _) = world.placed(2, 0);
    assert_eq!(world.parent_of(child), Some(parent.node));
    world.say(other, ClientMessage::Leave);
    world.pass(ms(1400), &[root, child, another]);
    world.join(child, 2, lost(parent.node, LostReason::Silent));
    assert_eq!(world.parent_of(parent), None);
    world.read(root);
    let report = Report {
        parent: Some(root.node),
        slots: 2,
        ..Report::default()
    };
    world.say(parent, ClientMessage::Report(report));
    assert_eq!(world.parent_of(parent), Some(root.node));
    let release = ServerMessage::Release { link: order.link };
    assert!(!world.read(root).contains(&release));
}

#[test]
fn a_tracker_that_forgot_everything_learns_the_tree_from_reports() {
    let (mut world, _) = World::live(1);
    let report = |parent: Option<Client>, children: &[u64]| Report {
        parent: parent.map(|parent| parent.node),
        children: children.iter().map(|&n| node(n)).collect(),
        slots: 2,
        ..Report::default()
    };
    world.tracker = World::new(9).tracker;
    let root = world.root(0, 2);
    world.go_live(root, 1);
    let clients: Vec<Client> = (1..=5).map(|n| world.native(n, 2)).collect();
    let [a, b, c, d, e] = clients[..] else {
        unreachable!()
    };
    let reports = [
        (e, report(Some(c), &[])),
        (d, report(Some(a), &[])),
        (c, report(Some(a), &[5])),
        (b, report(Some(root), &[])),
        (a, report(Some(root), &[3, 4])),
        (root, report(None, &[1, 2])),
    ];
    // Level by level, one report each.
    for _ in 0..4 {
        for (client, report) in &reports {
            world.say(*client, ClientMessage::Report(report.clone()));
        }
    }
    let shown = clients.iter().map(|&client| world.parent_of(client));
    let expected = [root, root, a, a, c].map(|client| Some(client.node));
    assert!(shown.eq(expected));
    assert_eq!(world.status().viewers, 5);
}
