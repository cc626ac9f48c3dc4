//! Simulates an audience that comes and goes, and prints what its tree is like.
//!
//! ```text
//! cargo run --release -p banyan-tests --bin simulate -- --peers 30000 --seed 1
//! ```

use std::process::ExitCode;

use banyan_tests::secs;
use banyan_tests::simulation::churn::Audience;
use banyan_tests::simulation::placement::{Outcome, World};
use rand::SeedableRng;
use rand::rngs::StdRng;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<f64>().ok()
    };
    let peers = value("--peers").unwrap_or(10_000.0) as usize;
    let seed = value("--seed").unwrap_or(1.0) as u64;
    let index = value("--resource-index").unwrap_or(1.5);
    let minutes = value("--minutes").unwrap_or(20.0);
    let audience = Audience::with_resource_index(peers, index, &mut StdRng::seed_from_u64(seed));
    println!(
        "{peers} peers, seed {seed}, stream of {:.2} Mbit/s",
        audience.rate()
    );
    println!(
        "            placed  waiting  mean depth  optimum  ratio  deepest  moves/peer-min  interruptions/h  exceeded"
    );
    let begun = std::time::Instant::now();
    let pages_move = !args.iter().any(|arg| arg == "--pages-stay");
    let mut world = World::new(audience, seed);
    world.pages_move = pages_move;
    world.settle();
    world.run_until(world.now() + secs(60).mul_f64(minutes));
    print("steady", world.watch(secs(60).mul_f64(minutes)));
    let mut world = World::new(audience, seed);
    world.pages_move = pages_move;
    world.rush(secs(60));
    world.run_until(world.now() + secs(60));
    print("rush", world.watch(secs(30)));
    eprintln!("{:?}", begun.elapsed());
    ExitCode::SUCCESS
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
