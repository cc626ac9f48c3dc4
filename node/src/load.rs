//! `banyan load`: many standard players at one stream, and how they fared.
//!
//! The players speak WHEP and run on the `webrtc` crate's asynchronous API, a stack that shares
//! nothing with the media engine above ICE, DTLS and SRTP: what they count is what any player gets.

pub mod endpoint;
pub mod options;
pub mod player;
pub mod report;
pub mod tally;
pub mod tape;
pub mod target;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use endpoint::Endpoint;
use options::Load;
use player::{JoinError, Player};
use report::{Report, Viewer};
use tape::Tape;
use target::{Process, Usage};

/// Time between two lines about how it goes.
const PROGRESS: Duration = Duration::from_secs(1);

/// Files a viewer keeps open: at most four sockets for media and one for HTTP.
const FILES_PER_VIEWER: u64 = 5;

/// Files of the program itself.
const FILES: u64 = 64;

/// Players that say goodbye at once; each waits for an answer of the tracker.
const LEAVING_AT_ONCE: usize = 64;

/// Runs the load and reports it.
///
/// # Errors
/// When the tracker cannot be reached at all, no viewer joined, or the report cannot be written.
pub async fn run(options: Load) -> anyhow::Result<()> {
    raise_file_limit(u64::from(options.viewers))?;
    let endpoint = Endpoint::of_stream(&options.link.tracker, &options.link.stream).await?;
    let process = match options.pid {
        Some(pid) => Some(Process::of(pid)?),
        None => endpoint.local_port().and_then(Process::listening_on),
    };
    let tape = options.record.clone().map(Tape::new).transpose()?;
    let tape = tape.map(Arc::new);
    let crowd = gather(&options, &endpoint, process.as_ref(), tape.clone()).await;
    let report = crowd.report(&options);
    crowd.leave(&endpoint).await;
    write(&options, &report)?;
    anyhow::ensure!(report.joined > 0, "no viewer joined");
    match tape {
        Some(tape) => tokio::task::spawn_blocking(move || tape.finish()).await?,
        None => Ok(()),
    }
}

/// Everybody who came, and who did not get in.
struct Crowd {
    players: Vec<Player>,
    failed: Vec<JoinError>,
    /// The target's, from the moment the last one had joined.
    usage: Option<Usage>,
    held: Duration,
}

/// Lets the viewers join one after another, and stay.
async fn gather(
    options: &Load,
    endpoint: &Endpoint,
    process: Option<&Process>,
    mut tape: Option<Arc<Tape>>,
) -> Crowd {
    let began = Instant::now();
    let mut joining = FuturesUnordered::new();
    let mut players: Vec<Player> = Vec::new();
    let mut failed = Vec::new();
    let mut started = 0;
    let mut arrivals = tokio::time::interval(Duration::from_secs_f64(1.0 / options.ramp));
    let mut progress = tokio::time::interval(PROGRESS);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    // Set once everybody is in or was refused: when it began, when it ends, what was used before.
    let mut hold: Option<(Instant, Option<Usage>, u64)> = None;
    loop {
        if hold.is_none() && started == options.viewers && joining.is_empty() {
            let sample = process.and_then(Process::usage);
            hold = Some((Instant::now(), sample, packets(&players)));
        }
        let end = hold
            .as_ref()
            .map_or(began + options.longest(), |(from, ..)| {
                *from + options.duration
            });
        tokio::select! {
            _ = arrivals.tick(), if started < options.viewers => {
                started += 1;
                joining.push(Player::join(endpoint, tape.take()));
            }
            Some(joined) = joining.next() => match joined {
                Ok(player) => players.push(player),
                Err(error) => {
                    tracing::debug!(%error, "a viewer did not join");
                    failed.push(error);
                }
            },
            _ = progress.tick() => {
                let line = report::progress(began.elapsed(), options.viewers, &players, failed.len());
                eprintln!("{line}");
            }
            () = tokio::time::sleep_until(end) => break,
            _ = &mut interrupt => break,
        }
    }
    let (held, usage) = match hold {
        Some((from, before, packets_before)) => {
            let after = process.and_then(Process::usage);
            let spent = before.zip(after).map(|(before, after)| {
                after.since(&before, from.elapsed(), packets(&players) - packets_before)
            });
            (from.elapsed(), spent)
        }
        None => (Duration::ZERO, None),
    };
    Crowd {
        players,
        failed,
        usage,
        held,
    }
}

fn packets(players: &[Player]) -> u64 {
    players
        .iter()
        .flat_map(|player| player.tracks())
        .map(|(_, track)| track.packets)
        .sum()
}

impl Crowd {
    fn report(&self, options: &Load) -> Report {
        let viewers = self
            .players
            .iter()
            .map(|player| Viewer {
                join: player.joined_after(),
                connected: player.is_connected(),
                tracks: player.tracks(),
            })
            .collect();
        let reasons = self.failed.iter().map(ToString::to_string).collect();
        Report::new(options, self.held, viewers, reasons, self.usage.clone())
    }

    async fn leave(self, endpoint: &Endpoint) {
        futures_util::stream::iter(self.players)
            .for_each_concurrent(LEAVING_AT_ONCE, |player| player.leave(endpoint))
            .await;
    }
}

fn write(options: &Load, report: &Report) -> anyhow::Result<()> {
    let json = || serde_json::to_string_pretty(report).context("writing the report");
    match options.json.as_deref() {
        Some(path) if path.as_os_str() == "-" => {
            eprint!("{}", report.table());
            writeln!(std::io::stdout(), "{}", json()?)?;
        }
        Some(path) => {
            print!("{}", report.table());
            std::fs::write(path, json()? + "\n")
                .with_context(|| format!("writing {}", path.display()))?;
        }
        None => print!("{}", report.table()),
    }
    Ok(())
}

/// Lets the process open as many sockets as the viewers need.
#[cfg(unix)]
fn raise_file_limit(viewers: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = FILES + viewers * FILES_PER_VIEWER;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < needed) {
        anyhow::bail!(
            "{viewers} viewers need {needed} open files, this system allows {maximum} (ulimit -Hn)"
        );
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("allowing more open files")
}

#[cfg(not(unix))]
fn raise_file_limit(_: u64) -> anyhow::Result<()> {
    Ok(())
}
