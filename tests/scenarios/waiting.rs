//! Viewers that come before the show, and viewers for whom there is no slot.

use std::time::Duration;

use banyan::peer::PeerEvent;
use banyan::wire::tracker::WaitReason;

use crate::for_seeds;
use crate::world::World;

#[test]
fn viewers_that_come_early_start_by_themselves() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, false);
        let early: Vec<_> = (0..3).map(|_| world.join(2)).collect();
        world.run(Duration::from_secs(5));
        for id in &early {
            let waits = |(_, event): &(_, PeerEvent)| {
                matches!(
                    event,
                    PeerEvent::Waiting {
                        reason: WaitReason::NoMedia,
                        ..
                    }
                )
            };
            assert!(
                world.nodes[id].events.iter().any(waits),
                "it is told to wait"
            );
        }
        world.begin_show();
        let took = world.run_until(Duration::from_secs(2), World::all_fed);
        assert!(took.is_some(), "all play once the show begins");
    });
}

#[test]
fn a_full_tree_lets_the_next_in_when_somebody_leaves() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, true);
        let first = world.join(0);
        world.run(Duration::from_millis(500));
        world.join(0);
        world.run(Duration::from_millis(500));
        let waiting = world.join(0);
        world.run(Duration::from_secs(3));
        let told = world.nodes[&waiting].events.iter().any(|(_, event)| {
            matches!(
                event,
                PeerEvent::Waiting {
                    reason: WaitReason::Full,
                    ahead: 0
                }
            )
        });
        assert!(told, "it is told that the tree is full");
        assert_eq!(world.parent(waiting), None);
        world.leave(first);
        world.run(Duration::from_millis(100));
        world.kill(first);
        let took = world.run_until(Duration::from_secs(2), World::all_fed);
        assert!(took.is_some(), "the slot that became free is given to it");
    });
}

#[test]
fn a_node_that_brings_slots_opens_the_tree_for_those_who_wait() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, true);
        world.join(0);
        world.run(Duration::from_millis(500));
        // The last slot is kept for somebody who brings more.
        let leaf = world.join(0);
        world.run(Duration::from_secs(1));
        world.join(4);
        let took = world.run_until(Duration::from_secs(3), World::all_fed);
        assert!(took.is_some(), "everybody is fed, {leaf:?} too");
    });
}
