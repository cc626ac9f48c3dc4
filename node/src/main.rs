//! The `banyan` program: broadcasts, watches and relays live streams.

use std::process::ExitCode;

use banyan_node::config::{Cli, Command};
use clap::Parser;

fn main() -> ExitCode {
    // clap ends the process itself: 2 for bad arguments, 0 for --help and --version.
    let cli = Cli::parse();
    if let Err(error) = banyan_node::logging::init(&cli.log) {
        eprintln!("error: {error:#}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Broadcast(options) => banyan_node::broadcast::run(*options).await,
            Command::Watch(options) => banyan_node::viewer::run(options, "watch").await,
            Command::Relay(options) => banyan_node::viewer::run(options, "relay").await,
            Command::Load(options) => banyan_node::load::run(options).await,
            Command::Keygen(options) => banyan_node::keygen::run(&options),
        }
    });
    // A file that is being read or a child that does not answer must not hold the exit up.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
