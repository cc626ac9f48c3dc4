//! Session descriptions (RFC 8866, RFC 9429), read and written here rather than by the WebRTC
//! crate: the mesh fixes SSRCs and payloads for a whole tree and needs to choose codec, payload
//! type and extensions per child, which the crate's own negotiation does not allow.

pub(super) mod answer;
pub(super) mod codec;
pub(super) mod ingest;
pub(super) mod offer;
mod reader;
mod writer;

use banyan::limits::MAX_SDP;
use banyan::relay::packet::{EndToEndExtension, TrackIndex};

pub(super) use reader::{Description, Remote, Section, Setup};
pub(super) use writer::{LocalTransport, transport_only};

/// Most m-lines in one description: what a browser offers for two tracks and data channels is
/// three; more is no honest offer.
const MAX_SECTIONS: usize = 16;

/// Why a session description was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// It is larger than any honest one.
    #[error("the session description has {0} bytes, more than the {MAX_SDP} allowed")]
    TooLarge(usize),
    /// It is no session description, or one of its lines is broken.
    #[error("not a session description: {0}")]
    Syntax(String),
    /// Something every WebRTC description has is missing.
    #[error("the session description lacks {0}")]
    Missing(&'static str),
    /// It asks for something this node does not do.
    #[error("the session description asks for {0}, which is not supported")]
    Unsupported(&'static str),
    /// The child can decode none of what the stream carries for this kind of media.
    #[error("the child cannot decode {codec}")]
    NoCommonCodec {
        /// The stream's codec, with its profile where that decides.
        codec: String,
    },
    /// A publisher's offer sends nothing.
    #[error("the offer sends neither audio nor video")]
    NothingSent,
    /// A publisher offers no codec that this node receives for this kind of media.
    #[error("the publisher offers none of the codecs this node receives: {0}")]
    NoUsableCodec(&'static str),
    /// An answer names a media source that the signed description of the stream does not.
    #[error("the answer sends media source {0}, which the stream does not have")]
    UnknownSource(u32),
}

/// How one track travels on one link: everything that is agreed hop by hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrackLine {
    /// The track in the stream's list.
    pub(super) track: TrackIndex,
    /// The same on every hop.
    pub(super) ssrc: u32,
    /// RTP clock rate in Hz.
    pub(super) clock_rate: u32,
    /// The child's payload type.
    pub(super) payload_type: u8,
    /// Negotiated header extension ids.
    pub(super) extensions: Vec<(u8, EndToEndExtension)>,
    /// Whether two-byte extension headers may be used (RFC 8285 section 6).
    pub(super) mixed_extensions: bool,
}

/// What is safe to write into a description: the root chose it, so it may be anything.
fn token(text: &str, fallback: &str) -> String {
    let good = !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.@+/{}".contains(&b));
    if good {
        text.to_owned()
    } else {
        fallback.to_owned()
    }
}

/// The canonical name of a stream as it is written on the wire.
pub(super) fn cname(text: &str) -> String {
    token(text, "banyan")
}

#[cfg(test)]
mod tests;
