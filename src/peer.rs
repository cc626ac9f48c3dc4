//! The control plane of one node: its place in one tree.
//!
//! A [`Peer`] speaks with the tracker, keeps the link to its parent and the links to its children,
//! and replaces a parent that is gone. It never sees a media packet; `Node`
//! joins it with the `Relay`.

mod children;
mod linking;
mod liveness;
mod signaling;
mod upstream;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;

use self::children::Children;
use self::liveness::{Liveness, Remote};
use self::signaling::Session;
use self::upstream::{Attempt, Stage, Upstream};
use crate::id::{Epoch, LinkId, LinkKey, NodeId, StreamId};
use crate::wire::announcement::{SignedStreamInfo, StreamInfo, stream_id};
use crate::wire::peer::{NextPacket, PeerMessage, StartFrom};
use crate::wire::tracker::{
    ClientMessage, IceServer, LostReason, PeerClass, RefuseReason, ServerMessage, StreamState,
    WaitReason,
};

/// Pause before a parent is asked for again after the tracker refused.
const RETRY_JOIN: Duration = Duration::from_secs(2);

/// What a node is in its tree.
#[derive(Debug)]
pub enum Role {
    /// The broadcaster.
    Root {
        /// The stream's secret key.
        key: Box<SigningKey>,
        /// This life of the stream.
        epoch: Epoch,
        /// The broadcaster's words for it.
        title: String,
        /// Whether the tracker's front page may show it.
        listed: bool,
    },
    /// Everybody else.
    Viewer {
        /// What it watches or relays.
        stream: StreamId,
    },
}

/// What a node says of itself.
#[derive(Debug)]
pub struct PeerConfig {
    /// Its name.
    pub node: NodeId,
    /// Program and version, for people.
    pub agent: String,
    /// Children it serves at most.
    pub slots: u16,
    /// What it is in the tree.
    pub role: Role,
}

