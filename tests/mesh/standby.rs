//! Nodes with standbys lose nothing when the nodes above them go.

use banyan_tests::forest::{End, Forest};
use banyan_tests::impairment::Impairment;
use banyan_tests::mesh::Broadcast;
use banyan_tests::network::available;
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::workspace::TempDir;

/// Longest pause that a node may see when one above it is killed, on a machine with twenty nodes
/// on two cores.
const GAP: f64 = 600.0;

fn grown(count: usize, slots: u32) -> Forest {
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, slots);
    let forest = Forest::grow(directory, root, count, slots, "127.0.0.1:0");
    forest.wait_for_standbys();
    forest
}

#[test]
fn twenty_nodes_lose_nothing_when_those_in_the_middle_are_killed() {
    let _turn = take_turn();
    let mut forest = grown(20, 3);
    assert!(forest.depth() >= 4, "{} hops", forest.depth());
    for _ in 0..6 {
        let below = forest.fell(End::Killed);
        assert!(below > 0, "somebody hangs below the victim");
        forest.wait_for_standbys();
    }
    let gaps = forest.gaps.clone();
    assert_eq!(forest.missing(), 0, "packets that never came");
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    assert!(worst < GAP, "a gap of {worst} ms; all: {gaps:?}");
}

#[test]
fn nodes_that_leave_are_not_missed() {
    let _turn = take_turn();
    let mut forest = grown(10, 3);
    for _ in 0..3 {
        forest.fell(End::Asked);
        forest.wait_for_standbys();
    }
    let gaps = forest.gaps.clone();
    assert_eq!(forest.missing(), 0, "packets that never came");
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    assert!(worst < 150.0, "a gap of {worst} ms; all: {gaps:?}");
}

#[test]
fn far_from_each_other_nodes_lose_nothing_either() {
    let _turn = take_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let mut forest = Forest::grow_far(Impairment::FAR, 5, 2);
    forest.wait_for_standbys();
    let below = forest.fell(End::Killed);
    assert!(below > 0, "somebody hangs below the victim");
    let gaps = forest.gaps.clone();
    assert_eq!(forest.missing(), 0, "packets that never came");
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    assert!(worst < GAP, "a gap of {worst} ms; all: {gaps:?}");
}
