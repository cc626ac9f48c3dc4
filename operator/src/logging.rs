//! Log lines on stderr, as text or as JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::Options;

/// Modules of libraries that print secrets, and up to which level they do not: `tungstenite`
/// prints whole frames at `trace` (session descriptions with ICE passwords, TURN credentials),
/// `rtc-ice` the other side's password at `debug`. No filter brings those lines back.
const TELLTALES: [(&str, Level); 3] = [
    ("tungstenite", Level::DEBUG),
    ("tokio_tungstenite", Level::DEBUG),
    ("rtc_ice::agent", Level::INFO),
];

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("--log {filter} is neither a level nor a filter: {source}")]
    Filter {
        /// The filter.
        filter: String,
        /// Why not.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something in this process logs already.
    #[error("logging was started twice: {0}")]
    Started(#[from] TryInitError),
}

/// Starts logging. `quiet` are filters for libraries that say at `info` what concerns their
/// authors alone; they are in force unless the operator writes filters of their own.
///
/// # Errors
/// [`LogError`].
pub fn start(options: &Options, quiet: &str) -> Result<(), LogError> {
    let directives = match options.log.as_str() {
        level @ ("error" | "warn" | "info") if !quiet.is_empty() => format!("{level},{quiet}"),
        other => other.to_owned(),
    };
    let filter = EnvFilter::try_new(&directives).map_err(|source| LogError::Filter {
        filter: options.log.clone(),
        source,
    })?;
    let lines = match options.log_format {
        LogFormat::Text => fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_discreet))
        .with(lines)
        .try_init()?;
    Ok(())
}

fn is_discreet(line: &Metadata<'_>) -> bool {
    let tells = TELLTALES.iter().find(|(module, _)| {
        let rest = line.target().strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    tells.is_none_or(|(_, level)| line.level() <= level)
}
