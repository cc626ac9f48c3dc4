//! A tracker in the middle of an internet, and nodes in homes around it.

use std::path::{Path, PathBuf};

use crate::coturn::{self, Coturn};
use crate::mesh::{Args, Broadcast, Node, tracker_with};
use crate::nat::{Home, Internet, Router};
use crate::network::available;
use crate::process::Process;
use crate::turn::skip;
use crate::workspace::TempDir;
use crate::{api, media, secs, stats};

/// Each kind of home, and the class its nodes find.
pub const HOMES: [(Router, &str); 5] = [
    (Router::None, "open"),
    (Router::FullCone, "open"),
    (Router::PortRestricted, "cone"),
    (Router::Symmetric, "symmetric"),
    (Router::Blocked, "blocked"),
];

/// The tracker and the network around it.
#[derive(Debug)]
pub struct Scattered {
    /// The network.
    pub internet: Internet,
    directory: TempDir,
    _tracker: Process,
    port: String,
}

/// A broadcast at one of the homes.
#[derive(Debug)]
pub struct Root {
    /// The stream's name.
    pub stream: String,
    /// Its statistics.
    pub stats: PathBuf,
    _process: Broadcast,
}

impl Scattered {
    /// A tracker that all homes reach.
    pub fn new() -> Self {
        Self::with(Internet::new(), Args::default())
    }

    /// The same with a TURN server, which the tracker offers; none where coturn or namespaces
    /// cannot be had, which is noted.
    pub fn with_turn() -> Option<(Self, Coturn)> {
        let missing = match available() {
            Err(reason) => Some(reason),
            Ok(()) if !coturn::installed() => Some("coturn is not installed".to_owned()),
            Ok(()) => None,
        };
        if let Some(reason) = missing {
            skip(&reason);
            return None;
        }
        let internet = Internet::new();
        let coturn = Coturn::start(&internet);
        Some((Self::with(internet, coturn.offer()), coturn))
    }

    /// The same in this network, with these arguments besides.
    fn with(internet: Internet, more: Args) -> Self {
        let started = (internet.middle).inside(|| tracker_with("[::]:0", more));
        let (tracker, address) = started;
        let port = address.rsplit(':').next().unwrap().to_owned();
        Self {
            internet,
            directory: TempDir::new(),
            _tracker: tracker,
            port,
        }
    }

    /// The tracker's address for a home that reaches it at `host`.
    pub fn tracker(&self, host: &str) -> String {
        format!("http://{host}:{}", self.port)
    }

    /// A broadcast with room for `slots`.
    pub fn root(&self, home: &Home, host: &str, name: &str, slots: usize) -> Root {
        let file = |end: &str| self.directory.join(format!("{name}.{end}"));
        let args = Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .flag("--loop")
            .with("--tracker", self.tracker(host))
            .with("--max-children", slots.to_string())
            .with("--key", file("key"))
            .with("--stats", file("stats"));
        let process = (home.machine).inside(|| Broadcast::start(&self.directory, args));
        Root {
            stream: process.stream.clone(),
            stats: file("stats"),
            _process: process,
        }
    }

    /// The link of `stream` for a home that reaches the tracker at `host`.
    pub fn link(&self, host: &str, stream: &str) -> String {
        format!("{}/watch/{stream}", self.tracker(host))
    }

    /// A node that watches `stream` and feeds nobody.
    pub fn leaf(&self, home: &Home, host: &str, name: &str, stream: &str) -> Node {
        let args = Args::of(["relay", &self.link(host, stream)])
            .with("--max-children", "0")
            .with("--stats", self.directory.join(format!("{name}.stats")));
        (home.machine).inside(|| Node::start(&self.directory, name, args))
    }

    /// The tree of `stream`, as the tracker tells it.
    pub fn tree(&self, stream: &str) -> Vec<api::TreePeer> {
        let tracker = self.tracker(Internet::V4);
        self.internet.middle.inside(|| api::tree(&tracker, stream))
    }
}

impl Default for Scattered {
    fn default() -> Self {
        Self::new()
    }
}

/// The class that a node finds, from its statistics.
pub fn class_in(file: &Path) -> stats::Reach {
    let stats = stats::wait_until(file, "a class", secs(20), |stats| stats.reach.is_some());
    stats.reach.unwrap()
}

/// Whether nodes of two classes find their way to each other.
pub fn connects(a: &str, b: &str) -> bool {
    match (a, b) {
        ("blocked", _) | (_, "blocked") => false,
        ("open", _) | (_, "open") => true,
        (a, b) => a == "cone" && b == "cone",
    }
}
