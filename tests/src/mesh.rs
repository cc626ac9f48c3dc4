//! Roots, relays, viewers and trackers as real processes.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::{TreePeer, tree};
use crate::binaries::binary;
use crate::process::Process;
use crate::stats::{self, Stats};
use crate::workspace::TempDir;
use crate::{media, packet_log, secs, wait_for};

/// Time a program has to say its first lines.
pub const START: Duration = secs(20);

/// Arguments of a program, built up piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Args(Vec<OsString>);

impl Args {
    /// These arguments.
    pub fn of<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Self {
        Self(args.into_iter().map(Into::into).collect())
    }

    /// With a flag and its value.
    #[must_use]
    pub fn with(mut self, flag: &str, value: impl Into<OsString>) -> Self {
        self.0.push(flag.into());
        self.0.push(value.into());
        self
    }

    /// With a flag alone.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.0.push(flag.into());
        self
    }
}

impl IntoIterator for Args {
    type Item = OsString;
    type IntoIter = std::vec::IntoIter<OsString>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A broadcast with its tracker inside.
#[derive(Debug)]
pub struct Broadcast {
    /// The root's process.
    pub process: Process,
    /// The link viewers open.
    pub link: String,
    /// The tracker's address.
    pub tracker: String,
    /// The stream's name.
    pub stream: String,
    /// The root's statistics.
    pub stats: PathBuf,
    /// What the root sent.
    pub packets: PathBuf,
}

impl Broadcast {
    /// The usual arguments: the H.264 clip in a loop, everything on free ports of 127.0.0.1.
    pub fn args(directory: &TempDir) -> Args {
        Self::args_on(
            directory,
            "127.0.0.1:0".parse().unwrap(),
            &media::clip_mp4(),
        )
    }

    /// `file` in a loop, media and tracker at `address`.
    pub fn args_on(directory: &TempDir, address: SocketAddr, file: &Path) -> Args {
        Args::of(["broadcast".into(), file.as_os_str().to_owned()])
            .flag("--loop")
            .with("--udp", address.to_string())
            .with("--tracker-listen", address.to_string())
            .with(
                "--tracker-stun",
                SocketAddr::new(address.ip(), 0).to_string(),
            )
            .with("--key", directory.join("stream.key"))
            .with("--stats", directory.join("root.stats"))
            .with("--packet-log", directory.join("root.packets"))
    }

    /// Starts it and waits for its links.
    pub fn start(directory: &TempDir, args: Args) -> Self {
        let mut process = Process::start("root", binary("banyan"), args);
        let link = process.line("watch: ", START);
        let tracker = process.line("tracker: ", START);
        let stream = link.rsplit('/').next().unwrap().to_owned();
        Self {
            process,
            link,
            tracker: tracker.trim_end_matches('/').to_owned(),
            stream,
            stats: directory.join("root.stats"),
            packets: directory.join("root.packets"),
        }
    }

    /// The usual broadcast with room for `children`.
    pub fn with_slots(directory: &TempDir, children: u32) -> Self {
        let args = Self::args(directory).with("--max-children", children.to_string());
        Self::start(directory, args)
    }

    /// Its tree, as the tracker tells it.
    pub fn tree(&self) -> Vec<TreePeer> {
        tree(&self.tracker, &self.stream)
    }

    /// Waits until `count` peers, the root included, hang in the tree.
    pub fn wait_for_peers(&self, count: usize, timeout: Duration) -> Vec<TreePeer> {
        wait_for(&format!("a tree of {count}"), timeout, || {
            Some(self.tree()).filter(|tree| tree.len() == count)
        })
    }

    /// What the root sent so far.
    pub fn packet_log(&self) -> packet_log::PacketLog {
        packet_log::read(&self.packets)
    }
}

/// A relay or native viewer.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub process: Process,
    /// Its statistics.
    pub stats: PathBuf,
    /// The packets it passed on.
    pub packets: PathBuf,
    /// Where a `watch` records.
    pub recording: PathBuf,
}

