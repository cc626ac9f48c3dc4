//! The media engine: one UDP port, one thread, all peer connections.
//!
//! It moves bytes and decides nothing. Who is connected to whom, which packet goes to which
//! child, when to ask for a repair: that is [`banyan::node`]'s business, and the driver carries
//! orders in and events out. The WebRTC crate below does ICE, DTLS, SRTP and SCTP; session
//! descriptions, candidates, sockets and reports are done here.
//!
//! One turn of the driver's loop:
//!
//! ```text
//! engine.wait(deadline).await;      // until a datagram, a timer, or room in the socket
//! engine.receive(now);              // datagrams into connections
//! engine.handle_timeout(now);       // timers that are due
//! while let Some(event) = engine.poll_event() { .. }   // tell the node; obey it
//! engine.flush(now);                // everything queued goes out in few system calls
//! ```

mod candidate;
mod checks;
mod congestion;
mod demux;
mod engine;
mod feedback;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod keys;
mod link;
mod media;
mod p224;
mod reception;
mod reflexive;
mod relayed;
mod sdp;
mod socket;
mod tap;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use banyan::id::LinkKey;
use banyan::relay::packet::TrackIndex;
use banyan::wire::announcement::Codec;
use bytes::Bytes;

pub use engine::{Engine, Publication};
pub use media::ReceivedPacket;
pub use sdp::SdpError;

/// Where the engine listens and what it tells of itself.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The UDP port.
    pub udp: UdpBind,
    /// An address that reaches this node's port from outside, where the operator forwarded it.
    pub public_addr: Option<IpAddr>,
    /// Whether peers are told loopback addresses.
    pub loopback: LoopbackCandidates,
    /// Seeds the generator of ICE credentials, which guard the links: draw it from the system.
    pub rng_seed: [u8; 32],
}

/// A port and the address it is opened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpBind {
    /// `None` and `::` are every address of both families, `0.0.0.0` every one of IPv4. IPv4 is
    /// needed with `None`, IPv6 with `::`; the other one is taken where it can be had.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: UdpPort,
}

/// Which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpPort {
    /// This one or none.
    Exactly(u16),
    /// The first free one from here on.
    From(u16),
    /// Any free one.
    Any,
}

/// Whether loopback addresses are candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopbackCandidates {
    /// Only on a host that has no other address, or when bound to one.
    WhenAlone,
    /// Always.
    Always,
}

/// What kind of program the child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerClass {
    /// A Banyan node: passes media on, decodes nothing.
    Native,
    /// A browser: decodes what it gets. All current ones encrypt with AES-GCM when they are
    /// offered nothing else, and nothing else is offered at the first attempt.
    Browser,
    /// Any other WebRTC player: decodes what it gets, and may know only the oldest cipher.
    Player,
}

/// The two data channels of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Stream 0: ordered and reliable.
    Control,
    /// Stream 1: unordered, never retransmitted.
    Pulse,
}

/// A message on a data channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageData {
    /// UTF-8 text, as browsers send strings.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// A track that a publisher sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTrack {
    /// Its codec.
    pub codec: Codec,
    /// Its format parameters as in `a=fmtp`, without parameter sets.
    pub fmtp: String,
    /// H.264 parameter sets from the session description.
    pub parameter_sets: Vec<Bytes>,
    /// Whether the publisher sends packets again that are asked for (generic NACK).
    pub repairs: bool,
}

