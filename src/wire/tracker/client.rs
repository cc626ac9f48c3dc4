//! What a peer says to its tracker.

use serde::{Deserialize, Serialize};

use super::{PeerClass, RefuseReason};
use crate::id::{Epoch, Generation, LinkId, LinkKey, NodeId, StreamId};
use crate::limits::{
    MAX_AGENT, MAX_CANDIDATE, MAX_CHILDREN, MAX_REPORTED_CHILDREN, MAX_SDP, MAX_TITLE,
};
use crate::reachability::Reachability;
use crate::wire::announcement::{SignatureBytes, SignedStreamInfo};
use crate::wire::{BoundError, bound};

/// From a peer to its tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientMessage {
    /// Who is calling. The first message of a session, once.
    Hello(Hello),
    /// I am the root of a stream; answered by [`Challenge`](super::ServerMessage::Challenge).
    Publish(Publish),
    /// My signature under the challenge; answered by [`Published`](super::ServerMessage::Published).
    Prove {
        /// Over `CHALLENGE_DOMAIN` and [`challenge_text`](super::challenge_text).
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
    /// [`Assigned`](super::ServerMessage::Assigned) or
    /// [`NoStandby`](super::ServerMessage::NoStandby).
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
    /// [`PROTOCOL_VERSION`](crate::wire::PROTOCOL_VERSION) of the caller.
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

/// How a peer is, sent every [`Welcome::report_interval_ms`](super::Welcome::report_interval_ms).
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
