//! What a viewer sees when the node above goes.

use banyan_tests::forest::End;
use banyan_tests::freezes::{Watched, clip_with_key_frames};
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::workspace::TempDir;

use crate::browser_is_there;

/// Longest time without a new picture on a machine that does much else.
const KILLED: f64 = 1000.0;
const LEFT: f64 = 1000.0;

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
