//! A player that is nobody's but the page's own: fetch, and an `RTCPeerConnection`.

use std::io::{Read, Write};
use std::net::TcpListener;

use banyan_tests::chromium::Launch;
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::page::{Page, assert_advancing, assert_in_sync};
use banyan_tests::turn::take_turn;
use banyan_tests::whep::free_port;
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, wait_for};

use crate::browser_is_there;

/// Serves the page from an origin of its own; its address.
pub(crate) fn foreign_site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let page = include_str!("../src/page/whep.html");
        for stream in listener.incoming().take(20) {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    format!("http://{address}/")
}

/// Plays what `endpoint` gives, and leaves.
fn assert_plays(endpoint: &str) {
    let page = Page::open(
        &format!("{}?endpoint={endpoint}", foreign_site()),
        Launch::default(),
    );
    let frames = page.wait_for_frames(60, secs(10));
    assert_advancing(&frames);
    assert_in_sync(&page);
    assert_advancing(&page.frames());
    let status = |name: &str| page.browser.evaluate(&format!("whep.{name}"));
    assert_eq!(
        (status("status"), status("patched")),
        (201.into(), 204.into())
    );
    assert_eq!(page.browser.evaluate("whep.leave()"), 200);
}

#[test]
fn a_foreign_page_plays_through_the_tracker_and_at_a_nodes_door() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let port = free_port();
    let args = Node::args(&directory, "viewer", "watch", &root.link)
        .with("--listen", format!("127.0.0.1:{port}"));
    let viewer = Node::start(&directory, "viewer", args);
    viewer.wait_for_media(secs(10));
    assert_plays(&format!("{}/whep/{}", root.tracker, root.stream));
    wait_for("the player's slot", secs(3), || {
        (root.tree().len() == 2).then_some(())
    });
    assert_plays(&format!("http://127.0.0.1:{port}/whep"));
}
