//! Whole broadcasts with many peers that come, connect, die and lie, from one seed.

use std::collections::BTreeSet;

use rand::RngExt;

use super::crowd::*;
use super::world::*;
use crate::id::{LinkKey, NodeId};
use crate::wire::tracker::PeerClass;

/// Peers come and go for a while; then everybody has time to heal.
fn churn(seed: u64, liars: f64) -> Mesh {
    let mut mesh = Mesh::new(seed, 6);
    for round in 0..200 {
        if mesh.rng.random_bool(0.6) {
            let native = mesh.rng.random_bool(0.5);
            let liar = mesh.rng.random_bool(liars);
            let (class, slots) = if native {
                (PeerClass::Native, mesh.rng.random_range(1..6))
            } else {
                (PeerClass::Browser, 0)
            };
            mesh.arrive(class, slots, liar);
        }
        if round > 50
            && mesh.rng.random_bool(0.4)
            && let Some(node) = mesh.random_viewer()
        {
            let silently = mesh.rng.random_bool(0.3);
            mesh.die(node, silently);
        }
        mesh.run(ms(100));
    }
    mesh.run(ms(25_000));
    mesh
}

#[test]
fn after_churn_everybody_is_fed_and_the_tracker_knows_by_whom() {
    for seed in 0..6 {
        let mesh = churn(seed, 0.0);
        assert!(mesh.actors.len() > 30);
        for actor in mesh.actors.values() {
            let node = actor.client.node;
            assert!(mesh.is_fed(node), "seed {seed}: {node} is not fed");
            let shown = mesh.world.shown(node).unwrap();
            assert_eq!(shown.parent, actor.fed.map(|(_, parent)| parent));
            // One more may be on its way.
            let feeds = |link: &&LinkKey| {
                let child = mesh.actors.get(&link.child);
                child.is_some_and(|child| child.fed == Some((**link, node)))
            };
            let children = actor.children.iter().filter(feeds).count();
            assert_eq!(usize::from(shown.used), children, "seed {seed}: {node}");
            assert!(actor.children.len() <= actor.slots);
        }
        let status = mesh.world.status();
        assert_eq!(status.viewers as usize, mesh.actors.len() - 1);
        assert_eq!(status.waiting, 0);
    }
}

#[test]
fn liars_harm_only_those_who_hang_under_them() {
    let (mut fed, mut all) = (0, 0);
    for seed in 10..20 {
        let mesh = churn(seed, 0.1);
        let liars = mesh.actors.values().filter(|actor| actor.liar).count();
        assert!(liars > 0);
        for actor in mesh.honest() {
            // An honest peer on an honest path has media, as ever.
            let mut at = actor.client.node;
            let mut honest = true;
            while let Some((_, parent)) = mesh.actors.get(&at).and_then(|a| a.fed) {
                honest &= mesh.actors.get(&parent).is_some_and(|p| !p.liar);
                at = parent;
                if at == mesh.root {
                    break;
                }
            }
            assert!(!honest || mesh.is_fed(actor.client.node), "seed {seed}");
        }
        fed += mesh.honest().filter(|a| mesh.is_fed(a.client.node)).count();
        all += mesh.honest().count();
    }
    // One liar below the root can starve half of one tree.
    assert!(fed * 10 >= all * 8, "{fed} of {all} fed");
}

#[test]
fn one_seed_makes_one_history() {
    let (a, b) = (churn(3, 0.1), churn(3, 0.1));
    assert_eq!(a.transcript, b.transcript);
    assert_ne!(a.transcript, churn(4, 0.1).transcript);
}

#[test]
fn a_thousand_peers_that_join_at_once_make_a_shallow_tree() {
    let mut mesh = Mesh::new(5, 8);
    for _ in 0..10 {
        for n in 0..100 {
            if n % 4 == 0 {
                mesh.arrive(PeerClass::Native, 6, false);
            } else {
                mesh.arrive(PeerClass::Browser, 0, false);
            }
        }
        mesh.run(ms(1000));
    }
    mesh.run(ms(15_000));
    let fed = mesh
        .actors
        .keys()
        .filter(|&&node| mesh.is_fed(node))
        .count();
    assert_eq!(fed, 1001);
    let mut query = crate::broadcast::TreeQuery::default();
    let stream = mesh.world.stream();
    let mut depths = Vec::new();
    loop {
        let page = mesh
            .world
            .tracker
            .tree(mesh.world.now, &stream, &query)
            .unwrap();
        depths.extend(page.peers.iter().map(|peer| usize::from(peer.depth)));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let mean = depths.iter().sum::<usize>() as f64 / depths.len() as f64;
    assert!(
        depths.iter().all(|&depth| depth <= 12),
        "{:?}",
        depths.iter().max()
    );
    assert!(mean < 7.0, "mean depth {mean}");
}

#[test]
fn half_of_all_peers_die_at_once_and_the_others_are_fed_again() {
    let mut mesh = Mesh::new(8, 6);
    for n in 0..120 {
        let slots = if n % 2 == 0 { 4 } else { 0 };
        mesh.arrive(PeerClass::Native, slots, false);
        mesh.run(ms(50));
    }
    mesh.run(ms(3000));
    let viewers: Vec<NodeId> = mesh
        .actors
        .keys()
        .copied()
        .filter(|&n| n != mesh.root)
        .collect();
    for node in viewers {
        if mesh.rng.random_bool(0.5) {
            mesh.die(node, false);
        }
    }
    mesh.run(ms(1000));
    mesh.run(ms(2000));
    let fed = mesh
        .actors
        .keys()
        .filter(|&&node| mesh.is_fed(node))
        .count();
    let all = mesh.actors.len();
    assert!(
        fed * 100 >= all * 90,
        "{fed} of {all} within 2 s of noticing"
    );
    mesh.run(ms(12_000));
    for &node in mesh.actors.keys() {
        assert!(mesh.is_fed(node));
    }
}

#[test]
fn the_seed_decides_between_equal_parents() {
    let first = |seed| {
        let mut world = World::new(seed);
        let root = world.root(0, 8);
        world.go_live(root, 1);
        for n in 1..=8 {
            world.placed(n, 4);
        }
        world.placed(9, 0).1.parent
    };
    let parents: BTreeSet<NodeId> = (0..30).map(first).collect();
    assert!(parents.len() > 3);
}
