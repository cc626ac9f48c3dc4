//! How long a pause is when a node above goes.

use banyan_tests::forest::{End, Forest};
use banyan_tests::impairment::Impairment;
use banyan_tests::mesh::Broadcast;
use banyan_tests::network::available;
use banyan_tests::workspace::TempDir;

/// Nodes in the tree.
const NODES: usize = 12;

/// Children each of them takes.
const SLOTS: u32 = 4;

/// Ends `count` inner nodes and prints what those below them saw: the longest pause between two
/// packets of a track at each of them, in milliseconds, which is what this returns. `far` puts a
/// network of some length between any two nodes.
pub fn measure(end: End, count: usize, far: bool) -> Vec<f64> {
    let (mut forest, target) = if far {
        if let Err(reason) = available() {
            eprintln!("{reason}: not measured");
            return Vec::new();
        }
        let forest = Forest::grow_far(Impairment::FAR, NODES, SLOTS);
        (
            forest,
            "round trips of 40 +- 10 ms, 1 % loss; target: 0 lost, 250, 400 ms",
        )
    } else {
        let directory = TempDir::new();
        let root = Broadcast::with_slots(&directory, SLOTS);
        let forest = Forest::grow(directory, root, NODES, SLOTS, "127.0.0.1:0");
        (forest, "loopback; target: 0 lost, 150, 250 ms")
    };
    for done in 0..count {
        forest.wait_for_standbys();
        forest.fell(end);
        eprint!("\r{} of {count}", done + 1);
    }
    eprintln!();
    let mut gaps = forest.gaps.clone();
    gaps.sort_by(f64::total_cmp);
    let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share).round() as usize];
    let deaths = forest.deaths;
    let missing = forest.missing();
    let what = match end {
        End::Killed => "killed",
        End::Asked => "left",
    };
    println!(
        "{deaths} nodes {what}: {missing} packets lost below them; longest pause p50 {:.0} ms, \
         p95 {:.0} ms, most {:.0} ms at {} nodes ({target})",
        at(0.5),
        at(0.95),
        at(1.0),
        gaps.len()
    );
    gaps
}