impl Node {
    /// The usual arguments of `command` (`relay` or `watch`), on a free port of 127.0.0.1.
    pub fn args(directory: &TempDir, name: &str, command: &str, link: &str) -> Args {
        Self::args_on(directory, name, command, link, "127.0.0.1:0")
    }

    /// The same with its media at `udp`.
    pub fn args_on(directory: &TempDir, name: &str, command: &str, link: &str, udp: &str) -> Args {
        Args::of([command, link])
            .with("--udp", udp)
            .with("--stats", directory.join(format!("{name}.stats")))
            .with("--packet-log", directory.join(format!("{name}.packets")))
    }

    /// Starts it.
    pub fn start(directory: &TempDir, name: &str, args: Args) -> Self {
        Self {
            process: Process::start(name, binary("banyan"), args),
            stats: directory.join(format!("{name}.stats")),
            packets: directory.join(format!("{name}.packets")),
            recording: directory.join(format!("{name}.mp4")),
        }
    }

    /// Starts a relay with room for `children`.
    pub fn relay(directory: &TempDir, name: &str, link: &str, children: u32) -> Self {
        let args =
            Self::args(directory, name, "relay", link).with("--max-children", children.to_string());
        Self::start(directory, name, args)
    }

    /// Starts a viewer that records, with room for `children`.
    pub fn recorder(directory: &TempDir, name: &str, link: &str, children: u32) -> Self {
        let args = Self::args(directory, name, "watch", link)
            .with("--max-children", children.to_string())
            .with("--record", directory.join(format!("{name}.mp4")));
        Self::start(directory, name, args)
    }

    /// Waits until it receives media; its statistics then.
    pub fn wait_for_media(&self, timeout: Duration) -> Stats {
        stats::wait_until(&self.stats, "media", timeout, |s| {
            s.parent.is_some() && s.tracks.iter().all(|t| t.packets > 0) && !s.tracks.is_empty()
        })
    }

    /// Waits until it received something of every track.
    pub fn wait_for_more_media(&self, timeout: Duration) -> Stats {
        let before = self.newest_stats();
        stats::wait_until(&self.stats, "more media", timeout, |s| {
            let pairs = s.tracks.iter().zip(&before.tracks);
            s.parent.is_some()
                && pairs.clone().count() > 0
                && pairs.clone().all(|(a, b)| a.packets > b.packets)
        })
    }

    /// Its newest statistics.
    pub fn newest_stats(&self) -> Stats {
        stats::newest(&self.stats)
            .unwrap_or_else(|| panic!("no statistics of {}", self.process.name()))
    }

    /// The packets it passed on so far.
    pub fn packet_log(&self) -> packet_log::PacketLog {
        packet_log::read(&self.packets)
    }
}

/// Ends nodes as their users do, the last one first, so that nobody has to look for a new parent.
///
/// # Panics
/// When one does not end with exit code 0.
pub fn end_all(nodes: &mut [Node]) {
    for node in nodes.iter_mut().rev() {
        let code = node.process.interrupt();
        assert_eq!(code, Some(0), "the exit code of {}", node.process.name());
    }
}

/// Starts a tracker of its own; its process and address.
pub fn tracker(listen: &str) -> (Process, String) {
    tracker_with(listen, Args::default())
}

/// The same with these arguments besides.
pub fn tracker_with(listen: &str, more: Args) -> (Process, String) {
    let ip = listen.parse::<SocketAddr>().unwrap().ip();
    let stun = SocketAddr::new(ip, 0).to_string();
    let args = more.with("--listen", listen).with("--stun", stun);
    let mut process = Process::start("tracker", binary("banyan-tracker"), args);
    let address = process.line("tracker: ", START);
    (process, address.trim_end_matches('/').to_owned())
}

/// Makes a stream's key file.
pub fn keygen(file: &Path) {
    let args = Args::of(["keygen".into(), file.as_os_str().to_owned()]);
    let mut process = Process::start("keygen", binary("banyan"), args);
    assert_eq!(process.wait(START), Some(0), "{}", process.stderr());
}
