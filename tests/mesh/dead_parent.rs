//! A parent that dies, by crash and by silence.

use std::thread;
use std::time::{Duration, Instant};

use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, stats, wait_for};
use rustix::process::Signal;

/// Time an orphan has until it hangs somewhere else.
const NEW_PARENT: Duration = secs(2);

/// Who lived through it.
struct Family {
    root: Broadcast,
    parent: Node,
    _children: [Node; 2],
    _directory: TempDir,
}

/// Two children below one parent, which hangs in the root's only slot and dies by `death`.
fn children_move_on_when(death: impl FnOnce(&mut Node)) -> Family {
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let mut parent = Node::relay(&directory, "parent", &root.link, 2);
    let first = root.wait_for_peers(2, secs(10));
    let children = ["child-1", "child-2"].map(|name| Node::relay(&directory, name, &root.link, 2));
    let tree = root.wait_for_peers(4, secs(10));
    let dead = first[1].id.clone();
    assert!(
        tree[2..]
            .iter()
            .all(|peer| peer.parent.as_ref() == Some(&dead))
    );
    for child in &children {
        child.wait_for_media(secs(10));
    }
    thread::sleep(secs(2));

    death(&mut parent);
    let died = Instant::now();
    let ids = children.each_ref().map(|child| child.newest_stats().peer);
    wait_for("new parents of both children", NEW_PARENT, || {
        let tree = root.tree();
        let moved = ids.iter().all(|id| {
            tree.iter().any(|peer| {
                peer.id == *id && peer.parent.as_ref().is_some_and(|parent| *parent != dead)
            })
        });
        moved.then_some(())
    });
    let took = died.elapsed();
    for child in &children {
        let healed = stats::wait_until(&child.stats, "media after the death", secs(3), |s| {
            s.heals >= 1 && s.parent.as_ref().is_some_and(|parent| *parent != dead)
        });
        assert_eq!(healed.heals, 1, "{healed:?}");
        child.wait_for_more_media(secs(3));
    }
    eprintln!("new parents after {took:?}");
    Family {
        root,
        parent,
        _children: children,
        _directory: directory,
    }
}

#[test]
fn children_of_a_crashed_parent_move_on() {
    let _turn = take_turn();
    children_move_on_when(|parent| parent.process.kill());
}

#[test]
fn children_of_a_silent_parent_move_on_and_it_comes_back() {
    let _turn = take_turn();
    let family = children_move_on_when(|parent| parent.process.signal(Signal::STOP));
    family.parent.process.signal(Signal::CONT);
    family.parent.wait_for_more_media(secs(15));
    family.root.wait_for_peers(4, secs(10));
}
