//! A browser as people have it: no sound before a click.

use banyan_tests::chromium::Launch;
use banyan_tests::mesh::Broadcast;
use banyan_tests::page::{Page, assert_advancing};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, wait_for};

use crate::browser_is_there;

#[test]
fn the_picture_starts_muted_and_a_click_brings_sound() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 2);
    let launch = Launch {
        sound_without_click: false,
        ..Launch::default()
    };
    let page = Page::open(&root.link, launch);
    assert_advancing(&page.wait_for_frames(30, secs(10)));
    assert_eq!(page.browser.evaluate("banyan.video().muted"), true);

    page.browser.click("button.cue");
    wait_for("sound on", secs(2), || {
        (page.browser.evaluate("banyan.video().muted") == false).then_some(())
    });
    let sound = page.listen(secs(3));
    assert!(sound.peak > 0.1, "silence: {}", sound.peak);
    assert_eq!(page.browser.evaluate("banyan.video().paused"), false);
    let before = page.frames().len();
    assert_advancing(&page.wait_for_frames(before + 30, secs(5)));
}
