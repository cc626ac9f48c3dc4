//! Programs that end and come back at the same port.

use std::net::UdpSocket;

use banyan_tests::mesh::{Args, Broadcast, Node, keygen, tracker};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, packet_log, secs, stats};

/// A port nobody uses right now.
fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn a_node_that_crashed_comes_back_at_its_port() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let udp = format!("127.0.0.1:{}", free_udp_port());
    let args = |name: &str| Node::args_on(&directory, name, "relay", &root.link, &udp);
    let mut first = Node::start(&directory, "first-life", args("first-life"));
    first.wait_for_media(secs(10));
    first.process.kill();

    // The root has one slot, and holds a connection to this very address in it.
    let mut second = Node::start(&directory, "second-life", args("second-life"));
    second.wait_for_media(secs(10));
    std::thread::sleep(secs(3));
    let newest = second.newest_stats();
    assert_eq!((newest.lost(), newest.depth), (0, Some(1)), "{newest:?}");
    assert_eq!(second.process.interrupt(), Some(0));
    assert_eq!(packet_log::missing(&second.packet_log()), []);
}

#[test]
fn viewers_go_on_when_the_broadcast_is_restarted() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let (_tracker, tracker) = tracker("127.0.0.1:0");
    let key = directory.join("stream.key");
    keygen(&key);
    let udp = format!("127.0.0.1:{}", free_udp_port());
    let args = || {
        Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .flag("--loop")
            .with("--udp", &udp)
            .with("--tracker", &tracker)
            .with("--key", &key)
    };
    let mut root = Broadcast::start(&directory, args());
    let link = root.link.clone();
    let viewer = Node::relay(&directory, "viewer", &link, 2);
    viewer.wait_for_media(secs(10));
    root.process.kill();

    let root = Broadcast::start(&directory, args());
    assert_eq!(root.link, link, "the key file keeps the link");
    let before = viewer.newest_stats().packets();
    stats::wait_until(&viewer.stats, "media of the second life", secs(15), |s| {
        s.parent.is_some() && s.packets() > before + 100
    });
}

#[test]
fn a_viewer_may_come_before_the_broadcast() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let (_tracker, tracker) = tracker("127.0.0.1:0");
    let key = directory.join("stream.key");
    keygen(&key);
    let args = || {
        Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .flag("--loop")
            .with("--udp", "127.0.0.1:0")
            .with("--tracker", &tracker)
            .with("--key", &key)
    };
    // Once on air, so that the tracker knows the stream; then off.
    let mut root = Broadcast::start(&directory, args());
    let link = root.link.clone();
    assert_eq!(root.process.interrupt(), Some(0));
    let mut viewer = Node::relay(&directory, "viewer", &link, 2);
    std::thread::sleep(secs(2));
    assert!(
        viewer.process.is_running(),
        "it waits: {}",
        viewer.process.stderr()
    );
    let _root = Broadcast::start(&directory, args());
    viewer.wait_for_media(secs(10));
}
