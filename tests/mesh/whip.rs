//! ffmpeg publishes to a broadcast that has no file.

use std::path::PathBuf;

use banyan_tests::mesh::{Node, end_all};
use banyan_tests::publisher::{can_publish, publish, waiting, waiting_args};
use banyan_tests::turn::{share_turn, skip};
use banyan_tests::workspace::TempDir;
use banyan_tests::{api, media, packet_log, secs, stats, wait_for};

fn publishing_ffmpeg() -> Option<PathBuf> {
    let found = media::ffmpeg().filter(|ffmpeg| can_publish(ffmpeg));
    if found.is_none() {
        skip("there is no ffmpeg that publishes");
    }
    found
}

#[test]
fn viewers_get_what_ffmpeg_publishes_whole() {
    let _turn = share_turn();
    let Some(ffmpeg) = publishing_ffmpeg() else {
        return;
    };
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let state = || {
        let url = format!("{}/api/streams/{}", root.tracker, root.stream);
        api::get(&url).json()["state"].clone()
    };
    assert_eq!(state(), "waiting", "announced before there is media");
    // They come before the publisher, and begin by themselves.
    let relay = Node::relay(&directory, "relay", &root.link, 2);
    let viewer = Node::recorder(&directory, "viewer", &root.link, 0);
    let mut publisher = publish(&ffmpeg, &whip, &media::clip_mp4());
    for node in [&relay, &viewer] {
        node.wait_for_media(secs(20));
    }
    assert_eq!(state(), "live");
    std::thread::sleep(secs(8));
    publisher.kill();
    // The last packets are on their way.
    std::thread::sleep(secs(1));
    let mut nodes = [relay, viewer];
    end_all(&mut nodes);
    let sent = root.packet_log();
    assert_eq!(packet_log::missing(&sent), []);
    for node in &nodes {
        let got = node.packet_log();
        let name = node.process.name();
        assert_eq!(packet_log::missing(&got), [], "{name}");
        assert!(packet_log::assert_identical(&sent, &got, name) > 500);
    }
    let recording = media::decode(&ffmpeg, &nodes[1].recording);
    assert!(recording.frames >= 200, "{recording:?}");
    assert_eq!(recording.jumps, 0, "{recording:?}");
    assert!(
        !root.process.stderr().contains(&whip.token),
        "the token is in the log"
    );
}

#[test]
fn viewers_stay_while_the_publisher_is_away_and_go_on_when_it_returns() {
    let _turn = share_turn();
    let Some(ffmpeg) = publishing_ffmpeg() else {
        return;
    };
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let relay = Node::relay(&directory, "relay", &root.link, 2);
    let mut publisher = publish(&ffmpeg, &whip, &media::clip_mp4());
    relay.wait_for_media(secs(20));
    std::thread::sleep(secs(2));
    publisher.kill();
    let before = relay.newest_stats();
    // Longer than any timer by which a node gives up a parent.
    std::thread::sleep(secs(12));
    let away = relay.newest_stats();
    assert_eq!((&away.parent, away.heals), (&before.parent, 0));

    let mut second = publish(&ffmpeg, &whip, &media::clip_mp4());
    stats::wait_until(
        &relay.stats,
        "media of the second publisher",
        secs(15),
        |s| s.packets() > away.packets() + 300,
    );
    second.kill();
    std::thread::sleep(secs(1));
    let mut nodes = [relay];
    end_all(&mut nodes);
    let got = nodes[0].packet_log();
    let epochs: std::collections::BTreeSet<u64> = got.keys().map(|k| k.0).collect();
    assert_eq!(epochs.len(), 1, "the same codecs are the same epoch");
    assert_eq!(packet_log::missing(&got), [], "the numbering goes on");
    for track in [0, 1] {
        let times: Vec<u32> = packet_log::of_track(&got, track)
            .values()
            .map(|packet| packet.timestamp)
            .collect();
        let steps = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        let back = steps.filter(|step| step.cast_signed() < 0).count();
        assert_eq!(back, 0, "time goes on");
    }
}

#[test]
fn a_second_publisher_is_told_that_there_is_one() {
    let _turn = share_turn();
    let Some(ffmpeg) = publishing_ffmpeg() else {
        return;
    };
    let directory = TempDir::new();
    let (_root, whip) = waiting(&directory, waiting_args(&directory));
    let mut first = publish(&ffmpeg, &whip, &media::clip_mp4());
    wait_for("the first publisher", secs(20), || {
        first.stderr().contains("frame=").then_some(())
    });
    std::thread::sleep(secs(1));
    let mut second = publish(&ffmpeg, &whip, &media::clip_mp4());
    assert_ne!(second.wait(secs(10)), Some(0));
    assert!(second.stderr().contains("409"), "{}", second.stderr());
    assert!(first.is_running());
}
