//! The tracker as a program of its own.

use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{Context, bail};
use banyan_operator::config::{self, Asked};
use banyan_operator::logging;
use banyan_tracker::config::{Cli, LAYERS};
use banyan_tracker::{Config, Server};

/// Exit code for bad arguments or configuration; clap uses the same.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let cli: Cli = match config::read(&LAYERS, std::env::args_os()) {
        Ok(Asked::Run(cli)) => cli,
        Ok(Asked::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(refusal) => return ExitCode::from(refusal.tell()),
    };
    if let Some(manual) = cli.manual {
        return match manual.write(config::command::<Cli>(&LAYERS)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error.into(), 1),
        };
    }
    let config = match cli.tracker.resolve() {
        Ok(config) => config,
        Err(error) => return failed(&error.into(), BAD_CONFIGURATION),
    };
    if let Err(error) = logging::start(&cli.options, "") {
        return failed(&error.into(), BAD_CONFIGURATION);
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, 1),
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    // Before the first line of output: whoever reads it may send a signal at once.
    let stop = stop_signal().context("cannot listen for signals")?;
    let mut hang_up = HangUp::new().context("cannot listen for signals")?;
    let mut server = Server::start(config).await?;
    // Whoever started this may have closed its end; that is no reason to stop.
    let _ = writeln!(std::io::stdout(), "tracker: {}", server.url());
    tracing::info!(
        http = %server.http_addr(),
        stun = server.stun_addr().map(tracing::field::display),
        "tracker started"
    );
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = server.failed() => bail!("the tracker failed"),
            () = hang_up.next() => server.reload(),
        }
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

/// SIGHUP, by which an operator asks to read the certificate files again.
#[cfg(unix)]
struct HangUp(tokio::signal::unix::Signal);

#[cfg(unix)]
impl HangUp {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// A system without SIGHUP: the files are read again when they change.
#[cfg(windows)]
struct HangUp;

#[cfg(windows)]
impl HangUp {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

/// Listens for Ctrl-C; the future is ready when it comes.
#[cfg(windows)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
