//! The control plane of one node: its place in one tree.
//!
//! A [`Peer`] speaks with the tracker, keeps the link to its parent and the links to its children,
//! and replaces a parent that is gone. It never sees a media packet; `Node`
//! joins it with the `Relay`.

mod children;
mod cold;
pub mod contract;
mod detour;
mod leaving;
mod linking;
mod liveness;
mod orders;
mod players;
mod renewal;
mod reserve;
mod signal;
mod signaling;
mod standby;
mod trial;
mod upstream;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use self::contract::{
    MediaView, PeerConfig, PeerEvent, PeerInput, PeerOutput, PlayerNews, PlayerRequest, Role,
};

use self::children::Children;
use self::cold::Cold;
use self::liveness::{Liveness, Remote};
use self::signal::Budget;
use self::signaling::Session;
use self::standby::Standby;
use self::upstream::{Attempt, Stage, Upstream};
use crate::id::{LinkId, LinkKey, NodeId, StreamId};
use crate::limits::HEARTBEAT_INTERVAL;
use crate::reachability::Reachability;
use crate::wire::announcement::{SignedStreamInfo, StreamInfo, stream_id};
use crate::wire::peer::{PeerMessage, Pulse, StartFrom};
use crate::wire::tracker::{ClientMessage, PeerClass};

/// Time a returning tracker or session has to take a fed node back by what it and its parent
/// report, before the node asks for a place anew: a few reports.
const READMISSION: Duration = Duration::from_secs(5);

/// A node that is told the time this much later than it asked for was held up itself: stopped,
/// asleep or starved.
const HELD_UP: Duration = Duration::from_millis(2 * HEARTBEAT_INTERVAL.as_millis() as u64);

/// Pause before a parent is asked for again after the tracker refused.
const RETRY_JOIN: Duration = Duration::from_secs(2);

/// One node's control plane.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    stream: StreamId,
    /// Any fixed instant: the zero of this node's heartbeat clock.
    origin: Instant,
    session: Session,
    upstream: Upstream,
    children: Children,
    standby: Standby,
    cold: Cold,
    /// What all neighbours together may have passed on.
    signals: Budget,
    next_link: LinkId,
    signed: Option<SignedStreamInfo>,
    info: Option<StreamInfo>,
    media: MediaView,
    /// As far as it is known.
    reachability: Option<Reachability>,
    /// When to ask for a parent again.
    join_at: Option<Instant>,
    /// While fed: when to ask for a place, if the tracker has not taken this node back by then.
    readmission_at: Option<Instant>,
    /// When it last asked to be told the time.
    due: Option<Instant>,
    /// Whether this tracker or one before it knew the stream.
    stream_known: bool,
    /// The tracker says that the root is away: the whole tree has nothing, and no other parent would.
    away: bool,
    heals: u32,
    ever_attached: bool,
    left: bool,
    outputs: VecDeque<PeerOutput>,
}

impl Peer {
    /// A node that has not spoken to anybody.
    pub fn new(now: Instant, config: PeerConfig) -> Self {
        let stream = match &config.role {
            Role::Root { key, .. } => stream_id(key),
            Role::Viewer { stream } => *stream,
        };
        Self {
            config,
            stream,
            origin: now,
            session: Session::default(),
            upstream: Upstream::default(),
            children: Children::default(),
            standby: Standby::default(),
            cold: Cold::default(),
            signals: Budget::default(),
            next_link: LinkId::default(),
            signed: None,
            info: None,
            media: MediaView::default(),
            reachability: None,
            join_at: None,
            readmission_at: None,
            due: None,
            stream_known: false,
            away: false,
            heals: 0,
            ever_attached: false,
            left: false,
            outputs: VecDeque::new(),
        }
    }

