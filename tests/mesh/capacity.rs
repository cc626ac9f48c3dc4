//! Access lines that carry less than the stream asks for, in networks of their own.

use std::time::Instant;

use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::network::{Namespace, available, cable};
use banyan_tests::turn::{share_turn, skip};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs, wait_for};

fn root_in(network: &Namespace, directory: &TempDir) -> Broadcast {
    let address = "10.6.0.1:0".parse().unwrap();
    let args =
        Broadcast::args_on(directory, address, &media::clip_mp4()).with("--max-children", "2");
    network.inside(|| Broadcast::start(directory, args))
}

fn node_in(
    network: &Namespace,
    directory: &TempDir,
    name: &str,
    at: &str,
    root: &Broadcast,
    slots: u32,
) -> Node {
    let args = Node::args_on(directory, name, "relay", &root.link, at)
        .with("--max-children", slots.to_string());
    network.inside(|| Node::start(directory, name, args))
}

/// Children of a node, as the tracker counts them.
fn used(network: &Namespace, root: &Broadcast, node: &str) -> u64 {
    let tree = network.inside(|| root.tree());
    let peer = tree.iter().find(|peer| peer.id == node);
    u64::from(peer.expect("the node is in the tree").used)
}

#[test]
fn a_relay_whose_uplink_is_narrow_keeps_the_children_it_can_feed() {
    let _turn = share_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let directory = TempDir::new();
    let (near, far) = (Namespace::new("near"), Namespace::new("far"));
    let (_, uplink) = cable(&near, "10.6.0.1/24", &far, "10.6.0.2/24");
    let root = root_in(&near, &directory);
    let relay = node_in(&far, &directory, "narrow", "10.6.0.2:0", &root, 8);
    relay.wait_for_media(secs(15));
    // Room for all viewers but two, beside the slot that is kept for heals.
    let other = node_in(&near, &directory, "wide", "10.6.0.1:0", &root, 8);
    other.wait_for_media(secs(15));
    let viewers: Vec<Node> = (0..9)
        .map(|n| {
            let name = format!("viewer-{n}");
            let viewer = node_in(&near, &directory, &name, "10.6.0.1:0", &root, 0);
            viewer.wait_for_media(secs(15));
            viewer
        })
        .collect();
    let narrow = relay.newest_stats().peer;
    wait_for("three children of the relay", secs(20), || {
        (used(&near, &root, &narrow) >= 3).then_some(())
    });
    // Two times the stream, and a little.
    far.limit(&uplink, 2_000);
    let begun = Instant::now();
    wait_for("children that went elsewhere", secs(60), || {
        (1..=2).contains(&used(&near, &root, &narrow)).then_some(())
    });
    eprintln!("moved away within {:?}", begun.elapsed());
    std::thread::sleep(secs(8));
    let before: Vec<_> = viewers.iter().map(Node::newest_stats).collect();
    // Figures come every second: ten of them at least.
    std::thread::sleep(secs(11));
    for (viewer, before) in viewers.iter().zip(before) {
        let now = viewer.newest_stats();
        let name = viewer.process.name();
        // 100 of picture and 50 of sound a second.
        let got = now.packets() - before.packets();
        assert!(got > 1400, "{name} got {got} packets in ten seconds");
    }
    assert!((1..=2).contains(&used(&near, &root, &narrow)));
}

#[test]
fn a_viewer_with_a_narrow_line_keeps_the_sound_and_is_told_why() {
    let _turn = share_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let directory = TempDir::new();
    let (near, far) = (Namespace::new("near"), Namespace::new("far"));
    let (downlink, _) = cable(&near, "10.6.0.1/24", &far, "10.6.0.2/24");
    let root = root_in(&near, &directory);
    let mut viewer = node_in(&far, &directory, "viewer", "10.6.0.2:0", &root, 0);
    let other = node_in(&near, &directory, "other", "10.6.0.1:0", &root, 0);
    viewer.wait_for_media(secs(15));
    other.wait_for_media(secs(15));
    near.limit(&downlink, 400);
    wait_for("word of the narrow line", secs(30), || {
        let log = viewer.process.stderr();
        log.contains("does not carry the picture").then_some(())
    });
    // Until the picture is not tried again so soon.
    std::thread::sleep(secs(20));
    let sound = |node: &Node| {
        let stats = node.newest_stats();
        let track = stats.tracks.iter().find(|track| track.kind == "audio");
        track.map_or(0, |track| track.packets)
    };
    let before = sound(&viewer);
    std::thread::sleep(secs(10));
    let heard = sound(&viewer) - before;
    assert!(heard > 450, "{heard} packets of sound in ten seconds");
    let heals = viewer.newest_stats().heals;
    assert_eq!(heals, 0);
    assert!(viewer.process.is_running());
    assert_eq!(other.newest_stats().lost(), 0);
}
