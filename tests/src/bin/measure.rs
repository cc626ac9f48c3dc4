//! Measures what the README tells in figures.
//!
//! ```text
//! cargo build --release -p banyan-node && cargo run --release -p banyan-tests --bin measure -- all
//! ```
//!
//! `joins`: from starting a viewer to its first picture that can be decoded, p50 over several
//! runs, natively and in Chromium, on loopback, tracker included. `delay`: how far behind a viewer
//! is 10 s after a fast start, against one that was there from the beginning.

use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use banyan_tests::chromium::{Launch, installed};
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::page::{Page, median};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs};

/// Viewers per measurement.
const RUNS: usize = 11;

fn main() -> ExitCode {
    let what: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| what.iter().any(|w| w == name || w == "all");
    if !wants("joins") && !wants("delay") {
        eprintln!("usage: measure joins|delay|all");
        return ExitCode::from(2);
    }
    if cfg!(debug_assertions) {
        eprintln!("this is not a release build: the figures will be too large");
    }
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 100);
    sleep(secs(3));
    if wants("joins") {
        native_joins(&directory, &root);
        browser_joins(&root);
    }
    if wants("delay") {
        delay_after_fast_start(&root);
    }
    ExitCode::SUCCESS
}

fn report(what: &str, values: &[f64]) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    println!(
        "{what}: p50 {:.0} ms ({least:.0} to {most:.0}, {} runs)",
        median(values),
        values.len()
    );
}

/// From the start of the process to the last packet of a first whole picture in its packet log.
fn native_joins(directory: &TempDir, root: &Broadcast) {
    let mut times = Vec::new();
    for run in 0..RUNS {
        let name = format!("join-{run}");
        let began = Instant::now();
        let node = Node::relay(directory, &name, &root.link, 0);
        let line = format!("first picture at {name}");
        let deadline = began + secs(10);
        while !has_whole_picture(&node.packets) {
            assert!(Instant::now() < deadline, "no {line}");
            sleep(Duration::from_micros(500));
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    report(
        "join to first decodable frame, native, process start included",
        &times,
    );
}

/// Whether a video packet with the marker bit, the last of its picture, is in the log.
fn has_whole_picture(log: &Path) -> bool {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.split_inclusive('\n').any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        line.ends_with('\n') && fields.len() == 7 && fields[1] == "0" && fields[4] == "1"
    })
}

/// From opening the link, in a browser that already runs, to the first picture on the screen.
fn browser_joins(root: &Broadcast) {
    if installed().is_none() {
        return eprintln!("Chromium is not installed: not measured");
    }
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let page = Page::blank(Launch::default());
        // A browser that has just started is busy with itself.
        sleep(secs(2));
        page.browser.open(&root.link);
        let frames = page.wait_for_frames(1, secs(10));
        times.push(frames[0].at);
    }
    report(
        "join to first picture on screen, Chromium, page load included",
        &times,
    );
}

/// Two viewers of one root; the same picture's time on both screens, ten seconds after the second
/// one joined.
fn delay_after_fast_start(root: &Broadcast) {
    if installed().is_none() {
        return eprintln!("Chromium is not installed: not measured");
    }
    let early = Page::open(&root.link, Launch::default());
    early.wait_for_frames(1, secs(10));
    sleep(secs(10));
    let late = Page::open(&root.link, Launch::default());
    late.wait_for_frames(1, secs(10));
    sleep(secs(10));
    let origin = |page: &Page| page.browser.evaluate("performance.timeOrigin").as_f64();
    let shown = |page: &Page| {
        let origin = origin(page).unwrap_or_default();
        let mut frames = page.frames();
        let recent = frames.split_off(frames.len().saturating_sub(60));
        recent
            .into_iter()
            .map(move |frame| (frame.number, origin + frame.at))
    };
    let early: Vec<_> = shown(&early).collect();
    let behind: Vec<f64> = shown(&late)
        .filter_map(|(number, late)| {
            let same = early.iter().find(|(n, _)| *n == number)?;
            Some(late - same.1)
        })
        .filter(|difference| {
            difference.abs() < 1000.0 * f64::from(media::FRAMES / media::FRAME_RATE) / 2.0
        })
        .collect();
    assert!(!behind.is_empty(), "no picture was seen on both screens");
    println!(
        "10 s after a fast start a viewer is {:.0} ms behind one that was there before",
        median(&behind)
    );
}
