//! The program `banyan`. It is in the library so that nothing is compiled twice: what is generic or
//! asynchronous becomes machine code where it is first run.

use std::process::ExitCode;

use banyan_operator::config::{self, Asked};
use banyan_operator::logging;

use crate::config::{Cli, Command, LAYERS};

/// What the libraries beneath say at `info` concerns their authors, not a broadcaster.
const QUIET: &str = "rtc=error,rtc_ice=error,rtc_dtls=error,rtc_sctp=error,rtc_srtp=error,\
                     rtc_interceptor=error,rtc_datachannel=error,rtc_mdns=error,symphonia=error";

/// Does what the command line says; the exit code.
pub fn run() -> ExitCode {
    let cli: Cli = match config::read(&LAYERS, std::env::args_os()) {
        Ok(Asked::Run(cli)) => cli,
        Ok(Asked::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(refusal) => return ExitCode::from(refusal.tell()),
    };
    if let Err(error) = logging::start(&cli.options, QUIET) {
        eprintln!("error: {error}");
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
            Command::Broadcast(options) => crate::broadcast::run(*options).await,
            Command::Watch(options) => crate::viewer::run(options, "watch").await,
            Command::Relay(options) => crate::viewer::run(options, "relay").await,
            Command::Load(options) => crate::load::run(options).await,
            Command::Check(options) => crate::check::run(options).await,
            Command::Top(options) => crate::top::run(options).await,
            Command::Keygen(options) => crate::keygen::run(&options),
            Command::Manual(manual) => manual
                .write(config::command::<Cli>(&LAYERS))
                .map_err(Into::into),
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