    /// Tells the peer what happened. `media` is the data plane as it stands.
    pub fn handle(&mut self, now: Instant, media: MediaView, input: PeerInput) {
        self.media = media;
        if self.left {
            return;
        }
        if self.due.is_some_and(|due| now > due + HELD_UP) {
            self.children.excuse(now);
            for attempt in self.upstream.attempts_mut() {
                attempt.excuse(now);
            }
        }
        match input {
            PeerInput::TrackerUp { authority } => self.tracker_up(authority),
            PeerInput::TrackerDown => self.session.close(),
            PeerInput::Tracker(message) => self.tracker_message(now, message),
            PeerInput::Offer { link, sdp } => self.offer_ready(now, link, sdp),
            PeerInput::Answer { link, sdp } => self.answer_ready(now, link, sdp),
            PeerInput::Rejected { link, reason } => self.rejected(now, link, reason),
            PeerInput::Candidate { link, candidate } => self.local_candidate(now, link, candidate),
            PeerInput::Connected { link } => self.link_connected(now, link),
            PeerInput::Closed { link, reached } => self.link_closed(now, link, reached),
            PeerInput::Message { link, message } => self.peer_message(now, link, message),
            PeerInput::Worn { link } => {
                self.send(link, PeerMessage::Bye);
                self.drop_child(now, link);
            }
            PeerInput::Player { link, request } => self.player_asks(now, link, request),
            PeerInput::Tracks(info) => self.set_tracks(now, info),
            PeerInput::Reachability(reachability) => self.learnt(reachability),
            PeerInput::Tick => {}
            PeerInput::Leave => self.begin_to_leave(now),
        }
        self.tick(now);
        self.due = self.deadline();
    }

    /// Media arrived over a link. Called for every packet, so it does nothing else. False if the
    /// link is no parent's, or was described for other tracks than the stream's present ones.
    pub fn media_arrived(&mut self, now: Instant, link: LinkKey) -> bool {
        let epoch = self.info.as_ref().map(|info| info.epoch);
        let Some(attempt) = self.upstream.get_mut(link) else {
            return false;
        };
        if attempt.liveness().is_none() {
            return false;
        }
        if attempt.described != epoch {
            attempt.heard(now);
            return false;
        }
        self.away = false;
        let resumes = !attempt.delivering;
        let first = attempt.media(now);
        if attempt.standby {
            self.standby_feeds(now, resumes);
        } else if first {
            self.first_media(now, link);
        } else if self.standby.on_trial() {
            self.parent_speaks(now);
        }
        true
    }

    /// Packets were handed to a child's link. Called for every batch, so it does nothing else.
    pub fn media_sent(&mut self, now: Instant, link: LinkKey) {
        let child = self.children.get_mut(link);
        if let Some(liveness) = child.and_then(children::Child::liveness_mut) {
            liveness.spoke(now);
        }
    }

    /// Whether a link leads to a parent and carries the stream's present tracks.
    pub fn is_upstream(&self, link: LinkKey) -> bool {
        let epoch = self.epoch();
        let mut attempts = self.upstream.attempts();
        attempts.any(|attempt| attempt.link == link && attempt.described == epoch)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<PeerOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`PeerInput::Tick`].
    pub fn deadline(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        self.upstream
            .attempts()
            .filter_map(Attempt::deadline)
            .chain(self.children.deadline())
            .chain(self.session.deadline())
            .chain(self.standby_deadline())
            .chain(self.cold_deadline())
            .chain(self.join_at.filter(|_| self.wants_parent()))
            .chain(self.readmission_at.filter(|_| self.wants_readmission()))
            .min()
    }

    /// Its name.
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// The stream it belongs to.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Whether it is the broadcaster.
    pub fn is_root(&self) -> bool {
        matches!(self.config.role, Role::Root { .. })
    }

    /// Children that have a slot.
    pub fn taken(&self) -> usize {
        self.children.taken()
    }

    /// The parent that feeds it.
    pub fn parent(&self) -> Option<NodeId> {
        self.upstream
            .feeding
            .as_ref()
            .and_then(|attempt| attempt.parent)
    }

    /// Hops from the root, as far as known.
    pub fn depth(&self) -> Option<usize> {
        let path = self.path();
        (!path.is_empty()).then(|| path.len() - 1)
    }

    /// The children that are fed.
    pub fn children(&self) -> impl Iterator<Item = LinkKey> {
        self.children.fed()
    }

