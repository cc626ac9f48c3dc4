//! Nodes behind routers of every kind, two by two: a pair that can connect does, and one that cannot is
//! never left trying.

use banyan_tests::nat::{Internet, Router};
use banyan_tests::network::available;
use banyan_tests::scattered::{HOMES, Root, Scattered, class_in, connects};
use banyan_tests::turn::{share_turn, skip};
use banyan_tests::{secs, wait_for};

/// The words of a node that no parent can be found for.
const NO_ROUTE: &str = "waiting for a parent that can be reached";

/// The words of one that was sent to a parent it did not reach.
const UNREACHED: &str = "no way to reach it was found";

#[test]
fn every_pair_of_networks_connects_or_is_never_assigned() {
    let _turn = share_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let mut world = Scattered::new();
    let homes = HOMES.map(|(router, class)| {
        let [above, below] = [(); 2].map(|()| world.internet.home(router));
        (above, below, class)
    });
    let roots: Vec<Root> = (homes.iter().enumerate())
        .map(|(n, (above, ..))| world.root(above, Internet::V4, &format!("root-{n}"), homes.len()))
        .collect();
    for (root, (.., class)) in roots.iter().zip(&homes) {
        assert_eq!(class_in(&root.stats).v4.as_deref(), Some(*class));
    }
    let mut pairs = Vec::new();
    for (n, (root, (.., above))) in roots.iter().zip(&homes).enumerate() {
        for (m, (_, home, below)) in homes.iter().enumerate() {
            let name = format!("leaf-{n}-{m}");
            let node = world.leaf(home, Internet::V4, &name, &root.stream);
            let what = format!("{:?} below {:?}", HOMES[m].0, HOMES[n].0);
            pairs.push((node, connects(above, below), *below, what));
        }
    }
    for (node, expected, class, what) in &pairs {
        if *expected {
            let stats = node.wait_for_media(secs(30));
            assert_eq!(stats.depth, Some(1), "{what}");
            assert_eq!(stats.lost(), 0, "{what}");
        } else {
            wait_for(&format!("{what}: no route"), secs(30), || {
                node.process.stderr().contains(NO_ROUTE).then_some(())
            });
        }
        assert_eq!(class_in(&node.stats).v4.as_deref(), Some(*class), "{what}");
    }
    for (node, expected, class, what) in &mut pairs {
        let stats = node.newest_stats();
        assert_eq!(stats.parent.is_some(), *expected, "{what}: {stats:?}");
        assert_eq!(stats.heals, 0, "{what}");
        // Silence takes longer to be sure of than a connection may take.
        let log = node.process.stderr();
        let vain = usize::from(*class == "blocked");
        assert!(log.matches(UNREACHED).count() <= vain, "{what}: {log}");
        assert!(node.process.is_running(), "{what}");
    }
    let tree = world.tree(&roots[0].stream);
    assert_eq!(tree.len(), 5, "{tree:?}");
    let shown: Vec<&str> = tree[1..].iter().map(|peer| peer.reach.as_str()).collect();
    for class in ["open", "cone", "symmetric"] {
        assert!(shown.contains(&class), "{shown:?}");
    }
}

#[test]
fn with_ipv6_alone_two_connect_and_one_without_it_is_kept_away() {
    let _turn = share_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let mut world = Scattered::new();
    let [above, below] = [(); 2].map(|()| world.internet.home_v6());
    let other = world.internet.home(Router::None);
    let host = format!("[{}]", Internet::V6);
    let root = world.root(&above, &host, "root", 2);
    let class = class_in(&root.stats);
    assert_eq!((class.v4, class.v6.as_deref()), (None, Some("open")));
    let six = world.leaf(&below, &host, "over-ipv6", &root.stream);
    let four = world.leaf(&other, Internet::V4, "over-ipv4", &root.stream);
    assert_eq!(six.wait_for_media(secs(20)).depth, Some(1));
    wait_for("no route", secs(20), || {
        four.process.stderr().contains(NO_ROUTE).then_some(())
    });
    assert_eq!(world.tree(&root.stream).len(), 2);
}

/// The words of a node that uses a TURN server.
const RELAYED: &str = "relayed by the TURN server";

#[test]
fn who_cannot_connect_otherwise_is_relayed_and_nobody_else() {
    let _turn = share_turn();
    let Some((mut world, _coturn)) = Scattered::with_turn() else {
        return;
    };
    let above = [Router::PortRestricted, Router::Symmetric].map(|r| world.internet.home(r));
    let roots = [("cone", &above[0]), ("symmetric", &above[1])]
        .map(|(name, home)| world.root(home, Internet::V4, &format!("root-{name}"), 3));
    for (root, class) in roots.iter().zip(["cone", "symmetric"]) {
        assert_eq!(class_in(&root.stats).v4.as_deref(), Some(class));
    }
    // Each below each root; whether it is relayed, or has no way at all.
    let below = [
        (Router::PortRestricted, [Some(false), Some(true)]),
        (Router::Symmetric, [Some(true), Some(true)]),
        (Router::Blocked, [None, None]),
    ];
    let (mut homes, mut nodes) = (Vec::new(), Vec::new());
    for (router, expected) in below {
        let home = world.internet.home(router);
        for (n, (root, expected)) in roots.iter().zip(expected).enumerate() {
            let name = format!("leaf-{router:?}-{n}");
            let node = world.leaf(&home, Internet::V4, &name, &root.stream);
            nodes.push((node, expected, format!("{router:?} below root {n}")));
        }
        homes.push(home);
    }
    for (node, expected, what) in &nodes {
        match expected {
            Some(relayed) => {
                node.wait_for_media(secs(30));
                let log = node.process.stderr();
                assert_eq!(log.contains(RELAYED), *relayed, "{what}: {log}");
            }
            None => wait_for(&format!("{what}: no route"), secs(30), || {
                node.process.stderr().contains(NO_ROUTE).then_some(())
            }),
        }
    }
    std::thread::sleep(secs(3));
    for (node, expected, what) in &nodes {
        let stats = node.newest_stats();
        assert_eq!(stats.parent.is_some(), expected.is_some(), "{what}");
        assert_eq!((stats.lost(), stats.heals), (0, 0), "{what}: {stats:?}");
    }
}
