//! The demonstration: a click on a relay kills it, and the picture goes on.

use banyan_tests::api::TreePeer;
use banyan_tests::chromium::Launch;
use banyan_tests::mesh::{Args, Broadcast};
use banyan_tests::page::Page;
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, wait_for};

use crate::browser_is_there;

/// Longest time (ms) a viewer may see the same picture while its relay dies, on a machine with eight
/// processes and a browser on two cores.
const FREEZE: f64 = 3000.0;

const HINT: &str = "document.querySelector('.tree-hint')?.textContent ?? ''";
const BUTTONS: &str = "document.querySelectorAll('.mark[role=button]').length";

fn demo(directory: &TempDir) -> Broadcast {
    let args = Args::of(["broadcast", "--demo"])
        .with("--udp", "127.0.0.1:0")
        .with("--tracker-listen", "127.0.0.1:0")
        .with("--tracker-stun", "127.0.0.1:0")
        .with("--key", directory.join("demo.key"));
    Broadcast::start(directory, args)
}

/// Pictures that the page has presented by now, and the longest time between two of them since
/// `window.pictures` was begun, in milliseconds.
const COUNT: &str = "(() => {
    const pictures = (window.pictures ??= { count: 0, last: 0, longest: 0 });
    const note = (video) => video.requestVideoFrameCallback((now) => {
        if (pictures.last) pictures.longest = Math.max(pictures.longest, now - pictures.last);
        pictures.last = Math.max(now, pictures.last);
        pictures.count += 1;
        note(video);
    });
    for (const video of document.querySelectorAll('video')) {
        if (video.noted) continue;
        video.noted = true;
        note(video);
    }
    return [pictures.count, pictures.longest, performance.now() - pictures.last];
})()";

fn pictures(page: &Page) -> [f64; 3] {
    serde_json::from_value(page.browser.evaluate(COUNT)).unwrap()
}

/// The page's parent, or another relay that feeds somebody.
fn victim(tree: &[TreePeer], parent: &str) -> String {
    let relay = |peer: &&TreePeer| peer.depth > 0 && peer.class == "native" && peer.used > 0;
    let fed = tree.iter().filter(relay);
    let chosen = fed.max_by_key(|peer| peer.id == parent).unwrap();
    chosen.id.clone()
}

#[test]
fn a_click_kills_a_relay_and_the_picture_goes_on() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let root = demo(&directory);
    root.wait_for_peers(7, secs(20));
    let page = Page::open(&root.link, Launch::default());
    page.wait_for_state("playing", secs(15));
    root.wait_for_peers(8, secs(10));
    wait_for("six buttons", secs(10), || {
        (page.browser.try_evaluate(BUTTONS).ok()? == 6).then_some(())
    });
    assert_eq!(page.browser.evaluate(HINT), "Click a relay to kill it.");
    pictures(&page);

    for keyboard in [false, true] {
        let tree = root.wait_for_peers(8, secs(20));
        let parent = page.stats()["parent"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let victim = victim(&tree, &parent);
        let mark = format!(".mark[data-id='{victim}']");
        wait_for("its button", secs(5), || {
            let found = format!("document.querySelector(\"{mark}[role=button]\") !== null");
            (page.browser.try_evaluate(&found).ok()? == true).then_some(())
        });
        let [before, ..] = pictures(&page);
        if keyboard {
            page.browser
                .evaluate(&format!("document.querySelector(\"{mark}\").focus()"));
            for kind in ["keyDown", "keyUp"] {
                let key = serde_json::json!({
                    "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13,
                });
                page.browser.command("Input.dispatchKeyEvent", key);
            }
        } else {
            // Its name stands beside it: the middle of both is neither.
            page.browser.click(&format!("{mark} .shape"));
        }
        wait_for("its end", secs(5), || {
            let tree = root.tree();
            let gone = tree.iter().all(|peer| peer.id != victim);
            let fed = tree
                .iter()
                .all(|peer| peer.parent.as_deref() != Some(&victim));
            (gone && fed && tree.len() >= 7).then_some(())
        });
        wait_for("pictures after it", secs(10), || {
            let [count, _, since] = pictures(&page);
            (count > before + 60.0 && since < 500.0).then_some(())
        });
        let [_, longest, _] = pictures(&page);
        assert!(longest < FREEZE, "the picture stood still for {longest} ms");
    }
    // Another relay comes in the place of each.
    root.wait_for_peers(8, secs(20));
}

#[test]
fn other_broadcasts_have_no_such_buttons() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 2);
    let relay = banyan_tests::mesh::Node::relay(&directory, "relay", &root.link, 2);
    relay.wait_for_media(secs(10));
    let page = Page::open(&root.link, Launch::default());
    page.wait_for_state("playing", secs(15));
    wait_for("the tree", secs(10), || {
        let marks = page
            .browser
            .try_evaluate("document.querySelectorAll('.mark').length");
        (marks.ok()? == 3).then_some(())
    });
    assert_eq!(page.browser.evaluate(BUTTONS), 0);
    assert_eq!(page.browser.evaluate(HINT), "");
    let status = "fetch('/api/demo/kill', { method: 'POST', body: '{}',
        headers: { 'Content-Type': 'application/json' } }).then((answer) => answer.status)";
    assert_eq!(page.browser.evaluate(status), 404);
}
