//! Chromium publishes by WHIP, with nothing but fetch and RTCPeerConnection.

use std::collections::BTreeSet;

use banyan_tests::chromium::Launch;
use banyan_tests::mesh::Node;
use banyan_tests::page::Page;
use banyan_tests::publisher::{waiting, waiting_args};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{packet_log, secs, stats, wait_for};

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
    assert!(after.heals <= heals + 1, "{after:?}");
    let epochs: BTreeSet<u64> = relay.packet_log().keys().map(|k| k.0).collect();
    assert_eq!(epochs.len(), 2, "another codec is another epoch");
}
