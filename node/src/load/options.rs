//! Options of `banyan load`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::player::JOIN_TIMEOUT;
use crate::config::WatchLink;

/// Most viewers of one process: each costs about 0.5 MB.
const MAX_VIEWERS: i64 = 10_000;

/// Options of `load`.
#[derive(Debug, Args)]
pub struct Load {
    /// The watch link: https://TRACKER/watch/STREAM
    #[arg(value_parser = WatchLink::from_str)]
    pub link: WatchLink,
    /// How many viewers join.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_VIEWERS))]
    pub viewers: u32,
    /// How many of them join each second.
    #[arg(long, value_name = "RATE", default_value = "20", value_parser = parse_ramp)]
    pub ramp: f64,
    /// How long they stay once everybody has joined, in seconds.
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_seconds)]
    pub duration: Duration,
    /// Write the report as JSON to a file, or to stdout when it is `-`.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Record what the first viewer receives: .webm, .mp4 or .mkv.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The process whose CPU time is reported [default: the one that listens on the link's port,
    /// when it is on this machine].
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

impl Load {
    /// No run takes longer than this.
    pub fn longest(&self) -> Duration {
        let arriving = Duration::from_secs_f64(f64::from(self.viewers) / self.ramp);
        arriving + JOIN_TIMEOUT + self.duration
    }
}

fn parse_ramp(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=1000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("between 0.01 and 1000 viewers per second".into())
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("between 0 and 86400 seconds".into())
    }
}
