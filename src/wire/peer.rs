//! Between two connected peers, over the link's two data channels.
//!
//! `control` (id 0) is ordered and reliable; `pulse` (id 1) is unordered and sends everything
//! once. Text messages are JSON, binary ones bincode; a parent answers in the encoding its child
//! uses.

use serde::{Deserialize, Serialize};

use super::announcement::SignedStreamInfo;
use super::signal::Signal;
use super::tracker::RefuseReason;
use super::{BoundError, bound};
use crate::id::{Epoch, NodeId};
use crate::limits::{MAX_PATH, MAX_SDP, MAX_TRACKS};

/// Which data channel a message travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// id 0: ordered, reliable.
    Control,
    /// id 1: unordered, no retransmission.
    Pulse,
}

/// From one peer to a connected one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PeerMessage {
    /// `control`, first message in both directions.
    Hello(PeerHello),
    /// `control`, from a parent: the stream's tracks have changed.
    Info(SignedStreamInfo),
    /// `pulse`, from a child, repeated until media arrives: begin to send.
    Activate {
        /// From where.
        from: StartFrom,
    },
    /// `control`, from a child: stop sending, keep the link.
    Deactivate,
    /// `pulse`, both directions, every [`HEARTBEAT_INTERVAL`](crate::limits::HEARTBEAT_INTERVAL).
    Heartbeat(Heartbeat),
    /// `control`, from a child: I need a key frame of this track.
    KeyFrame {
        /// Position in the list of tracks.
        track: u8,
    },
    /// `control`, both directions: I close this link now, on purpose.
    Bye,
    /// `control`, from a child: a new session description for this link, which stands, so that it
    /// carries the tracks of a later epoch. Only after the parent has told that epoch.
    Offer {
        /// The epoch.
        epoch: Epoch,
        /// Session description of type offer.
        sdp: String,
    },
    /// `control`, from a parent: the answer to an [`Offer`](Self::Offer).
    Answer {
        /// The epoch of the offer.
        epoch: Epoch,
        /// Session description.
        sdp: String,
        /// As in [`PeerHello::heads`], of that epoch.
        heads: Vec<u64>,
    },
    /// `control`, from a parent: this link cannot carry the tracks of that epoch. The child makes
    /// another. From a standby that was asked to feed: it cannot.
    Refuse {
        /// The epoch of the offer.
        epoch: Epoch,
        /// Why.
        reason: RefuseReason,
    },
    /// `pulse`, from a parent that has sent a child nothing for
    /// [`PULSE_INTERVAL`](crate::limits::PULSE_INTERVAL): it lives, and this is what it has.
    Pulse(Pulse),
    /// `control`, from a parent or standby: I am about to leave, take another. It feeds its
    /// children until they have one.
    Drain,
    /// `control`, from a parent: the child's path does not carry the picture, which is not sent for
    /// now, while the sound goes on; or it is sent again.
    Picture {
        /// Whether it is held.
        held: bool,
    },
    /// `control`, both directions: a session description for a node further on.
    Signal(Signal),
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHello {
    /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of the sender.
    pub version: u16,
    /// The sender.
    pub node: NodeId,
    /// The nodes from the root to the sender, both included; empty while it is not attached.
    pub path: Vec<NodeId>,
    /// The stream's tracks, from a parent.
    pub info: Option<SignedStreamInfo>,
    /// The newest extended sequence number it has of each track; 0 for none.
    pub heads: Vec<u64>,
}

/// Where a parent begins to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFrom {
    /// At these packets, in order: a native child that had another parent.
    Next(Vec<NextPacket>),
    /// At the newest key frame: a child that begins, or a browser.
    KeyFrame {
        /// RTP timestamp of the last picture shown, if there was one.
        last_rtp_timestamp: Option<u32>,
    },
}

/// The packet a child needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextPacket {
    /// Position in the list of tracks.
    pub track: u8,
    /// Extended sequence number.
    pub seq: u64,
}

/// A short sign of life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The newest extended sequence number it has of each track; 0 for none.
    pub heads: Vec<u64>,
    /// Whether the root has told that its publisher pauses.
    pub source_idle: bool,
    /// Whether the sender has no parent that feeds it.
    pub healing: bool,
}

/// A sign of life, a clock for round trips, and the state of the sender's upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The sender's own clock in microseconds, any origin.
    pub sent_us: u64,
    /// `sent_us` of the newest heartbeat received from the other end; 0 for none.
    pub echo_us: u64,
    /// Microseconds that heartbeat waited at the sender before this one.
    pub held_us: u64,
    /// The newest extended sequence number it has of each track; 0 for none.
    pub heads: Vec<u64>,
    /// The nodes from the root to the sender, both included.
    pub path: Vec<NodeId>,
    /// Delay from the root to the sender in microseconds.
    pub delay_us: u64,
    /// Whether the root has told that its publisher pauses.
    pub source_idle: bool,
    /// Whether the sender is changing its own parent.
    pub healing: bool,
}

impl PeerMessage {
    /// The channel it travels on.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Activate { .. } | Self::Heartbeat(_) | Self::Pulse(_) => Channel::Pulse,
            _ => Channel::Control,
        }
    }

    /// Checks the bounds that a type cannot express.
    ///
    /// # Errors
    /// [`BoundError`] names the first part that is too large.
    pub fn check(&self) -> Result<(), BoundError> {
        match self {
            Self::Hello(hello) => {
                bound("path", hello.path.len(), MAX_PATH)?;
                bound("heads", hello.heads.len(), MAX_TRACKS)
            }
            Self::Activate {
                from: StartFrom::Next(next),
            } => bound("next", next.len(), MAX_TRACKS),
            Self::Heartbeat(heartbeat) => {
                bound("path", heartbeat.path.len(), MAX_PATH)?;
                bound("heads", heartbeat.heads.len(), MAX_TRACKS)
            }
            Self::Pulse(pulse) => bound("heads", pulse.heads.len(), MAX_TRACKS),
            Self::KeyFrame { track } => bound("track", usize::from(*track) + 1, MAX_TRACKS),
            Self::Offer { sdp, .. } => bound("sdp", sdp.len(), MAX_SDP),
            Self::Answer { sdp, heads, .. } => {
                bound("sdp", sdp.len(), MAX_SDP)?;
                bound("heads", heads.len(), MAX_TRACKS)
            }
            Self::Signal(signal) => signal.check(),
            Self::Activate { .. }
            | Self::Info(_)
            | Self::Deactivate
            | Self::Drain
            | Self::Picture { .. }
            | Self::Bye
            | Self::Refuse { .. } => Ok(()),
        }
    }
}
