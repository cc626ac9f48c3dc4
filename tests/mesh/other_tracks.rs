//! A publisher comes back with another codec: connections stand, and carry the new tracks.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use banyan_tests::foreign::clip::{Clip, Coding};
use banyan_tests::foreign::publisher::{Habits, Publisher};
use banyan_tests::mesh::{Broadcast, Node, end_all};
use banyan_tests::publisher::{waiting, waiting_args};
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::workspace::TempDir;
use banyan_tests::{api, media, packet_log, secs};

/// Nodes below one another.
const DEPTH: usize = 3;

/// From the first packet at the root to the first at the last node: each hop hears of the tracks,
/// offers and is answered, all hops at once. 2 to 36 ms were measured; two heartbeats would be
/// what a child waits that is not told at once where the numbers begin.
const LATE: Duration = Duration::from_millis(500);

/// What the tracker and the nodes count when links are made, refused or lost.
fn movements(root: &Broadcast, nodes: &[Node]) -> Vec<String> {
    let mut lines = api::movements(&root.tracker);
    lines.extend(nodes.iter().map(|node| {
        let newest = node.newest_stats();
        format!("{:?} after {} heals", newest.parent, newest.heals)
    }));
    lines
}

/// Bytes of a packet log so far.
fn length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |file| file.len())
}

/// When a log of this length got its next lines.
fn next_line(log: &Path, before: u64, patience: Duration) -> Instant {
    let end = Instant::now() + patience;
    while length(log) <= before {
        assert!(Instant::now() < end, "nothing more in {}", log.display());
        std::thread::sleep(Duration::from_millis(1));
    }
    Instant::now()
}

#[test]
fn another_codec_takes_no_new_connection_down_to_the_third_hop() {
    let _turn = take_turn();
    let Some(ffmpeg) = media::ffmpeg() else {
        return skip("there is no ffmpeg to make pictures");
    };
    let directory = TempDir::new();
    let args = waiting_args(&directory).with("--max-children", "1");
    let (root, whip) = waiting(&directory, args);
    let clips = [Coding::Vp8, Coding::H264].map(|coding| Clip::read(&ffmpeg, coding));
    let mut publisher = Publisher::with_habits(clips[0].clone(), &whip, Habits::default());
    let mut nodes = Vec::new();
    for depth in 1..=DEPTH {
        let node = Node::relay(&directory, &format!("relay-{depth}"), &root.link, 1);
        node.wait_for_media(secs(20));
        nodes.push(node);
    }
    root.wait_for_peers(DEPTH + 1, secs(10));
    std::thread::sleep(secs(2));
    let before = movements(&root, &nodes);
    let last = directory.join(format!("relay-{DEPTH}.packets"));
    let mut took = Vec::new();
    for change in 1..=4 {
        drop(publisher);
        std::thread::sleep(secs(1));
        let (at_root, at_last) = (length(&root.packets), length(&last));
        publisher = Publisher::with_habits(clips[change % 2].clone(), &whip, Habits::default());
        let begun = next_line(&root.packets, at_root, secs(5));
        let played = next_line(&last, at_last, secs(5));
        took.push(played.saturating_duration_since(begun));
        std::thread::sleep(secs(3));
        assert_eq!(movements(&root, &nodes), before, "somebody was moved");
    }
    println!("from the root's first packet to playback at depth {DEPTH}: {took:?}");
    drop(publisher);
    std::thread::sleep(secs(1));
    end_all(&mut nodes);
    let sent = root.packet_log();
    for (depth, node) in (1..).zip(&nodes) {
        let got = node.packet_log();
        let epochs: std::collections::BTreeSet<u64> = got.keys().map(|k| k.0).collect();
        assert_eq!(epochs.len(), 5);
        assert_eq!(packet_log::missing(&got), []);
        assert!(packet_log::assert_identical(&sent, &got, "a relay") > 500);
        for epoch in epochs.into_iter().skip(1) {
            let first = |log: &packet_log::PacketLog| {
                let mut picture = log.keys().filter(|key| key.0 == epoch && key.1 == 0);
                picture.next().copied()
            };
            assert_eq!(
                first(&got),
                first(&sent),
                "from the first picture, at {depth}"
            );
        }
    }
    assert!(took.iter().all(|took| *took < LATE), "{took:?}");
}
