//! Pages behind routers of every kind: they play where a way exists, and say so where none does.

use std::thread;

use banyan_tests::chromium::Launch;
use banyan_tests::nat::{Home, Internet, Router};
use banyan_tests::network::available;
use banyan_tests::page::Page;
use banyan_tests::scattered::{HOMES, Root, Scattered, class_in, connects};
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::{secs, wait_for};

use crate::browser_is_there;

/// What becomes of a page within the time it has: whether it plays.
fn plays(page: &Page) -> bool {
    wait_for("a picture, or word that there is no way", secs(40), || {
        let view = page.browser.try_evaluate("window.banyan.stats()").ok()?;
        if view["state"] == "waiting" && view["detail"] == "no_route" {
            return Some(false);
        }
        let shown = page.browser.try_evaluate("probe.frames.length").ok()?;
        (shown.as_u64()? > 10).then_some(true)
    })
}

#[test]
fn a_page_plays_behind_every_router_that_lets_it_or_says_that_none_can_be_reached() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let mut world = Scattered::new();
    let parents = HOMES.map(|(router, class)| (world.internet.home(router), class));
    let viewers = [
        (Router::None, "open"),
        (Router::PortRestricted, "cone"),
        (Router::Symmetric, "symmetric"),
        (Router::Blocked, "blocked"),
    ]
    .map(|(router, class)| (world.internet.home(router), class));
    let roots: Vec<Root> = (parents.iter().enumerate())
        .map(|(n, (home, _))| world.root(home, Internet::V4, &format!("root-{n}"), viewers.len()))
        .collect();
    for (root, (_, class)) in roots.iter().zip(&parents) {
        assert_eq!(class_in(&root.stats).v4.as_deref(), Some(*class));
    }
    let links: Vec<(String, &str)> = (roots.iter().zip(&parents))
        .map(|(root, (_, class))| (world.link(Internet::V4, &root.stream), *class))
        .collect();
    let visit = |home: &Home, below: &str| {
        let page = home.machine.inside(|| Page::blank(Launch::default()));
        for (link, above) in &links {
            page.browser.open(link);
            // The tracker does not know what a page sits behind: it counts as most homes.
            let expected = connects(above, below) && connects(above, "cone");
            assert_eq!(plays(&page), expected, "a page in {below} under {above}");
        }
    };
    thread::scope(|scope| {
        let visits: Vec<_> = (viewers.iter())
            .map(|(home, class)| scope.spawn(|| visit(home, class)))
            .collect();
        for visit in visits {
            visit.join().unwrap();
        }
    });
}

#[test]
fn a_page_that_cannot_connect_otherwise_is_relayed() {
    let _turn = take_turn();
    if !browser_is_there() {
        return;
    }
    let Some((mut world, _coturn)) = Scattered::with_turn() else {
        return;
    };
    // The last one over TCP: nothing else leaves its network.
    let pairs = [
        (Router::PortRestricted, "cone", Router::Symmetric),
        (Router::Symmetric, "symmetric", Router::PortRestricted),
        (Router::None, "open", Router::Blocked),
    ];
    for (n, (above, class, below)) in pairs.into_iter().enumerate() {
        let homes = [above, below].map(|router| world.internet.home(router));
        let root = world.root(&homes[0], Internet::V4, &format!("root-{n}"), 1);
        assert_eq!(class_in(&root.stats).v4.as_deref(), Some(class));
        let link = world.link(Internet::V4, &root.stream);
        let page = (homes[1].machine).inside(|| Page::open(&link, Launch::default()));
        assert!(plays(&page), "a page behind {below:?} under {above:?}");
    }
}
