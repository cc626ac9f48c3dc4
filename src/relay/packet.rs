//! One RTP packet of a stream, with the identity it has in the whole tree.

use bytes::Bytes;

/// Position of a track in the stream's signed list of tracks.
pub type TrackIndex = u8;

/// A sequence number with its rollovers counted: the low 16 bits travel in the RTP header
/// (RFC 3550 section 5.1). The root starts a track so that this never goes below 2^16.
pub type ExtSeq = u64;

/// A header extension that travels from the root to the deepest node unchanged. All other
/// extensions are hop-local and end at the node that receives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EndToEndExtension {
    /// `urn:3gpp:video-orientation` (3GPP TS 26.114).
    VideoOrientation,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    AudioLevel,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`.
    AbsCaptureTime,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`.
    DependencyDescriptor,
}

impl EndToEndExtension {
    /// Every end-to-end extension.
    pub const ALL: [Self; 4] = [
        Self::VideoOrientation,
        Self::AudioLevel,
        Self::AbsCaptureTime,
        Self::DependencyDescriptor,
    ];

    /// Its name in SDP (`a=extmap`, RFC 8285).
    pub const fn uri(self) -> &'static str {
        match self {
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }
}

/// One RTP packet. Everything here is passed on bit for bit by every native node; what is not
/// here (payload type, MID, transport-wide sequence numbers) belongs to a single hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Which track it belongs to.
    pub track: TrackIndex,
    /// Its place in the track, rollovers counted.
    pub seq: ExtSeq,
    /// RTP timestamp in units of the track's clock rate.
    pub timestamp: u32,
    /// RTP marker bit: for video, the last packet of a frame.
    pub marker: bool,
    /// End-to-end header extensions in the order they arrived; mostly empty.
    pub extensions: Vec<(EndToEndExtension, Bytes)>,
    /// RTP payload, at most [`MAX_PAYLOAD`](crate::limits::MAX_PAYLOAD) bytes.
    pub payload: Bytes,
}
