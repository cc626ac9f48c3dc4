//! Audiences as the churn model has them, placement alone.

use banyan_tests::secs;
use banyan_tests::simulation::churn::Audience;
use banyan_tests::simulation::placement::World;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn audience(seed: u64) -> World {
    let mut rng = StdRng::seed_from_u64(seed);
    World::new(Audience::with_resource_index(3000, 1.5, &mut rng), seed)
}

#[test]
fn an_audience_that_comes_and_goes_has_a_tree_near_the_best() {
    let mut world = audience(1);
    world.settle();
    world.run_until(world.now() + secs(300));
    let outcome = world.watch(secs(300));
    assert_eq!((outcome.exceeded, outcome.waiting), (0, 0));
    let ratio = outcome.mean_depth / outcome.optimum;
    assert!(ratio < 1.12, "{ratio} times the depth of the best tree");
    assert!(
        outcome.moves < 0.3,
        "{} moves per peer and minute",
        outcome.moves
    );
}

#[test]
fn an_audience_that_comes_within_a_minute_has_one_half_a_minute_later() {
    let mut world = audience(2);
    world.rush(secs(60));
    world.run_until(world.now() + secs(30));
    let outcome = world.watch(secs(10));
    assert_eq!((outcome.exceeded, outcome.waiting), (0, 0));
    let ratio = outcome.mean_depth / outcome.optimum;
    assert!(ratio < 1.12, "{ratio} times the depth of the best tree");
}
