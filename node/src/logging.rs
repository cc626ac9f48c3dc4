//! Log lines on stderr.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// What the libraries beneath say at `info` concerns their authors, not a broadcaster.
const QUIET: &str = "rtc=error,rtc_ice=error,rtc_dtls=error,rtc_sctp=error,rtc_srtp=error,\
                     rtc_interceptor=error,rtc_datachannel=error,rtc_mdns=error,symphonia=error";

/// Starts logging with a level or `tracing` filters.
///
/// # Errors
/// When the filter cannot be read, naming it.
pub fn init(filter: &str) -> anyhow::Result<()> {
    let directives = match filter {
        "error" | "warn" | "info" => format!("{filter},{QUIET}"),
        other => other.to_owned(),
    };
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("--log {filter} is neither a level nor a filter"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}
