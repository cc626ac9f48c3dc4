//! A broadcast that runs for long while its viewers come and go, and whether anything grows.

use std::fmt::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::binaries::binary;
use crate::mesh::{Args, Broadcast, Node, tracker};
use crate::process::Process;
use crate::workspace::TempDir;
use crate::{api, media, secs, stats};

/// Children that come and go, at once.
const GUESTS: usize = 8;

/// How long a guest stays, in milliseconds.
const STAY_MS: std::ops::Range<u64> = 3_000..15_000;

/// Viewers of one run of the load tool, which is one of the guests.
const FOREIGN: u32 = 4;

/// Samples of one run, at most; not more often than one a second.
const SAMPLES: u32 = 600;

/// The beginning that does not count, as a share of the run: rings fill, allocators warm up.
const WARM_UP: f64 = 0.25;

/// Memory a process may seem to have grown by since the warm-up: an allocator keeps what a guest
/// once needed, and guests differ. A leak of one packet per guest is found within the hour.
const MEMORY_MB: f64 = 4.0;

/// Descriptors it may seem to have grown by; a leak of one per guest makes hundreds.
const DESCRIPTORS: f64 = 4.0;

/// Delay it may seem to have grown by, in milliseconds.
const DELAY_MS: f64 = 10.0;

/// What is watched of one process.
struct Watched {
    name: &'static str,
    samples: Vec<Sample>,
}

/// One process at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    memory_mb: f64,
    descriptors: f64,
    delay_ms: Option<f64>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// For people.
    pub table: String,
    /// What grew; empty when all is well.
    pub grown: Vec<String>,
    /// Guests that came.
    pub guests: usize,
}

/// Runs for `time`.
///
/// # Panics
/// When a program does not start, or one that should stay ends.
pub fn run(time: Duration) -> Outcome {
    let directory = TempDir::new();
    let (mut tracker, address) = tracker("127.0.0.1:0");
    let args = Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
        .flag("--loop")
        .with("--udp", "127.0.0.1:0")
        .with("--tracker", &address)
        .with("--key", directory.join("stream.key"))
        .with("--max-children", "4");
    let mut root = Broadcast::start(&directory, args);
    let mut relay = steady(&directory, "relay", &root.link, 4);
    let mut leaf = steady(&directory, "leaf", &root.link, 0);

    let mut watched = ["root", "relay", "leaf", "tracker"].map(|name| Watched {
        name,
        samples: Vec::new(),
    });
    let mut guests = Guests::new(root.link.clone());
    let began = Instant::now();
    let interval = (time / SAMPLES).max(secs(1));
    while began.elapsed() < time {
        guests.come_and_go();
        let seconds = began.elapsed().as_secs_f64();
        if seconds >= interval.as_secs_f64() * watched[0].samples.len() as f64 {
            let delays = [
                None,
                delay(&relay),
                delay(&leaf),
                Some(answer_time(&address)),
            ];
            let processes = [&root.process, &relay.process, &leaf.process, &tracker];
            for ((watched, process), delay_ms) in watched.iter_mut().zip(processes).zip(delays) {
                watched.samples.push(Sample {
                    seconds,
                    memory_mb: process.resident_bytes() as f64 / 1e6,
                    descriptors: process.open_files() as f64,
                    delay_ms,
                });
            }
        }
        for process in [
            &mut root.process,
            &mut relay.process,
            &mut leaf.process,
            &mut tracker,
        ] {
            assert!(process.is_running(), "{} has ended", process.name());
        }
        sleep(Duration::from_millis(100));
    }
    judge(&watched, guests.came)
}

fn steady(directory: &TempDir, name: &str, link: &str, children: u32) -> Node {
    let args = Args::of(["relay", link])
        .with("--udp", "127.0.0.1:0")
        .with("--stats", directory.join(format!("{name}.stats")))
        .with("--max-children", children.to_string());
    let node = Node::start(directory, name, args);
    node.wait_for_media(secs(10));
    node
}

/// A node's delay from the root, as it tells itself.
fn delay(node: &Node) -> Option<f64> {
    stats::newest(&node.stats)?.delay_ms
}

/// How long the tracker takes to answer.
fn answer_time(tracker: &str) -> f64 {
    let asked = Instant::now();
    assert_eq!(api::get(&format!("{tracker}/healthz")).status, 200);
    asked.elapsed().as_secs_f64() * 1e3
}

/// Relays and standard players that join, stay a while and leave or crash.
struct Guests {
    link: String,
    here: Vec<(Process, Instant)>,
    came: usize,
    rng: StdRng,
}

