//! RTP packets of one track back into coded frames.

use banyan::relay::packet::{ExtSeq, Packet};
use banyan::wire::announcement::{Codec, MediaKind};
use bytes::{BufMut, Bytes, BytesMut};

use crate::source::bitstream::{self, NAL_LENGTH, nal, nal_type, obu, put_leb128};
use crate::source::descriptor::{vp8_descriptor, vp9_descriptor};

/// Largest frame that is put together. A key frame of 4K at 50 Mbit/s stays below 4 MB.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) timestamp: u32,
    pub(crate) key: bool,
    /// As [`SourceFrame::data`](crate::source::SourceFrame::data).
    pub(crate) data: Bytes,
}

/// Puts the frames of one track together. A picture that is not whole is left out with all that
/// follow it up to the next key frame, because they refer to it.
#[derive(Debug)]
pub(crate) struct Depacketizer {
    codec: Codec,
    next: Option<ExtSeq>,
    /// Whether the next packet begins a frame; `None` after a gap.
    at_start: Option<bool>,
    timestamp: Option<u32>,
    packets: Vec<Bytes>,
    size: usize,
    wants_key: bool,
    /// Packets that never came.
    pub(crate) lost: u64,
}

impl Depacketizer {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            next: None,
            at_start: None,
            timestamp: None,
            packets: Vec::new(),
            size: 0,
            wants_key: codec.kind() == MediaKind::Video,
            lost: 0,
        }
    }

    /// Takes the next packet in order; returns the frame it completes.
    pub(crate) fn push(&mut self, packet: &Packet) -> Option<Frame> {
        if self.next.is_some_and(|next| packet.seq < next) {
            return None;
        }
        if self.next != Some(packet.seq) {
            self.lost += self.next.map_or(0, |next| packet.seq - next);
            self.drop_frame();
            self.at_start = None;
        }
        self.next = Some(packet.seq + 1);
        if self.codec == Codec::Opus {
            return (!packet.payload.is_empty()).then(|| Frame {
                timestamp: packet.timestamp,
                key: true,
                data: packet.payload.clone(),
            });
        }
        // A frame without a marker ends where the next one begins.
        let mut whole = None;
        if self.timestamp.is_some_and(|t| t != packet.timestamp) && self.at_start == Some(false) {
            whole = self.assemble();
            self.at_start = Some(true);
        }
        let starts = match self.at_start {
            Some(starts) => starts,
            None => begins_frame(self.codec, &packet.payload),
        };
        if starts {
            self.packets.clear();
            self.size = 0;
            self.timestamp = Some(packet.timestamp);
        }
        self.at_start = match (self.at_start, starts) {
            // In the middle of a frame of which the beginning is missing.
            (None, false) if !packet.marker => None,
            _ => Some(packet.marker),
        };
        if self.timestamp == Some(packet.timestamp) {
            self.size += packet.payload.len();
            if self.size > MAX_FRAME {
                self.drop_frame();
                return whole;
            }
            self.packets.push(packet.payload.clone());
        }
        if packet.marker && self.timestamp.is_some() {
            whole = self.assemble().or(whole);
        }
        whole
    }

    fn drop_frame(&mut self) {
        self.packets.clear();
        self.size = 0;
        self.timestamp = None;
        self.wants_key = self.codec.kind() == MediaKind::Video;
    }

    fn assemble(&mut self) -> Option<Frame> {
        let timestamp = self.timestamp.take()?;
        let packets = std::mem::take(&mut self.packets);
        self.size = 0;
        let data = match self.codec {
            Codec::Opus => return None,
            Codec::H264 => h264(&packets),
            Codec::Vp8 => joined(&packets, vp8_descriptor),
            Codec::Vp9 => joined(&packets, vp9_descriptor),
            Codec::Av1 => av1(&packets),
        };
        let Some(data) = data.filter(|data| !data.is_empty()) else {
            self.wants_key = true;
            return None;
        };
        let key = bitstream::is_key(self.codec, &data);
        if self.wants_key && !(key && describes_itself(self.codec, &data)) {
            return None;
        }
        self.wants_key = false;
        Some(Frame {
            timestamp,
            key,
            data,
        })
    }
}

/// Whether a packet can be the first of its frame, judged by itself.
fn begins_frame(codec: Codec, payload: &[u8]) -> bool {
    let Some(first) = payload.first() else {
        return false;
    };
    match codec {
        Codec::Opus => true,
        // Parameter sets come first in a frame worth starting with, alone or in a STAP-A, where a
        // SEI unit may stand before them.
        Codec::H264 => {
            let first = |unit: &[u8]| matches!(nal_type(unit), nal::SPS | nal::DELIMITER);
            match nal_type(payload) {
                24 => bitstream::length_prefixed(&payload[1..], 2).any(first),
                _ => first(payload),
            }
        }
        Codec::Vp8 => first & 0x17 == 0x10,
        Codec::Vp9 => first & 0x08 != 0,
        Codec::Av1 => first & 0x08 != 0,
    }
}