    /// The children whose links stand, those this node is the standby of among them.
    pub fn connected_children(&self) -> impl Iterator<Item = LinkKey> {
        self.children.connected()
    }

    /// Those of them that the tracker placed.
    pub fn placed_children(&self) -> impl Iterator<Item = LinkKey> {
        self.children.placed()
    }

    /// What a child is.
    pub fn class_of(&self, link: LinkKey) -> Option<PeerClass> {
        self.children.get(link).map(|child| child.class)
    }

    /// Children the tracker may give it: its slots, less those taken at its own door.
    pub fn placeable(&self) -> u16 {
        let local = u16::try_from(self.children.local()).unwrap_or(u16::MAX);
        self.config.slots.saturating_sub(local)
    }

    /// For how long its parent has held the picture back, if it does.
    pub fn picture_held_for(&self, now: Instant) -> Option<Duration> {
        let since = self.upstream.feeding.as_ref()?.picture_held_since?;
        Some(now.saturating_duration_since(since))
    }

    /// Children it serves at most.
    pub fn slots(&self) -> u16 {
        self.config.slots
    }

    /// Changes how many children it serves at most. Children it has stay.
    pub fn set_slots(&mut self, slots: u16) {
        self.config.slots = slots;
    }

    /// Parents it has replaced.
    pub fn heals(&self) -> u32 {
        self.heals
    }

    /// Delay from the root: half round trips on the way, summed up.
    pub fn delay(&self) -> Duration {
        let Some(liveness) = self.feeding_liveness() else {
            return Duration::ZERO;
        };
        Duration::from_micros(liveness.remote.delay_us) + liveness.rtt().unwrap_or_default() / 2
    }

    /// Smoothed round trip to the parent.
    pub fn upstream_rtt(&self) -> Option<Duration> {
        self.feeding_liveness().and_then(Liveness::rtt)
    }

    fn feeding_liveness(&self) -> Option<&Liveness> {
        self.upstream.feeding.as_ref().and_then(Attempt::liveness)
    }

    /// From the root to this node; empty while it is not attached.
    fn path(&self) -> Vec<NodeId> {
        if self.is_root() {
            return vec![self.node()];
        }
        let Some(liveness) = self.feeding_liveness() else {
            return Vec::new();
        };
        let mut path = liveness.remote.path.clone();
        if !path.is_empty() {
            path.push(self.node());
        }
        path
    }

    /// What heartbeats say of this node.
    fn own_state(&self) -> Remote {
        Remote {
            path: self.path(),
            heads: self.media.heads.clone(),
            delay_us: self.delay().as_micros() as u64,
            source_idle: self.media.source_idle
                || self
                    .feeding_liveness()
                    .is_some_and(|l| l.remote.source_idle),
            healing: self.is_healing(),
        }
    }

    /// Whether nobody feeds it, or its parent is not heard and its standby does not feed yet.
    fn is_healing(&self) -> bool {
        if self.is_root() {
            return false;
        }
        let delivers = |attempt: &Option<Attempt>| attempt.as_ref().is_some_and(|a| a.delivering);
        match &self.upstream.feeding {
            None => !delivers(&self.upstream.standby),
            Some(_) => self.standby.replaces_parent() && !delivers(&self.upstream.standby),
        }
    }

    fn wants_parent(&self) -> bool {
        !self.is_root()
            && !self.left
            && !self.standby.on_trial()
            && self.upstream.feeding.is_none()
            && self.upstream.coming.is_none()
            && self.session.is_ready()
    }

    /// Whether it is fed and its tracker may not know that.
    fn wants_readmission(&self) -> bool {
        self.upstream.feeding.is_some() && self.upstream.coming.is_none() && self.session.is_ready()
    }

