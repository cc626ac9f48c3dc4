//! The stream of all tables: 270 packets of 1200 bytes a second, as 2.5 Mbit/s video has them,
//! in frames of nine, each packet stamped with the time it was made.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use banyan::id::{Epoch, LinkId, LinkKey, NodeId};
use banyan::relay::packet::Packet;
use banyan::wire::announcement::{Codec, StreamInfo, TrackInfo};
use banyan_node::rtc::{Engine, EngineConfig, LoopbackCandidates, UdpBind, UdpPort};

/// Time between two frames.
pub(crate) const FRAME: Duration = Duration::from_micros(33_333);

/// Packets in one frame.
pub(crate) const PACKETS_PER_FRAME: u64 = 9;

/// Payload bytes per packet: with RTP header, SRTP tag, UDP and IPv4 headers 1200 and 6.
pub(crate) const PAYLOAD: usize = 1150;

/// The media source.
pub(crate) const SSRC: u32 = 1;

/// Sequence number of the first packet.
const FIRST: u64 = 70_000;

/// The packets of a frame, made now.
pub(crate) fn packets(frame: u32) -> Vec<Arc<Packet>> {
    let mut payload = vec![7; PAYLOAD];
    let nanoseconds = since_epoch().as_nanos() as u64;
    payload[..8].copy_from_slice(&nanoseconds.to_be_bytes());
    let payload = bytes::Bytes::from(payload);
    (0..PACKETS_PER_FRAME)
        .map(|i| {
            Arc::new(Packet {
                track: 0,
                seq: FIRST + u64::from(frame) * PACKETS_PER_FRAME + i,
                timestamp: frame.wrapping_mul(3000),
                marker: i + 1 == PACKETS_PER_FRAME,
                extensions: Vec::new(),
                payload: payload.clone(),
            })
        })
        .collect()
}

/// How long ago a packet's payload was made.
pub(crate) fn stamp_age(payload: &[u8]) -> Option<Duration> {
    let made = u64::from_be_bytes(payload.get(..8)?.try_into().ok()?);
    since_epoch().checked_sub(Duration::from_nanos(made))
}

/// One clock for two processes.
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// An engine on a loopback port.
pub(crate) fn engine() -> Result<Engine> {
    let udp = UdpBind {
        ip: Some(Ipv4Addr::LOCALHOST.into()),
        port: UdpPort::Any,
    };
    Ok(Engine::bind(EngineConfig {
        udp,
        public_addr: None,
        loopback: LoopbackCandidates::WhenAlone,
        rng_seed: rand::random(),
    })?)
}

/// The link of a child.
pub(crate) fn key(number: u16) -> LinkKey {
    let [high, low] = number.to_be_bytes();
    let mut id = [0; 16];
    (id[0], id[1]) = (high, low);
    LinkKey {
        child: NodeId::from_bytes(id),
        link: LinkId(number.into()),
    }
}

/// The number of a link's child.
pub(crate) fn number(link: LinkKey) -> u16 {
    u16::try_from(link.link.0).unwrap_or(u16::MAX)
}

/// What the stream consists of.
pub(crate) fn stream() -> StreamInfo {
    let track = TrackInfo {
        codec: Codec::Vp8,
        fmtp: String::new(),
        ssrc: SSRC,
        first_seq: FIRST,
    };
    StreamInfo {
        epoch: Epoch(1),
        tracks: vec![track],
        cname: "bench".into(),
    }
}
