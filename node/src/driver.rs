//! The media thread: moves bytes between the [`Engine`]'s sockets and the [`Node`], and decides
//! nothing.
//!
//! [`Node`]: banyan::node::Node

mod events;
mod outputs;
pub mod players;
pub mod publisher;
mod turn;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use banyan::node::{NodeConfig, PeerEvent, Snapshot};
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::StreamInfo;
use banyan::wire::tracker::ClientMessage;
use tokio::sync::mpsc;

use self::players::PlayerCommand;
use self::publisher::{PublisherCommand, PublisherConfig};
use self::turn::Turn;
use crate::rtc::{Engine, EngineConfig};
use crate::tally::Tally;
use crate::tracker_link::LinkEvent;

/// Commands that may wait for the media thread: a second of frames and signalling.
const COMMAND_QUEUE: usize = 256;

/// What the rest of the program wants of the media thread.
#[derive(Debug)]
pub enum Command {
    /// Something came from the tracker's WebSocket.
    TrackerLink(LinkEvent),
    /// At the root: the stream has these tracks.
    Tracks(StreamInfo),
    /// At the root: the packets of one frame.
    Source(Vec<Packet>),
    /// At the root: the source has paused, or goes on.
    SourceIdle(bool),
    /// At the root: which time a track's timestamps stand for.
    SourceClock {
        /// Position in the list of tracks.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// A player at this node's own door wants something.
    Player(PlayerCommand),
    /// At a root without a file: something came from a publisher's HTTP request.
    Publisher(PublisherCommand),
    /// Leave the stream and end the thread.
    Leave,
}

/// What the media thread tells the rest of the program.
#[derive(Debug)]
pub enum Notice {
    /// Something people may want to know.
    Event(PeerEvent),
    /// The tracker's connection ended and is tried again.
    TrackerDown {
        /// Why.
        reason: String,
        /// Attempts that failed in a row.
        failures: u32,
    },
    /// The node as it is, once a second.
    Snapshot(Box<(Snapshot, Traffic)>),
}

/// What the media thread counts since the start.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Bytes sent on the sockets.
    pub up: u64,
    /// Bytes received on them.
    pub down: u64,
    /// What happened on the links.
    pub tally: Tally,
}

/// Takes what arrives in order on this machine. Called on the media thread: it must not block.
pub trait Sink: Send {
    /// The stream has these tracks from now on.
    fn tracks(&mut self, info: &StreamInfo);
    /// The next packet.
    fn packet(&mut self, packet: &Arc<Packet>);
    /// Which time a track's timestamps stand for.
    fn clock(&mut self, track: TrackIndex, ntp: u64, rtp: u32);
}

/// The channels and parts a driver is made of.
pub struct DriverConfig {
    /// The node.
    pub node: NodeConfig,
    /// The sockets.
    pub engine: EngineConfig,
    /// To the tracker.
    pub tracker: mpsc::Sender<ClientMessage>,
    /// To the rest of the program.
    pub notices: mpsc::Sender<Notice>,
    /// What is played or written on this machine.
    pub sinks: Vec<Box<dyn Sink>>,
    /// At a root whose media comes from publishers.
    pub publisher: Option<PublisherConfig>,
}

/// A running media thread.
#[derive(Debug)]
pub struct Driver {
    /// Its commands.
    pub commands: mpsc::Sender<Command>,
    /// The UDP port media travels on.
    pub port: u16,
    thread: JoinHandle<()>,
}

impl Driver {
    /// Binds the sockets and starts the thread.
    ///
    /// # Errors
    /// When the UDP port cannot be had.
    pub fn start(config: DriverConfig) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the media thread")?;
        let engine = {
            let _entered = runtime.enter();
            Engine::bind(config.engine.clone())
        };
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => {
                // Dropped here, inside the program's own runtime, it would have to wait.
                runtime.shutdown_background();
                return Err(error.into());
            }
        };
        let port = engine.port();
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let mut turn = Turn::new(Instant::now(), config, engine);
        let thread = std::thread::Builder::new()
            .name("media".into())
            .spawn(move || runtime.block_on(turn.run(inbox)))
            .context("starting the media thread")?;
        Ok(Self {
            commands,
            port,
            thread,
        })
    }

    /// Leaves the stream and waits for the thread to end.
    pub async fn leave(self) {
        let _ = self.commands.send(Command::Leave).await;
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}
