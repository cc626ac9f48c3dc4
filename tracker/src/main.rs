//! The tracker as a program of its own.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use banyan_tracker::config::Flags;
use banyan_tracker::{Config, Server};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Exit code for bad arguments or configuration; clap uses the same.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let print_config = flags.print_config;
    let prepared = match prepare(flags) {
        Ok(prepared) => prepared,
        Err(error) => return failed(&error, BAD_CONFIGURATION),
    };
    if print_config {
        print!("{}", prepared.toml);
        return ExitCode::SUCCESS;
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(prepared.log)
        .init();
    match run(prepared.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, 1),
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("banyan-tracker: {error:#}");
    ExitCode::from(code)
}

struct Prepared {
    config: Config,
    log: EnvFilter,
    toml: String,
}

fn prepare(flags: Flags) -> anyhow::Result<Prepared> {
    if let Some(name) = Flags::unknown_variable(std::env::vars_os().map(|(name, _)| name)) {
        bail!("the environment variable {} is no setting", name.display());
    }
    let mut settings = flags.settings()?;
    let log = settings
        .log
        .take()
        .or_else(|| std::env::var(EnvFilter::DEFAULT_ENV).ok())
        .filter(|filter| !filter.is_empty())
        .unwrap_or_else(|| "info".to_owned());
    settings.log = Some(log.clone());
    let log = EnvFilter::try_new(&log)
        .with_context(|| format!("the log filter {log:?} cannot be understood"))?;
    let toml = settings.with_defaults().to_toml();
    Ok(Prepared {
        config: settings.resolve()?,
        log,
        toml: toml.map_err(anyhow::Error::msg)?,
    })
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    // Before the first line of output: whoever reads it may send a signal at once.
    let stop = stop_signal().context("cannot listen for signals")?;
    let mut server = Server::start(config).await?;
    // Whoever started this may have closed its end; that is no reason to stop.
    let _ = writeln!(std::io::stdout(), "tracker: {}", server.url());
    tracing::info!(
        http = %server.http_addr(),
        stun = server.stun_addr().map(tracing::field::display),
        "tracker started"
    );
    tokio::select! {
        () = stop => {}
        () = server.failed() => bail!("the tracker failed"),
    }
    tracing::info!("stopping");
    server.shutdown().await;
    Ok(())
}

/// Listens for Ctrl-C and the signal of a service manager; the future is ready when one comes.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Listens for Ctrl-C; the future is ready when it comes.
#[cfg(windows)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
