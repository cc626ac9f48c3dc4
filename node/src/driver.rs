//! The media thread: moves bytes between the [`Engine`]'s sockets and the [`Node`], and decides
//! nothing.

pub mod players;
pub mod publisher;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use banyan::id::LinkKey;
use banyan::limits::MAX_PEER_MESSAGE;
use banyan::node::{
    Input, Node, NodeConfig, Output, PeerEvent, PeerInput, PlayerRequest, Snapshot,
};
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::StreamInfo;
use banyan::wire::codec::{Encoding, Frame, decode, encode};
use banyan::wire::peer::{Channel, PeerMessage};
use banyan::wire::tracker::{ClientMessage, PeerClass, RefuseReason};
use tokio::sync::mpsc;

use self::players::{PlayerCommand, Players};
use self::publisher::{Publisher, PublisherCommand, PublisherConfig};
use crate::rtc::{
    self, CloseReason, Engine, EngineConfig, EngineError, EngineEvent, MessageData, SdpError,
};
use crate::tally::Tally;
use crate::tracker_link::LinkEvent;

/// Commands that may wait for the media thread: a second of frames and signalling.
const COMMAND_QUEUE: usize = 256;

/// Commands taken at once before the sockets are looked at again.
const COMMAND_BATCH: usize = 32;

/// Time between two snapshots.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest sleep, so that no timer that lies in the past can spin the thread.
const SLEEP_MIN: Duration = Duration::from_micros(500);

/// Most events kept for a program that is behind; it is behind by a minute of storms then.
const MAX_UNTOLD: usize = 1024;

/// Time the last messages of a leaving node are given to reach their peers.
const LINGER: Duration = Duration::from_millis(150);

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
            Engine::bind(config.engine)
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
        let now = Instant::now();
        let mut turn = Turn {
            node: Node::new(now, config.node),
            engine,
            tracker: config.tracker,
            notices: config.notices,
            sinks: config.sinks,
            encodings: HashMap::new(),
            snapshot_at: now,
            tally: Tally::default(),
            leaving: None,
            untold: VecDeque::new(),
            players: Players::default(),
            publisher: config.publisher.map(|config| Publisher::new(now, &config)),
        };
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

/// The thread's state between two turns of its loop.
struct Turn {
    node: Node,
    engine: Engine,
    tracker: mpsc::Sender<ClientMessage>,
    notices: mpsc::Sender<Notice>,
    sinks: Vec<Box<dyn Sink>>,
    /// How the other end of each link writes; native nodes where nothing is noted.
    encodings: HashMap<LinkKey, Encoding>,
    snapshot_at: Instant,
    tally: Tally,
    leaving: Option<Instant>,
    /// Events that the program has not taken yet.
    untold: VecDeque<PeerEvent>,
    players: Players,
    publisher: Option<Publisher>,
}

