//! A broadcast with honest children, and how they fare while somebody misbehaves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use banyan::wire::announcement::StreamInfo;
use banyan_tests::mesh::{Broadcast, Node, end_all};
use banyan_tests::whep::{free_port, tracks};
use banyan_tests::workspace::TempDir;
use banyan_tests::{packet_log, secs, stats};

/// Longest an honest child may be without a packet of a track, in milliseconds.
const GAP_MS: f64 = 100.0;

/// Honest children, all of them the root's own.
const HONEST: usize = 2;

/// The root, its honest children, and what was seen of them.
pub(crate) struct Village {
    pub(crate) root: Broadcast,
    /// The root's own door for players.
    pub(crate) door: String,
    /// Its tracker's, which has nobody else to place them under.
    pub(crate) facade: String,
    /// What the stream consists of.
    pub(crate) info: StreamInfo,
    honest: Vec<Node>,
    trials: Vec<Trial>,
    _directory: TempDir,
}

/// One thing that was done to the root.
struct Trial {
    name: &'static str,
    /// The lines of the first child's statistics that cover it.
    lines: std::ops::Range<usize>,
    took: Duration,
    /// Bytes the root had more at the worst moment.
    grown: u64,
}

impl Village {
    /// Waits until the honest children have media.
    pub(crate) fn new() -> Self {
        let directory = TempDir::new();
        let port = free_port();
        let args = Broadcast::args(&directory)
            .with("--max-children", "1000")
            .with("--listen", format!("127.0.0.1:{port}"));
        let root = Broadcast::start(&directory, args);
        let honest: Vec<Node> = (0..HONEST)
            .map(|n| Node::relay(&directory, &format!("honest-{n}"), &root.link, 0))
            .collect();
        for child in &honest {
            child.wait_for_media(secs(10));
        }
        let info = tracks(&root.tracker, &root.stream);
        Self {
            door: format!("http://127.0.0.1:{port}/whep"),
            facade: format!("{}/whep/{}", root.tracker, root.stream),
            info,
            root,
            honest,
            trials: Vec::new(),
            _directory: directory,
        }
    }

    fn lines(&self) -> usize {
        stats::read_all(&self.honest[0].stats).len()
    }

    /// Lets somebody misbehave, and watches the root's memory meanwhile.
    ///
    /// # Panics
    /// When the root takes more than `memory` bytes for it.
    pub(crate) fn bear<T>(
        &mut self,
        name: &'static str,
        memory: u64,
        misbehave: impl FnOnce(&Self) -> T,
    ) -> T {
        let began = Instant::now();
        let first = self.lines();
        let process = &self.root.process;
        let (before, over) = (process.resident_bytes(), AtomicBool::new(false));
        let (done, most) = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut most = before;
                while !over.load(Ordering::Relaxed) {
                    most = most.max(process.resident_bytes());
                    sleep(Duration::from_millis(20));
                }
                most
            });
            // Told even when the trial panics, so that the watch ends.
            let told = Told(&over);
            let done = misbehave(self);
            drop(told);
            (done, watch.join().unwrap())
        });
        let trial = Trial {
            name,
            lines: first..self.lines() + 1,
            took: began.elapsed(),
            grown: most - before,
        };
        assert!(
            trial.grown < memory,
            "{name}: the root took {} bytes",
            trial.grown
        );
        self.trials.push(trial);
        done
    }

    /// No packet is missing at honest children, and none was late.
    pub(crate) fn judge(mut self) {
        // The line that tells of the last second.
        sleep(Duration::from_millis(1500));
        assert!(self.root.process.is_running(), "the root has ended");
        let lines: Vec<_> = self
            .honest
            .iter()
            .map(|c| stats::read_all(&c.stats))
            .collect();
        for Trial {
            name,
            lines: range,
            took,
            grown,
        } in &self.trials
        {
            let gaps: Vec<f64> = lines
                .iter()
                .map(|lines| {
                    // Children do not write their lines at the same instant.
                    let until = (range.end + 1).min(lines.len());
                    stats::largest_gap_ms(&lines[range.start..until])
                })
                .collect();
            println!("{name}: {took:.1?}, gaps {gaps:?} ms, {} kB", grown / 1000);
        }
        for (child, lines) in self.honest.iter().zip(&lines) {
            let name = child.process.name();
            let newest = &lines[lines.len() - 1];
            assert_eq!((newest.lost(), newest.heals), (0, 0), "{name}: {newest:?}");
            let since = self.trials.first().map_or(0, |t| t.lines.start);
            let gap = stats::largest_gap_ms(&lines[since..]);
            assert!(gap <= GAP_MS, "{name} saw a gap of {gap} ms");
        }
        end_all(&mut self.honest);
        assert_eq!(self.root.process.interrupt(), Some(0));
        let sent = self.root.packet_log();
        for child in &self.honest {
            let got = child.packet_log();
            let name = child.process.name();
            assert_eq!(packet_log::missing(&got), [], "{name}");
            assert!(packet_log::assert_identical(&sent, &got, name) > 300);
        }
        assert!(
            !self.root.process.stderr().contains("panicked"),
            "{}",
            self.root.process.stderr()
        );
    }
}

/// Sets its flag when it is dropped.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
