//! What every command with a node has in common: a tracker link, a media thread, statistics, and
//! an end on request.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use banyan::id::{NodeId, StreamId};
use banyan::node::{NodeConfig, PeerConfig, PeerEvent, Role};
use banyan::wire::announcement::stream_id;
use banyan::wire::tracker::{IceServer, StreamState, WaitReason};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use url::Url;

use crate::config::NodeOptions;
use crate::demo::{FOLLOW_STDIN, NODE};
use crate::driver::publisher::PublisherConfig;
use crate::driver::{Command, Driver, DriverConfig, Notice, Sink};
use crate::http::health::Figures;
use crate::http::{self, Listen, whip};
use crate::rtc::{EngineConfig, LoopbackCandidates, UdpBind, UdpPort};
use crate::sink::REPAIR_WAIT;
use crate::sink::packet_log::PacketLog;
use crate::stats::StatsFile;
use crate::tracker_link;
use crate::whip_token::Token;

/// Messages that may wait for the tracker: candidates and answers of a join storm.
const TRACKER_QUEUE: usize = 1024;

/// Notices that may wait for the program.
const NOTICE_QUEUE: usize = 256;

/// Children a node serves when neither `--max-children` nor `--max-upload` says.
const DEFAULT_CHILDREN: u16 = 8;

/// Most children a node with `--max-upload` alone serves; its upload is the real limit.
const UPLOAD_CHILDREN: u16 = 200;

/// Attempts to reach a tracker for the first time before the command gives up: about ten seconds.
const FIRST_ATTEMPTS: u32 = 6;

/// A node in its mesh.
#[derive(Debug)]
pub struct Session {
    stream: StreamId,
    /// To the media thread.
    pub driver: Driver,
    /// Where its HTTP server listens, if it has one.
    pub http: Option<SocketAddr>,
    notices: mpsc::Receiver<Notice>,
    link: JoinHandle<()>,
    stats: Option<StatsFile>,
    figures: watch::Sender<Figures>,
    stop: JoinHandle<()>,
    reached: bool,
}

/// What a command may act upon.
#[derive(Debug)]
pub enum Happened {
    /// The tracker accepted the broadcast.
    Published,
    /// The stream's state changed.
    Stream(StreamState),
    /// The node feeds one more child.
    ChildUp,
    /// The user, or whoever started this process, wants it to end.
    Stop,
}

/// What a command says of its node.
pub struct NodeSetup {
    /// Root or viewer.
    pub role: Role,
    /// The tracker to use.
    pub tracker: Url,
    /// The verb of the command line, for the tracker's records.
    pub verb: &'static str,
    /// Where media is received when `--udp` does not say.
    pub default_port: UdpPort,
    /// What is played or written on this machine, besides the packet log.
    pub sinks: Vec<Box<dyn Sink>>,
    /// At a root whose media comes from publishers.
    pub ingest: Option<IngestSetup>,
}

/// What a root that waits for publishers needs.
pub struct IngestSetup {
    /// Where they come to, when `--listen` does not say.
    pub listen: Listen,
    /// Who shows it may publish.
    pub token: Arc<Token>,
    /// STUN servers to tell publishers of.
    pub ice_servers: Vec<IceServer>,
    /// For the media thread.
    pub publisher: PublisherConfig,
}

impl Session {
    /// Starts the node.
    ///
    /// # Errors
    /// When a port or a file cannot be had.
    pub async fn start(options: &NodeOptions, setup: NodeSetup) -> anyhow::Result<Self> {
        let stats = options
            .stats
            .as_deref()
            .map(StatsFile::create)
            .transpose()?;
        let mut sinks = setup.sinks;
        if let Some(path) = &options.packet_log {
            sinks.push(Box::new(PacketLog::create(path)?));
        }
        let slots = options.max_children.unwrap_or(match options.max_upload {
            Some(_) => UPLOAD_CHILDREN,
            None => DEFAULT_CHILDREN,
        });
        let stream = match &setup.role {
            Role::Root { key, .. } => stream_id(key),
            Role::Viewer { stream } => *stream,
        };
        let peer = PeerConfig {
            node: named().unwrap_or_else(|| NodeId::random(&mut rand::rng())),
            agent: format!("banyan {} {}", setup.verb, env!("CARGO_PKG_VERSION")),
            slots,
            role: setup.role,
        };
        let node = NodeConfig {
            peer,
            max_upload: options.max_upload,
            sink_wait: (!sinks.is_empty()).then_some(REPAIR_WAIT),
        };
        let udp = match options.udp {
            Some(addr) => UdpBind {
                ip: Some(addr.ip()),
                port: if addr.port() == 0 {
                    UdpPort::Any
                } else {
                    UdpPort::Exactly(addr.port())
                },
            },
            None => UdpBind {
                ip: None,
                port: setup.default_port,
            },
        };
        let engine = EngineConfig {
            udp,
            public_addr: options.public_addr,
            loopback: LoopbackCandidates::WhenAlone,
            rng_seed: rand::random(),
        };
        let listen = match (options.listen, &setup.ingest) {
            (Some(addr), _) => Some(Listen::Exactly(addr)),
            (None, Some(ingest)) => Some(ingest.listen),
            (None, None) => None,
        };
        let http = match listen {
            Some(listen) => Some(http::Server::bind(listen).await?),
            None => None,
        };
        let http_addr = http.as_ref().map(http::Server::addr);
        let (to_tracker, outgoing) = mpsc::channel(TRACKER_QUEUE);
        let (to_program, notices) = mpsc::channel(NOTICE_QUEUE);
        let driver = Driver::start(DriverConfig {
            node,
            engine,
            tracker: to_tracker,
            notices: to_program,
            sinks,
            publisher: setup.ingest.as_ref().map(|i| i.publisher.clone()),
        })?;
        let (figures, newest) = watch::channel(None);
        if let Some(http) = http {
            let whep = http::whep::Endpoint::new(driver.commands.clone());
            let whip = setup.ingest.map(|ingest| whip::Endpoint {
                commands: driver.commands.clone(),
                token: ingest.token,
                ice_servers: ingest.ice_servers,
            });
            http.serve(http::Rooms::new(newest, whep, whip));
        }
        let (events, mut inbox) = mpsc::channel(TRACKER_QUEUE);
        let commands = driver.commands.clone();
        tokio::spawn(async move {
            while let Some(event) = inbox.recv().await {
                if commands.send(Command::TrackerLink(event)).await.is_err() {
                    return;
                }
            }
        });
        let link = tokio::spawn(tracker_link::run(setup.tracker, outgoing, events));
        let stop = tokio::spawn(stop_requested());
        Ok(Self {
            stream,
            driver,
            http: http_addr,
            notices,
            link,
            stats,
            figures,
            stop,
            reached: false,
        })
    }

