//! What a load run tells: a line while it runs, a table and JSON at the end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::options::Load;
use super::player::{Kind, Player, TrackCount};
use super::target::Usage;

/// What one viewer tells at the end.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// From its start to its first whole frame.
    pub join: Duration,
    /// Whether its connection still stood.
    pub connected: bool,
    /// Its tracks.
    pub tracks: Vec<(Kind, TrackCount)>,
}

/// The whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The stream.
    pub stream: String,
    /// Viewers that tried.
    pub viewers: u32,
    /// Viewers that got every track.
    pub joined: usize,
    /// Viewers that lost their connection later.
    pub disconnected: usize,
    /// Viewers that did not join, by reason.
    pub failed: BTreeMap<String, usize>,
    /// How long they stayed together, in seconds.
    pub duration_s: f64,
    /// Times from a viewer's start to its first whole frame, in milliseconds.
    pub join_ms: Spread,
    /// All viewers' pictures, if there are any.
    pub video: Option<TrackReport>,
    /// All viewers' sound, if there is any.
    pub audio: Option<TrackReport>,
    /// The target's process, when it runs on this machine.
    pub target: Option<Usage>,
}

/// One kind of track at all viewers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackReport {
    /// Packets, each once.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Lost ones as a share of those that should have come.
    pub loss: f64,
    /// Bytes of RTP payload.
    pub bytes: u64,
    /// Each viewer's longest time between two packets, in milliseconds.
    pub largest_gap_ms: Spread,
}

/// How values are spread; all 0 where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Half are not above this.
    pub p50: f64,
    /// Nine tenths.
    pub p90: f64,
    /// 99 in 100.
    pub p99: f64,
    /// All.
    pub max: f64,
}

impl Spread {
    /// Of these values, in any order (nearest rank).
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values.get(rank.max(1) - 1).copied().unwrap_or_default()
        };
        Self {
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            max: rank(1.0),
        }
    }
}

impl Report {
    /// Sums up.
    pub fn new(
        options: &Load,
        held: Duration,
        viewers: Vec<Viewer>,
        reasons: Vec<String>,
        target: Option<Usage>,
    ) -> Self {
        let mut failed = BTreeMap::new();
        for reason in reasons {
            *failed.entry(reason).or_default() += 1;
        }
        let joins = viewers.iter().map(|v| ms(v.join)).collect();
        Self {
            stream: options.link.stream.to_string(),
            viewers: options.viewers,
            joined: viewers.len(),
            disconnected: viewers.iter().filter(|v| !v.connected).count(),
            failed,
            duration_s: held.as_secs_f64(),
            join_ms: Spread::of(joins),
            video: TrackReport::of(&viewers, Kind::Video),
            audio: TrackReport::of(&viewers, Kind::Audio),
            target,
        }
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let mut line = |name: &str, text: String| {
            let _ = writeln!(out, "{name:<16}{text}");
        };
        line(
            "viewers",
            format!(
                "{} of {} joined, {} lost their connection, {:.1} s together",
                self.joined, self.viewers, self.disconnected, self.duration_s
            ),
        );
        for (reason, count) in &self.failed {
            line("  failed", format!("{count} x {reason}"));
        }
        line("join", self.join_ms.text("ms"));
        for (name, track) in [("video", &self.video), ("audio", &self.audio)] {
            if let Some(track) = track {
                line(
                    name,
                    format!(
                        "{} packets, {} lost ({:.4} %), {:.1} MB",
                        track.packets,
                        track.lost,
                        track.loss * 100.0,
                        track.bytes as f64 / 1e6
                    ),
                );
                line("  largest gap", track.largest_gap_ms.text("ms"));
            }
        }
        if let Some(target) = &self.target {
            line(
                "target",
                format!(
                    "{} (pid {}): {:.1} % of a core, {:.1} us per packet received, {} MB",
                    target.name,
                    target.pid,
                    target.cpu_percent,
                    target.cpu_us_per_packet,
                    target.memory_kb / 1000
                ),
            );
        }
        out
    }
}

impl TrackReport {
    fn of(viewers: &[Viewer], kind: Kind) -> Option<Self> {
        let tracks: Vec<&TrackCount> = viewers
            .iter()
            .flat_map(|viewer| &viewer.tracks)
            .filter(|(of, _)| *of == kind)
            .map(|(_, track)| track)
            .collect();
        let sum = |what: fn(&TrackCount) -> u64| tracks.iter().map(|t| what(t)).sum::<u64>();
        let (packets, lost) = (sum(|t| t.packets), sum(|t| t.lost));
        (!tracks.is_empty()).then(|| Self {
            packets,
            lost,
            loss: lost as f64 / (packets + lost).max(1) as f64,
            bytes: sum(|t| t.bytes),
            largest_gap_ms: Spread::of(tracks.iter().map(|t| t.largest_gap_ms).collect()),
        })
    }
}

impl Spread {
    fn text(&self, unit: &str) -> String {
        format!(
            "p50 {:.0}  p90 {:.0}  p99 {:.0}  max {:.0} {unit}",
            self.p50, self.p90, self.p99, self.max
        )
    }
}

/// A line about a run that goes on.
pub fn progress(elapsed: Duration, viewers: u32, players: &[Player], failed: usize) -> String {
    let (mut bytes, mut lost, mut gap) = (0, 0, 0.0_f64);
    for (_, track) in players.iter().flat_map(Player::tracks) {
        bytes += track.bytes;
        lost += track.lost;
        gap = gap.max(track.largest_gap_ms);
    }
    format!(
        "{:4} s  {} of {viewers} joined, {failed} failed, {:.1} MB, {lost} packets lost, \
         largest gap {gap:.0} ms",
        elapsed.as_secs(),
        players.len(),
        bytes as f64 / 1e6,
    )
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_takes_the_nearest_rank() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(
            (spread.p50, spread.p90, spread.p99, spread.max),
            (100.0, 180.0, 198.0, 200.0)
        );
        assert_eq!(Spread::of(vec![7.0]).p50, 7.0);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }
}
