//! A child that takes nothing for a while.

use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, stats};
use rustix::process::Signal;

/// Memory the root may take for a stalled child: its queue, and the noise of an allocator.
const MEMORY: u64 = 16 * 1024 * 1024;

#[test]
fn a_stalled_child_disturbs_nobody() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 2);
    let stalled = Node::relay(&directory, "stalled", &root.link, 0);
    root.wait_for_peers(2, secs(10));
    let sibling = Node::relay(&directory, "sibling", &root.link, 2);
    root.wait_for_peers(3, secs(10));
    let nephew = Node::relay(&directory, "nephew", &root.link, 2);
    root.wait_for_peers(4, secs(10));
    for node in [&stalled, &sibling, &nephew] {
        node.wait_for_media(secs(10));
    }
    std::thread::sleep(secs(2));

    let memory = root.process.resident_bytes();
    let before = [&sibling, &nephew].map(|node| stats::read_all(&node.stats).len());
    stalled.process.signal(Signal::STOP);
    std::thread::sleep(secs(20));
    let grown = root.process.resident_bytes().saturating_sub(memory);
    assert!(grown < MEMORY, "the root took {grown} bytes more");
    for (node, before) in [&sibling, &nephew].into_iter().zip(before) {
        let lines = stats::read_all(&node.stats);
        let during = &lines[before..];
        assert!(during.len() > 15, "{} lines of statistics", during.len());
        let gap = stats::largest_gap_ms(during);
        assert!(
            gap <= 100.0,
            "{} saw a gap of {gap} ms",
            node.process.name()
        );
        let newest = &during[during.len() - 1];
        assert_eq!((newest.lost(), newest.heals), (0, 0), "{newest:?}");
    }

    stalled.process.signal(Signal::CONT);
    stalled.wait_for_more_media(secs(10));
}
