//! What a node writes to `--stats FILE`.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::wait_for;

/// One line, written each second.
#[derive(Debug, Clone, Deserialize)]
pub struct Stats {
    /// The node.
    pub peer: String,
    /// Who feeds it; none for the root and while it has no parent.
    pub parent: Option<String>,
    /// Who takes over when it fails.
    pub standby: Option<String>,
    /// The nodes that take it in without the tracker.
    pub cold_parents: Vec<String>,
    /// Hops from the root; none while it has no parent.
    pub depth: Option<u32>,
    /// Delay from the root in milliseconds, as the hops above add up.
    pub delay_ms: Option<f64>,
    /// What arrived, track by track.
    pub tracks: Vec<Track>,
    /// How often it changed its parent.
    pub heals: u64,
    /// Nodes it feeds.
    pub children: Vec<String>,
    /// Bytes sent since the start.
    pub bytes_up: u64,
    /// Bytes received since the start.
    pub bytes_down: u64,
    /// How far strangers' packets come to it, once it knows.
    pub reach: Option<Reach>,
}

/// The class of each address family; none where the node has no address of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reach {
    /// Over IPv4.
    pub v4: Option<String>,
    /// Over IPv6.
    pub v6: Option<String>,
}

/// One track since the start.
#[derive(Debug, Clone, Deserialize)]
pub struct Track {
    /// `audio` or `video`.
    pub kind: String,
    /// Packets passed on, each once.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came only after they were asked for again.
    pub repaired: u64,
    /// Longest time between two packets since the line before, in milliseconds.
    pub largest_gap_ms: f64,
}

impl Stats {
    /// Packets of all tracks that never came.
    pub fn lost(&self) -> u64 {
        self.tracks.iter().map(|t| t.lost).sum()
    }

    /// Packets of all tracks.
    pub fn packets(&self) -> u64 {
        self.tracks.iter().map(|t| t.packets).sum()
    }

    /// Packets of all tracks that came on request.
    pub fn repaired(&self) -> u64 {
        self.tracks.iter().map(|t| t.repaired).sum()
    }

    /// The longest gap of any track in milliseconds.
    pub fn largest_gap_ms(&self) -> f64 {
        self.tracks
            .iter()
            .map(|t| t.largest_gap_ms)
            .fold(0.0, f64::max)
    }
}

/// Every whole line so far; none where the file does not exist yet.
///
/// # Panics
/// On a line that is no statistics.
pub fn read_all(path: &Path) -> Vec<Stats> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", path.display()))
        })
        .collect()
}

/// The newest line, once there is one.
pub fn newest(path: &Path) -> Option<Stats> {
    read_all(path).pop()
}

/// The longest gap that any of these lines tells of, in milliseconds.
pub fn largest_gap_ms(lines: &[Stats]) -> f64 {
    lines.iter().map(Stats::largest_gap_ms).fold(0.0, f64::max)
}

/// The first line from now on that satisfies `holds`.
pub fn wait_until(
    path: &Path,
    what: &str,
    timeout: Duration,
    mut holds: impl FnMut(&Stats) -> bool,
) -> Stats {
    let seen = read_all(path).len().saturating_sub(1);
    wait_for(&format!("{what} in {}", path.display()), timeout, || {
        read_all(path).into_iter().skip(seen).find(|s| holds(s))
    })
}
