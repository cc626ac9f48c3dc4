//! What people see and hear, wherever in the tree they hang.

use std::collections::BTreeSet;

use banyan_tests::chromium::Launch;
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::page::{FIRST_PICTURE, Page, assert_advancing, assert_in_sync};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs};

use crate::browser_is_there;

/// The page showed its first pictures in time, and goes on showing them.
fn assert_watches(page: &Page) {
    let frames = page.wait_for_frames(60, secs(10));
    let second = &frames[1];
    assert!(
        second.at < FIRST_PICTURE.as_secs_f64() * 1000.0,
        "the second picture came after {} ms",
        second.at
    );
    assert_advancing(&frames);
    assert_eq!(page.state(), "playing");
}

#[test]
fn three_viewers_under_different_parents_see_and_hear_the_stream() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 3);
    let _relays = ["relay-1", "relay-2"].map(|name| {
        let relay = Node::relay(&directory, name, &root.link, 1);
        relay.wait_for_media(secs(10));
        relay
    });
    let mut parents = BTreeSet::new();
    let mut viewers = Vec::new();
    for _ in 0..3 {
        let page = Page::open(&root.link, Launch::default());
        assert_watches(&page);
        assert_in_sync(&page);
        let candidates = page.candidates();
        assert!(!candidates.is_empty());
        for candidate in candidates {
            let host = !candidate.contains("typ host") || candidate.contains(".local ");
            assert!(host, "the page gives its address away: {candidate}");
        }
        parents.insert(page.stats()["parent"].as_str().unwrap().to_owned());
        viewers.push(page);
    }
    assert_eq!(parents.len(), 3, "{parents:?}");
    let tree = root.wait_for_peers(6, secs(5));
    let browsers = tree.iter().filter(|peer| peer.class == "browser").count();
    assert_eq!(browsers, 3);
    for viewer in &viewers {
        let before = viewer.frames().len();
        viewer.wait_for_frames(before + 30, secs(5));
    }
}

#[test]
fn a_vp8_broadcast_plays() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let address = "127.0.0.1:0".parse().unwrap();
    let args = Broadcast::args_on(&directory, address, &media::clip_webm());
    let root = Broadcast::start(&directory, args);
    let page = Page::open(&root.link, Launch::default());
    assert_watches(&page);
    assert_in_sync(&page);
}

#[test]
fn a_viewer_goes_on_when_its_parent_dies() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let mut relay = Node::relay(&directory, "relay", &root.link, 1);
    relay.wait_for_media(secs(10));
    let page = Page::open(&root.link, Launch::default());
    assert_watches(&page);
    relay.process.kill();
    let before = page.frames();
    let last = before[before.len() - 1].at;
    let frames = page.wait_for_frames(before.len() + 60, secs(10));
    let longest = frames
        .windows(2)
        .filter(|pair| pair[1].at >= last)
        .map(|pair| pair[1].at - pair[0].at)
        .fold(0.0, f64::max);
    assert!(longest < 3000.0, "the picture stood still for {longest} ms");
}
