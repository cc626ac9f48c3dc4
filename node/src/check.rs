//! `banyan check`: whether this machine can take part, and what would help.

mod verdict;

use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use banyan::id::NodeId;
use banyan::wire::PROTOCOL_VERSION;
use banyan::wire::tracker::{ClientMessage, Hello, PeerClass, ServerMessage, Welcome};
use serde::Serialize;
use url::Url;

use self::verdict::{Answer, Facts, Finding, Status, Tracker, Turn, judge, passes};
use crate::broadcast::DEFAULT_UDP_PORT;
use crate::config::Check;
use crate::rtc::{Engine, EngineConfig, LoopbackCandidates, UdpBind, UdpPort};
use crate::tracker_link::{Connection, open};

/// Time the tracker has for its welcome.
const WELCOME: Duration = Duration::from_secs(5);

/// Time STUN and TURN servers have: after it, silence is an answer.
const STUN: Duration = Duration::from_secs(8);

/// The report for programs.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

/// Looks, and prints what was found.
///
/// # Errors
/// When something fails, after it was printed; or when standard output cannot be written.
pub async fn run(options: Check) -> anyhow::Result<()> {
    let mut facts = Facts::default();
    let mut welcome = None;
    if let Some(tracker) = &options.tracker {
        let url = tracker.as_str().trim_end_matches('/').to_owned();
        let called = call(tracker).await;
        let answer = match called {
            Ok((answer, welcomed)) => {
                welcome = Some(welcomed);
                Ok(answer)
            }
            Err(error) => Err(format!("{error:#}")),
        };
        facts.tracker = Some(Tracker { url, answer });
    }
    look_around(&options, welcome.as_ref(), &mut facts).await;
    let findings = judge(&facts);
    let ok = passes(&findings);
    let mut out = io::stdout().lock();
    if options.json {
        let report = Report {
            ok,
            findings: &findings,
        };
        serde_json::to_writer_pretty(&mut out, &report).context("writing to stdout")?;
        writeln!(out).context("writing to stdout")?;
    } else {
        print(&mut out, &findings).context("writing to stdout")?;
    }
    if !ok {
        bail!("this machine cannot take part as it is");
    }
    Ok(())
}

/// Calls the tracker as a node would, and hangs up.
async fn call(tracker: &Url) -> anyhow::Result<(Answer, Welcome)> {
    let began = Instant::now();
    let mut connection = open(tracker).await?;
    let hello = Hello {
        version: PROTOCOL_VERSION,
        node: NodeId::random(&mut rand::rng()),
        class: PeerClass::Native,
        agent: format!("banyan check {}", env!("CARGO_PKG_VERSION")),
        slots: 0,
    };
    connection.say(&ClientMessage::Hello(hello)).await?;
    let welcome = tokio::time::timeout(WELCOME, welcome(&mut connection))
        .await
        .context("the tracker answers, but does not welcome a node")??;
    let took = began.elapsed();
    let answer = Answer {
        took,
        observed: welcome.observed.clone(),
        clock: connection
            .date
            .map(|told| difference(told, SystemTime::now())),
    };
    connection.hang_up().await;
    Ok((answer, welcome))
}

async fn welcome(connection: &mut Connection) -> anyhow::Result<Welcome> {
    loop {
        match connection.hear().await? {
            ServerMessage::Welcome(welcome) => return Ok(welcome),
            ServerMessage::Error { message, .. } => bail!("the tracker says: {message}"),
            _ => {}
        }
    }
}

fn difference(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b)
        .or_else(|_| b.duration_since(a))
        .unwrap_or_default()
}

/// Opens the media port and asks STUN servers about the network before it.
async fn look_around(options: &Check, welcome: Option<&Welcome>, facts: &mut Facts) {
    let udp = match options.udp {
        Some(addr) => UdpBind {
            ip: Some(addr.ip()),
            port: match addr.port() {
                0 => UdpPort::Any,
                port => UdpPort::Exactly(port),
            },
        },
        None => UdpBind {
            ip: None,
            port: UdpPort::From(DEFAULT_UDP_PORT),
        },
    };
    let config = EngineConfig {
        udp,
        public_addr: None,
        loopback: LoopbackCandidates::WhenAlone,
        rng_seed: rand::random(),
    };
    let mut engine = match Engine::bind(config) {
        Ok(engine) => engine,
        Err(error) => {
            facts.port = Some(Err(error.to_string()));
            return;
        }
    };
    facts.port = Some(Ok(engine.port()));
    let servers = welcome.map_or(&[][..], |welcome| &welcome.ice_servers);
    let urls = servers.iter().flat_map(|server| &server.urls);
    facts.stun = urls
        .clone()
        .filter(|url| url.starts_with("stun:"))
        .cloned()
        .collect();
    let mut urls = urls;
    if urls.any(|url| url.starts_with("turn")) {
        facts.turn = if engine.try_relay(servers) {
            Turn::Fails
        } else {
            Turn::ForPages
        };
    }
    let began = Instant::now();
    engine.learn(began, servers);
    let end = began + STUN;
    while Instant::now() < end {
        facts.reachability = engine.learnt().or(facts.reachability);
        if facts.turn == Turn::Fails && engine.relayed_at().is_some() {
            facts.turn = Turn::Works;
        }
        if facts.reachability.is_some() && facts.turn != Turn::Fails {
            break;
        }
        engine.flush(Instant::now());
        engine.wait(Some(end)).await;
        let now = Instant::now();
        engine.receive(now);
        engine.handle_timeout(now);
    }
    facts.seen = engine.seen_at();
    let now = Instant::now();
    engine.end_relay(now);
    engine.flush(now);
}

fn print(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    for finding in findings {
        let status = match finding.status {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Fail => "FAIL",
        };
        writeln!(out, "{status:<5} {:<8} {}", finding.name, finding.found)?;
        if let Some(advice) = &finding.advice {
            writeln!(out, "{:<14} {advice}", "")?;
        }
    }
    Ok(())
}
