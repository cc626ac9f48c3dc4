//! Between a peer and its tracker, over one WebSocket.
//!
//! A session begins with [`ClientMessage::Hello`] and [`ServerMessage::Welcome`]. A broadcaster
//! then publishes, everybody else joins. [`LinkKey`] names a connection between a child and its
//! parent in every message about it; the tracker passes what one end says to the other.

use serde::{Deserialize, Serialize};

use super::announcement::{SignatureBytes, SignedStreamInfo};
use super::{BoundError, bound};
use crate::id::{Epoch, Generation, LinkId, LinkKey, NodeId, StreamId};
use crate::limits::{
    MAX_AGENT, MAX_CANDIDATE, MAX_CHILDREN, MAX_REPORTED_CHILDREN, MAX_SDP, MAX_TITLE,
};
use crate::reachability::{Reach, Reachability};

/// What a peer is able to do for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerClass {
    /// A native node: forwards RTP as it came.
    Native,
    /// A browser page: never the parent of a native node.
    Browser,
    /// A standard WebRTC player (WHEP): a leaf without data channels, which says nothing about
    /// itself. Its place stands on its parent's word.
    Player,
}

/// From a peer to its tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientMessage {
    /// Who is calling. The first message of a session, once.
    Hello(Hello),
    /// I am the root of a stream; answered by [`ServerMessage::Challenge`].
    Publish(Publish),
    /// My signature under the challenge; answered by [`ServerMessage::Published`].
    Prove {
        /// Over `CHALLENGE_DOMAIN` and [`challenge_text`].
        signature: SignatureBytes,
    },
    /// The tracks of the stream I am the root of; again whenever they change.
    Info(SignedStreamInfo),
    /// Find me a parent.
    Join(Join),
    /// As a parent: my answer to an expected child's offer.
    Answer {
        /// Which connection.
        link: LinkKey,
        /// Session description of type answer.
        sdp: String,
    },
    /// As a parent: I will not serve this child.
    Refuse {
        /// Which connection.
        link: LinkKey,
        /// Why.
        reason: RefuseReason,
    },
    /// One of my ICE candidates, for the other end of the link.
    Candidate {
        /// Which connection.
        link: LinkKey,
        /// The candidate line (RFC 8839 `candidate:...`); empty says there are no more.
        candidate: String,
    },
    /// As a child: the connection stands; my reservation is taken.
    Attached {
        /// Which connection.
        link: LinkKey,
        /// Of the order that assigned it.
        generation: Generation,
    },
    /// How I am; also renews my lease.
    Report(Report),
    /// Keep me informed about the tree around me, or stop.
    FollowTree {
        /// Whether updates are wanted.
        follow: bool,
    },
    /// I leave the stream (as its root: the broadcast ends).
    Leave,
    /// How far packets of strangers come to me, as far as I know by now.
    Reachability(Reachability),
    /// Find me a standby: a node to stay connected to, that takes over when my parent fails.
    /// `lost` names the standby I had, if there was one and it did not do. Answered by
    /// [`ServerMessage::Assigned`] or [`ServerMessage::NoStandby`].
    StandBy(Join),
    /// To a tracker that may not know it: this link to a standby stands.
    Standing {
        /// Which connection.
        link: LinkKey,
        /// The other end.
        host: NodeId,
    },
    /// My standby feeds me now: it is my parent, and I have none to spare any more.
    Switched {
        /// The connection to the former standby.
        link: LinkKey,
        /// Its other end.
        parent: NodeId,
        /// The parent that failed.
        lost: Option<Lost>,
    },
    /// I am about to leave: find my children other parents, I feed them as long.
    Drain,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of the caller.
    pub version: u16,
    /// The caller's name for itself.
    pub node: NodeId,
    /// What it is.
    pub class: PeerClass,
    /// Program and version, for people.
    pub agent: String,
    /// Children it can serve; 0 for a leaf.
    pub slots: u16,
}

/// A broadcaster announces its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The stream, which is also the public key to prove.
    pub stream: StreamId,
    /// This life of the stream.
    pub epoch: Epoch,
    /// For people; may be empty.
    pub title: String,
    /// Whether the tracker's front page may show it.
    pub listed: bool,
}

/// A peer asks for a parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// What it wants to watch or relay.
    pub stream: StreamId,
    /// Its number for this attempt, higher than any it used before.
    pub link: LinkId,
    /// Session description of type offer: audio and video to receive, two data channels.
    pub offer: String,
    /// The parent it had, if this replaces a connection.
    pub lost: Option<Lost>,
}

/// A connection that did not come to be or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The other end.
    pub parent: NodeId,
    /// What happened.
    pub reason: LostReason,
}

/// Why a child looks for another parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LostReason {
    /// ICE found no way between the two; the pair is not tried again.
    Unreachable,
    /// The connection stood and fell silent.
    Silent,
    /// The parent closed it.
    Closed,
    /// What the parent sent cannot be used; the pair is not tried again.
    Unusable,
    /// The parent said that it is about to leave.
    Leaving,
    /// The parent lives and has had nothing to pass on for too long.
    Starved,
}

