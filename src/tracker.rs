//! A tracker: sessions on one side, broadcasts on the other, and who may say what when.
//!
//! Sans-I/O, like every core: the shell owns the sockets, gives each WebSocket a [`SessionId`],
//! feeds [`Tracker::handle`], sends what [`Tracker::poll_output`] yields in that order, and calls
//! `handle` with [`Input::Tick`] at [`Tracker::deadline`].

mod hello;
mod publish;
mod session;
#[cfg(test)]
mod tests;
mod watching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::Rng;

use crate::broadcast::{Broadcast, BroadcastCounters};
pub use crate::broadcast::{TreePage, TreeQuery};
use crate::id::{NodeId, StreamId};
use crate::limits::{
    MAX_CANDIDATES, MAX_OFFLINE_STREAMS, MAX_SESSIONS, OFFLINE_MEMORY, REPORT_INTERVAL,
};
use crate::wire::tracker::{
    ClientMessage, ErrorCode, IceServer, PeerClass, ServerMessage, StreamState, StreamStatus,
};
use session::Session;

/// One connection of a peer, numbered by the shell and never numbered so again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What the operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerConfig {
    /// STUN and TURN servers that peers are told to use.
    pub ice_servers: Vec<IceServer>,
    /// TURN servers for native peers that cannot connect without one, told when that is so.
    pub relays: Vec<IceServer>,
    /// Time between two reports of a peer; shorter than a third of
    /// [`LEASE`](crate::limits::LEASE).
    pub report_interval: Duration,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            ice_servers: Vec::new(),
            relays: Vec::new(),
            report_interval: REPORT_INTERVAL,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A WebSocket opened.
    Connected {
        /// Its new number.
        session: SessionId,
        /// Where the peer is seen.
        observed: IpAddr,
        /// Host (and port, if not the scheme's own) by which the peer reached the tracker.
        authority: String,
    },
    /// A peer said something.
    Message {
        /// On which connection.
        session: SessionId,
        /// What.
        message: ClientMessage,
    },
    /// A WebSocket closed.
    Disconnected {
        /// Which.
        session: SessionId,
    },
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Say this.
    Send {
        /// On which connection.
        session: SessionId,
        /// What.
        message: ServerMessage,
    },
    /// Close this connection when everything before is sent. It needs no
    /// [`Input::Disconnected`].
    Close {
        /// Which.
        session: SessionId,
    },
}

/// A stream in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    /// What its viewers are told.
    pub status: StreamStatus,
    /// Whether the front page may show it.
    pub listed: bool,
    /// When it began to play.
    pub started: Option<Instant>,
    /// About how many bits per second each viewer receives; none while the root feeds nobody.
    pub bits_per_second: Option<u64>,
    /// Lost parents since the broadcast began.
    pub heals: Heals,
}

/// How peers that lost their parent got another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heals {
    /// A warm standby took over.
    pub by_standby: u64,
    /// They asked the tracker.
    pub by_tracker: u64,
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Open sessions.
    pub sessions: usize,
    /// Streams with a root that has sent no media yet.
    pub streams_waiting: usize,
    /// Streams that play.
    pub streams_live: usize,
    /// Streams that played and whose root is away.
    pub streams_away: usize,
    /// Streams that are remembered as offline.
    pub streams_offline: usize,
    /// Sessions that introduced themselves, in the order of [`PeerClass::ALL`].
    pub peers: [u64; PeerClass::ALL.len()],
    /// Peers that watch or relay, roots not counted.
    pub viewers: u64,
    /// Peers that wait for a slot.
    pub waiting: u64,
    /// Messages received since the start.
    pub messages: u64,
    /// Errors sent since the start, in the order of [`ErrorCode::ALL`].
    pub errors: [u64; ErrorCode::ALL.len()],
    /// Sessions closed by the tracker since the start.
    pub closed: u64,
    /// What broadcasts count since the start, summed up.
    pub broadcasts: BroadcastCounters,
}

/// A tracker.
#[derive(Debug)]
pub struct Tracker<R> {
    config: TrackerConfig,
    rng: R,
    sessions: BTreeMap<SessionId, Session>,
    nodes: BTreeMap<NodeId, SessionId>,
    streams: BTreeMap<StreamId, Broadcast>,
    /// When each stream wants a tick.
    due: BTreeSet<(Instant, StreamId)>,
    due_of: BTreeMap<StreamId, Instant>,
    offline: BTreeMap<StreamId, Instant>,
    /// When each session is looked at again.
    leases: BTreeSet<(Instant, SessionId)>,
    outputs: VecDeque<Output>,
    messages: u64,
    errors: [u64; ErrorCode::ALL.len()],
    closed: u64,
    /// Counts of streams that are forgotten.
    past: BroadcastCounters,
}

