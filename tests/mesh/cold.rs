//! The tracker, and the parent and the standby of a node with others below it, killed together.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Instant;

use banyan_tests::mesh::{Args, Broadcast, Node, keygen, tracker};
use banyan_tests::stats::{self, Stats};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, packet_log, secs, wait_for};

const RELAYS: usize = 16;

/// Longest pause below the dead, on a machine with seventeen programs on two cores.
const GAP: f64 = 2500.0;

/// By name, what each node said last.
fn newest(nodes: &[Node]) -> BTreeMap<String, Stats> {
    let newest = nodes.iter().map(Node::newest_stats);
    newest.map(|stats| (stats.peer.clone(), stats)).collect()
}

/// A node, its parent and its standby, both relays, where a cold parent outside of what hangs below
/// those two is a link away from the standby of one of its children.
fn in_danger(tree: &BTreeMap<String, Stats>) -> Option<(String, String, String)> {
    let found = tree.values().filter_map(|orphan| {
        let (parent, standby) = (orphan.parent.as_ref()?, orphan.standby.as_ref()?);
        let dead = [&orphan.peer, parent, standby];
        tree.get(parent).and(tree.get(standby))?;
        let children = orphan.children.iter().filter_map(|child| tree.get(child));
        let hubs = children.filter_map(|child| child.standby.as_ref());
        let hubs: Vec<_> = hubs.filter(|hub| !dead.contains(hub)).collect();
        let linked = |a: &String, b: &String| {
            let a = tree.get(a);
            a.is_some_and(|a| a.parent.as_ref() == Some(b) || a.standby.as_ref() == Some(b))
        };
        let lives = |node: &String| {
            let mut above = Some(node);
            while let Some(at) = above {
                if dead.contains(&at) {
                    return false;
                }
                above = tree.get(at).and_then(|stats| stats.parent.as_ref());
            }
            true
        };
        let reached = |node: &&String| {
            hubs.iter()
                .any(|hub| hub == node || linked(hub, node) || linked(node, hub))
        };
        let room = |node: &&String| tree.get(*node).is_none_or(|s| s.children.len() < 3);
        let mut cold = orphan.cold_parents.iter();
        let found = cold.any(|node| lives(node) && reached(&node) && room(&node));
        found.then_some((orphan, parent, standby))
    });
    let deepest = found.max_by_key(|(orphan, ..)| orphan.depth);
    deepest.map(|(orphan, parent, standby)| (orphan.peer.clone(), parent.clone(), standby.clone()))
}

#[test]
fn a_branch_outlives_its_tracker_its_parent_and_its_standby() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let (mut tracker, url) = tracker("127.0.0.1:0");
    let key = directory.join("stream.key");
    keygen(&key);
    let args = Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
        .flag("--loop")
        .with("--udp", "127.0.0.1:0")
        .with("--tracker", &url)
        .with("--max-children", "3")
        .with("--key", &key);
    let root = Broadcast::start(&directory, args);
    let mut nodes = Vec::new();
    for n in 0..RELAYS {
        let node = Node::relay(&directory, &format!("relay-{n}"), &root.link, 3);
        node.wait_for_media(secs(20));
        nodes.push(node);
    }
    let chosen = wait_for("a node to try it with", secs(60), || {
        let tree = newest(&nodes);
        let ready =
            |s: &Stats| s.depth == Some(1) || (s.standby.is_some() && !s.cold_parents.is_empty());
        in_danger(&tree).filter(|_| tree.values().all(ready))
    });
    let (orphan, parent, standby) = chosen;

    tracker.kill();
    for node in &mut nodes {
        if [&parent, &standby].contains(&&node.newest_stats().peer) {
            node.process.kill();
        }
    }
    let died = Instant::now();
    let orphan = nodes
        .iter_mut()
        .find(|node| node.newest_stats().peer == orphan);
    let orphan = orphan.expect("it lives");
    let lines = stats::read_all(&orphan.stats).len();
    let healed = stats::wait_until(&orphan.stats, "another parent", secs(5), |s| {
        s.parent
            .as_ref()
            .is_some_and(|now| *now != parent && *now != standby)
    });
    eprintln!("told of another parent after {:?}", died.elapsed());
    assert!(healed.heals >= 1, "{healed:?}");
    orphan.wait_for_more_media(secs(3));
    sleep(secs(2));
    let told = stats::read_all(&orphan.stats);
    let gap = stats::largest_gap_ms(&told[lines.min(told.len())..]);
    eprintln!("a gap of {gap} ms");
    assert!(gap < GAP, "a gap of {gap} ms");
    assert_eq!(orphan.process.interrupt(), Some(0));
    assert_eq!(packet_log::missing(&orphan.packet_log()), []);
}