impl Guests {
    fn new(link: String) -> Self {
        Self {
            link,
            here: Vec::new(),
            came: 0,
            rng: StdRng::seed_from_u64(1),
        }
    }

    fn come_and_go(&mut self) {
        let now = Instant::now();
        let (gone, here) = std::mem::take(&mut self.here)
            .into_iter()
            .partition(|(_, until)| *until <= now);
        self.here = here;
        for (mut guest, _) in gone {
            // One in three just vanishes: dropped, it is killed.
            if guest.is_running() && self.rng.random_range(0..3) > 0 {
                guest.signal(rustix::process::Signal::INT);
                let patience = now + secs(2);
                while guest.is_running() && Instant::now() < patience {
                    sleep(Duration::from_millis(10));
                }
            }
        }
        if self.here.len() < GUESTS {
            let stay = Duration::from_millis(self.rng.random_range(STAY_MS));
            let guest = if self.came % 4 == 3 {
                self.players(stay)
            } else {
                self.relay()
            };
            self.here.push((guest, now + stay));
            self.came += 1;
        }
    }

    fn relay(&mut self) -> Process {
        let args = Args::of(["--log", "error", "relay", &self.link])
            .with("--udp", "127.0.0.1:0")
            .with("--max-children", self.rng.random_range(0..3).to_string());
        Process::start("guest", binary("banyan"), args)
    }

    /// Standard players, on another WebRTC stack.
    fn players(&self, stay: Duration) -> Process {
        let args = Args::of(["--log", "error", "load", &self.link])
            .with("--viewers", FOREIGN.to_string())
            .with("--duration", stay.as_secs().to_string());
        Process::start("players", binary("banyan"), args)
    }
}

fn judge(watched: &[Watched], guests: usize) -> Outcome {
    let mut table = String::new();
    let mut grown = Vec::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        table,
        "{guests} guests came\n{:<10}{:<14}{:>10}{:>10}{:>12}{:>10}",
        "process", "value", "median", "last", "growth", "allowed"
    );
    type Read = fn(&Sample) -> Option<f64>;
    let values: [(&str, f64, Read); 3] = [
        ("memory MB", MEMORY_MB, |s| Some(s.memory_mb)),
        ("descriptors", DESCRIPTORS, |s| Some(s.descriptors)),
        ("delay ms", DELAY_MS, |s| s.delay_ms),
    ];
    for process in watched {
        let last = process.samples.last().map_or(0.0, |s| s.seconds);
        for (value, allowed, read) in values {
            let points: Vec<(f64, f64)> = process
                .samples
                .iter()
                .filter(|s| s.seconds >= last * WARM_UP)
                .filter_map(|s| Some((s.seconds, read(s)?)))
                .collect();
            let Some((seconds, newest)) = points.last() else {
                continue;
            };
            let growth = slope(&points) * (seconds - points[0].0);
            let middle = median(points.iter().map(|p| p.1).collect());
            let _ = writeln!(
                table,
                "{:<10}{value:<14}{middle:>10.1}{newest:>10.1}{growth:>+12.2}{allowed:>10.1}",
                process.name
            );
            if growth > allowed {
                grown.push(format!("{} of {} by {growth:.1}", value, process.name));
            }
        }
    }
    Outcome {
        table,
        grown,
        guests,
    }
}

/// The middle one of the slopes between all pairs (Theil and Sen's estimator): single peaks do
/// not move it.
fn slope(points: &[(f64, f64)]) -> f64 {
    let slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(at, a)| points[at + 1..].iter().map(move |b| (a, b)))
        .filter(|(a, b)| b.0 > a.0)
        .map(|(a, b)| (b.1 - a.1) / (b.0 - a.0))
        .collect();
    median(slopes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_found_in_spite_of_peaks() {
        let points: Vec<(f64, f64)> = (0..100)
            .map(|i| {
                let peak = if i % 7 == 0 { 500.0 } else { 0.0 };
                (f64::from(i), 10.0 + 0.5 * f64::from(i) + peak)
            })
            .collect();
        assert!((slope(&points) - 0.5).abs() < 0.01);
    }

    #[test]
    fn growth_is_told_and_noise_is_not() {
        let samples = |per_second: f64| {
            (0..60)
                .map(|i| Sample {
                    seconds: f64::from(i),
                    memory_mb: 20.0 + per_second * f64::from(i) + f64::from(i % 3),
                    descriptors: 12.0,
                    delay_ms: None,
                })
                .collect()
        };
        let watched = |per_second| {
            [Watched {
                name: "root",
                samples: samples(per_second),
            }]
        };
        assert!(judge(&watched(0.0), 1).grown.is_empty());
        assert_eq!(judge(&watched(0.2), 1).grown.len(), 1);
    }
}