    /// The stream the node belongs to.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Waits for something the command may act upon; the rest is logged and written down here.
    ///
    /// # Errors
    /// When the node cannot go on, with the reason.
    pub async fn next(&mut self) -> anyhow::Result<Happened> {
        loop {
            let notice = tokio::select! {
                notice = self.notices.recv() => notice.context("the media thread has ended")?,
                _ = &mut self.stop => return Ok(Happened::Stop),
            };
            match notice {
                Notice::Snapshot(figures) => {
                    if let Some(stats) = &mut self.stats {
                        stats.write(&figures.0, &figures.1)?;
                    }
                    self.figures.send_replace(Some(Arc::from(figures)));
                }
                Notice::TrackerDown { reason, failures } => {
                    if !self.reached && failures >= FIRST_ATTEMPTS {
                        bail!("{reason}");
                    }
                    tracing::warn!("{reason}; trying again");
                }
                Notice::Event(event) => {
                    if let Some(happened) = self.heed(event)? {
                        return Ok(happened);
                    }
                }
            }
        }
    }

    fn heed(&mut self, event: PeerEvent) -> anyhow::Result<Option<Happened>> {
        self.reached = true;
        match event {
            PeerEvent::Published => return Ok(Some(Happened::Published)),
            PeerEvent::Failed(reason) => bail!("{reason}"),
            PeerEvent::Refused(reason) => tracing::warn!("{reason}"),
            PeerEvent::Waiting { reason, ahead } => match reason {
                WaitReason::NoMedia => tracing::info!("waiting for the broadcaster"),
                WaitReason::Full => tracing::info!("the tree is full: waiting, {ahead} ahead"),
                _ => tracing::info!("waiting for a parent that can be reached"),
            },
            PeerEvent::Attached {
                parent,
                healed: false,
            } => tracing::info!("fed by {parent}"),
            PeerEvent::Attached {
                parent,
                healed: true,
            } => tracing::info!("now fed by {parent}"),
            PeerEvent::Picture { held: true } => tracing::warn!(
                "this connection does not carry the picture at the moment: the sound goes on, and the picture is tried again by itself"
            ),
            PeerEvent::Picture { held: false } => tracing::info!("the picture is tried again"),
            PeerEvent::ParentLost { parent, reason } => {
                tracing::info!("parent {parent} is lost: {}", lost_words(reason));
            }
            PeerEvent::ChildUp { link } => {
                tracing::info!("feeding {}", link.child);
                return Ok(Some(Happened::ChildUp));
            }
            PeerEvent::ChildDown { link } => tracing::info!("no longer feeding {}", link.child),
            PeerEvent::Stream {
                state,
                viewers,
                waiting,
            } => {
                tracing::debug!("stream {state:?}, {viewers} viewers, {waiting} waiting");
                return Ok(Some(Happened::Stream(state)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Leaves the mesh.
    pub async fn leave(self) {
        self.driver.leave().await;
        // The link ends by itself once the media thread no longer holds its channel.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.link).await;
    }
}

fn lost_words(reason: banyan::wire::tracker::LostReason) -> &'static str {
    use banyan::wire::tracker::LostReason;
    match reason {
        LostReason::Unreachable => "no way to reach it was found",
        LostReason::Silent => "it fell silent",
        LostReason::Closed => "it closed the connection",
        LostReason::Leaving => "it is leaving",
        LostReason::Starved => "it had nothing to pass on",
        _ => "what it sent cannot be used",
    }
}

/// Ctrl-C, SIGTERM, or the end of standard input where the starter asked for that.
async fn stop_requested() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminate() => {}
        () = starter_gone() => {}
    }
}

#[cfg(unix)]
async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}

/// The name that whoever started this process has given it.
fn named() -> Option<NodeId> {
    std::env::var(NODE).ok()?.parse().ok()
}

async fn starter_gone() {
    if std::env::var_os(FOLLOW_STDIN).is_none() {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut byte = [0; 64];
    while stdin.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}