/// What the engine has to tell.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EngineEvent {
    /// Our offer for a link we begin, or one made anew.
    Offer {
        /// The link.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// Our answer to a child's offer, its first or one made anew.
    Answer {
        /// The link.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// One of our candidates; empty after the last one (RFC 8838 section 8.2).
    LocalCandidate {
        /// The link.
        link: LinkKey,
        /// `candidate:...`, or empty.
        candidate: String,
    },
    /// ICE and DTLS are up, and both data channels where the peer has them.
    Connected {
        /// The link.
        link: LinkKey,
    },
    /// A publisher's new ICE session is connected and carries everything from here on.
    Restarted {
        /// The link.
        link: LinkKey,
    },
    /// The link is gone and its key is free again. Not told of links that were closed by us.
    Closed {
        /// The link.
        link: LinkKey,
        /// Why.
        reason: CloseReason,
    },
    /// A message on a data channel.
    Message {
        /// The link.
        link: LinkKey,
        /// Which channel.
        channel: Channel,
        /// The message.
        data: MessageData,
    },
    /// Media from the parent, or from a publisher: then a payload may have any size, and an empty
    /// one is padding that has taken a sequence number.
    Packet {
        /// The link.
        link: LinkKey,
        /// The packet.
        packet: ReceivedPacket,
    },
    /// A child misses packets.
    Nack {
        /// The link.
        link: LinkKey,
        /// The track.
        track: TrackIndex,
        /// The low 16 bits of their sequence numbers.
        seqs: Vec<u16>,
    },
    /// A child needs a key frame.
    KeyFrameRequest {
        /// The link.
        link: LinkKey,
        /// The track.
        track: TrackIndex,
    },
    /// How a child receives.
    ReceiverReport {
        /// The link.
        link: LinkKey,
        /// The track.
        track: TrackIndex,
        /// Lost since its last report, 0 to 1.
        fraction_lost: f32,
        /// Interarrival jitter (RFC 3550 section 6.4.1).
        jitter: Duration,
        /// Round trip, once the child has answered a sender report.
        rtt: Option<Duration>,
    },
    /// The parent's mapping of wall clock to RTP time.
    SenderReport {
        /// The link.
        link: LinkKey,
        /// The track.
        track: TrackIndex,
        /// NTP time (RFC 5905), 32.32 bits.
        ntp: u64,
        /// The same instant in RTP time.
        rtp: u32,
    },
}

impl EngineEvent {
    /// The link it is about.
    pub const fn link(&self) -> LinkKey {
        match self {
            Self::Offer { link, .. }
            | Self::Answer { link, .. }
            | Self::LocalCandidate { link, .. }
            | Self::Connected { link }
            | Self::Restarted { link }
            | Self::Closed { link, .. }
            | Self::Message { link, .. }
            | Self::Packet { link, .. }
            | Self::Nack { link, .. }
            | Self::KeyFrameRequest { link, .. }
            | Self::ReceiverReport { link, .. }
            | Self::SenderReport { link, .. } => *link,
        }
    }
}

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// No path to the peer was found in time, or the one in use went silent.
    IceFailed,
    /// There is a path, but no secure session with open channels came of it in time.
    DtlsFailed,
    /// The peer closed it.
    Remote,
    /// The peer does not take what it is sent on `control`.
    Stalled,
    /// What the peer sends cannot be decrypted any more. A new link can.
    Unreadable,
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IceFailed => "no way to it was found, or it fell silent",
            Self::DtlsFailed => "the handshake failed",
            Self::Remote => "it closed the connection",
            Self::Stalled => "it takes nothing",
            Self::Unreadable => "what it sends cannot be decrypted",
        })
    }
}

/// Why the engine refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Another program has the port.
    #[error("UDP port {port} on {ip} is already in use")]
    PortBusy {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: u16,
    },
    /// None of the ports tried is free.
    #[error("none of {tries} UDP ports from {first} on is free")]
    NoFreePort {
        /// The first one tried.
        first: u16,
        /// How many were tried.
        tries: u16,
    },
    /// The socket could not be opened.
    #[error("cannot open UDP port {port} on {ip}: {source}")]
    Bind {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The system's cryptography does not work.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
    /// No such link.
    #[error("there is no link {} of {}", .0.link, .0.child)]
    UnknownLink(LinkKey),
    /// The key is in use.
    #[error("link {} of {} exists already", .0.link, .0.child)]
    LinkExists(LinkKey),
    /// As many links as this node keeps.
    #[error("this node has {0} links, as many as it keeps")]
    TooManyLinks(usize),
    /// The link is not at the point where this makes sense.
    #[error("link {} of {} is not waiting for an answer", .0.link, .0.child)]
    NotWaiting(LinkKey),
    /// The link must be connected for this.
    #[error("link {} of {} is not connected yet", .0.link, .0.child)]
    NotConnected(LinkKey),
    /// Other tracks have a media source that the link has carried before.
    #[error("link {} of {} has carried one of the media sources before", .0.link, .0.child)]
    SourceReused(LinkKey),
    /// The session description was refused.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// The candidate was refused.
    #[error("not an ICE candidate: {0}")]
    Candidate(String),
    /// The message was refused.
    #[error("a message of {0} bytes is larger than a peer takes")]
    MessageTooLarge(usize),
    /// The WebRTC crate refused.
    #[error("WebRTC: {0}")]
    WebRtc(String),
}

impl From<rtc::shared::error::Error> for EngineError {
    fn from(error: rtc::shared::error::Error) -> Self {
        Self::WebRtc(error.to_string())
    }
}