/// Why a parent will not serve a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefuseReason {
    /// All its slots are taken.
    Full,
    /// It has no stream itself at the moment.
    NoMedia,
    /// The child cannot decode the stream's codecs.
    Codec,
    /// The offer is no session description it can answer.
    Offer,
    /// The child is upstream of it.
    Cycle,
}

/// How a peer is, sent every [`Welcome::report_interval_ms`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The parent that feeds it.
    pub parent: Option<NodeId>,
    /// The children it feeds, those it took in by itself not among them.
    pub children: Vec<NodeId>,
    /// Children it can serve by now, less those it took in by itself.
    pub slots: u16,
    /// Delay from the root in milliseconds: half round trips and queues on the way, summed up.
    pub delay_ms: u32,
    /// Packets that never came, in the last interval.
    pub lost: u32,
    /// Packets that came, in the last interval.
    pub received: u32,
    /// Media bytes per second it sends to children.
    pub up_bytes_per_second: u64,
}

/// From a tracker to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerMessage {
    /// The session stands.
    Welcome(Welcome),
    /// Prove that you own the stream: sign [`challenge_text`].
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
}

/// The session's terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The tracker's [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION).
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
    /// The broadcast has not begun.
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
    /// Its root is gone.
    Offline,
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

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The peer speaks another version of the protocol.
    Version,
    /// A frame that is no message, or one that breaks a bound.
    Malformed,
    /// A message out of turn.
    Unexpected,
    /// Too many messages.
    Flood,
    /// No such stream at this tracker.
    UnknownStream,
    /// Another node already is the root of this stream.
    StreamBusy,
    /// The signature does not match the stream's key.
    BadSignature,
    /// Another peer already uses this node id.
    NodeBusy,
    /// The tracker takes no more streams or peers.
    Overloaded,
    /// No parent can serve this peer's codecs.
    Codec,
    /// The offer was refused.
    Offer,
    /// The stream has ended.
    Ended,
}

/// What a broadcaster signs to prove its key: the tracker's nonce, the tracker's authority (the
/// `Host` it was reached by, so that a proof given to one tracker is worth nothing at another) and
/// the broadcaster's node, separated by newlines.
pub fn challenge_text(nonce: &str, authority: &str, node: &NodeId) -> String {
    format!("{nonce}\n{}\n{node}", authority.to_ascii_lowercase())
}

impl PeerClass {
    /// Every class with its name on the wire, in the order of the discriminants.
    pub const ALL: [(Self, &str); 3] = [
        (Self::Native, "native"),
        (Self::Browser, "browser"),
        (Self::Player, "player"),
    ];
}

impl RefuseReason {
    /// Every reason with its name on the wire, in the order of the discriminants.
    pub const ALL: [(Self, &str); 5] = [
        (Self::Full, "full"),
        (Self::NoMedia, "no_media"),
        (Self::Codec, "codec"),
        (Self::Offer, "offer"),
        (Self::Cycle, "cycle"),
    ];
}

impl ErrorCode {
    /// Every code with its name on the wire, in the order of the discriminants.
    pub const ALL: [(Self, &str); 12] = [
        (Self::Version, "version"),
        (Self::Malformed, "malformed"),
        (Self::Unexpected, "unexpected"),
        (Self::Flood, "flood"),
        (Self::UnknownStream, "unknown_stream"),
        (Self::StreamBusy, "stream_busy"),
        (Self::BadSignature, "bad_signature"),
        (Self::NodeBusy, "node_busy"),
        (Self::Overloaded, "overloaded"),
        (Self::Codec, "codec"),
        (Self::Offer, "offer"),
        (Self::Ended, "ended"),
    ];
}

impl ClientMessage {
    /// Checks the bounds that a type cannot express.
    ///
    /// # Errors
    /// [`BoundError`] names the first part that is too large.
    pub fn check(&self) -> Result<(), BoundError> {
        match self {
            Self::Hello(hello) => {
                bound("agent", hello.agent.len(), MAX_AGENT)?;
                bound("slots", hello.slots.into(), MAX_CHILDREN.into())
            }
            Self::Publish(publish) => bound("title", publish.title.len(), MAX_TITLE),
            Self::Join(join) | Self::StandBy(join) => bound("offer", join.offer.len(), MAX_SDP),
            Self::Answer { sdp, .. } => bound("answer", sdp.len(), MAX_SDP),
            Self::Candidate { candidate, .. } => bound("candidate", candidate.len(), MAX_CANDIDATE),
            Self::Report(report) => {
                bound("children", report.children.len(), MAX_REPORTED_CHILDREN)?;
                bound("slots", report.slots.into(), MAX_CHILDREN.into())
            }
            Self::Prove { .. }
            | Self::Info(_)
            | Self::Refuse { .. }
            | Self::Attached { .. }
            | Self::FollowTree { .. }
            | Self::Leave
            | Self::Reachability(_)
            | Self::Standing { .. }
            | Self::Switched { .. }
            | Self::Drain => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_their_discriminants_and_name_what_is_written() {
        for (index, (class, name)) in PeerClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
            assert_eq!(serde_json::to_value(class).unwrap(), name);
        }
        for (index, (reason, name)) in RefuseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(serde_json::to_value(reason).unwrap(), name);
        }
        for (index, (code, name)) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, index);
            assert_eq!(serde_json::to_value(code).unwrap(), name);
        }
    }
}
