//! Standard players below real nodes: through the tracker, and at a node's own door.

use std::time::{Duration, Instant};

use banyan_node::rtc::CloseReason;
use banyan_tests::api::{request, tree};
use banyan_tests::binaries::binary;
use banyan_tests::mesh::{Args, Broadcast, Node};
use banyan_tests::process::Process;
use banyan_tests::turn::{share_turn, take_turn};
use banyan_tests::whep::{OFFER, Player, free_port, post, tracks};
use banyan_tests::workspace::TempDir;
use banyan_tests::{api, secs, wait_for};

/// A broadcast with a door for players, and its address.
fn with_door(directory: &TempDir, children: u32) -> (Broadcast, String) {
    let port = free_port();
    let args = Broadcast::args(directory)
        .with("--max-children", children.to_string())
        .with("--listen", format!("127.0.0.1:{port}"));
    let root = Broadcast::start(directory, args);
    wait_until_live(&root);
    (root, format!("http://127.0.0.1:{port}/whep"))
}

fn wait_until_live(root: &Broadcast) {
    let url = format!("{}/api/streams/{}", root.tracker, root.stream);
    wait_for("a live stream", secs(10), || {
        let state = banyan_tests::api::get(&url).json()["state"].clone();
        (state == "live").then_some(())
    });
}

fn facade(root: &Broadcast) -> String {
    format!("{}/whep/{}", root.tracker, root.stream)
}

fn players(root: &Broadcast) -> usize {
    let tree = tree(&root.tracker, &root.stream);
    tree.iter().filter(|peer| peer.class == "player").count()
}

fn wait_for_players(root: &Broadcast, count: usize) {
    wait_for(&format!("{count} players"), secs(3), || {
        (players(root) == count).then_some(())
    });
}

#[test]
fn a_player_that_the_tracker_placed_below_a_relay_gets_every_packet() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let relay = Node::relay(&directory, "relay", &root.link, 2);
    relay.wait_for_media(secs(10));
    let info = tracks(&root.tracker, &root.stream);
    let mut player = Player::start(&facade(&root), &info);
    player.wait_for_media();
    wait_for_players(&root, 1);
    let tree = root.tree();
    let shown = tree.iter().find(|peer| peer.class == "player").unwrap();
    assert_eq!((shown.depth, shown.slots), (2, 0));
    assert_eq!(shown.parent, Some(relay.newest_stats().peer));
    // Longer than any lease, without a word by HTTP.
    player.play(secs(8));
    assert_eq!(players(&root), 1);
    std::thread::sleep(Duration::from_millis(300));
    let fewest = player.assert_whole(&root.packet_log(), info.tracks.len() as u8);
    assert!(fewest > 7 * 30, "{fewest} packets");

    assert_eq!(request("DELETE", &player.session, "").status, 200);
    assert_eq!(player.wait_for_the_end(), CloseReason::Remote);
    wait_for_players(&root, 0);
    assert_eq!(request("DELETE", &player.session, "").status, 404);
}

#[test]
fn a_player_at_a_nodes_own_door_gets_every_packet() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let port = free_port();
    let args = Node::args(&directory, "viewer", "watch", &root.link)
        .with("--listen", format!("127.0.0.1:{port}"));
    let viewer = Node::start(&directory, "viewer", args);
    viewer.wait_for_media(secs(10));
    let info = tracks(&root.tracker, &root.stream);
    let mut player = Player::start(&format!("http://127.0.0.1:{port}/whep"), &info);
    player.wait_for_media();
    player.play(secs(4));
    std::thread::sleep(Duration::from_millis(300));
    let fewest = player.assert_whole(&root.packet_log(), info.tracks.len() as u8);
    assert!(fewest > 3 * 30, "{fewest} packets");
    assert_eq!(players(&root), 0, "no tracker knows of it");
    let metrics = api::get(&format!("http://127.0.0.1:{port}/metrics")).body;
    assert!(metrics.contains("banyan_players 1\n"), "{metrics}");
    let tree = root.tree();
    let shown = tree.iter().find(|peer| peer.depth == 1).unwrap();
    assert_eq!(
        (shown.slots, shown.used),
        (7, 0),
        "it has one of the eight slots"
    );
    assert_eq!(request("DELETE", &player.session, "").status, 200);
    assert_eq!(player.wait_for_the_end(), CloseReason::Remote);
    wait_for("the slot", secs(3), || {
        root.tree()
            .iter()
            .any(|peer| peer.depth == 1 && peer.slots == 8)
            .then_some(())
    });
}

#[test]
fn slots_are_given_once_and_come_back() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let (root, door) = with_door(&directory, 2);
    let info = tracks(&root.tracker, &root.stream);
    let facade = facade(&root);
    // In a stream's first seconds its last slot is kept for those that bring some.
    std::thread::sleep(secs(2));
    let mut local = Player::start(&door, &info);
    local.wait_for_media();
    let mut placed = Player::start(&facade, &info);
    placed.wait_for_media();
    for endpoint in [&facade, &door] {
        let full = post(endpoint, OFFER);
        assert_eq!(full.status, 503, "{}", full.body);
        let seconds: u32 = full.header("retry-after").unwrap().parse().unwrap();
        assert!((1..60).contains(&seconds));
    }
    wait_for_players(&root, 1);
    // A player that is closed says goodbye by DTLS alone.
    let closed = Instant::now();
    placed.close();
    wait_for_players(&root, 0);
    assert!(closed.elapsed() < secs(2), "{:?}", closed.elapsed());
    let mut next = Player::start(&facade, &info);
    next.wait_for_media();
    local.close();
    wait_for("the door's slot", secs(2), || {
        (post(&door, OFFER).status == 201).then_some(())
    });
}

#[test]
fn a_player_ends_with_its_parent() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let mut relay = Node::relay(&directory, "relay", &root.link, 2);
    relay.wait_for_media(secs(10));
    let info = tracks(&root.tracker, &root.stream);
    let mut player = Player::start(&facade(&root), &info);
    player.wait_for_media();
    wait_for_players(&root, 1);
    assert_eq!(relay.process.interrupt(), Some(0));
    assert_eq!(player.wait_for_the_end(), CloseReason::Remote);
    wait_for("the end of its session", secs(3), || {
        (request("DELETE", &player.session, "").status == 404).then_some(())
    });
}

#[test]
fn players_of_a_foreign_stack_join_and_miss_nothing() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 3);
    let relay = Node::relay(&directory, "relay", &root.link, 4);
    relay.wait_for_media(secs(10));
    // In a stream's first seconds its last slot is kept for those that bring some.
    std::thread::sleep(secs(2));
    let report = directory.join("load.json");
    let args = Args::of(["load", &root.link])
        .with("--viewers", "6")
        .with("--ramp", "4")
        .with("--duration", "5")
        .with("--json", &report);
    let mut load = Process::start("load", binary("banyan"), args);
    assert_eq!(load.wait(secs(40)), Some(0), "{}", load.stderr());
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(report["joined"], 6, "{report}");
    assert_eq!(report["disconnected"], 0, "{report}");
    for track in ["video", "audio"] {
        let packets = report[track]["packets"].as_u64().unwrap();
        assert!(packets > 6 * 5 * 30, "{report}");
        assert_eq!(report[track]["lost"], 0, "{report}");
    }
    wait_for_players(&root, 0);
}
