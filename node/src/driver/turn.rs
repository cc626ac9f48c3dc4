//! The media thread's loop.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan::node::{Input, Node, PeerEvent, PeerInput, PlayerRequest};
use banyan::reachability::{Reach, Reachability};
use banyan::wire::codec::Encoding;
use banyan::wire::tracker::ClientMessage;
use tokio::sync::mpsc;

use super::players::{PlayerCommand, Players};
use super::publisher::Publisher;
use super::{Command, DriverConfig, Notice, Sink, Traffic};
use crate::rtc::Engine;
use crate::tally::Tally;
use crate::tracker_link::LinkEvent;

/// Commands taken at once before the sockets are looked at again.
const COMMAND_BATCH: usize = 32;

/// Time between two snapshots.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest sleep, so that no timer that lies in the past can spin the thread.
const SLEEP_MIN: Duration = Duration::from_micros(500);

/// Time the last messages of a leaving node are given to reach their peers.
pub(super) const LINGER: Duration = Duration::from_millis(150);

/// The thread's state between two turns of its loop.
pub(super) struct Turn {
    pub(super) node: Node,
    pub(super) engine: Engine,
    pub(super) tracker: mpsc::Sender<ClientMessage>,
    notices: mpsc::Sender<Notice>,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    /// How the other end of each link writes; native nodes where nothing is noted.
    pub(super) encodings: HashMap<LinkKey, Encoding>,
    snapshot_at: Instant,
    pub(super) tally: Tally,
    /// When the thread ends, once the node has left.
    pub(super) leaving: Option<Instant>,
    /// Events that the program has not taken yet.
    pub(super) untold: VecDeque<PeerEvent>,
    pub(super) players: Players,
    pub(super) publisher: Option<Publisher>,
}

impl Turn {
    /// Before the first one.
    pub(super) fn new(now: Instant, config: DriverConfig, engine: Engine) -> Self {
        Self {
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
        }
    }

    /// Turns until the node has left.
    pub(super) async fn run(&mut self, mut inbox: mpsc::Receiver<Command>) {
        if let Some(publisher) = &self.publisher {
            publisher.start(Instant::now(), &mut self.engine);
        }
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
                    publisher.command(now, &mut self.engine, &mut self.tally, command);
                }
                return;
            }
            Command::Leave => Input::Control(PeerInput::Leave),
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
            if let Some(reachability) = self.engine.learnt() {
                self.learnt(now, reachability);
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
            self.tally.publisher = self.publisher.as_ref().map(|p| p.figures(now));
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

    fn learnt(&mut self, now: Instant, reachability: Reachability) {
        if self.tally.reachability.replace(reachability) != Some(reachability) {
            let name = |reach: Option<Reach>| reach.map_or("none", Reach::name);
            let (v4, v6) = (name(reachability.v4), name(reachability.v6));
            tracing::info!("this network: IPv4 {v4}, IPv6 {v6}");
        }
        let input = PeerInput::Reachability(reachability);
        self.node.handle(now, Input::Control(input));
    }

    fn notify(&self, notice: Notice) {
        // A reader that is behind misses a statistic; it must not stop the media.
        let _ = self.notices.try_send(notice);
    }
}
