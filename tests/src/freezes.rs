//! A page two hops below the root whose parents go, one after another, and how long its picture
//! stands still.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use crate::chromium::Launch;
use crate::forest::End;
use crate::mesh::{Broadcast, Node};
use crate::page::{Frame, Page, assert_advancing};
use crate::workspace::TempDir;
use crate::{media, secs, wait_for};

/// Children of each node: the page, and whoever is its own standby's client.
const SLOTS: u32 = 2;

/// Relays below the root, which is full with them: the page's parent, its standby, and the one that
/// is its next standby.
const RELAYS: usize = 3;

/// How long after the end of a parent pictures are looked at.
const AFTERMATH: Duration = secs(3);

/// A root, three relays below it, and a page below one of them.
#[derive(Debug)]
pub struct Watched {
    page: Page,
    relays: Vec<Node>,
    started: usize,
    root: Broadcast,
    directory: TempDir,
}

impl Watched {
    /// Broadcasts `clip` and opens a page.
    pub fn open(clip: &Path) -> Self {
        let directory = TempDir::new();
        let args = Broadcast::args_on(&directory, "127.0.0.1:0".parse().unwrap(), clip);
        let root = Broadcast::start(&directory, args.with("--max-children", RELAYS.to_string()));
        let mut relays = Vec::new();
        for number in 1..=RELAYS {
            let name = format!("relay-{number}");
            let relay = Node::relay(&directory, &name, &root.link, SLOTS);
            relay.wait_for_media(secs(20));
            relays.push(relay);
        }
        let page = Page::open(&root.link, Launch::default());
        page.wait_for_frames(60, secs(20));
        Self {
            page,
            relays,
            started: RELAYS,
            root,
            directory,
        }
    }

    /// Waits until the page hangs below a relay and has a standby that stands.
    pub fn wait_for_standby(&self) {
        wait_for("the page's standby", secs(60), || {
            let stats = self.page.stats();
            let standby = stats["state"] == "playing" && stats["standby"].is_string();
            (standby && self.parent_of_page().is_some()).then_some(())
        });
    }

    /// Which relay feeds the page.
    fn parent_of_page(&self) -> Option<usize> {
        let stats = self.page.stats();
        let parent = stats["parent"].as_str()?;
        let named = |relay: &Node| relay.newest_stats().peer == parent;
        self.relays.iter().position(named)
    }

    /// Parents that the page lost after they had served it.
    pub fn heals(&self) -> u64 {
        self.page.stats()["heals"].as_u64().unwrap()
    }

    /// Ends the page's parent and starts another relay in its stead. The longest time in
    /// milliseconds between two pictures on the page's screen around that.
    ///
    /// # Panics
    /// When the picture goes back or is damaged.
    pub fn fell(&mut self, end: End) -> f64 {
        let victim = self.parent_of_page().unwrap();
        let mut victim = self.relays.remove(victim);
        let before = self.page.browser.evaluate("performance.now()");
        let before = before.as_f64().unwrap();
        match end {
            End::Killed => victim.process.kill(),
            End::Asked => {
                victim.process.signal(Signal::TERM);
                let code = victim.process.wait(secs(5));
                assert_eq!(code, Some(0), "a relay that was asked to end");
            }
        }
        sleep(AFTERMATH);
        let frames = self.page.frames();
        let since = frames.partition_point(|frame| frame.at < before - 100.0);
        let around = &frames[since..];
        assert_advancing(around);
        self.started += 1;
        let name = format!("relay-{}", self.started);
        let relay = Node::relay(&self.directory, &name, &self.root.link, SLOTS);
        relay.wait_for_media(secs(20));
        self.relays.push(relay);
        longest_pause(around)
    }
}

/// The longest time between two pictures, in milliseconds.
///
/// # Panics
/// Where there are less than two.
pub fn longest_pause(frames: &[Frame]) -> f64 {
    assert!(frames.len() > 1, "no pictures");
    let pauses = frames.windows(2).map(|pair| pair[1].at - pair[0].at);
    pauses.fold(0.0, f64::max)
}

/// The clip with a key frame every so many seconds, in `directory`; none without an ffmpeg that has
/// x264.
pub fn clip_with_key_frames(directory: &TempDir, seconds: u32) -> Option<PathBuf> {
    let clip = media::clip_mp4();
    if seconds == 1 {
        return Some(clip);
    }
    let file = directory.join(format!("every-{seconds}-s.mp4"));
    let interval = (seconds * media::FRAME_RATE).to_string();
    let status = Command::new(media::ffmpeg()?)
        .args(["-v", "error", "-y", "-i"])
        .arg(clip)
        .args(["-c:a", "copy", "-c:v", "libx264", "-profile:v", "baseline"])
        .args(["-b:v", "750k", "-g", &interval, "-keyint_min", &interval])
        .args(["-sc_threshold", "0", "-bf", "0"])
        .arg(&file)
        .status()
        .unwrap();
    status.success().then_some(file)
}
