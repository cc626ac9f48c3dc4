//! What a viewer sees when the node above goes.

use banyan_tests::chromium::Launch;
use banyan_tests::forest::End;
use banyan_tests::freezes::{Watched, clip_with_key_frames, longest_pause};
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::page::{Page, assert_advancing};
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, wait_for};

use crate::browser_is_there;

/// Longest time without a new picture on a machine that does much else.
const KILLED: f64 = 1000.0;
const LEFT: f64 = 300.0;

#[test]
fn the_picture_goes_on_when_the_parent_is_killed() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    for seconds in [1, 2, 4] {
        let directory = TempDir::new();
        let Some(clip) = clip_with_key_frames(&directory, seconds) else {
            skip("there is no ffmpeg to make clips with rare key frames");
            continue;
        };
        let mut watched = Watched::open(&clip);
        for kill in 1..=2 {
            watched.wait_for_standby();
            let freeze = watched.fell(End::Killed);
            println!("a key frame every {seconds} s: {freeze:.0} ms without a new picture");
            assert_eq!(watched.heals(), kill, "moves to the standby");
            assert!(freeze < KILLED, "{freeze} ms without a new picture");
        }
    }
}

#[test]
fn a_parent_that_leaves_is_not_missed() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let clip = clip_with_key_frames(&directory, 1).unwrap();
    let mut watched = Watched::open(&clip);
    for _ in 0..2 {
        watched.wait_for_standby();
        let freeze = watched.fell(End::Asked);
        println!("{freeze:.0} ms without a new picture");
        assert!(freeze < LEFT, "{freeze} ms without a new picture");
    }
}

#[test]
fn a_page_makes_way_for_a_relay_without_a_pause() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    // One of three is kept for heals, and is where the page is told to move from.
    let root = Broadcast::with_slots(&directory, 3);
    let page = Page::open(&root.link, Launch::default());
    page.wait_for_frames(60, secs(20));
    let place = || page.stats()["parent"].clone();
    let before = place();
    let _relays = ["relay-1", "relay-2"].map(|name| Node::relay(&directory, name, &root.link, 4));
    wait_for("the page's move", secs(60), || {
        (place() != before).then_some(())
    });
    page.wait_for_frames(page.frames().len() + 60, secs(10));
    let frames = page.frames();
    // The first ones come while the browser still starts.
    let since = &frames[30..];
    assert_advancing(since);
    let freeze = longest_pause(since);
    println!("{freeze:.0} ms without a new picture during a move");
    assert_eq!(page.stats()["heals"], 0, "a move is no heal");
    assert!(freeze < LEFT, "{freeze} ms without a new picture");
}
