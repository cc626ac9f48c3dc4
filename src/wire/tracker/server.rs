//! What a tracker says to a peer.

use serde::{Deserialize, Serialize};

use super::{ErrorCode, PeerClass};
use crate::id::{Generation, GrantToken, LinkKey, NodeId, StreamId};
use crate::reachability::Reach;
use crate::wire::announcement::SignedStreamInfo;

/// From a tracker to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerMessage {
    /// The session stands.
    Welcome(Welcome),
    /// Prove that you own the stream: sign [`challenge_text`](super::challenge_text).
    Challenge {
        /// Random text, used once.
        nonce: String,
    },
    /// You are the root of the stream.
    Published,
    /// No parent for you yet; you are let in by itself.
    Waiting {
        /// For what.
        reason: WaitReason,
        /// Peers that are let in before you.
        ahead: u32,
    },
    /// As a child: this parent will answer your offer.
    Assigned {
        /// Which connection.
        link: LinkKey,
        /// The other end.
        parent: NodeId,
        /// Counts orders about you.
        generation: Generation,
        /// How many hops from the root you will be.
        depth: u16,
        /// The stream's tracks.
        info: SignedStreamInfo,
        /// TURN servers to use for this connection, where the two cannot connect without one.
        relay: Vec<IceServer>,
    },
    /// As a child: your parent's answer.
    Answer {
        /// Which connection.
        link: LinkKey,
        /// Session description of type answer.
        sdp: String,
    },
    /// A candidate of the other end of a link.
    Candidate {
        /// Which connection.
        link: LinkKey,
        /// The candidate line; empty says there are no more.
        candidate: String,
    },
    /// As a parent: serve this child.
    Expect {
        /// Which connection.
        link: LinkKey,
        /// What the child is.
        class: PeerClass,
        /// The child's session description of type offer.
        offer: String,
        /// Counts orders about the child.
        generation: Generation,
    },
    /// As a parent: this child has left or hangs elsewhere now. As a child: the connection you
    /// are making cannot come to be; ask again.
    Release {
        /// Which connection.
        link: LinkKey,
    },
    /// The stream you watch has changed.
    Stream(StreamStatus),
    /// The tree around you has changed.
    Tree(TreeUpdate),
    /// What you asked for is refused. The session ends after it where `fatal` says so.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people.
        message: String,
        /// Whether the tracker closes the session.
        fatal: bool,
    },
    /// As a standby: stay connected to this child and feed it when it asks for media. It takes no
    /// slot before that.
    ExpectStandby {
        /// Which connection.
        link: LinkKey,
        /// What the child is.
        class: PeerClass,
        /// The child's session description of type offer.
        offer: String,
        /// Counts orders about the child.
        generation: Generation,
    },
    /// As a child: no node can be your standby at the moment, or this one is none any more.
    NoStandby {
        /// Which connection.
        link: LinkKey,
    },
    /// Ask for another parent while the present one goes on feeding you: a better place is kept for
    /// you.
    Move {
        /// Counts orders about you.
        generation: Generation,
    },
    /// As a child: these nodes take you in without asking me, in case I am away. In place of those
    /// told before.
    ColdParents {
        /// Milliseconds for which they do.
        lifetime_ms: u32,
        /// The one to try first comes first.
        parents: Vec<ColdParent>,
    },
    /// As a parent: take this child in without asking me, if it knows the token and a slot is free.
    Admit {
        /// Who may come.
        child: NodeId,
        /// What it was told as well.
        token: GrantToken,
        /// Milliseconds for which it may; 0: not any more.
        lifetime_ms: u32,
    },
}

/// A node that may be asked to be the parent without the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdParent {
    /// Which.
    pub node: NodeId,
    /// What it was told as well.
    pub token: GrantToken,
}

/// The session's terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The tracker's [`PROTOCOL_VERSION`](crate::wire::PROTOCOL_VERSION).
    pub version: u16,
    /// STUN and TURN servers to use.
    pub ice_servers: Vec<IceServer>,
    /// The address the tracker sees the peer at.
    pub observed: String,
    /// Milliseconds between two reports; three missed ones are a departure.
    pub report_interval_ms: u32,
}

/// A STUN or TURN server (W3C WebRTC `RTCIceServer`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:` URIs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// TURN user name.
    pub username: Option<String>,
    /// TURN password.
    pub credential: Option<String>,
}

/// What a joining peer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitReason {
    /// The broadcast has not begun, or its root is away.
    NoMedia,
    /// Every slot is taken.
    Full,
    /// Every peer with a free slot was tried and cannot be reached.
    NoRoute,
}

/// A stream as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Which.
    pub stream: StreamId,
    /// The broadcaster's words for it.
    pub title: String,
    /// Whether it plays.
    pub state: StreamState,
    /// Peers that watch or relay it, the root not counted.
    pub viewers: u32,
    /// Peers that wait because every slot is taken.
    pub waiting: u32,
    /// Its tracks once it plays.
    pub info: Option<SignedStreamInfo>,
}

/// Whether a stream plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// Its root is there and has not sent media yet.
    Waiting,
    /// It plays.
    Live,
    /// It is over.
    Offline,
    /// It played, and its root is gone for a moment, or is back without media.
    Away,
}

/// The tree around a peer: all of a small tree, else its path, siblings and children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeUpdate {
    /// Whether to forget what earlier updates said.
    pub reset: bool,
    /// Peers that are new or have changed.
    pub upsert: Vec<TreePeer>,
    /// Peers to forget.
    pub remove: Vec<NodeId>,
    /// How many peers are at each depth, the root at 0.
    pub per_depth: Vec<u32>,
    /// Peers of the tree that this view leaves out.
    pub hidden: u32,
}

/// One peer as the tree shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreePeer {
    /// Its name.
    pub id: NodeId,
    /// Who feeds it; none for the root.
    pub parent: Option<NodeId>,
    /// Its warm standby, once there is one.
    pub standby: Option<NodeId>,
    /// Hops from the root.
    pub depth: u16,
    /// What it is.
    pub class: PeerClass,
    /// Children it can serve.
    pub slots: u16,
    /// Children it serves.
    pub used: u16,
    /// Seconds since it joined.
    pub age: u32,
    /// Delay from the root in milliseconds, as it reports.
    pub delay_ms: u32,
    /// Lost packets per thousand in its last report.
    pub loss_permille: u16,
    /// How far packets of strangers come to it, over the family that gets further.
    pub reach: Reach,
}
