//! Standard players: leaves that hang where their parent reports them.

use super::world::*;
use crate::id::NodeId;
use crate::wire::tracker::*;

fn reporting(parent: Option<NodeId>, children: &[Client], slots: u16) -> Report {
    Report {
        parent,
        children: children.iter().map(|child| child.node).collect(),
        slots,
        ..Report::default()
    }
}

fn player(world: &mut World, n: u64) -> (Client, Option<Order>) {
    let client = world.client(n, PeerClass::Player, 5);
    world.join(client, 1, None);
    let order = world.order(client);
    (client, order)
}

fn report(world: &mut World, client: Client, report: Report) {
    world.say(client, ClientMessage::Report(report));
}

#[test]
fn a_player_hangs_where_its_parent_reports_it() {
    let (mut world, root) = World::live(2);
    let (player, order) = player(&mut world, 1);
    let order = order.unwrap();
    assert_eq!(order.parent, root.node);
    assert!(matches!(
        world.read(root)[..],
        [ServerMessage::Expect {
            class: PeerClass::Player,
            ..
        }]
    ));
    // It cannot say so itself.
    world.attach(player, order);
    assert_eq!(world.parent_of(player), None);
    report(&mut world, root, reporting(None, &[player], 2));
    assert_eq!(world.parent_of(player), Some(root.node));
    let shown = world.shown(player.node).unwrap();
    assert_eq!((shown.class, shown.slots), (PeerClass::Player, 0));
    assert_eq!(world.status().viewers, 1);

    // Silence is its nature, as long as its parent has it.
    let alive = [(root, Some(reporting(None, &[player], 2)))];
    world.pass_reporting(ms(30_000), &alive);
    assert_eq!(world.parent_of(player), Some(root.node));

    world.inbox.clear();
    report(&mut world, root, reporting(None, &[], 2));
    assert_eq!(world.status().viewers, 0);
    assert_eq!(world.errors(player), [(ErrorCode::Ended, true)]);
    assert_eq!(world.closed, [player.session]);
    assert_eq!(world.shown(root.node).unwrap().used, 0);
}

#[test]
fn a_player_that_does_not_connect_gives_its_slot_back() {
    let (mut world, root) = World::live(1);
    let (first, order) = player(&mut world, 1);
    let link = order.unwrap().link;
    let (_, none) = player(&mut world, 2);
    assert!(none.is_none());
    let next = world.native(3, 0);
    world.join(next, 1, None);
    world.read(root);
    world.pass(ms(5100), &[root, next]);
    assert!(world.read(root).contains(&ServerMessage::Release { link }));
    assert_eq!(world.errors(first), [(ErrorCode::Ended, true)]);
    assert_eq!(world.closed, [first.session]);
}

#[test]
fn a_player_that_leaves_frees_its_slot_at_once() {
    let (mut world, root) = World::live(1);
    let (first, order) = player(&mut world, 1);
    report(&mut world, root, reporting(None, &[first], 1));
    world.read(root);
    world.say(first, ClientMessage::Leave);
    let link = order.unwrap().link;
    assert!(world.read(root).contains(&ServerMessage::Release { link }));
    let (_, order) = player(&mut world, 2);
    assert_eq!(order.unwrap().parent, root.node);

    // Whoever spoke for it may also vanish.
    let (mut world, root) = World::live(1);
    let (first, order) = player(&mut world, 1);
    report(&mut world, root, reporting(None, &[first], 1));
    world.read(root);
    world.disconnect(first);
    let link = order.unwrap().link;
    assert!(world.read(root).contains(&ServerMessage::Release { link }));
}

#[test]
fn players_get_native_parents_and_feed_nobody() {
    let (mut world, root) = World::live(1);
    let browser = world.client(1, PeerClass::Browser, 6);
    world.join(browser, 1, None);
    let order = world.order(browser).unwrap();
    world.attach(browser, order);
    let (waits, order) = player(&mut world, 2);
    assert!(order.is_none(), "a browser cannot feed a player");
    let native = world.native(3, 4);
    world.join(native, 1, None);
    world.say(browser, ClientMessage::Leave);
    let order = world.order(native).unwrap();
    assert_eq!(order.parent, root.node);
    world.attach(native, order);
    let order = world.order(waits).unwrap();
    assert_eq!(order.parent, native.node);
    let report_of_parent = reporting(Some(root.node), &[waits], 4);
    report(&mut world, native, report_of_parent);
    // Its own report changes nothing.
    report(&mut world, waits, reporting(None, &[], 9));
    assert_eq!(world.shown(waits.node).unwrap().slots, 0);
    assert_eq!(world.parent_of(waits), Some(native.node));
}

#[test]
fn players_go_with_their_parent_unless_it_comes_back() {
    for returns in [true, false] {
        let (mut world, root) = World::live(1);
        let (parent, _) = world.placed(1, 4);
        let (leaf, order) = player(&mut world, 2);
        assert_eq!(order.unwrap().parent, parent.node);
        let fed = reporting(Some(root.node), &[leaf], 4);
        report(&mut world, parent, fed.clone());
        report(&mut world, root, reporting(None, &[parent], 1));
        world.disconnect(parent);
        world.pass(ms(800), &[root]);
        world.read(leaf);
        if returns {
            let again = world.native(1, 4);
            report(&mut world, again, fed.clone());
            assert_eq!(world.parent_of(leaf), Some(parent.node));
            let alive = [
                (root, Some(reporting(None, &[parent], 1))),
                (again, Some(fed)),
            ];
            world.pass_reporting(ms(12_000), &alive);
            assert_eq!(world.parent_of(leaf), Some(parent.node));
        } else {
            world.pass(ms(10_000), &[root]);
            assert_eq!(world.errors(leaf), [(ErrorCode::Ended, true)]);
        }
    }
    let (mut world, _) = World::live(1);
    let (parent, _) = world.placed(1, 4);
    let (leaf, _) = player(&mut world, 2);
    report(&mut world, parent, reporting(None, &[leaf], 4));
    world.read(leaf);
    world.say(parent, ClientMessage::Leave);
    assert_eq!(world.errors(leaf), [(ErrorCode::Ended, true)]);
}

#[test]
fn the_end_of_the_broadcast_ends_its_players() {
    let (mut world, root) = World::live(2);
    let (placed, _) = player(&mut world, 1);
    report(&mut world, root, reporting(None, &[placed], 2));
    let (coming, _) = player(&mut world, 2);
    world.inbox.clear();
    world.say(root, ClientMessage::Leave);
    for player in [placed, coming] {
        assert_eq!(world.errors(player), [(ErrorCode::Ended, true)]);
    }
}

#[test]
fn children_that_no_tracker_placed_take_slots_all_the_same() {
    let (mut world, root) = World::live(2);
    let stranger = NodeId::from_bytes([9; 16]);
    let with_stranger = Report {
        children: vec![stranger],
        slots: 2,
        ..Report::default()
    };
    report(&mut world, root, with_stranger);
    let (first, order) = player(&mut world, 1);
    assert!(order.is_some());
    let (_, order) = player(&mut world, 2);
    assert!(order.is_none(), "the other slot is the stranger's");
    report(&mut world, root, reporting(None, &[first], 2));
    let (_, order) = player(&mut world, 3);
    // The one that waits goes first.
    assert!(order.is_none());
    assert_eq!(world.shown(root.node).unwrap().used, 1);
}
