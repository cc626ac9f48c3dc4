//! The publisher comes back with other codecs: a later epoch of the same tree.

use std::time::Duration;

use crate::for_seeds;
use crate::world::World;

#[test]
fn other_tracks_reach_everybody_within_two_seconds() {
    for_seeds(|seed| {
        let mut world = World::new(seed, 2, true);
        world.grow(13, 2);
        world.settle();
        world.run(Duration::from_secs(3));
        let (epoch, first_seq) = (2, 0x5_0000);
        world.tell_tracks(epoch, first_seq);
        let renewed = |world: &World| {
            let newest = |id| world.nodes[&id].delivered.last().map_or(0, |d| d.1);
            world
                .viewers()
                .into_iter()
                .all(|id| newest(id) >= first_seq)
        };
        let took = world.run_until(Duration::from_secs(2), renewed);
        assert!(took.is_some(), "somebody is left behind");
        world.settle();
        for id in world.viewers() {
            if let Some(place) = world.nodes.get_mut(&id) {
                place.delivered.clear();
            }
        }
        world.run(Duration::from_secs(5));
        world.assert_all_bit_identical();
    });
}
