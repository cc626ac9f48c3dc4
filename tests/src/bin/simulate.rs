//! Simulates audiences that come and go, from a seed, and prints what became of them.
//!
//! ```text
//! cargo run --release -p banyan-tests --bin simulate -- placement --peers 30000 --seed 1
//! cargo run --release -p banyan-tests --bin simulate -- crowd --peers 1000 --seed 1
//! ```

use std::time::{Duration, Instant};

use banyan_tests::secs;
use banyan_tests::simulation::churn::Audience;
use banyan_tests::simulation::crowd::{Conditions, Crowd, Outcome as Seen};
use banyan_tests::simulation::placement::{Outcome, World};
use clap::{Args, Parser, Subcommand};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Simulates an audience that comes and goes, and prints what became of it.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The tree alone: how deep it is, and how often somebody moves.
    Placement(Placement),
    /// Real cores of tracker and nodes with packets on a virtual network: who stalls, and for how
    /// long.
    Crowd(CrowdOptions),
    /// The same cores, and nodes that feed others die one after another: how long a pause is.
    Heals(CrowdOptions),
    /// The same cores, and a share of all nodes dies at once: who is live afterwards.
    Massacre(CrowdOptions),
}

/// Who comes.
#[derive(Debug, Clone, Copy, Args)]
struct Many {
    /// Peers, once as many come as go.
    #[arg(long, default_value_t = 1000)]
    peers: usize,
    /// What decides who comes and goes when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Slots of all peers together, for each peer.
    #[arg(long, default_value_t = 1.5)]
    resource_index: f64,
    /// Minutes that are watched; before the tree alone is watched it has as many to settle.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

#[derive(Debug, Args)]
struct Placement {
    #[command(flatten)]
    many: Many,
    /// Pages are never moved, to see what moving them is worth.
    #[arg(long)]
    pages_stay: bool,
}

#[derive(Debug, Args)]
struct CrowdOptions {
    #[command(flatten)]
    many: Many,
    /// Natives say goodbye in 80 of 100 cases, pages in 60, instead of never.
    #[arg(long)]
    mixed: bool,
    /// Median round trip in milliseconds.
    #[arg(long, default_value_t = 40.0)]
    rtt: f64,
    /// Share of datagrams that is lost.
    #[arg(long, default_value_t = 0.01)]
    loss: f64,
    /// Share of nodes that promise slots and pass nothing on.
    #[arg(long, default_value_t = 0.0)]
    liars: f64,
    /// Homes have routers: not everybody reaches everybody.
    #[arg(long)]
    routers: bool,
    /// Share that dies at once, or number of nodes that die one after another.
    #[arg(long)]
    deaths: Option<f64>,
}

impl Many {
    fn audience(&self) -> Audience {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let audience = Audience::with_resource_index(self.peers, self.resource_index, &mut rng);
        println!(
            "{} peers, seed {}, stream of {:.2} Mbit/s",
            self.peers,
            self.seed,
            audience.rate()
        );
        audience
    }

    fn time(&self) -> Duration {
        secs(60).mul_f64(self.minutes)
    }
}

impl CrowdOptions {
    /// An audience that has come and settled.
    fn gather(&self) -> Crowd {
        let mut conditions = Conditions::default();
        if self.mixed {
            conditions = conditions.mixed();
        }
        conditions.liars = self.liars;
        conditions.routers = self.routers;
        conditions.network.delay = Duration::from_secs_f64(self.rtt / 2e3);
        conditions.network.loss = self.loss;
        let mut crowd = Crowd::new(self.many.audience(), conditions, self.many.seed);
        crowd.fill(secs(30));
        crowd.run(secs(60));
        crowd
    }
}

fn main() {
    let begun = Instant::now();
    match Options::parse().what {
        What::Placement(options) => placement(&options),
        What::Crowd(options) => crowd(&options),
        What::Heals(options) => heals(&options),
        What::Massacre(options) => massacre(&options),
    }
    eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
}

fn placement(options: &Placement) {
    let audience = options.many.audience();
    println!(
        "            placed  waiting  mean depth  optimum  ratio  deepest  moves/peer-min  interruptions/h  exceeded"
    );
    let world = || {
        let mut world = World::new(audience, options.many.seed);
        world.pages_move = !options.pages_stay;
        world
    };
    let time = options.many.time();
    let mut steady = world();
    steady.settle();
    steady.run_until(steady.now() + time);
    print("steady", steady.watch(time));
    let mut rush = world();
    rush.rush(secs(60));
    rush.run_until(rush.now() + secs(60));
    print("rush", rush.watch(secs(30)));
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

fn crowd(options: &CrowdOptions) {
    let seen: Seen = options.gather().watch(options.many.time());
    println!(
        "viewers  live  viewer-hours  stalls/h >300 ms  >500 ms  longest ms  lost/million  heals/h  exceeded  cycles"
    );
    println!(
        "{:>7}  {:>4}  {:>12.1}  {:>16.2}  {:>7.2}  {:>10.0}  {:>12.1}  {:>7.2}  {:>8}  {:>6}",
        seen.viewers,
        seen.live,
        seen.hours,
        seen.stalls,
        seen.long_stalls,
        seen.longest,
        seen.lost,
        seen.heals,
        seen.exceeded,
        seen.cycles,
    );
}

fn heals(options: &CrowdOptions) {
    let mut crowd = options.gather();
    crowd.hold();
    println!("{:.1} % have a standby", crowd.warm() * 100.0);
    let deaths = options.deaths.unwrap_or(100.0) as usize;
    let mut pauses = Vec::new();
    for _ in 0..deaths {
        pauses.extend(crowd.fell());
        crowd.run(secs(2));
    }
    pauses.sort_by(f64::total_cmp);
    let Some(most) = pauses.last() else {
        println!("nobody hung below those that died");
        return;
    };
    let at = |share: f64| pauses[((pauses.len() - 1) as f64 * share) as usize];
    println!(
        "{deaths} deaths, {} nodes below: longest pause p50 {:.0} ms, p95 {:.0} ms, most {most:.0} ms",
        pauses.len(),
        at(0.5),
        at(0.95),
    );
}

fn massacre(options: &CrowdOptions) {
    let mut crowd = options.gather();
    println!("{:.1} % have a standby", crowd.warm() * 100.0);
    let share = options.deaths.unwrap_or(0.1).clamp(0.0, 1.0);
    let times = [0.5, 1.0, 2.0, 5.0, 10.0].map(Duration::from_secs_f64);
    let live = crowd.massacre(share, &times);
    println!(
        "{:.0} of 100 nodes die at once; live afterwards:",
        share * 100.0
    );
    for (time, live) in times.iter().zip(live) {
        println!("{:>6.1} s  {:>6.2} %", time.as_secs_f64(), live * 100.0);
    }
}
