//! What a connection to a standby costs while nothing fails.

use std::thread::sleep;
use std::time::Duration;

use banyan_tests::chromium::{Launch, installed};
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::nat::{Home, Internet, Router};
use banyan_tests::network::available;
use banyan_tests::page::Page;
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs, wait_for};

/// Time in which bytes are counted, after the connection has stood for some.
const SETTLES: Duration = secs(15);
const COUNTED: Duration = secs(60);

/// A root, two relays below it, and homes for those below them, each in a network of its own.
struct Networks {
    directory: TempDir,
    internet: Internet,
    root: Broadcast,
    relays: Vec<(Node, Home)>,
    _home: Home,
}

/// Counts the bytes between a viewer and its standby, of a native node and of a page; bits per
/// second, both directions and all headers from IP on included.
pub fn measure() -> Vec<(&'static str, f64)> {
    if let Err(reason) = available() {
        eprintln!("{reason}: not measured");
        return Vec::new();
    }
    let mut networks = Networks::new();
    let mut seen = vec![("native", networks.of_node())];
    if installed().is_some() {
        seen.push(("Chromium", networks.of_page()));
    }
    for (who, bits) in &seen {
        println!(
            "a warm standby of a viewer ({who}): {:.2} kbit/s (target 2)",
            bits / 1e3
        );
    }
    seen
}

impl Networks {
    fn new() -> Self {
        let directory = TempDir::new();
        let mut internet = Internet::new();
        let home = internet.home(Router::None);
        let address = format!("{}:0", home.address()).parse().unwrap();
        let args = Broadcast::args_on(&directory, address, &media::clip_mp4());
        let args = args.with("--max-children", "2");
        let root = home.machine.inside(|| Broadcast::start(&directory, args));
        let mut networks = Self {
            directory,
            internet,
            root,
            relays: Vec::new(),
            _home: home,
        };
        for name in ["relay-1", "relay-2"] {
            let relay = networks.node(name, 2);
            networks.relays.push(relay);
        }
        networks
    }

    fn node(&mut self, name: &str, slots: u32) -> (Node, Home) {
        let home = self.internet.home(Router::None);
        let udp = format!("{}:0", home.address());
        let args = Node::args_on(&self.directory, name, "relay", &self.root.link, &udp)
            .with("--max-children", slots.to_string());
        let node = (home.machine).inside(|| Node::start(&self.directory, name, args));
        node.wait_for_media(secs(20));
        (node, home)
    }

    fn of_node(&mut self) -> f64 {
        let (viewer, home) = self.node("viewer", 0);
        let standby = wait_for("a standby", secs(60), || viewer.newest_stats().standby);
        let bits = self.count(&home, &standby);
        let stayed = viewer.newest_stats().standby.as_ref() == Some(&standby);
        assert!(stayed, "another standby");
        bits
    }

    fn of_page(&mut self) -> f64 {
        let home = self.internet.home(Router::None);
        let page = home.machine.inside(|| Page::blank(Launch::default()));
        page.browser.open(&self.root.link);
        page.wait_for_frames(30, secs(20));
        let standby = || {
            let stats = page.stats();
            stats["standby"].as_str().map(ToOwned::to_owned)
        };
        let name = wait_for("a standby of the page", secs(60), standby);
        let bits = self.count(&home, &name);
        assert_eq!(standby(), Some(name), "another standby");
        bits
    }

    /// Bits per second between this home and that of the standby.
    fn count(&self, home: &Home, standby: &str) -> f64 {
        let named = |(relay, _): &&(Node, Home)| relay.newest_stats().peer == standby;
        let relay = self.relays.iter().find(named);
        let (_, other) = relay.expect("a relay is the standby");
        let other = other.address();
        sleep(SETTLES);
        home.machine.nft(&format!(
            "table ip count {{\n\
             counter traffic {{ }}\n\
             chain in {{ type filter hook input priority 0; ip saddr {other} meta l4proto udp counter name traffic; }}\n\
             chain out {{ type filter hook output priority 0; ip daddr {other} meta l4proto udp counter name traffic; }}\n\
             }}\n"
        ));
        sleep(COUNTED);
        let listed = home.machine.nft_list("counters");
        let mut words = listed.split_whitespace();
        words.find(|word| *word == "bytes");
        let bytes: f64 = words.next().and_then(|word| word.parse().ok()).unwrap();
        bytes * 8.0 / COUNTED.as_secs_f64()
    }
}
