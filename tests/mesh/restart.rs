//! Programs that end and come back at the same port.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use banyan_tests::mesh::{Args, Broadcast, Node, keygen, tracker};
use banyan_tests::turn::share_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, packet_log, secs, stats};

/// A port that nobody uses, below those the system gives out: nobody gets it while its user is away.
fn free_port<S>(bind: impl Fn(SocketAddr) -> std::io::Result<S>) -> u16 {
    let mut ports = (0..50).map(|_| rand::random_range(20_000..32_000));
    let free = ports.find(|port| bind(SocketAddr::from(([127, 0, 0, 1], *port))).is_ok());
    free.expect("a port that is free")
}

fn free_udp_port() -> u16 {
    free_port(UdpSocket::bind)
}

fn free_tcp_port() -> u16 {
    free_port(TcpListener::bind)
}

#[test]
fn a_node_that_crashed_comes_back_at_its_port() {
    let _turn = share_turn();
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

/// A broadcast of one slot with a relay, and a viewer below that, whose root process is killed and
/// started again.
fn restart_the_root(away: u64, embedded: bool) {
    let directory = TempDir::new();
    let tracker = (!embedded).then(|| tracker("127.0.0.1:0"));
    let key = directory.join("stream.key");
    keygen(&key);
    let udp = format!("127.0.0.1:{}", free_udp_port());
    let listen = format!("127.0.0.1:{}", free_tcp_port());
    let args = || {
        let args = Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .flag("--loop")
            .with("--udp", &udp)
            .with("--max-children", "1")
            .with("--key", &key);
        match &tracker {
            Some((_, url)) => args.with("--tracker", url),
            None => args
                .with("--tracker-listen", &listen)
                .with("--tracker-stun", "127.0.0.1:0"),
        }
    };
    let mut root = Broadcast::start(&directory, args());
    let link = root.link.clone();
    let mut relay = Node::relay(&directory, "relay", &link, 2);
    relay.wait_for_media(secs(10));
    let mut viewer = Node::relay(&directory, "viewer", &link, 0);
    let before = viewer.wait_for_media(secs(10));
    root.process.kill();
    std::thread::sleep(secs(away));
    if !embedded {
        let word = "the broadcaster is away";
        assert!(
            viewer.process.stderr().contains(word),
            "{}",
            viewer.process.stderr()
        );
    }

    let root = Broadcast::start(&directory, args());
    assert_eq!(root.link, link, "the key file keeps the link");
    // A tracker that is away is called again after up to 5 s.
    let patience = if embedded { 12 } else { 4 };
    for node in [&relay, &viewer] {
        let seen = node.newest_stats().packets();
        let what = "media of the second life";
        stats::wait_until(&node.stats, what, secs(patience), |s| {
            s.parent.is_some() && s.packets() > seen + 100
        });
    }
    let after = viewer.newest_stats();
    assert_eq!(after.depth, Some(2));
    assert_eq!(
        (&after.parent, after.heals),
        (&before.parent, 0),
        "it kept its parent"
    );
    assert!(relay.process.is_running() && viewer.process.is_running());
}

#[test]
fn viewers_go_on_when_the_broadcast_is_killed_and_started_again() {
    let _turn = share_turn();
    restart_the_root(2, false);
}

#[test]
fn viewers_go_on_when_the_broadcast_was_away_for_20_seconds() {
    let _turn = share_turn();
    restart_the_root(20, false);
}

#[test]
fn viewers_go_on_when_the_broadcast_and_the_tracker_inside_are_started_again() {
    let _turn = share_turn();
    restart_the_root(3, true);
}

#[test]
fn a_broadcast_that_stays_away_is_over_after_half_a_minute() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let (_tracker, tracker) = tracker("127.0.0.1:0");
    let args = Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
        .flag("--loop")
        .with("--udp", "127.0.0.1:0")
        .with("--tracker", &tracker)
        .with("--key", directory.join("stream.key"));
    let mut root = Broadcast::start(&directory, args);
    let mut recorder = Node::recorder(&directory, "recorder", &root.link, 0);
    recorder.wait_for_media(secs(10));
    root.process.kill();
    std::thread::sleep(secs(25));
    assert!(recorder.process.is_running(), "it waits");
    assert_eq!(recorder.process.wait(secs(10)), Some(0));
    let log = recorder.process.stderr();
    assert!(log.contains("the broadcast is over"), "{log}");
}

#[test]
fn a_viewer_may_come_before_the_broadcast() {
    let _turn = share_turn();
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
