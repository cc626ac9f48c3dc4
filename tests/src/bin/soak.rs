//! Runs a broadcast for long while its viewers come and go, and fails when anything grows.
//!
//! ```text
//! cargo build --release -p banyan-node -p banyan-tracker
//! cargo run --release -p banyan-tests --bin soak -- --minutes 60
//! ```

use std::process::ExitCode;
use std::time::Duration;

use banyan_tests::soak;

/// Longest run: three days.
const MOST: f64 = 3.0 * 24.0 * 60.0;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let minutes = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--minutes", minutes] => minutes.parse().ok(),
        _ => None,
    };
    let Some(minutes) = minutes.filter(|minutes| (0.1..=MOST).contains(minutes)) else {
        eprintln!("usage: soak --minutes N (at most {MOST})");
        return ExitCode::from(2);
    };
    let outcome = soak::run(Duration::from_secs_f64(60.0 * minutes));
    print!("{}", outcome.table);
    for grown in &outcome.grown {
        println!("GREW: {grown}");
    }
    if outcome.grown.is_empty() {
        println!("nothing grew");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
