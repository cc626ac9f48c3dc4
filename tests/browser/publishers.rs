//! Chromium publishes by WHIP, with nothing but fetch and RTCPeerConnection.

use std::collections::BTreeSet;

use banyan_tests::chromium::Launch;
use banyan_tests::mesh::{Node, end_all};
use banyan_tests::page::{Page, assert_advancing};
use banyan_tests::publisher::{waiting, waiting_args};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{api, packet_log, secs, stats, wait_for};
use serde_json::json;

use crate::browser_is_there;
use crate::studio::Studio;

#[test]
fn a_page_publishes_and_another_watches() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let studio = Studio::open(&whip);
    studio.publish("VP8");
    let page = Page::open(&root.link, Launch::default());
    page.wait_for_frames(60, secs(20));
    assert_eq!(page.state(), "playing");
    // Without feedback about arrivals it would stay at 300 kbit/s.
    wait_for("a higher bit rate", secs(20), || {
        (studio.estimate() > 600_000.0).then_some(())
    });
    assert_eq!(packet_log::missing(&root.packet_log()), []);
}

#[test]
fn of_a_picture_in_layers_one_is_received() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let relay = Node::relay(&directory, "relay", &root.link, 2);
    let page = Page::open(&root.link, Launch::default());
    let studio = Studio::open(&whip);
    let mut seen = 0;
    for largest_first in [true, false] {
        studio.publish_layers("VP8", largest_first);
        // The stamp can be read in the smallest layer too.
        page.wait_for_frames(seen + 90, secs(20));
        seen = page.frames().len();
        assert_advancing(&page.frames()[seen - 60..]);
        studio.stop();
    }
    let mut nodes = [relay];
    end_all(&mut nodes);
    let got = nodes[0].packet_log();
    assert_eq!(packet_log::missing(&got), []);
    let epochs: BTreeSet<u64> = got.keys().map(|k| k.0).collect();
    assert_eq!(epochs.len(), 1, "another layer is the same stream");
}

#[test]
fn a_publisher_that_returns_with_another_codec_is_watched_on() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let relay = Node::relay(&directory, "relay", &root.link, 2);
    let page = Page::open(&root.link, Launch::default());
    let studio = Studio::open(&whip);
    studio.publish("VP8");
    relay.wait_for_media(secs(20));
    page.wait_for_frames(30, secs(20));
    studio.stop();
    std::thread::sleep(secs(2));
    let before = page.frames().len();
    let heals = relay.newest_stats().heals;
    studio.publish("VP9");
    page.wait_for_frames(before + 30, secs(10));
    let after = stats::wait_until(&relay.stats, "media in VP9", secs(5), |s| {
        s.parent.is_some() && s.tracks.iter().all(|t| t.packets > 30)
    });
    assert_eq!(after.heals, heals, "{after:?}");
    let epochs: BTreeSet<u64> = relay.packet_log().keys().map(|k| k.0).collect();
    assert_eq!(epochs.len(), 2, "another codec is another epoch");
}

#[test]
fn nobody_misses_a_packet_while_the_publisher_restarts_ice() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let relay = Node::relay(&directory, "relay", &root.link, 2);
    let studio = Studio::open(&whip);
    studio.publish("VP8");
    relay.wait_for_media(secs(20));
    // The start has a key frame's pause in it.
    std::thread::sleep(secs(3));
    let before = stats::read_all(&relay.stats).len() + 1;
    for restart in 1..=3 {
        let done = studio.restart();
        let statuses = &done["statuses"];
        assert_eq!(statuses, &json!([428, 412, 200, 412, 204]), "{done}");
        assert_eq!(done["kind"], "application/trickle-ice-sdpfrag");
        assert_eq!(done["repeated"], true, "the same restart twice: {done}");
        for changed in ["name", "port", "tag"] {
            assert_ne!(done["before"][changed], done["after"][changed], "{done}");
        }
        wait_for("the new session", secs(5), || {
            let log = root.process.stderr();
            (log.matches("has restarted ICE").count() == restart).then_some(())
        });
        std::thread::sleep(secs(2));
    }
    let metrics = api::get(&whip.url.replace("/whip", "/metrics")).body;
    assert!(metrics.contains("banyan_publisher_ice_restarts_total 3\n"));
    let mut nodes = [relay];
    end_all(&mut nodes);
    let sent = root.packet_log();
    assert_eq!(packet_log::missing(&sent), []);
    let got = nodes[0].packet_log();
    assert_eq!(packet_log::missing(&got), []);
    assert!(packet_log::assert_identical(&sent, &got, "relay") > 500);
    let epochs: BTreeSet<u64> = got.keys().map(|k| k.0).collect();
    assert_eq!(epochs.len(), 1, "the stream stays what it was");
    let gap = stats::largest_gap_ms(&stats::read_all(&nodes[0].stats)[before..]);
    // 66 ms were measured: a picture that came late. A restart that dropped the path before it had
    // another would be silent for its round trips and the publisher's pacing.
    assert!(gap < 300.0, "{gap} ms without a packet");
}
