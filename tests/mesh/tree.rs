//! A root with two slots and seven nodes below it.

use banyan_tests::mesh::{Broadcast, Node, end_all};
use banyan_tests::turn::{share_turn, skip, take_turn};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, packet_log, secs};

#[test]
fn seven_nodes_in_three_tiers_receive_the_root_bit_for_bit() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let mut root = Broadcast::with_slots(&directory, 2);
    let mut nodes = Vec::new();
    for number in 1..=6 {
        let name = format!("relay-{number}");
        nodes.push(Node::relay(&directory, &name, &root.link, 2));
        root.wait_for_peers(number + 1, secs(10));
    }
    nodes.push(Node::recorder(&directory, "deepest", &root.link, 2));
    let tree = root.wait_for_peers(8, secs(10));
    for node in &nodes {
        node.wait_for_media(secs(10));
    }

    let depths: Vec<u32> = tree.iter().map(|peer| peer.depth).collect();
    assert_eq!(depths, [0, 1, 1, 2, 2, 2, 2, 3]);
    for peer in &tree {
        let children = tree
            .iter()
            .filter(|p| p.parent.as_ref() == Some(&peer.id))
            .count();
        assert!(children <= 2, "{} has {children} children", peer.id);
    }

    std::thread::sleep(secs(12));
    for node in &nodes {
        let stats = node.newest_stats();
        let told = tree.iter().find(|peer| peer.id == stats.peer).unwrap();
        assert_eq!(stats.parent, told.parent);
        assert_eq!(stats.depth, Some(told.depth));
        assert_eq!((stats.lost(), stats.heals), (0, 0), "{stats:?}");
    }
    end_all(&mut nodes);
    assert_eq!(root.process.interrupt(), Some(0));

    let sent = root.packet_log();
    assert_eq!(
        packet_log::missing(&sent),
        [],
        "the root numbers without gaps"
    );
    for node in &nodes {
        let name = node.process.name();
        let received = node.packet_log();
        assert_eq!(packet_log::missing(&received), [], "missing at {name}");
        packet_log::assert_identical(&sent, &received, name);
        for track in 0..2 {
            let count = packet_log::of_track(&received, track).len();
            assert!(
                count > 12 * 30,
                "{count} packets of track {track} at {name}"
            );
        }
    }

    let Some(ffmpeg) = media::ffmpeg() else {
        return skip("there is no ffmpeg to judge the recording");
    };
    let recorded = media::decode(&ffmpeg, &nodes[6].recording);
    assert_eq!(recorded.jumps, 0, "{recorded:?}");
    assert!(
        recorded.frames > 12 * media::FRAME_RATE as usize,
        "{recorded:?}"
    );
    assert!(recorded.audio_seconds > 12.0, "{recorded:?}");
}

#[test]
fn a_webm_broadcast_is_recorded_as_webm() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let args = Broadcast::args_on(
        &directory,
        "127.0.0.1:0".parse().unwrap(),
        &media::clip_webm(),
    );
    let root = Broadcast::start(&directory, args);
    let recording = directory.join("viewer.webm");
    let args = Node::args(&directory, "viewer", "watch", &root.link).with("--record", &recording);
    let mut viewer = Node::start(&directory, "viewer", args);
    viewer.wait_for_media(secs(10));
    std::thread::sleep(secs(5));
    assert_eq!(viewer.process.interrupt(), Some(0));

    let Some(ffmpeg) = media::ffmpeg() else {
        return skip("there is no ffmpeg to judge the recording");
    };
    let recorded = media::decode(&ffmpeg, &recording);
    assert_eq!(recorded.jumps, 0, "{recorded:?}");
    assert!(
        recorded.frames > 5 * media::FRAME_RATE as usize,
        "{recorded:?}"
    );
}

#[test]
fn a_file_played_once_ends_the_broadcast_and_the_recording() {
    let _turn = share_turn();
    let directory = TempDir::new();
    // The key first, then the recorder: it waits for the show, so that it misses nothing.
    let (_tracker, tracker) = banyan_tests::mesh::tracker("127.0.0.1:0");
    let key = directory.join("stream.key");
    banyan_tests::mesh::keygen(&key);
    let args =
        banyan_tests::mesh::Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .with("--udp", "127.0.0.1:0")
            .with("--tracker", &tracker)
            .with("--key", &key);
    let mut root = Broadcast::start(&directory, args);
    let mut viewer = Node::recorder(&directory, "viewer", &root.link, 2);
    viewer.wait_for_media(secs(10));
    assert_eq!(
        root.process.wait(secs(20)),
        Some(0),
        "{}",
        root.process.stderr()
    );
    assert_eq!(
        viewer.process.wait(secs(10)),
        Some(0),
        "{}",
        viewer.process.stderr()
    );

    let Some(ffmpeg) = media::ffmpeg() else {
        return skip("there is no ffmpeg to judge the recording");
    };
    let recorded = media::decode(&ffmpeg, &viewer.recording);
    assert_eq!(recorded.jumps, 0, "{recorded:?}");
    // From its newest key frame on; it joined within the first seconds.
    assert!(
        recorded.frames >= 7 * media::FRAME_RATE as usize,
        "{recorded:?}"
    );
}