/// What the data plane has, as the control plane needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaView {
    /// Newest extended sequence number of each track; 0 for none.
    pub heads: Vec<u64>,
    /// The packets needed next; empty before the first.
    pub next: Vec<NextPacket>,
    /// Whether the source pauses (a root's own knowledge).
    pub source_idle: bool,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum PeerInput {
    /// The tracker's WebSocket is open; `authority` is the host it was reached by.
    TrackerUp {
        /// Host and port as in the `Host` header.
        authority: String,
    },
    /// The tracker's WebSocket is gone; it is opened again by itself.
    TrackerDown,
    /// The tracker said something.
    Tracker(ServerMessage),
    /// The offer of a link we began is ready.
    Offer {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// The answer to an accepted offer is ready.
    Answer {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// An offer or an answer could not be used.
    Rejected {
        /// Which.
        link: LinkKey,
        /// Why, as the tracker is told.
        reason: RefuseReason,
    },
    /// A local ICE candidate was found; empty says there are no more.
    Candidate {
        /// Which.
        link: LinkKey,
        /// The candidate line.
        candidate: String,
    },
    /// A link stands, data channels open.
    Connected {
        /// Which.
        link: LinkKey,
    },
    /// A link ended or never came to be.
    Closed {
        /// Which.
        link: LinkKey,
        /// Whether ICE ever found a way.
        reached: bool,
    },
    /// The other end of a link said something.
    Message {
        /// Which.
        link: LinkKey,
        /// What.
        message: PeerMessage,
    },
    /// A child's link can carry no more packets: the child has to make another.
    Worn {
        /// Which.
        link: LinkKey,
    },
    /// The root's tracks are known or have changed.
    Tracks(StreamInfo),
    /// Time passed.
    Tick,
    /// The node ends: leave politely.
    Leave,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerOutput {
    /// Tell the tracker.
    Tracker(ClientMessage),
    /// Tell the tracker how we are; the data plane has the figures.
    ReportDue,
    /// Begin a link as its child: make an offer.
    Connect {
        /// Its name.
        link: LinkKey,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Answer a child's offer.
    Accept {
        /// Its name.
        link: LinkKey,
        /// The child's session description.
        offer: String,
        /// What the child is.
        class: PeerClass,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Give a link we began its answer.
    SetAnswer {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// Give a link a candidate of its other end.
    AddCandidate {
        /// Which.
        link: LinkKey,
        /// The candidate line; empty says there are no more.
        candidate: String,
    },
    /// End a link.
    Close {
        /// Which.
        link: LinkKey,
    },
    /// Say something over a link.
    Send {
        /// Which.
        link: LinkKey,
        /// What.
        message: PeerMessage,
    },
    /// The stream has these tracks from now on; earlier packets are of an earlier epoch.
    Tracks(StreamInfo),
    /// Packets of a parent are to be numbered relative to these heads.
    Heads {
        /// The parent's newest extended sequence number of each track.
        heads: Vec<u64>,
    },
    /// The link whose packets are taken in and repaired.
    Feeding {
        /// None while there is none.
        link: Option<LinkKey>,
    },
    /// A child's link stands.
    AddChild {
        /// Which.
        link: LinkKey,
    },
    /// A child wants packets.
    ActivateChild {
        /// Which.
        link: LinkKey,
        /// From where.
        from: StartFrom,
    },
    /// A child wants no packets for now.
    DeactivateChild {
        /// Which.
        link: LinkKey,
    },
    /// A child gave a sign of life.
    ChildHeard {
        /// Which.
        link: LinkKey,
    },
    /// A child needs a key frame.
    ChildKeyFrame {
        /// Which.
        link: LinkKey,
        /// Position in the list of tracks.
        track: u8,
    },
    /// A child's link is gone.
    RemoveChild {
        /// Which.
        link: LinkKey,
    },
    /// For people and statistics.
    Event(PeerEvent),
}

/// What people may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// The tracker accepted the broadcast.
    Published,
    /// No parent yet.
    Waiting {
        /// For what.
        reason: WaitReason,
        /// How many are let in before.
        ahead: u32,
    },
    /// Media comes from this parent.
    Attached {
        /// The parent.
        parent: NodeId,
        /// Whether it replaces another.
        healed: bool,
    },
    /// The parent is gone.
    ParentLost {
        /// The parent.
        parent: NodeId,
        /// Why.
        reason: LostReason,
    },
    /// A child is connected.
    ChildUp {
        /// Its link.
        link: LinkKey,
    },
    /// A child is gone.
    ChildDown {
        /// Its link.
        link: LinkKey,
    },
    /// The stream's state changed.
    Stream {
        /// To this.
        state: StreamState,
        /// Peers that watch or relay.
        viewers: u32,
        /// Peers that wait for a slot.
        waiting: u32,
    },
    /// The tracker refused something; this node goes on.
    Refused(String),
    /// This node cannot go on.
    Failed(String),
}

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
    next_link: LinkId,
    signed: Option<SignedStreamInfo>,
    info: Option<StreamInfo>,
    media: MediaView,
    /// When to ask for a parent again.
    join_at: Option<Instant>,
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
            next_link: LinkId::default(),
            signed: None,
            info: None,
            media: MediaView::default(),
            join_at: None,
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
        match input {
            PeerInput::TrackerUp { authority } => self.tracker_up(authority),
            PeerInput::TrackerDown => self.session.close(),
            PeerInput::Tracker(message) => self.tracker_message(now, message),
            PeerInput::Offer { link, sdp } => self.offer_ready(link, sdp),
            PeerInput::Answer { link, sdp } => {
                if self.children.contains(link) {
                    self.tell_tracker(ClientMessage::Answer { link, sdp });
                }
            }
            PeerInput::Rejected { link, reason } => self.rejected(now, link, reason),
            PeerInput::Candidate { link, candidate } => self.local_candidate(link, candidate),
            PeerInput::Connected { link } => self.link_connected(now, link),
            PeerInput::Closed { link, reached } => self.link_closed(now, link, reached),
            PeerInput::Message { link, message } => self.peer_message(now, link, message),
            PeerInput::Worn { link } => {
                self.send(link, PeerMessage::Bye);
                self.drop_child(link);
            }
            PeerInput::Tracks(info) => self.set_tracks(info),
            PeerInput::Tick => {}
            PeerInput::Leave => self.leave(),
        }
        self.tick(now);
    }

    /// Media arrived over a link. Called for every packet, so it does nothing else. False if the
    /// link is no parent's.
    pub fn media_arrived(&mut self, now: Instant, link: LinkKey) -> bool {
        let Some(attempt) = self.upstream.get_mut(link) else {
            return false;
        };
        if attempt.liveness().is_none() {
            return false;
        }
        if attempt.media(now) {
            self.first_media(link);
        }
        true
    }

    /// Whether a link leads to a parent.
    pub fn is_upstream(&self, link: LinkKey) -> bool {
        self.upstream.attempts().any(|attempt| attempt.link == link)
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
            .chain(self.join_at.filter(|_| self.wants_parent()))
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

    /// The children whose links stand.
    pub fn children(&self) -> impl Iterator<Item = LinkKey> {
        self.children.connected()
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
            healing: !self.is_root() && self.upstream.feeding.is_none(),
        }
    }

    fn wants_parent(&self) -> bool {
        !self.is_root()
            && !self.left
            && self.upstream.feeding.is_none()
            && self.upstream.coming.is_none()
            && self.session.is_ready()
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
        for link in self.children.expired(now) {
            self.drop_child(link);
        }
        if self.wants_parent() && self.join_at.is_none_or(|at| at <= now) {
            self.begin_join();
        }
        self.beat(now);
        if self.session.report_due(now) {
            self.outputs.push_back(PeerOutput::ReportDue);
        }
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
        for (link, liveness) in self.children.beats_due(now) {
            messages.push((
                link,
                PeerMessage::Heartbeat(liveness.beat(now, state.clone())),
            ));
        }
        for (link, message) in messages {
            self.send(link, message);
        }
    }

    fn send(&mut self, link: LinkKey, message: PeerMessage) {
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

    fn leave(&mut self) {
        for link in self.children.links() {
            self.send(link, PeerMessage::Bye);
            self.drop_child(link);
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
        self.left = true;
    }
}