    fn tick(&mut self, now: Instant) {
        if self.left {
            return;
        }
        let expired: Vec<_> = self
            .upstream
            .attempts()
            .filter_map(|attempt| attempt.expired(now).map(|reason| (attempt.link, reason)))
            .collect();
        for (link, reason) in expired {
            self.lose_parent(now, link, reason);
        }
        self.watch_parent(now);
        self.seek_cold(now);
        self.grow_patient(now);
        for link in self.overdue(now) {
            self.replace_link(now, link);
        }
        for link in self.children.expired(now) {
            if self.children.is_connected(link) {
                self.send(link, PeerMessage::Bye);
            }
            self.drop_child(now, link);
        }
        if self.wants_parent() && self.join_at.is_none_or(|at| at <= now) {
            self.begin_join();
        }
        if self.wants_readmission() && self.readmission_at.is_some_and(|at| at <= now) {
            self.readmission_at = Some(now + READMISSION);
            self.begin_join();
        }
        self.beat(now);
        if self.session.report_due(now) {
            self.outputs.push_back(PeerOutput::ReportDue);
        }
        self.go_on_leaving(now);
    }

    fn beat(&mut self, now: Instant) {
        let state = self.own_state();
        let mut messages = Vec::new();
        for attempt in self.upstream.attempts_mut() {
            let link = attempt.link;
            if attempt.activation_due(now) {
                let from = if self.media.next.is_empty() {
                    StartFrom::KeyFrame {
                        last_rtp_timestamp: None,
                    }
                } else {
                    StartFrom::Next(self.media.next.clone())
                };
                messages.push((link, PeerMessage::Activate { from }));
            }
            if let Some(liveness) = attempt.liveness_mut()
                && liveness.next_beat() <= now
            {
                messages.push((
                    link,
                    PeerMessage::Heartbeat(liveness.beat(now, state.clone())),
                ));
            }
        }
        let epoch = self.info.as_ref().map(|info| info.epoch);
        for (link, described, liveness) in self.children.pulses_due(now) {
            if liveness.next_beat() <= now {
                continue;
            }
            liveness.spoke(now);
            let current = described == epoch;
            let pulse = Pulse {
                heads: if current {
                    state.heads.clone()
                } else {
                    Vec::new()
                },
                source_idle: state.source_idle,
                healing: state.healing,
            };
            messages.push((link, PeerMessage::Pulse(pulse)));
        }
        for (link, described, liveness) in self.children.beats_due(now) {
            let mut state = state.clone();
            if described != epoch {
                // They would be taken for those of the tracks it has.
                state.heads.clear();
            }
            messages.push((link, PeerMessage::Heartbeat(liveness.beat(now, state))));
        }
        for (link, message) in messages {
            self.send(link, message);
        }
    }

    fn send(&mut self, link: LinkKey, message: PeerMessage) {
        if self.children.is_player(link) {
            // It has no channel.
            return;
        }
        self.outputs.push_back(PeerOutput::Send { link, message });
    }

    fn tell_tracker(&mut self, message: ClientMessage) {
        if self.session.is_open() {
            self.outputs.push_back(PeerOutput::Tracker(message));
        }
    }

    fn event(&mut self, event: PeerEvent) {
        self.outputs.push_back(PeerOutput::Event(event));
    }

    fn begin_join(&mut self) {
        self.next_link = self.next_link.next();
        let link = LinkKey {
            child: self.node(),
            link: self.next_link,
        };
        self.upstream.coming = Some(Attempt::new(link));
        self.join_at = None;
        let ice_servers = self.session.ice_servers().to_vec();
        self.outputs
            .push_back(PeerOutput::Connect { link, ice_servers });
    }

    fn leave(&mut self, now: Instant) {
        for link in self.children.links() {
            self.send(link, PeerMessage::Bye);
            self.drop_child(now, link);
        }
        let links: Vec<_> = self
            .upstream
            .attempts()
            .map(|attempt| {
                (
                    attempt.link,
                    matches!(attempt.stage, Stage::Connected { .. }),
                )
            })
            .collect();
        for (link, connected) in links {
            if connected {
                self.send(link, PeerMessage::Bye);
            }
            self.outputs.push_back(PeerOutput::Close { link });
        }
        self.upstream = Upstream::default();
        self.tell_tracker(ClientMessage::Leave);
        self.outputs.push_back(PeerOutput::Left);
        self.left = true;
    }
}
