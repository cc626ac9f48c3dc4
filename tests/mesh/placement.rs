//! Where nodes hang when the first choice is not to be had.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use banyan_tests::mesh::{Args, Broadcast, Node};
use banyan_tests::network::{Namespace, available, cable};
use banyan_tests::turn::{share_turn, skip, take_turn};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs, wait_for};

#[test]
fn a_full_tree_lets_the_next_one_in_when_somebody_leaves() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let mut leaf = Node::relay(&directory, "leaf", &root.link, 0);
    leaf.wait_for_media(secs(10));
    let mut next = Node::relay(&directory, "next", &root.link, 0);
    wait_for("word that the tree is full", secs(5), || {
        next.process.stderr().contains("full").then_some(())
    });
    assert!(next.process.is_running());
    assert_eq!(leaf.process.interrupt(), Some(0));
    let stats = next.wait_for_media(secs(5));
    assert_eq!(stats.depth, Some(1));
}

#[test]
fn a_silent_stun_server_delays_nobody() {
    let _turn = take_turn();
    let directory = TempDir::new();
    // Takes every request and never answers.
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = format!("stun:{}", hole.local_addr().unwrap());
    let args = Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
        .flag("--loop")
        .with("--udp", "127.0.0.1:0")
        .with("--tracker-listen", "127.0.0.1:0")
        .with("--tracker-ice-server", server)
        .with("--key", directory.join("stream.key"));
    let root = Broadcast::start(&directory, args);
    let began = Instant::now();
    let node = Node::relay(&directory, "viewer", &root.link, 1);
    wait_for("media", secs(5), || {
        (!node.packet_log().is_empty()).then_some(())
    });
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "media after {took:?}");
}

/// Lets signalling through, and no media.
const NO_UDP: &str = "
table inet wall {
    chain input {
        type filter hook input priority 0;
        meta l4proto udp drop
    }
}
";

/// Time until a child of a parent it cannot reach has media from another.
const OTHER_PARENT: Duration = Duration::from_millis(6000);

#[test]
fn a_parent_that_cannot_be_reached_is_replaced() {
    let _turn = take_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let directory = TempDir::new();
    let [root_home, relay_home, child_home] = ["root", "relay", "child"].map(Namespace::new);
    cable(&root_home, "10.9.1.1/24", &relay_home, "10.9.1.2/24");
    cable(&relay_home, "10.9.2.1/24", &child_home, "10.9.2.2/24");
    // The child's only way to the root leads through the relay's machine, and carries no UDP.
    child_home.ip(&["route", "add", "10.9.1.1", "via", "10.9.2.1"]);
    root_home.ip(&["route", "add", "10.9.2.2", "via", "10.9.1.2"]);
    relay_home.forward();
    relay_home.nft(&NO_UDP.replace("input", "forward"));
    let address = "10.9.1.1:0".parse().unwrap();
    let args =
        Broadcast::args_on(&directory, address, &media::clip_mp4()).with("--max-children", "2");
    let root = root_home.inside(|| Broadcast::start(&directory, args));
    let relay = relay_home.inside(|| {
        let args = Node::args_on(&directory, "relay", "relay", &root.link, "0.0.0.0:0");
        Node::start(&directory, "relay", args)
    });
    relay.wait_for_media(secs(10));

    let began = Instant::now();
    let args = Node::args_on(&directory, "child", "relay", &root.link, "10.9.2.2:0");
    let child = child_home.inside(|| Node::start(&directory, "child", args));
    wait_for(
        "media from the parent that can be reached",
        secs(10),
        || (!child.packet_log().is_empty()).then_some(()),
    );
    let took = began.elapsed();
    assert!(took < OTHER_PARENT, "media after {took:?}");
    let stats = child.wait_for_media(secs(5));
    assert_eq!(stats.parent, Some(relay.newest_stats().peer));
    std::thread::sleep(secs(5));
    let stats = child.newest_stats();
    assert_eq!((stats.depth, stats.lost()), (Some(2), 0), "{stats:?}");
}
