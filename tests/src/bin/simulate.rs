//! Simulates an audience that comes and goes, and prints what its tree is like.
//!
//! ```text
//! cargo run --release -p banyan-tests --bin simulate -- --peers 30000 --seed 1
//! ```

use banyan_tests::secs;
use banyan_tests::simulation::churn::Audience;
use banyan_tests::simulation::placement::{Outcome, World};
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Simulates an audience that comes and goes, placement alone, and prints what its tree is like.
#[derive(Debug, Parser)]
struct Options {
    /// Peers, once as many come as go.
    #[arg(long, default_value_t = 10_000)]
    peers: usize,
    /// What decides who comes and goes when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Slots of all peers together, for each peer.
    #[arg(long, default_value_t = 1.5)]
    resource_index: f64,
    /// Minutes of steady coming and going before, and as many while it is watched.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Pages are never moved, to see what moving them is worth.
    #[arg(long)]
    pages_stay: bool,
}

fn main() {
    let Options {
        peers,
        seed,
        resource_index,
        minutes,
        pages_stay,
    } = Options::parse();
    let mut rng = StdRng::seed_from_u64(seed);
    let audience = Audience::with_resource_index(peers, resource_index, &mut rng);
    println!(
        "{peers} peers, seed {seed}, stream of {:.2} Mbit/s",
        audience.rate()
    );
    println!(
        "            placed  waiting  mean depth  optimum  ratio  deepest  moves/peer-min  interruptions/h  exceeded"
    );
    let begun = std::time::Instant::now();
    let mut world = World::new(audience, seed);
    world.pages_move = !pages_stay;
    world.settle();
    world.run_until(world.now() + secs(60).mul_f64(minutes));
    print("steady", world.watch(secs(60).mul_f64(minutes)));
    let mut world = World::new(audience, seed);
    world.pages_move = !pages_stay;
    world.rush(secs(60));
    world.run_until(world.now() + secs(60));
    print("rush", world.watch(secs(30)));
    eprintln!("{:?}", begun.elapsed());
}

fn print(name: &str, o: Outcome) {
    println!(
        "{name:<10} {:>7}  {:>7}  {:>10.3}  {:>7.3}  {:>5.3}  {:>7}  {:>14.3}  {:>15.2}  {:>8}",
        o.placed,
        o.waiting,
        o.mean_depth,
        o.optimum,
        o.mean_depth / o.optimum,
        o.deepest,
        o.moves,
        o.interruptions,
        o.exceeded,
    );
}
