//! A link's tracks: packets of the mesh to RTP of one hop and back, with the counts that sender
//! and receiver reports need.

use std::time::{Duration, Instant};

use banyan::limits::MAX_PAYLOAD;
use banyan::relay::packet::{EndToEndExtension, Packet, TrackIndex};
use bytes::Bytes;
use rtc::rtp;

use super::congestion::Arrivals;
use super::reception::Reception;
use super::sdp::TrackLine;

/// One-byte and two-byte header extensions (RFC 8285 sections 4.2 and 4.3).
const ONE_BYTE: u16 = 0xBEDE;
const TWO_BYTE: u16 = 0x1000;

/// An RTP packet as it arrived: the sequence number's rollovers are for the receiver to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedPacket {
    /// Which track it belongs to.
    pub track: TrackIndex,
    /// The 16 bits of the sequence number that travel.
    pub seq: u16,
    /// RTP timestamp in units of the track's clock rate.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// End-to-end header extensions in the order they arrived.
    pub extensions: Vec<(EndToEndExtension, Bytes)>,
    /// RTP payload, 1 to [`MAX_PAYLOAD`] bytes.
    pub payload: Bytes,
}

/// The tracks agreed on one link.
#[derive(Default)]
pub(super) struct Media {
    pub(super) tracks: Vec<Track>,
    /// The tracks are a publisher's, who chose their sources.
    published: bool,
    /// What its bandwidth estimate is fed with.
    pub(super) arrivals: Option<Arrivals>,
}

/// One of them.
pub(super) struct Track {
    pub(super) line: TrackLine,
    /// Packets and payload bytes sent on this link.
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// The last sender reports: middle 32 bits of their NTP time, and when they left.
    pub(super) reports: [Option<(u32, Instant)>; 4],
    pub(super) reception: Reception,
    /// The last packet of a publisher's source.
    heard: Option<Instant>,
}

impl Media {
    pub(super) fn new(lines: Vec<TrackLine>) -> Self {
        let track = |line: TrackLine| Track {
            reception: Reception::new(line.clock_rate),
            line,
            packets: 0,
            octets: 0,
            reports: [None; 4],
            heard: None,
        };
        Self {
            tracks: lines.into_iter().map(track).collect(),
            published: false,
            arrivals: None,
        }
    }

    /// The tracks of a publisher. `transport_cc` is the header extension id of transport-wide
    /// sequence numbers.
    pub(super) fn published(now: Instant, lines: Vec<TrackLine>, transport_cc: Option<u8>) -> Self {
        Self {
            published: true,
            arrivals: transport_cc.map(|id| Arrivals::new(now, id)),
            ..Self::new(lines)
        }
    }

    /// Whether they are a publisher's.
    pub(super) const fn is_published(&self) -> bool {
        self.published
    }

    pub(super) fn track(&mut self, index: TrackIndex) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|t| t.line.track == index)
    }

    pub(super) fn source(&mut self, ssrc: u32) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|t| t.line.ssrc == ssrc)
    }

    /// The RTP packet to send, or `None` if this link does not carry the track.
    pub(super) fn send(&mut self, packet: &Packet) -> Option<rtp::Packet> {
        let track = self.track(packet.track)?;
        track.packets = track.packets.wrapping_add(1);
        let size = u32::try_from(packet.payload.len()).unwrap_or(0);
        track.octets = track.octets.wrapping_add(size);
        let mut header = rtp::header::Header {
            version: 2,
            marker: packet.marker,
            payload_type: track.line.payload_type,
            // The rollovers are counted by each receiver; 16 bits travel.
            sequence_number: (packet.seq & 0xFFFF) as u16,
            timestamp: packet.timestamp,
            ssrc: track.line.ssrc,
            ..Default::default()
        };
        if !packet.extensions.is_empty() {
            extend(&mut header, &track.line, &packet.extensions);
        }
        Some(rtp::Packet {
            header,
            payload: packet.payload.clone(),
        })
    }

    /// The mesh's packet in what arrived, or `None` if it is none of ours.
    pub(super) fn receive(&mut self, now: Instant, packet: rtp::Packet) -> Option<ReceivedPacket> {
        let header = packet.header;
        if let Some(arrivals) = &mut self.arrivals {
            for extension in &header.extensions {
                arrivals.received(now, extension.id, &extension.payload);
            }
        }
        let fits = (1..=MAX_PAYLOAD).contains(&packet.payload.len());
        let track = if self.published {
            self.learn_source(now, &header)?
        } else {
            self.source(header.ssrc).filter(|_| fits)?
        };
        track
            .reception
            .received(now, header.sequence_number, header.timestamp);
        let extensions = header
            .extensions
            .into_iter()
            .filter_map(|e| {
                let (_, kind) = track.line.extensions.iter().find(|(id, _)| *id == e.id)?;
                Some((*kind, e.payload))
            })
            .collect();
        Some(ReceivedPacket {
            track: track.line.track,
            seq: header.sequence_number,
            timestamp: header.timestamp,
            marker: header.marker,
            extensions,
            payload: packet.payload,
        })
    }
}

/// A publisher's source gives way to another of the same payload type after this silence: an
/// encoder that begins anew. Until then a second source is another layer of the same picture.
const SOURCE_SILENT: Duration = Duration::from_secs(1);

impl Media {
    /// The track of a publisher's packet: the source it named or was heard of before, or the one
    /// that has this payload type and no other source.
    fn learn_source(&mut self, now: Instant, header: &rtp::header::Header) -> Option<&mut Track> {
        let known = (self.tracks.iter())
            .position(|t| t.line.ssrc == header.ssrc && t.line.payload_type == header.payload_type);
        let at = match known {
            Some(at) => at,
            None => {
                let free = |t: &Track| {
                    let silent = |heard| now.saturating_duration_since(heard) > SOURCE_SILENT;
                    t.line.payload_type == header.payload_type && t.heard.is_none_or(silent)
                };
                let at = self.tracks.iter().position(free)?;
                let track = &mut self.tracks[at];
                track.line.ssrc = header.ssrc;
                track.reception = Reception::new(track.line.clock_rate);
                at
            }
        };
        let track = &mut self.tracks[at];
        track.heard = Some(now);
        Some(track)
    }
}

fn extend(
    header: &mut rtp::header::Header,
    line: &TrackLine,
    extensions: &[(EndToEndExtension, Bytes)],
) {
    let list: Vec<rtp::header::Extension> = extensions
        .iter()
        .filter_map(|(kind, payload)| {
            let (id, _) = line.extensions.iter().find(|(_, k)| k == kind)?;
            let small = *id < 15 && (1..=16).contains(&payload.len());
            let carried = small || (line.mixed_extensions && payload.len() <= 255);
            carried.then(|| rtp::header::Extension {
                id: *id,
                payload: payload.clone(),
            })
        })
        .collect();
    if list.is_empty() {
        return;
    }
    let one_byte = list
        .iter()
        .all(|e| e.id < 15 && (1..=16).contains(&e.payload.len()));
    let overhead = if one_byte { 1 } else { 2 };
    let length: usize = list.iter().map(|e| e.payload.len() + overhead).sum();
    header.extension = true;
    header.extension_profile = if one_byte { ONE_BYTE } else { TWO_BYTE };
    header.extensions_padding = length.next_multiple_of(4) - length;
    header.extensions = list;
}
