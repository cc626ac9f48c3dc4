//! What people see: counts and trees.

use std::collections::BTreeMap;

use super::world::*;
use crate::broadcast::TreeQuery;
use crate::id::NodeId;
use crate::limits::{MAX_TREE_PAGE, MAX_TREE_VIEW};
use crate::wire::tracker::*;

/// What a page knows after these updates.
#[derive(Default)]
struct Page {
    peers: BTreeMap<NodeId, TreePeer>,
    per_depth: Vec<u32>,
    hidden: u32,
    updates: usize,
}

impl Page {
    fn read(&mut self, messages: Vec<ServerMessage>) {
        for message in messages {
            let ServerMessage::Tree(update) = message else {
                continue;
            };
            self.updates += 1;
            if update.reset {
                self.peers.clear();
            }
            for node in update.remove {
                assert!(self.peers.remove(&node).is_some());
            }
            for peer in update.upsert {
                self.peers.insert(peer.id, peer);
            }
            self.per_depth = update.per_depth;
            self.hidden = update.hidden;
        }
    }

    fn agrees_with(&self, world: &World) {
        let query = TreeQuery::default();
        let page = world
            .tracker
            .tree(world.now, &world.stream(), &query)
            .unwrap();
        assert_eq!(page.peers.len(), self.peers.len());
        for peer in page.peers {
            let seen = &self.peers[&peer.id];
            assert_eq!(
                (seen.parent, seen.depth, seen.used),
                (peer.parent, peer.depth, peer.used)
            );
        }
    }
}

#[test]
fn a_small_tree_is_shown_whole_and_kept_up_to_date() {
    let (mut world, root) = World::live(2);
    let mut page = Page::default();
    world.say(root, ClientMessage::FollowTree { follow: true });
    page.read(world.read(root));
    page.agrees_with(&world);
    let mut peers = vec![root];
    for n in 1..30 {
        peers.push(world.placed(n, 2).0);
        if n % 7 == 0 {
            let gone = peers.remove(1 + n as usize % (peers.len() - 1));
            world.disconnect(gone);
        }
        world.pass(ms(300), &peers);
        page.read(world.read(root));
        page.agrees_with(&world);
    }
    assert_eq!(page.hidden, 0);
    let total: u32 = page.per_depth.iter().sum();
    assert_eq!(total as usize, page.peers.len());
}

#[test]
fn updates_come_four_times_a_second_at_most_and_never_without_news() {
    let (mut world, root) = World::live(200);
    world.say(root, ClientMessage::FollowTree { follow: true });
    let mut alive = vec![root];
    let mut page = Page::default();
    page.read(world.read(root));
    page.updates = 0;
    for n in 1..=50 {
        alive.push(world.placed(n, 0).0);
        world.pass(ms(20), &alive);
    }
    page.read(world.read(root));
    assert!((1..=4).contains(&page.updates), "{} updates", page.updates);
    world.pass(ms(1000), &alive);
    world.read(root);
    world.pass(ms(30_000), &alive);
    page.updates = 0;
    page.read(world.read(root));
    assert_eq!(page.updates, 0);
}

#[test]
fn delays_and_losses_are_news_every_two_seconds_at_most() {
    let (mut world, root) = World::live(2);
    let (peer, _) = world.placed(1, 0);
    world.say(root, ClientMessage::FollowTree { follow: true });
    world.pass(ms(1000), &[root, peer]);
    world.read(root);
    let mut page = Page::default();
    for n in 0..40_u32 {
        let report = Report {
            parent: Some(root.node),
            delay_ms: 100 + 40 * (n % 2),
            lost: 1,
            received: 9,
            ..Report::default()
        };
        world.say(peer, ClientMessage::Report(report));
        world.pass(ms(100), &[root]);
    }
    page.read(world.read(root));
    assert!((1..=2).contains(&page.updates), "{} updates", page.updates);
    assert_eq!(page.peers[&peer.node].loss_permille, 100);
}

#[test]
fn a_large_tree_is_shown_around_its_follower() {
    let (mut world, root) = World::live(4);
    let mut last = root;
    for n in 1..=300 {
        last = world.placed(n, 4).0;
    }
    world.say(last, ClientMessage::FollowTree { follow: true });
    let mut page = Page::default();
    page.read(world.read(last));
    assert!(page.peers.len() <= MAX_TREE_VIEW);
    assert_eq!(page.hidden as usize + page.peers.len(), 301);
    assert_eq!(page.per_depth.iter().sum::<u32>(), 301);
    let mut at = last.node;
    while let Some(parent) = page.peers[&at].parent {
        at = parent;
    }
    assert_eq!(at, root.node);
}

#[test]
fn the_whole_tree_can_be_paged_through() {
    let (mut world, root) = World::live(4);
    for n in 1..=600 {
        world.placed(n, 4);
    }
    let mut query = TreeQuery::default();
    let mut seen = Vec::new();
    loop {
        let page = world
            .tracker
            .tree(world.now, &world.stream(), &query)
            .unwrap();
        assert!(page.peers.len() <= MAX_TREE_PAGE);
        assert_eq!(page.total, 601);
        seen.extend(page.peers.iter().map(|peer| peer.id));
        query.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 601);
    let shallow = TreeQuery {
        depth: Some(1),
        ..TreeQuery::default()
    };
    let page = world
        .tracker
        .tree(world.now, &world.stream(), &shallow)
        .unwrap();
    // The root and its children; one of its slots is kept for heals.
    assert_eq!(page.peers.len(), 4);
    let around = TreeQuery {
        around: Some(root.node),
        ..TreeQuery::default()
    };
    let page = world
        .tracker
        .tree(world.now, &world.stream(), &around)
        .unwrap();
    assert_eq!(page.peers.len(), 4);
}

#[test]
fn changed_counts_are_told_once_a_second_at_most() {
    let (mut world, root) = World::live(100);
    let mut alive = vec![root];
    for n in 1..=40 {
        alive.push(world.placed(n, 0).0);
        world.pass(ms(50), &alive);
    }
    world.pass(ms(1000), &alive);
    let told: Vec<u32> = world
        .read(root)
        .into_iter()
        .filter_map(|message| match message {
            ServerMessage::Stream(status) => Some(status.viewers),
            _ => None,
        })
        .collect();
    assert!(told.len() <= 4, "{told:?}");
    assert_eq!(told.last(), Some(&40));
}
