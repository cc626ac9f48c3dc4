//! Nodes behind one address, and nodes with addresses of two families.

use banyan_tests::mesh::{Args, Broadcast, Node, START};
use banyan_tests::network::{Namespace, available, cable};
use banyan_tests::turn::{share_turn, skip};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs};

/// A home router: hides what is behind `wan`'s cable, and lets no stranger in.
const HOME_ROUTER: &str = r#"
table ip home {
    chain out {
        type nat hook postrouting priority 100;
        ip saddr 192.168.7.0/24 ip daddr != 192.168.7.0/24 masquerade
    }
    chain strangers {
        type filter hook forward priority 0;
        ct state established,related accept
        ip saddr 192.168.7.0/24 accept
        drop
    }
}
"#;

/// A root in the world, and a home behind a router.
struct Home {
    world: Namespace,
    _router: Namespace,
    inside: Namespace,
    directory: TempDir,
}

impl Home {
    fn new() -> Self {
        let world = Namespace::new("world");
        let router = Namespace::new("router");
        let inside = Namespace::new("home");
        cable(&world, "10.6.0.1/24", &router, "10.6.0.2/24");
        cable(&router, "192.168.7.1/24", &inside, "192.168.7.2/24");
        inside.ip(&["route", "add", "default", "via", "192.168.7.1"]);
        router.forward();
        router.nft(HOME_ROUTER);
        Self {
            world,
            _router: router,
            inside,
            directory: TempDir::new(),
        }
    }

    fn root(&self, slots: &str) -> Broadcast {
        let address = "10.6.0.1:0".parse().unwrap();
        let args = Broadcast::args_on(&self.directory, address, &media::clip_mp4())
            .with("--max-children", slots);
        self.world
            .inside(|| Broadcast::start(&self.directory, args))
    }

    fn viewer(&self, name: &str, link: &str) -> Node {
        let args = Node::args_on(&self.directory, name, "relay", link, "192.168.7.2:0");
        self.inside
            .inside(|| Node::start(&self.directory, name, args))
    }
}

#[test]
fn two_nodes_behind_one_address_are_both_fed_by_the_root() {
    let _turn = share_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let home = Home::new();
    let root = home.root("2");
    let viewers = ["first", "second"].map(|name| home.viewer(name, &root.link));
    for viewer in &viewers {
        let stats = viewer.wait_for_media(secs(15));
        assert_eq!(stats.depth, Some(1));
    }
    std::thread::sleep(secs(3));
    for viewer in &viewers {
        let stats = viewer.newest_stats();
        assert_eq!((stats.lost(), stats.heals), (0, 0), "{stats:?}");
    }
}

#[test]
fn a_node_feeds_its_neighbour_behind_the_same_address() {
    let _turn = share_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let home = Home::new();
    let root = home.root("1");
    let first = home.viewer("first", &root.link);
    first.wait_for_media(secs(15));
    let second = home.viewer("second", &root.link);
    let stats = second.wait_for_media(secs(15));
    assert_eq!(stats.depth, Some(2));
    assert_eq!(stats.parent, Some(first.newest_stats().peer));
}

#[test]
fn one_root_serves_both_address_families() {
    let _turn = share_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let directory = TempDir::new();
    let world = Namespace::new("world");
    let (four, six) = (Namespace::new("four"), Namespace::new("six"));
    cable(&world, "10.7.0.1/24", &four, "10.7.0.2/24");
    cable(&world, "fd00:7::1/64", &six, "fd00:7::2/64");
    // Where nothing else is said, a node listens on both.
    let args = Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
        .flag("--loop")
        .with("--tracker-listen", "[::]:0")
        .with("--key", directory.join("stream.key"))
        .with("--max-children", "2");
    let root = world.inside(|| Broadcast::start(&directory, args));
    let port = root.tracker.rsplit(':').next().unwrap();
    let viewer = |namespace: &Namespace, name: &str, host: &str| {
        let link = format!("http://{host}:{port}/watch/{}", root.stream);
        let args =
            Args::of(["relay", &link]).with("--stats", directory.join(format!("{name}.stats")));
        let node = namespace.inside(|| Node::start(&directory, name, args));
        let stats = node.wait_for_media(START);
        assert_eq!(stats.depth, Some(1), "{name}");
        node
    };
    let first = viewer(&four, "over-ipv4", "10.7.0.1");
    let second = viewer(&six, "over-ipv6", "[fd00:7::1]");
    std::thread::sleep(secs(2));
    for node in [&first, &second] {
        assert_eq!(node.newest_stats().lost(), 0);
    }
}