impl<R: Rng> Tracker<R> {
    /// A tracker without peers.
    pub fn new(config: TrackerConfig, rng: R) -> Self {
        Self {
            config,
            rng,
            sessions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            streams: BTreeMap::new(),
            due: BTreeSet::new(),
            due_of: BTreeMap::new(),
            offline: BTreeMap::new(),
            leases: BTreeSet::new(),
            outputs: VecDeque::new(),
            messages: 0,
            errors: [0; ErrorCode::ALL.len()],
            closed: 0,
            past: BroadcastCounters::default(),
        }
    }

    /// Tells the tracker what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Connected {
                session,
                observed,
                authority,
            } => self.connected(now, session, observed, authority),
            Input::Message { session, message } => self.message(now, session, message),
            Input::Disconnected { session } => self.end_session(now, session),
            Input::Tick => {}
        }
        self.run_due(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Tick`].
    pub fn deadline(&self) -> Option<Instant> {
        let stream = self.due.first().map(|&(at, _)| at);
        let lease = self.leases.first().map(|&(at, _)| at);
        [stream, lease].into_iter().flatten().min()
    }

    /// Every stream known here, ordered by id.
    pub fn streams(&self) -> impl Iterator<Item = StreamSummary> + '_ {
        self.streams.values().map(summary)
    }

    /// One stream.
    pub fn stream(&self, id: &StreamId) -> Option<StreamSummary> {
        self.streams.get(id).map(summary)
    }

    /// A page of a stream's tree; none if there is no such stream.
    pub fn tree(&self, now: Instant, id: &StreamId, query: &TreeQuery) -> Option<TreePage> {
        Some(self.streams.get(id)?.page(now, query))
    }

    /// Figures for metrics.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters {
            sessions: self.sessions.len(),
            messages: self.messages,
            errors: self.errors,
            closed: self.closed,
            broadcasts: self.past,
            ..Counters::default()
        };
        for session in self.sessions.values() {
            if let Some(arrival) = session.hello {
                counters.peers[arrival.class as usize] += 1;
            }
        }
        for broadcast in self.streams.values() {
            match broadcast.state() {
                StreamState::Waiting => counters.streams_waiting += 1,
                StreamState::Live => counters.streams_live += 1,
                StreamState::Offline => counters.streams_offline += 1,
                StreamState::Away => counters.streams_away += 1,
            }
            let (viewers, waiting) = broadcast.counts();
            counters.viewers += u64::from(viewers);
            counters.waiting += u64::from(waiting);
            counters.broadcasts.add(&broadcast.counters());
        }
        counters
    }

    fn connected(&mut self, now: Instant, id: SessionId, observed: IpAddr, authority: String) {
        if self.sessions.len() >= MAX_SESSIONS {
            let text = "this tracker takes no more sessions at the moment";
            self.send_error(id, ErrorCode::Overloaded, text, true);
            self.outputs.push_back(Output::Close { session: id });
            self.closed += 1;
            return;
        }
        self.sessions
            .insert(id, Session::new(now, observed, authority));
        self.arm(id);
    }

    fn message(&mut self, now: Instant, id: SessionId, message: ClientMessage) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.messages += 1;
        session.heard = now;
        if !session.budget.take(now) {
            self.fail(now, id, ErrorCode::Flood, "too many messages");
            return;
        }
        if let Err(error) = message.check() {
            self.fail(now, id, ErrorCode::Malformed, error.to_string());
            return;
        }
        match (message, session.hello) {
            (ClientMessage::Hello(hello), None) => self.hello(now, id, hello),
            (ClientMessage::Hello(_), Some(_)) => {
                self.unexpected(id, "Hello was said already in this session");
            }
            (_, None) => self.unexpected(id, "the first message of a session is Hello"),
            (message, Some(arrival)) => self.request(now, id, arrival, message),
        }
    }

    /// Ends every session and stream whose time has come.
    fn run_due(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.leases.first()
            && at <= now
        {
            self.leases.pop_first();
            self.lease_due(now, id);
        }
        while let Some(&(at, stream)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            self.due_of.remove(&stream);
            let over = self.streams.get(&stream).and_then(Broadcast::offline_since);
            if over.is_some_and(|since| since + OFFLINE_MEMORY <= now) {
                self.forget(stream);
            } else if let Some(broadcast) = self.streams.get_mut(&stream) {
                broadcast.tick(now);
                self.settle(now, stream);
            }
        }
    }

    /// Lets a stream draw its conclusions, passes on what it says, and notes when it is due.
    fn settle(&mut self, now: Instant, stream: StreamId) {
        let Some(broadcast) = self.streams.get_mut(&stream) else {
            return;
        };
        broadcast.settle(now, &mut self.rng);
        let mut over = Vec::new();
        while let Some((node, message)) = broadcast.poll_output() {
            let Some(&session) = self.nodes.get(&node) else {
                continue;
            };
            if matches!(
                message,
                ServerMessage::Expect { .. } | ServerMessage::ExpectStandby { .. }
            ) && let Some(session) = self.sessions.get_mut(&session)
            {
                // Its answer and candidates are asked for.
                session.budget.grant(2 + MAX_CANDIDATES as u32);
            }
            if let ServerMessage::Error { code, fatal, .. } = &message {
                self.errors[*code as usize] += 1;
                over.extend(fatal.then_some(session));
            }
            self.outputs.push_back(Output::Send { session, message });
        }
        let offline = broadcast.offline_since();
        let due = [broadcast.deadline(), offline.map(|at| at + OFFLINE_MEMORY)];
        let due = due.into_iter().flatten().min();
        let before = match due {
            Some(at) => self.due_of.insert(stream, at),
            None => self.due_of.remove(&stream),
        };
        if before != due {
            self.due.extend(due.map(|at| (at, stream)));
            if let Some(before) = before {
                self.due.remove(&(before, stream));
            }
        }
        match offline {
            Some(since) => {
                self.offline.insert(stream, since);
                if self.offline.len() > MAX_OFFLINE_STREAMS {
                    let oldest = self.offline.iter().min_by_key(|&(_, &since)| since);
                    if let Some(oldest) = oldest.map(|(&stream, _)| stream) {
                        self.forget(oldest);
                    }
                }
            }
            None => {
                self.offline.remove(&stream);
            }
        }
        for id in over {
            if let Some(session) = self.sessions.get_mut(&id) {
                // The broadcast has forgotten it already.
                session.stream = None;
            }
            self.close(now, id);
        }
    }

    /// Forgets an ended stream; who still waits for it is told.
    fn forget(&mut self, stream: StreamId) {
        let Some(broadcast) = self.streams.remove(&stream) else {
            return;
        };
        self.offline.remove(&stream);
        if let Some(at) = self.due_of.remove(&stream) {
            self.due.remove(&(at, stream));
        }
        self.past.add(&broadcast.counters());
        for node in broadcast.nodes() {
            if let Some(&id) = self.nodes.get(&node) {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.stream = None;
                }
                self.send_error(id, ErrorCode::Ended, "the broadcast has ended", false);
            }
        }
    }

    fn send(&mut self, session: SessionId, message: ServerMessage) {
        self.outputs.push_back(Output::Send { session, message });
    }

    fn send_error(
        &mut self,
        session: SessionId,
        code: ErrorCode,
        message: impl Into<String>,
        fatal: bool,
    ) {
        self.errors[code as usize] += 1;
        let message = message.into();
        let error = ServerMessage::Error {
            code,
            message,
            fatal,
        };
        self.send(session, error);
    }

    fn unexpected(&mut self, session: SessionId, message: &str) {
        self.send_error(session, ErrorCode::Unexpected, message, false);
    }

    /// Ends a session with an error.
    fn fail(
        &mut self,
        now: Instant,
        session: SessionId,
        code: ErrorCode,
        message: impl Into<String>,
    ) {
        self.send_error(session, code, message, true);
        self.close(now, session);
    }

    fn close(&mut self, now: Instant, session: SessionId) {
        self.outputs.push_back(Output::Close { session });
        self.closed += 1;
        self.end_session(now, session);
    }
}

fn summary(broadcast: &Broadcast) -> StreamSummary {
    let counters = broadcast.counters();
    StreamSummary {
        status: broadcast.status(),
        listed: broadcast.listed(),
        started: broadcast.started(),
        bits_per_second: broadcast.bits_per_second(),
        heals: Heals {
            by_standby: counters.switched,
            by_tracker: counters.heals,
        },
    }
}
