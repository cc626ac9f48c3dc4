//! `--stats FILE`: a line of JSON each second.

use std::fs::File;
use std::io::{LineWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use banyan::id::NodeId;
use banyan::node::Snapshot;
use banyan::reachability::Reachability;
use banyan::wire::announcement::MediaKind;
use serde::Serialize;

use crate::driver::Traffic;

/// One line.
#[derive(Debug, Serialize)]
struct Line {
    /// Seconds since the Unix epoch.
    time: f64,
    peer: NodeId,
    parent: Option<NodeId>,
    standby: Option<NodeId>,
    /// Whom it may ask without the tracker.
    cold_parents: Vec<NodeId>,
    depth: Option<usize>,
    delay_ms: f64,
    tracks: Vec<Track>,
    heals: u32,
    slots: u16,
    children: Vec<NodeId>,
    bytes_up: u64,
    bytes_down: u64,
    /// How far strangers' packets come, once that is known.
    reach: Option<Reachability>,
}

#[derive(Debug, Serialize)]
struct Track {
    kind: MediaKind,
    packets: u64,
    lost: u64,
    repaired: u64,
    duplicates: u64,
    /// Longest time between two packets since the line before.
    largest_gap_ms: f64,
}

/// Writes the lines.
#[derive(Debug)]
pub struct StatsFile {
    file: LineWriter<File>,
}

impl StatsFile {
    /// Creates the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("the statistics file {} cannot be written", path.display()))?;
        Ok(Self {
            file: LineWriter::new(file),
        })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&mut self, snapshot: &Snapshot, traffic: &Traffic) -> anyhow::Result<()> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let tracks = snapshot.tracks.iter().map(|(kind, stats)| Track {
            kind: *kind,
            packets: stats.packets,
            lost: stats.lost,
            repaired: stats.repaired,
            duplicates: stats.duplicates,
            largest_gap_ms: stats.largest_gap.as_secs_f64() * 1e3,
        });
        let line = Line {
            time: time.as_secs_f64(),
            peer: snapshot.node,
            parent: snapshot.parent,
            standby: snapshot.standby,
            cold_parents: snapshot.cold_parents.clone(),
            depth: snapshot.depth,
            delay_ms: snapshot.delay.as_secs_f64() * 1e3,
            tracks: tracks.collect(),
            heals: snapshot.heals,
            slots: snapshot.slots,
            children: snapshot.children.clone(),
            bytes_up: traffic.up,
            bytes_down: traffic.down,
            reach: traffic.tally.reachability,
        };
        let mut text = serde_json::to_vec(&line).context("writing statistics")?;
        text.push(b'\n');
        self.file.write_all(&text).context("writing statistics")
    }
}
