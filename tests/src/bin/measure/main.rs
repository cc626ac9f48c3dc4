//! Measures what the README tells in figures.
//!
//! ```text
//! cargo build --release -p banyan-node && cargo run --release -p banyan-tests --bin measure -- all
//! ```
//!
//! `joins`: from starting a viewer to its first picture that can be decoded, p50 over several
//! runs, natively and in Chromium, on loopback, tracker included. `delay`: how far behind a viewer
//! is 10 s after a fast start, against one that was there from the beginning. `hops`: how much
//! later each relay of a chain has a packet than the root. `heals`: inner nodes of a tree of twelve
//! are killed, one after another; the longest pause of every node below them, and packets that never
//! came; with `--delay`, in network namespaces that are 40 +- 10 ms apart and lose 1 % of all packets.
//! `leaves`: the same with nodes that are asked to end. `freezes`: the same with the parent of a
//! Chromium page, killed and asked to end; the longest time without a new picture. `standby`: bits per second of
//! a connection to a standby. `tracker`: CPU time, memory and messages that each of
//! many peers without media costs a tracker. `--json FILE` writes all samples,
//! `--quick` takes few, `--ends` so many nodes that are killed or leave.

mod freezes;
mod heals;
mod hops;
mod standby;
mod tracker;

use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use banyan_tests::chromium::{Launch, installed};
use banyan_tests::forest::End;
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::page::{Page, median};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs};
use serde_json::{Map, Value, json};

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    /// Viewers per measurement.
    runs: usize,
    /// Relays in the chain, and how long it is listened to.
    chain: (usize, Duration),
    /// Nodes that are killed, and nodes that leave.
    ends: (usize, usize),
    /// Peers of one tracker.
    peers: usize,
}

const FULL: Extent = Extent {
    runs: 11,
    chain: (8, secs(20)),
    ends: (100, 20),
    peers: 10_000,
};

const QUICK: Extent = Extent {
    runs: 3,
    chain: (4, secs(5)),
    ends: (5, 3),
    peers: 3000,
};

fn main() -> ExitCode {
    let mut what: Vec<String> = Vec::new();
    let (mut json, mut extent, mut ends, mut delay) = (None, FULL, None, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => json = words.next(),
            "--delay" => delay = true,
            "--quick" => extent = QUICK,
            "--ends" => match words.next().map(|count| count.parse()) {
                Some(Ok(count)) => ends = Some(count),
                _ => return usage("--ends takes a number"),
            },
            _ => what.push(word),
        }
    }
    if let Some(count) = ends {
        extent.ends = (count, count);
    }
    let wants = |name: &str| what.iter().any(|w| w == name || w == "all");
    let known = [
        "joins", "delay", "hops", "heals", "leaves", "freezes", "standby", "tracker", "all",
    ];
    if what.is_empty() || what.iter().any(|w| !known.contains(&w.as_str())) {
        return usage("what is to be measured?");
    }
    if cfg!(debug_assertions) {
        eprintln!("this is not a release build: the figures will be too large");
    }
    let mut samples = Map::new();
    if wants("joins") || wants("delay") {
        let directory = TempDir::new();
        let root = Broadcast::with_slots(&directory, 100);
        sleep(secs(3));
        if wants("joins") {
            let native = native_joins(&directory, &root, extent.runs);
            let chromium = browser_joins(&root, extent.runs);
            samples.insert(
                "joins".to_owned(),
                json!({ "native_ms": native, "chromium_ms": chromium }),
            );
        }
        if wants("delay") {
            delay_after_fast_start(&root);
        }
    }
    if wants("hops") {
        let (length, time) = extent.chain;
        let hops = hops::measure(length, time);
        for (index, delays) in hops.iter().enumerate() {
            let hop = index + 1;
            report(&format!("delay after {hop} hops"), delays);
        }
        samples.insert("hops_ms".to_owned(), json!(hops));
    }
    if wants("heals") {
        let gaps = heals::measure(End::Killed, extent.ends.0, delay);
        let name = if delay { "heals_far_ms" } else { "heals_ms" };
        samples.insert(name.to_owned(), json!(gaps));
    }
    if wants("leaves") {
        let gaps = heals::measure(End::Asked, extent.ends.1, delay);
        samples.insert("leaves_ms".to_owned(), json!(gaps));
    }
    if wants("freezes") {
        let killed = freezes::measure(End::Killed, extent.ends.1);
        let left = freezes::measure(End::Asked, extent.ends.1);
        samples.insert(
            "freezes_ms".to_owned(),
            json!({ "killed": killed, "left": left }),
        );
    }
    if wants("standby") {
        let rates: Map<String, Value> = (standby::measure().into_iter())
            .map(|(who, bits)| (who.to_owned(), json!(bits)))
            .collect();
        samples.insert("standby_bits_per_second".to_owned(), Value::Object(rates));
    }
    if wants("tracker") {
        samples.insert("tracker".to_owned(), tracker::measure(extent.peers));
    }
    if let Some(path) = json {
        let text = Value::Object(samples).to_string();
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    ExitCode::SUCCESS
}

fn usage(complaint: &str) -> ExitCode {
    eprintln!("{complaint}");
    eprintln!(
        "usage: measure joins|delay|hops|heals|leaves|freezes|standby|tracker|all... [--quick] [--delay] [--ends N] [--json FILE]"
    );
    ExitCode::from(2)
}

fn report(what: &str, values: &[f64]) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    println!(
        "{what}: p50 {:.1} ms ({least:.1} to {most:.1}, {} samples)",
        median(values),
        values.len()
    );
}

/// From the start of the process to the last packet of a first whole picture in its packet log.
fn native_joins(directory: &TempDir, root: &Broadcast, runs: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for run in 0..runs {
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
    times
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
fn browser_joins(root: &Broadcast, runs: usize) -> Vec<f64> {
    let mut times = Vec::new();
    if installed().is_none() {
        eprintln!("Chromium is not installed: not measured");
        return times;
    }
    for _ in 0..runs {
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
    times
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
