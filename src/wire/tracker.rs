//! Between a peer and its tracker, over one WebSocket.
//!
//! A session begins with [`ClientMessage::Hello`] and [`ServerMessage::Welcome`]. A broadcaster
//! then publishes, everybody else joins. [`LinkKey`](crate::id::LinkKey) names a connection between a child and its
//! parent in every message about it; the tracker passes what one end says to the other.

mod client;
mod server;

use serde::{Deserialize, Serialize};

pub use self::client::{ClientMessage, Hello, Join, Lost, LostReason, Publish, Report};
pub use self::server::{
    ColdParent, IceServer, ServerMessage, StreamState, StreamStatus, TreePeer, TreeUpdate,
    WaitReason, Welcome,
};
use crate::id::NodeId;

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
