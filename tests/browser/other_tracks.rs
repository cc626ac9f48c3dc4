//! A publisher comes back with other tracks: pages go on over the connection they have.

use banyan_tests::chromium::Launch;
use banyan_tests::mesh::Node;
use banyan_tests::page::{Page, assert_advancing, assert_in_sync};
use banyan_tests::publisher::{waiting, waiting_args};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{api, secs};
use serde_json::Value;

use crate::browser_is_there;
use crate::studio::Studio;

/// What would tell of another connection: its number, its parent, and parents lost.
fn place(page: &Page) -> Vec<Value> {
    let stats = page.stats();
    assert_eq!(page.state(), "playing", "{stats}");
    let told = ["link", "parent", "heals", "node"];
    told.iter().map(|name| stats[name].clone()).collect()
}

#[test]
fn pages_show_other_codecs_and_sound_that_comes_and_goes_over_one_connection() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let args = waiting_args(&directory).with("--max-children", "2");
    let (root, whip) = waiting(&directory, args);
    let relay = Node::relay(&directory, "relay", &root.link, 1);
    let studio = Studio::open(&whip);
    studio.publish("VP8");
    relay.wait_for_media(secs(20));
    // One below the root, one below the relay.
    let pages = [1, 2].map(|_| {
        let page = Page::open(&root.link, Launch::default());
        page.wait_for_frames(60, secs(20));
        page
    });
    std::thread::sleep(secs(2));
    let places = || pages.each_ref().map(place);
    let (before, movements) = (places(), api::movements(&root.tracker));
    for (codec, mute) in [
        ("H264", true),
        ("VP9", false),
        ("VP8", true),
        ("H264", false),
    ] {
        studio.stop();
        std::thread::sleep(secs(1));
        let shown = pages.each_ref().map(|page| page.frames().len());
        if mute {
            studio.publish_mute(codec);
        } else {
            studio.publish(codec);
        }
        for (page, shown) in pages.iter().zip(shown) {
            let frames = page.wait_for_frames(shown + 90, secs(10));
            let pause = frames[shown].at - frames[shown - 1].at;
            println!("{codec}: {pause:.0} ms between the last picture and the next");
            // The first ones are the browser's last old ones.
            assert_advancing(&frames[frames.len() - 60..]);
        }
        std::thread::sleep(secs(2));
        assert_eq!(places(), before, "another connection was made for {codec}");
        assert_eq!(api::movements(&root.tracker), movements, "for {codec}");
    }
    for page in &pages {
        assert_in_sync(page);
    }
}

/// Takes the offers made anew out of what a page says to its parent, as a page of an older program
/// would not make them.
const OLDER: &str = "{
    const { send } = RTCDataChannel.prototype;
    RTCDataChannel.prototype.send = function (data) {
        if (!String(data).startsWith('{\"offer\"')) send.call(this, data);
    };
}";

#[test]
fn a_page_that_does_not_renegotiate_joins_again_by_itself() {
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
    let before = page.stats()["link"].clone();
    page.browser.evaluate(OLDER);
    studio.stop();
    std::thread::sleep(secs(1));
    let shown = page.frames().len();
    studio.publish("H264");
    let frames = page.wait_for_frames(shown + 60, secs(15));
    let pause = frames[shown].at - frames[shown - 1].at;
    println!("{pause:.0} ms without a picture, a second of them the publisher's own");
    assert_ne!(page.stats()["link"], before);
    assert_eq!(page.state(), "playing");
}
