//! Whom peers may ask while the tracker is away.

use std::collections::BTreeMap;

use super::world::*;
use crate::id::{GrantToken, NodeId};
use crate::limits::{GRANT_LIFETIME, MAX_COLD_PARENTS};
use crate::wire::tracker::*;

/// The newest word about whom a peer may ask.
fn asked(told: &[ServerMessage]) -> Option<Vec<ColdParent>> {
    told.iter().rev().find_map(|message| match message {
        ServerMessage::ColdParents { parents, .. } => Some(parents.clone()),
        _ => None,
    })
}

/// Whom a parent would take in after what it was told.
fn admitted(told: &[ServerMessage]) -> BTreeMap<NodeId, GrantToken> {
    let mut admitted = BTreeMap::new();
    for message in told {
        if let ServerMessage::Admit {
            child,
            token,
            lifetime_ms,
        } = message
        {
            if *lifetime_ms > 0 {
                admitted.insert(*child, *token);
            } else {
                admitted.remove(child);
            }
        }
    }
    admitted
}

/// A root, three hubs with room below it, and a peer below the first one.
fn family() -> (World, Client, Vec<Client>, Client) {
    let (mut world, root) = World::live(3);
    let hubs: Vec<_> = (1..=3).map(|n| world.placed(n, 4).0).collect();
    let (child, order) = world.placed(9, 2);
    let at = hubs.iter().position(|hub| hub.node == order.parent);
    let mut hubs = hubs;
    hubs.swap(0, at.expect("one of the hubs"));
    (world, root, hubs, child)
}

#[test]
fn both_ends_are_told_the_same_token() {
    let (mut world, root, hubs, child) = family();
    let all = [&[root, child][..], &hubs].concat();
    world.pass(ms(1500), &all);
    let parents = asked(&world.read(child)).expect("it is told whom to ask");
    assert!(!parents.is_empty() && parents.len() <= MAX_COLD_PARENTS);
    for ColdParent { node, token } in &parents {
        assert!(*node != child.node && *node != hubs[0].node);
        let host = all.iter().find(|host| host.node == *node).expect("a node");
        let admitted = admitted(&world.read(*host));
        assert_eq!(admitted.get(&child.node), Some(token));
    }
    let parent = world.read(hubs[0]);
    assert!(admitted(&parent).is_empty(), "not its own parent");
    // Nothing more is said while nothing changes.
    world.pass(ms(20_000), &all);
    assert_eq!(asked(&world.read(child)), None);
}

#[test]
fn a_renewal_keeps_the_token() {
    let (mut world, root, hubs, child) = family();
    let all = [&[root, child][..], &hubs].concat();
    world.pass(ms(1500), &all);
    let sorted = |mut parents: Vec<ColdParent>| {
        parents.sort_unstable_by_key(|parent| parent.node);
        parents
    };
    let before = sorted(asked(&world.read(child)).unwrap());
    world.pass(GRANT_LIFETIME * 11 / 20, &all);
    let told = world.read(child);
    assert_eq!(asked(&told).map(sorted), Some(before.clone()));
    let host = all.iter().find(|hub| hub.node == before[0].node).unwrap();
    let admitted = admitted(&world.read(*host));
    assert_eq!(admitted.get(&child.node), Some(&before[0].token));
}

#[test]
fn who_goes_or_cannot_be_reached_is_asked_by_nobody() {
    let (mut world, root, hubs, child) = family();
    let all = [&[root, child][..], &hubs].concat();
    world.pass(ms(1500), &all);
    let before = asked(&world.read(child)).unwrap();
    let asked_hub = |hub: &&Client| before.iter().any(|parent| parent.node == hub.node);
    let gone = hubs.iter().find(asked_hub).expect("one of the hubs");
    world.say(*gone, ClientMessage::Leave);
    let rest: Vec<_> = all
        .iter()
        .copied()
        .filter(|c| c.node != gone.node)
        .collect();
    world.pass(ms(1500), &rest);
    let after = asked(&world.read(child)).expect("it is told");
    assert!(after.iter().all(|parent| parent.node != gone.node));
    world.assert_consistent();
    // It leaves for good itself: nobody expects it any more.
    let hosts = rest
        .iter()
        .filter(|c| after.iter().any(|p| p.node == c.node));
    let hosts: Vec<_> = hosts.copied().collect();
    assert!(!hosts.is_empty());
    let mut told: BTreeMap<_, _> = hosts.iter().map(|h| (h.node, world.read(*h))).collect();
    world.say(child, ClientMessage::Leave);
    for host in hosts {
        let mut told = told.remove(&host.node).unwrap();
        assert!(admitted(&told).contains_key(&child.node));
        told.extend(world.read(host));
        assert!(!admitted(&told).contains_key(&child.node));
    }
    world.assert_consistent();
}

#[test]
fn whoever_came_by_itself_has_its_place_by_its_own_word() {
    let (mut world, root, hubs, child) = family();
    let all = [&[root, child][..], &hubs].concat();
    world.pass(ms(1500), &all);
    let parents = asked(&world.read(child)).unwrap();
    let link = crate::id::LinkKey {
        child: child.node,
        link: crate::id::LinkId(7),
    };
    let switched = |parent| ClientMessage::Switched {
        link,
        parent,
        lost: lost(hubs[0].node, LostReason::Silent),
    };
    world.say(child, switched(parents[0].node));
    assert_eq!(world.parent_of(child), Some(parents[0].node));
    world.assert_consistent();
    // One that it may not ask does not become its parent by that.
    let (other, order) = world.placed(10, 0);
    let strange = crate::id::LinkKey {
        child: other.node,
        link: crate::id::LinkId(7),
    };
    let elsewhere = hubs.iter().find(|hub| hub.node != order.parent).unwrap();
    let claim = ClientMessage::Switched {
        link: strange,
        parent: elsewhere.node,
        lost: None,
    };
    world.say(other, claim);
    assert_eq!(world.parent_of(other), None);
}
