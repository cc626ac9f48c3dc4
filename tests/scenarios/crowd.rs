//! Hundreds of nodes with packets: some die, some leave, some lie, and not everybody reaches everybody.

use std::time::Duration;

use banyan_tests::secs;
use banyan_tests::simulation::churn::Audience;
use banyan_tests::simulation::crowd::{Conditions, Crowd};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Who has got something new within this time is fed.
const LIVE: Duration = Duration::from_millis(500);

fn gathered(seed: u64, peers: usize, conditions: Conditions) -> Crowd {
    let mut rng = StdRng::seed_from_u64(seed);
    let audience = Audience::with_resource_index(peers, 1.5, &mut rng);
    let mut crowd = Crowd::new(audience, conditions, seed);
    crowd.fill(secs(10));
    crowd.run(secs(10));
    crowd
}

/// Everybody is live within `bound`.
fn assert_all_live(crowd: &mut Crowd, bound: Duration) {
    crowd.hold();
    let live = crowd.world.run_until(bound, |world| {
        let places = world.nodes.iter().filter(|(id, _)| **id != world.root);
        places
            .into_iter()
            .all(|(_, place)| place.progress.quiet(world.now) < LIVE)
    });
    let world = &crowd.world;
    let hungry: Vec<String> = (world.nodes.iter())
        .filter(|(id, place)| **id != world.root && place.progress.quiet(world.now) > LIVE)
        .map(|(id, place)| format!("{id:?} {place:?}"))
        .collect();
    assert!(live.is_some(), "not fed: {}", hungry.join("\n"));
}

#[test]
fn a_thousand_that_come_and_go_see_hardly_anything_of_it() {
    let conditions = Conditions {
        liars: 0.05,
        routers: true,
        ..Conditions::default().mixed()
    };
    let mut crowd = gathered(1, 1000, conditions);
    let seen = crowd.watch(secs(30));
    assert_eq!((seen.exceeded, seen.cycles), (0, 0));
    assert!(seen.stalls < 1.0, "{} stalls per hour", seen.stalls);
    assert!(seen.heals > 0.0, "nothing happened");
    assert_all_live(&mut crowd, secs(10));
}

#[test]
fn when_half_of_them_die_at_once_the_others_are_live_again() {
    let mut crowd = gathered(2, 400, Conditions::default());
    crowd.run(secs(60));
    assert!(crowd.warm() > 0.95, "{} have a standby", crowd.warm());
    let live = crowd.massacre(0.5, &[secs(1), secs(5)]);
    assert!(live[0] > 0.85, "{} are live after a second", live[0]);
    assert!(live[1] > 0.999, "{} are live after five seconds", live[1]);
    crowd.world.inspect();
    assert_eq!((crowd.world.exceeded, crowd.world.cycles), (0, 0));
    assert_all_live(&mut crowd, secs(5));
}