impl Turn {
    async fn run(&mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            let deadline = self.deadline();
            let command = tokio::select! {
                command = inbox.recv() => Some(command),
                () = self.engine.wait(Some(deadline)) => None,
            };
            let now = Instant::now();
            if let Some(command) = command {
                self.command(now, command.unwrap_or(Command::Leave));
                for _ in 1..COMMAND_BATCH {
                    let Ok(command) = inbox.try_recv() else { break };
                    self.command(now, command);
                }
            }
            self.engine.receive(now);
            if self.engine.deadline().is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
            }
            self.pump(now);
            if self.leaving.is_some_and(|at| at <= now) {
                return;
            }
        }
    }

    fn deadline(&self) -> Instant {
        let soonest = Instant::now() + SLEEP_MIN;
        let publisher = self.publisher.as_ref().and_then(Publisher::deadline);
        [
            self.node.deadline(),
            self.engine.deadline(),
            self.leaving,
            publisher,
        ]
        .into_iter()
        .flatten()
        .fold(self.snapshot_at, Instant::min)
        .max(soonest)
    }

    fn command(&mut self, now: Instant, command: Command) {
        self.tally.told(&command);
        let input = match command {
            Command::TrackerLink(LinkEvent::Up { authority }) => {
                Input::Control(PeerInput::TrackerUp { authority })
            }
            Command::TrackerLink(LinkEvent::Down { reason, failures }) => {
                self.notify(Notice::TrackerDown { reason, failures });
                Input::Control(PeerInput::TrackerDown)
            }
            Command::TrackerLink(LinkEvent::Message(message)) => {
                Input::Control(PeerInput::Tracker(message))
            }
            Command::Tracks(info) => Input::Control(PeerInput::Tracks(info)),
            Command::Source(packets) => Input::Source(packets),
            Command::SourceIdle(idle) => Input::SourceIdle(idle),
            Command::SourceClock { track, ntp, rtp } => Input::SourceClock { track, ntp, rtp },
            Command::Player(PlayerCommand {
                link,
                request,
                news,
            }) => {
                if let Some(news) = news {
                    self.players.listen(link, news);
                }
                Input::Control(PeerInput::Player { link, request })
            }
            Command::Publisher(command) => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.command(now, &mut self.engine, command);
                }
                return;
            }
            Command::Leave => {
                self.leaving.get_or_insert(now + LINGER);
                Input::Control(PeerInput::Leave)
            }
        };
        self.node.handle(now, input);
    }

    /// Lets what happened take its course until nothing more follows from it.
    fn pump(&mut self, now: Instant) {
        let mut ticked = false;
        loop {
            // What has arrived comes before what time has run out for.
            while let Some(event) = self.engine.poll_event() {
                self.engine_event(now, event);
            }
            if !ticked && self.node.deadline().is_some_and(|at| at <= now) {
                ticked = true;
                self.node.handle(now, Input::Tick);
            }
            let mut quiet = true;
            if let Some(publisher) = &mut self.publisher {
                publisher.handle_tick(now);
                quiet = !publisher.pump(now, &mut self.node, &mut self.engine);
            }
            self.node.flush(now);
            while let Some(output) = self.node.poll_output() {
                quiet = false;
                self.carry_out(now, output);
            }
            if quiet {
                break;
            }
        }
        self.engine.flush(now);
        while !self.untold.is_empty() {
            let Ok(place) = self.notices.try_reserve() else {
                break;
            };
            if let Some(event) = self.untold.pop_front() {
                place.send(Notice::Event(event));
            }
        }
        if self.snapshot_at <= now {
            self.snapshot_at = now + SNAPSHOT_INTERVAL;
            let (up, down) = self.engine.traffic();
            let tally = self.tally.clone();
            let figures = (self.node.snapshot(), Traffic { up, down, tally });
            self.notify(Notice::Snapshot(Box::new(figures)));
            self.node.reset_gaps();
            if let Some(link) = self.players.forgotten() {
                let request = PlayerRequest::Leave;
                let leave = Input::Control(PeerInput::Player { link, request });
                self.node.handle(now, leave);
            }
        }
    }

    fn notify(&self, notice: Notice) {
        // A reader that is behind misses a statistic; it must not stop the media.
        let _ = self.notices.try_send(notice);
    }

    fn engine_event(&mut self, now: Instant, event: EngineEvent) {
        self.tally.heard(&event);
        if let Some(publisher) = &mut self.publisher
            && publisher.owns(event.link())
        {
            publisher.event(now, event);
            return;
        }
        let input = match event {
            EngineEvent::Packet { link, packet } => {
                let packet = Packet {
                    track: packet.track,
                    seq: packet.seq.into(),
                    timestamp: packet.timestamp,
                    marker: packet.marker,
                    extensions: packet.extensions,
                    payload: packet.payload,
                };
                Input::Packet { link, packet }
            }
            EngineEvent::Nack { link, track, seqs } => Input::Nack { link, track, seqs },
            EngineEvent::KeyFrameRequest { link, track } => Input::KeyFrameRequest { link, track },
            EngineEvent::ReceiverReport {
                link,
                fraction_lost,
                rtt,
                ..
            } => Input::ReceiverReport {
                link,
                fraction_lost,
                rtt,
            },
            EngineEvent::SenderReport {
                link,
                track,
                ntp,
                rtp,
            } => Input::SenderReport {
                link,
                track,
                ntp,
                rtp,
            },
            EngineEvent::Offer { link, sdp } => Input::Control(PeerInput::Offer { link, sdp }),
            EngineEvent::Answer { link, sdp } => Input::Control(PeerInput::Answer { link, sdp }),
            EngineEvent::LocalCandidate { link, candidate } => {
                Input::Control(PeerInput::Candidate { link, candidate })
            }
            EngineEvent::Connected { link } => Input::Control(PeerInput::Connected { link }),
            EngineEvent::Closed { link, reason } => {
                self.encodings.remove(&link);
                let reached = !matches!(reason, CloseReason::IceFailed);
                Input::Control(PeerInput::Closed { link, reached })
            }
            EngineEvent::Message { link, data, .. } => {
                let frame = match data {
                    MessageData::Text(text) => Frame::Text(text),
                    MessageData::Binary(bytes) => Frame::Binary(bytes.into()),
                };
                match decode::<PeerMessage>(&frame, MAX_PEER_MESSAGE) {
                    Ok(message) => Input::Control(PeerInput::Message { link, message }),
                    Err(error) => {
                        tracing::debug!(?link, "a peer's message was dropped: {error}");
                        return;
                    }
                }
            }
        };
        self.node.handle(now, input);
    }

    fn carry_out(&mut self, now: Instant, output: Output) {
        self.tally.done(&output);
        match output {
            Output::Packets { link, packets } => {
                self.engine.send_packets(now, link, &packets);
                self.node.recycle(packets);
            }
            Output::Deliver(packet) => {
                for sink in &mut self.sinks {
                    sink.packet(&packet);
                }
            }
            Output::RequestPackets { link, track, seqs } => {
                self.engine.request_packets(now, link, track, &seqs);
            }
            Output::RequestKeyFrame { link, track } => {
                self.engine.request_key_frame(now, link, track);
            }
            Output::SenderReport {
                link,
                track,
                ntp,
                rtp,
            } => {
                self.engine.send_sender_report(now, link, track, ntp, rtp);
            }
            Output::Message { link, message } => self.say(now, link, &message),
            Output::Tracker(message) => self.tell_tracker(message),
            Output::Connect { link, ice_servers } => {
                if let Err(error) = self.engine.connect(now, link, &ice_servers) {
                    self.rejected(now, link, &error);
                }
            }
            Output::Accept {
                link,
                offer,
                class,
                ice_servers,
                info,
            } => {
                let (encoding, class) = match class {
                    PeerClass::Native => (Encoding::Bincode, rtc::PeerClass::Native),
                    PeerClass::Browser => (Encoding::Json, rtc::PeerClass::Browser),
                    PeerClass::Player => (Encoding::Json, rtc::PeerClass::Player),
                };
                self.encodings.insert(link, encoding);
                let accepted = self
                    .engine
                    .accept(now, link, &offer, &info, class, &ice_servers);
                if let Err(error) = accepted {
                    self.rejected(now, link, &error);
                }
            }
            Output::SetAnswer { link, sdp, info } => {
                if let Err(error) = self.engine.set_answer(now, link, &sdp, &info) {
                    self.rejected(now, link, &error);
                }
            }
            Output::AddCandidate { link, candidate } => {
                if let Err(error) = self.engine.add_candidate(now, link, &candidate) {
                    tracing::debug!(?link, "a candidate was passed over: {error}");
                }
            }
            Output::Close { link } => {
                self.encodings.remove(&link);
                self.engine.close(now, link);
            }
            Output::Tracks(info) => {
                for sink in &mut self.sinks {
                    sink.tracks(&info);
                }
            }
            Output::DeliverClock { track, ntp, rtp } => {
                for sink in &mut self.sinks {
                    sink.clock(track, ntp, rtp);
                }
            }
            Output::Player { link, news } => self.players.tell(link, news),
            // A file cannot make key frames on request.
            Output::SourceKeyFrame { track } => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.want_key_frame(now, track);
                }
            }
            Output::Event(event) if self.untold.len() < MAX_UNTOLD => {
                self.untold.push_back(event);
            }
            _ => {}
        }
    }

    fn tell_tracker(&mut self, message: ClientMessage) {
        if self.tracker.try_send(message).is_err() {
            self.tally.tracker_messages_lost += 1;
            tracing::warn!("the tracker takes nothing; a message to it is lost");
        }
    }

    fn rejected(&mut self, now: Instant, link: LinkKey, error: &EngineError) {
        tracing::debug!(?link, "a session description was refused: {error}");
        self.encodings.remove(&link);
        self.engine.close(now, link);
        let reason = match error {
            EngineError::Sdp(SdpError::NoCommonCodec { .. }) => RefuseReason::Codec,
            EngineError::Sdp(_) => RefuseReason::Offer,
            // Nothing is wrong with the offer: this node cannot take it.
            _ => RefuseReason::Full,
        };
        self.tally.refused[reason as usize] += 1;
        self.node
            .handle(now, Input::Control(PeerInput::Rejected { link, reason }));
    }

    fn say(&mut self, now: Instant, link: LinkKey, message: &PeerMessage) {
        let encoding = self
            .encodings
            .get(&link)
            .copied()
            .unwrap_or(Encoding::Bincode);
        let data = match encode(encoding, message) {
            Ok(Frame::Text(text)) => MessageData::Text(text),
            Ok(Frame::Binary(bytes)) => MessageData::Binary(bytes.into()),
            Err(error) => {
                tracing::error!("a message could not be written: {error}");
                return;
            }
        };
        let channel = match message.channel() {
            Channel::Control => rtc::Channel::Control,
            Channel::Pulse => rtc::Channel::Pulse,
        };
        if let Err(error) = self.engine.send_message(now, link, channel, data) {
            tracing::debug!(?link, "a message was not sent: {error}");
        }
    }
}
