//! A tree of real processes whose inner nodes are killed, one after another, and what those below
//! them notice.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::impairment::Impairment;
use crate::mesh::{Broadcast, Node};
use crate::nat::{Home, Internet, Router};
use crate::packet_log::{self, PacketLog};
use crate::stats::{self, Stats};
use crate::workspace::TempDir;
use crate::{media, secs, wait_for};

/// How a node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `kill -9`: nobody is told.
    Killed,
    /// SIGTERM, as a service manager does.
    Asked,
}

/// A root, relays below it, and what has become of them.
#[derive(Debug)]
pub struct Forest {
    root: Broadcast,
    nodes: Vec<Node>,
    slots: u32,
    udp: String,
    started: usize,
    /// Deaths so far.
    pub deaths: usize,
    /// For each node below one that went, the longest pause it saw then, in milliseconds.
    pub gaps: Vec<f64>,
    directory: TempDir,
    far: Option<Far>,
}

/// A network in which every node has a home of its own.
#[derive(Debug)]
struct Far {
    internet: Internet,
    homes: Vec<Home>,
}

impl Forest {
    /// `count` relays of `slots` each below `root`, whose media is on an address like `127.0.0.1:0`.
    pub fn grow(directory: TempDir, root: Broadcast, count: usize, slots: u32, udp: &str) -> Self {
        Self::of(directory, root, None, slots, udp).with(count)
    }

    /// The same in homes of their own, with such a network between any two of them. The tracker is
    /// at the root's home. Needs network namespaces.
    pub fn grow_far(impairment: Impairment, count: usize, slots: u32) -> Self {
        let directory = TempDir::new();
        let mut internet = Internet::impaired(impairment);
        let home = internet.home(Router::None);
        let address = format!("{}:0", home.address()).parse().unwrap();
        let args = Broadcast::args_on(&directory, address, &media::clip_mp4())
            .with("--max-children", slots.to_string());
        let root = (home.machine).inside(|| Broadcast::start(&directory, args));
        let homes = vec![home];
        let far = Some(Far { internet, homes });
        Self::of(directory, root, far, slots, "").with(count)
    }

    fn of(directory: TempDir, root: Broadcast, far: Option<Far>, slots: u32, udp: &str) -> Self {
        Self {
            root,
            nodes: Vec::new(),
            slots,
            udp: udp.to_owned(),
            started: 0,
            deaths: 0,
            gaps: Vec::new(),
            directory,
            far,
        }
    }

    fn with(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.plant();
        }
        self
    }

    /// One more relay.
    fn plant(&mut self) {
        self.started += 1;
        let name = format!("relay-{}", self.started);
        let start = |udp: &str| {
            let args = Node::args_on(&self.directory, &name, "relay", &self.root.link, udp)
                .with("--max-children", self.slots.to_string());
            Node::start(&self.directory, &name, args)
        };
        let node = match &mut self.far {
            None => start(&self.udp),
            Some(far) => {
                let home = far.internet.home(Router::None);
                let udp = format!("{}:0", home.address());
                let node = home.machine.inside(|| start(&udp));
                far.homes.push(home);
                node
            }
        };
        node.wait_for_media(secs(20));
        self.nodes.push(node);
    }

    /// Hops from the root to the deepest node.
    pub fn depth(&self) -> u32 {
        let depths = self.nodes.iter().filter_map(|n| n.newest_stats().depth);
        depths.max().unwrap_or_default()
    }

    /// Waits until every node that is two or more hops below the root has a standby, told after
    /// this was called.
    pub fn wait_for_standbys(&self) {
        let begun = Instant::now();
        wait_for("standbys of all nodes", secs(60), || {
            let ready = |node: &Node| {
                let newest = node.newest_stats();
                newest.standby.is_some() || newest.depth == Some(1)
            };
            let late = begun.elapsed() > secs(1);
            (late && self.nodes.iter().all(ready)).then_some(())
        });
    }

    /// The children of each node, by its place in the list, itself not among them.
    fn below(&self, top: &str) -> Vec<usize> {
        let all: Vec<Stats> = self.nodes.iter().map(Node::newest_stats).collect();
        let mut found: Vec<usize> = Vec::new();
        let mut names = vec![top.to_owned()];
        while let Some(name) = names.pop() {
            for (index, node) in all.iter().enumerate() {
                if node.parent.as_ref() == Some(&name) && !found.contains(&index) {
                    found.push(index);
                    names.push(node.peer.clone());
                }
            }
        }
        found
    }

    /// Ends the inner node with the most below it, not the same depth twice, and another is
    /// started in its stead. Tells how many hung below it.
    pub fn fell(&mut self, end: End) -> usize {
        let depth = 1 + (self.deaths as u32 % 2);
        let inner = |index: &usize| {
            let stats = self.nodes[*index].newest_stats();
            let below = self.below(&stats.peer).len();
            (stats.depth == Some(depth), below)
        };
        let victim = (0..self.nodes.len()).max_by_key(inner).unwrap();
        let name = self.nodes[victim].newest_stats().peer;
        let below = self.below(&name);
        let lines: Vec<usize> = below
            .iter()
            .map(|&index| stats::read_all(&self.nodes[index].stats).len())
            .collect();
        match end {
            End::Killed => self.nodes[victim].process.kill(),
            End::Asked => {
                self.nodes[victim].process.signal(Signal::TERM);
                let code = self.nodes[victim].process.wait(secs(5));
                assert_eq!(code, Some(0), "a relay that was asked to end");
            }
        }
        self.deaths += 1;
        // Two lines of statistics hold whatever happened.
        sleep(Duration::from_millis(2500));
        for (&index, &lines) in below.iter().zip(&lines) {
            let told = stats::read_all(&self.nodes[index].stats);
            let since = &told[lines.min(told.len())..];
            self.gaps.push(stats::largest_gap_ms(since));
        }
        self.nodes.remove(victim);
        self.plant();
        below.len()
    }

    /// Ends all, and tells how many packets are missing in the middle of what the survivors passed
    /// on.
    ///
    /// # Panics
    /// If a packet was altered on its way.
    pub fn missing(mut self) -> usize {
        sleep(secs(1));
        let root = self.root.packet_log();
        crate::mesh::end_all(&mut self.nodes);
        let mut missing = 0;
        for node in &self.nodes {
            let received = node.packet_log();
            missing += packet_log::missing(&received).len();
            identical(&root, &received, &node.packets);
        }
        missing
    }
}

fn identical(root: &PacketLog, received: &PacketLog, file: &Path) {
    // What was sent after the root's log was read is in no log of it.
    let known = |(name, _): &(&packet_log::Identity, _)| root.contains_key(*name);
    let known: PacketLog = received
        .iter()
        .filter(known)
        .map(|(name, packet)| (*name, packet.clone()))
        .collect();
    packet_log::assert_identical(root, &known, &file.display().to_string());
}
