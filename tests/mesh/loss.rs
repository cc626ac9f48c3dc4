//! A link that loses packets, both ways.

use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::network::{Namespace, available, cable};
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, packet_log, secs};

/// Drops every twentieth UDP packet that arrives, by chance.
const FIVE_PERCENT: &str = "
table inet loss {
    chain input {
        type filter hook input priority 0;
        meta l4proto udp numgen random mod 100 < 5 drop
    }
}
";

#[test]
fn five_percent_loss_costs_no_frame() {
    let _turn = take_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let directory = TempDir::new();
    let (here, there) = (Namespace::new("root"), Namespace::new("child"));
    cable(&here, "10.5.0.1/24", &there, "10.5.0.2/24");
    let address = "10.5.0.1:0".parse().unwrap();
    let args = Broadcast::args_on(&directory, address, &media::clip_mp4());
    let mut root = here.inside(|| Broadcast::start(&directory, args));
    let recording = directory.join("child.mp4");
    let args = Node::args_on(&directory, "child", "watch", &root.link, "10.5.0.2:0")
        .with("--record", &recording);
    here.nft(FIVE_PERCENT);
    there.nft(FIVE_PERCENT);
    let mut child = there.inside(|| Node::start(&directory, "child", args));
    child.wait_for_media(secs(15));
    std::thread::sleep(secs(20));
    let newest = child.newest_stats();
    assert_eq!(child.process.interrupt(), Some(0));
    assert_eq!(root.process.interrupt(), Some(0));

    assert_eq!(newest.lost(), 0, "{newest:?}");
    let share = newest.repaired() as f64 / newest.packets() as f64;
    assert!(
        (0.02..0.10).contains(&share),
        "a twentieth was lost on the way: {newest:?}"
    );
    let received = child.packet_log();
    assert_eq!(packet_log::missing(&received), []);
    packet_log::assert_identical(&root.packet_log(), &received, "the child");
    if let Some(ffmpeg) = media::ffmpeg() {
        let recorded = media::decode(&ffmpeg, &recording);
        assert_eq!(recorded.jumps, 0, "{recorded:?}");
        assert!(
            recorded.frames > 19 * media::FRAME_RATE as usize,
            "{recorded:?}"
        );
    }
}
