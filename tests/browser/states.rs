//! What the page says when there is nothing to show, and that it starts by itself.

use banyan::id::StreamId;
use banyan_tests::chromium::Launch;
use banyan_tests::mesh::{Args, Broadcast, keygen, tracker};
use banyan_tests::page::{Page, assert_advancing};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs, wait_for};

use crate::browser_is_there;

#[test]
fn a_page_waits_for_the_show_and_survives_its_end() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let (_tracker, tracker) = tracker("127.0.0.1:0");
    let key = directory.join("stream.key");
    keygen(&key);
    let args = || {
        Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .flag("--loop")
            .flag("--listed")
            .with("--title", "The evening show")
            .with("--udp", "127.0.0.1:0")
            .with("--tracker", &tracker)
            .with("--key", &key)
    };
    let mut root = Broadcast::start(&directory, args());
    let link = root.link.clone();
    assert_eq!(root.process.interrupt(), Some(0));

    let page = Page::open(&link, Launch::default());
    page.wait_for_stream("offline", secs(5));
    let mut root = Broadcast::start(&directory, args());
    assert_advancing(&page.wait_for_frames(30, secs(10)));
    page.wait_for_state("playing", secs(5));
    let title = "document.getElementById('title').textContent";
    assert_eq!(page.browser.evaluate(title), "The evening show");

    // Its process dies and is started again: the page resumes.
    root.process.kill();
    page.wait_for_stream("away", secs(5));
    let note = "document.querySelector('.note').textContent";
    wait_for("word of the broadcaster's absence", secs(5), || {
        (page.browser.evaluate(note) == "The broadcaster is away").then_some(())
    });
    let before = page.frames().len();
    let mut root = Broadcast::start(&directory, args());
    page.wait_for_frames(before + 30, secs(10));

    assert_eq!(root.process.interrupt(), Some(0));
    page.wait_for_stream("offline", secs(10));
    let before = page.frames().len();
    let _root = Broadcast::start(&directory, args());
    page.wait_for_frames(before + 30, secs(15));
}

#[test]
fn a_page_of_a_stream_that_does_not_exist_says_so() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let (_tracker, tracker) = tracker("127.0.0.1:0");
    let unknown = StreamId::from_bytes([7; 32]);
    let page = Page::open(&format!("{tracker}/watch/{unknown}"), Launch::default());
    page.wait_for_state("absent", secs(5));
    page.browser.open(&format!("{tracker}/watch/nonsense"));
    wait_for("the page of pages that do not exist", secs(5), || {
        let heading = page
            .browser
            .try_evaluate("document.querySelector('h1').innerText")
            .ok()?;
        (heading == "There is no such page").then_some(())
    });
}

#[test]
fn the_front_page_lists_the_streams_that_chose_it() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let args = Broadcast::args(&directory)
        .flag("--listed")
        .with("--title", "Listed show");
    let root = Broadcast::start(&directory, args);
    let page = Page::open(&format!("{}/", root.tracker), Launch::default());
    wait_for("the stream's card", secs(5), || {
        let text = page
            .browser
            .try_evaluate("document.getElementById('streams').innerText")
            .ok()?;
        text.as_str()?.contains("Listed show").then_some(())
    });
    page.browser.click("#streams a");
    assert_advancing(&page.wait_for_frames(30, secs(10)));

    let private = TempDir::new();
    let root = Broadcast::start(&private, Broadcast::args(&private));
    let page = Page::open(&format!("{}/", root.tracker), Launch::default());
    page.wait_for_state("empty", secs(5));
}
