//! A page over plain HTTP from another machine of the network: no secure context.

use banyan_tests::chromium::Launch;
use banyan_tests::mesh::Broadcast;
use banyan_tests::network::{Namespace, available, cable};
use banyan_tests::page::{Page, assert_advancing};
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs};

use crate::browser_is_there;

#[test]
fn a_viewer_in_the_lan_watches_over_plain_http() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let directory = TempDir::new();
    let (studio, sofa) = (Namespace::new("studio"), Namespace::new("sofa"));
    cable(&studio, "10.8.0.1/24", &sofa, "10.8.0.2/24");
    let address = "10.8.0.1:0".parse().unwrap();
    let args = Broadcast::args_on(&directory, address, &media::clip_mp4());
    let root = studio.inside(|| Broadcast::start(&directory, args));
    assert!(root.link.starts_with("http://10.8.0.1:"), "{}", root.link);
    let page = sofa.inside(|| Page::open(&root.link, Launch::default()));
    assert_advancing(&page.wait_for_frames(60, secs(10)));
    assert_eq!(page.browser.evaluate("isSecureContext"), false);
    let sound = page.listen(secs(3));
    assert!(sound.peak > 0.1, "silence: {}", sound.peak);
}
