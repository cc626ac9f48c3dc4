//! Whole meshes of real cores on a virtual clock. A failing seed is replayed with
//! `BANYAN_SEED=N cargo test -p banyan-tests --test scenarios NAME`.

use banyan_tests::simulation::world;

mod audience;
mod capacity;
mod cold;
mod crowd;
mod joining;
mod losing_a_parent;
mod moving;
mod other_tracks;
mod packets;
mod root_away;
mod standby;
mod tracker_away;
mod waiting;

/// Runs a scenario for several seeds, or for the one in `BANYAN_SEED`, and names the one that
/// fails.
fn for_seeds(scenario: impl Fn(u64)) {
    let chosen = std::env::var("BANYAN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = chosen.map_or_else(|| (1..=5).collect(), |seed| vec![seed]);
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| scenario(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("the scenario fails with seed {seed}: replay with BANYAN_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
