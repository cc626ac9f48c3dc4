//! Chromium publishes by WHIP, with nothing but fetch and RTCPeerConnection.

use std::collections::BTreeSet;

use banyan_tests::chromium::{Chromium, Launch};
use banyan_tests::mesh::Node;
use banyan_tests::page::Page;
use banyan_tests::publisher::{Whip, waiting, waiting_args};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{packet_log, secs, stats, wait_for};

use crate::browser_is_there;

/// A page that publishes the test clip's stamp, drawn by itself, and a tone.
struct Studio {
    chromium: Chromium,
    whip: Whip,
}

impl Studio {
    fn open(whip: &Whip) -> Self {
        let chromium = Chromium::start(Launch::default());
        // Any page without a policy of its own; a broadcast's health is one.
        chromium.open(&whip.url.replace("/whip", "/healthz"));
        chromium.evaluate(include_str!("studio.js"));
        Self {
            chromium,
            whip: whip.clone(),
        }
    }

    /// Publishes in `codec`, and returns when it is connected.
    fn publish(&self, codec: &str) {
        let Whip { url, token } = &self.whip;
        let call = format!("studio.publish('{url}', '{token}', '{codec}')");
        assert_eq!(self.chromium.evaluate(&call), "connected");
    }

    fn stop(&self) {
        assert_eq!(self.chromium.evaluate("studio.stop()"), 200);
    }

    /// What its congestion control believes it may send, in bits per second.
    fn estimate(&self) -> f64 {
        let estimate = self.chromium.evaluate("studio.estimate()");
        estimate.as_f64().unwrap_or_default()
    }
}

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