/// Whether a key frame comes with the parameter sets that its file must begin with.
fn describes_itself(codec: Codec, frame: &[u8]) -> bool {
    let has = |kind| bitstream::length_prefixed(frame, NAL_LENGTH).any(|u| nal_type(u) == kind);
    codec != Codec::H264 || (has(nal::SPS) && has(nal::PPS))
}

fn joined(packets: &[Bytes], descriptor: impl Fn(&[u8]) -> Option<usize>) -> Option<Bytes> {
    let mut frame = BytesMut::new();
    for packet in packets {
        frame.put_slice(packet.get(descriptor(packet)?..)?);
    }
    Some(frame.freeze())
}

/// RFC 6184 section 5: single units, STAP-A and FU-A.
fn h264(packets: &[Bytes]) -> Option<Bytes> {
    let mut frame = BytesMut::new();
    let mut put = |unit: &[u8]| {
        frame.put_u32(unit.len() as u32);
        frame.put_slice(unit);
    };
    let mut fragments: Option<BytesMut> = None;
    for packet in packets {
        let header = *packet.first()?;
        match nal_type(packet) {
            1..=23 => put(packet),
            24 => {
                let mut rest = &packet[1..];
                while let Some((length, after)) = rest.split_at_checked(2) {
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    let (unit, after) = after.split_at_checked(length)?;
                    put(unit);
                    rest = after;
                }
            }
            28 => {
                let fragment = *packet.get(1)?;
                if fragment & 0x80 != 0 {
                    let mut unit = BytesMut::new();
                    unit.put_u8(header & 0xe0 | fragment & 0x1f);
                    fragments = Some(unit);
                }
                fragments.as_mut()?.put_slice(&packet[2..]);
                if fragment & 0x40 != 0 {
                    put(&fragments.take()?);
                }
            }
            _ => return None,
        }
    }
    fragments.is_none().then(|| frame.freeze())
}

/// AV1 RTP section 4: the elements of all packets, joined where Z and Y say so, as units with
/// their size.
fn av1(packets: &[Bytes]) -> Option<Bytes> {
    let mut frame = BytesMut::new();
    let mut open: Option<BytesMut> = None;
    for packet in packets {
        let (header, mut rest) = packet.split_first()?;
        let (continues, unfinished) = (header & 0x80 != 0, header & 0x40 != 0);
        let count = usize::from(header >> 4 & 3);
        if continues != open.is_some() {
            return None;
        }
        let mut index = 0;
        while !rest.is_empty() {
            index += 1;
            let element = if count == index {
                std::mem::take(&mut rest)
            } else {
                let (size, took) = bitstream::leb128(rest)?;
                let (element, after) = rest.get(took..)?.split_at_checked(size)?;
                rest = after;
                element
            };
            let mut unit = open.take().unwrap_or_default();
            unit.put_slice(element);
            if rest.is_empty() && unfinished {
                open = Some(unit);
            } else {
                put_unit(&mut frame, &unit)?;
            }
        }
    }
    open.is_none().then(|| frame.freeze())
}

fn put_unit(frame: &mut BytesMut, unit: &[u8]) -> Option<()> {
    let first = *unit.first()?;
    if obu::kind(first) == obu::TEMPORAL_DELIMITER {
        return Some(());
    }
    if first & obu::HAS_SIZE != 0 {
        frame.put_slice(unit);
        return Some(());
    }
    let header = if first & obu::HAS_EXTENSION == 0 {
        1
    } else {
        2
    };
    let (header, payload) = unit.split_at_checked(header)?;
    frame.put_u8(first | obu::HAS_SIZE);
    frame.put_slice(&header[1..]);
    put_leb128(frame, payload.len());
    frame.put_slice(payload);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_begin_with_what_its_encoder_says_of_itself() {
        let mut depacketizer = Depacketizer::new(Codec::H264);
        // As ffmpeg sends what libx264 makes: SEI, SPS and PPS in a STAP-A, then the picture.
        let sets = [24, 0, 2, 6, 5, 0, 3, 0x67, 0x42, 1, 0, 2, 0x68, 0xce];
        let mut push = |seq, marker, payload: &[u8]| {
            depacketizer.push(&Packet {
                track: 0,
                seq,
                timestamp: 9,
                marker,
                extensions: Vec::new(),
                payload: Bytes::copy_from_slice(payload),
            })
        };
        assert_eq!(push(70, false, &sets), None);
        assert!(push(71, true, &[0x65, 0x88]).is_some_and(|frame| frame.key));
    }
}
