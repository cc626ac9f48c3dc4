//! What a [`Node`](super::Node) is made with, what it is told, and what it wants done.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{LinkKey, NodeId};
use crate::peer::{PeerConfig, PeerEvent, PeerInput, PlayerNews};
use crate::relay::TrackStats;
use crate::relay::packet::{Packet, TrackIndex};
use crate::wire::announcement::{MediaKind, StreamInfo};
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{ClientMessage, IceServer, PeerClass};

/// What a node is made with.
#[derive(Debug)]
pub struct NodeConfig {
    /// Its place in the tree.
    pub peer: PeerConfig,
    /// Most bits per second to send, where the operator set a limit.
    pub max_upload: Option<u64>,
    /// Whether packets are also handed out in order on this machine ([`Output::Deliver`]), and
    /// how long one waits at most for those before it.
    pub sink_wait: Option<Duration>,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// Something of the control plane.
    Control(PeerInput),
    /// A packet came from a parent.
    Packet {
        /// Over this link.
        link: LinkKey,
        /// The packet; of its sequence number the low 16 bits are known.
        packet: Packet,
    },
    /// A child misses packets.
    Nack {
        /// Which child.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
        /// These sequence numbers.
        seqs: Vec<u16>,
    },
    /// A child cannot decode before the next key frame.
    KeyFrameRequest {
        /// Which child.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
    },
    /// A child told how it receives (RTCP receiver report).
    ReceiverReport {
        /// Which child.
        link: LinkKey,
        /// Share of packets lost since its last report, 0 to 1.
        fraction_lost: f32,
        /// Round trip, where the report gave one.
        rtt: Option<Duration>,
    },
    /// A parent told the root's clock (RTCP sender report).
    SenderReport {
        /// Over this link.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// At the root: the packets of one frame, in order, without sequence numbers.
    Source(Vec<Packet>),
    /// At the root: which time the source's timestamps stand for.
    SourceClock {
        /// Of this track.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// At the root: the source pauses or goes on.
    SourceIdle(bool),
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Tell the tracker.
    Tracker(ClientMessage),
    /// Find out how far packets of strangers come to this node; told by
    /// [`PeerInput::Reachability`].
    Learn {
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Begin a link as its child: make an offer.
    Connect {
        /// Its name.
        link: LinkKey,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Answer a child's offer with these tracks.
    Accept {
        /// Its name.
        link: LinkKey,
        /// The child's session description.
        offer: String,
        /// What the child is.
        class: PeerClass,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
        /// The stream.
        info: StreamInfo,
    },
    /// Connect a link we began through a TURN server.
    Relay {
        /// Which.
        link: LinkKey,
        /// The servers, with a name and a password.
        servers: Vec<IceServer>,
    },
    /// Give a link we began its answer, which carries these tracks.
    SetAnswer {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
        /// The stream.
        info: StreamInfo,
    },
    /// Offer anew on a link to a parent that stands: it is told as any offer. What the link
    /// brings meanwhile is of the tracks before.
    Renew {
        /// Which.
        link: LinkKey,
    },
    /// Answer a child that offers anew on a link that stands, with these tracks. If that cannot
    /// be done, the link stays as it is.
    AcceptRenewal {
        /// Which.
        link: LinkKey,
        /// The child's session description.
        offer: String,
        /// What the child is.
        class: PeerClass,
        /// The stream.
        info: StreamInfo,
    },
    /// Give a link that stands the answer to our new offer, which carries these tracks.
    SetRenewal {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
        /// The stream.
        info: StreamInfo,
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
    Message {
        /// Which.
        link: LinkKey,
        /// What.
        message: PeerMessage,
    },
    /// Send packets to a child.
    Packets {
        /// Which.
        link: LinkKey,
        /// In this order.
        packets: Vec<Arc<Packet>>,
    },
    /// Tell a child the root's clock.
    SenderReport {
        /// Which.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// Ask a parent for packets again.
    RequestPackets {
        /// Over this link.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
        /// These sequence numbers.
        seqs: Vec<u16>,
    },
    /// Ask a parent for a key frame.
    RequestKeyFrame {
        /// Over this link.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
    },
    /// At the root: ask the publisher for a key frame.
    SourceKeyFrame {
        /// Of this track.
        track: TrackIndex,
    },
    /// The stream has these tracks from now on.
    Tracks(StreamInfo),
    /// The next packet in order, for a sink on this machine.
    Deliver(Arc<Packet>),
    /// The clock of a track, for a sink on this machine.
    DeliverClock {
        /// Of this track.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// Tell a player at this node's own door.
    Player {
        /// Its link.
        link: LinkKey,
        /// What.
        news: PlayerNews,
    },
    /// For people and statistics.
    Event(PeerEvent),
    /// This node has left. Nothing follows.
    Left,
}

/// A node as statistics show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub node: NodeId,
    /// The parent that feeds it.
    pub parent: Option<NodeId>,
    /// The node that takes over when it fails.
    pub standby: Option<NodeId>,
    /// The nodes that take it in without the tracker.
    pub cold_parents: Vec<NodeId>,
    /// How many this node would take in without the tracker.
    pub admitted: usize,
    /// Hops from the root.
    pub depth: Option<usize>,
    /// Children whose links stand.
    pub children: Vec<NodeId>,
    /// Children it can serve.
    pub slots: u16,
    /// Parents it has replaced.
    pub heals: u32,
    /// Delay from the root.
    pub delay: Duration,
    /// Media bytes sent to children, in all.
    pub up_bytes: u64,
    /// Times a child was so slow that packets meant for it were dropped.
    pub falls: u64,
    /// At the root: the source gives nothing at the moment.
    pub source_idle: bool,
    /// Children that are standard players.
    pub players: usize,
    /// Per track, in the stream's order.
    pub tracks: Vec<(MediaKind, TrackStats)>,
}
