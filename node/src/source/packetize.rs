//! Coded frames into RTP payloads.

use banyan::limits::MAX_PAYLOAD;
use banyan::wire::announcement::Codec;
use bytes::{BufMut, Bytes, BytesMut};
use rtc::rtp::codec::av1::Av1Payloader;
use rtc::rtp::packetizer::Payloader;

use super::bitstream::{NAL_LENGTH, length_prefixed, nal, nal_type, obus, vp9_size};

/// Cuts the frames of one track into payloads of at most [`MAX_PAYLOAD`] bytes.
///
/// H.264, VP8 and VP9 are cut here rather than by `rtc`: its H.264 payloader keeps one picture
/// parameter set where a stream may have several, its VP8 picture identifiers change their width
/// on the way, and its VP9 descriptors claim that every frame is a key frame.
#[derive(Debug)]
pub struct Packetizer {
    codec: Codec,
    /// Picture identifier of VP8 and VP9, 15 bits.
    picture: u16,
}

impl Packetizer {
    /// For a track of `codec`.
    pub fn new(codec: Codec) -> Self {
        Self { codec, picture: 0 }
    }

    /// The payloads of one frame, in order; the marker belongs on the last one. Empty for a frame
    /// that is malformed.
    pub fn packetize(&mut self, frame: &Bytes, key: bool) -> Vec<Bytes> {
        let payloads = match self.codec {
            Codec::Opus => (!frame.is_empty() && frame.len() <= MAX_PAYLOAD)
                .then(|| frame.clone())
                .into_iter()
                .collect(),
            Codec::H264 => h264(frame),
            Codec::Vp8 => self.vp8(frame),
            Codec::Vp9 => self.vp9(frame, key),
            Codec::Av1 => av1(frame),
        };
        self.picture = (self.picture + 1) & 0x7fff;
        payloads
    }

    /// RFC 7741 section 4.2: X and I set, 15-bit picture identifier; S on the first packet.
    fn vp8(&self, frame: &Bytes) -> Vec<Bytes> {
        cut(frame, MAX_PAYLOAD - 4, |part, first, _| {
            let mut payload = BytesMut::with_capacity(4 + part.len());
            payload.put_u8(if first { 0x90 } else { 0x80 });
            payload.put_u8(0x80);
            payload.put_u16(0x8000 | self.picture);
            payload.put_slice(part);
            payload.freeze()
        })
    }

    /// RFC 9628 section 4.2, flexible mode. Every inter-predicted picture names the one before it
    /// as its reference: whatever it really refers to, the chain to the key frame holds all.
    fn vp9(&self, frame: &Bytes, key: bool) -> Vec<Bytes> {
        let [i, p, f, b, e, v] = [0x80, 0x40, 0x10, 0x08, 0x04, 0x02];
        let size = key.then(|| vp9_size(frame)).flatten();
        // The longest descriptor: that of a key frame's first packet.
        cut(frame, MAX_PAYLOAD - 8, |part, first, last| {
            let mut flags: u8 = i | f;
            flags |= if key { 0 } else { p };
            flags |= if first { b } else { 0 };
            flags |= if last { e } else { 0 };
            let structure = size.filter(|_| first);
            flags |= if structure.is_some() { v } else { 0 };
            let mut payload = BytesMut::with_capacity(8 + part.len());
            payload.put_u8(flags);
            payload.put_u16(0x8000 | self.picture);
            if !key {
                payload.put_u8(1 << 1);
            }
            if let Some((width, height)) = structure {
                payload.put_u8(0x10);
                payload.put_u16(width);
                payload.put_u16(height);
            }
            payload.put_slice(part);
            payload.freeze()
        })
    }
}

fn cut(frame: &Bytes, size: usize, put: impl Fn(&[u8], bool, bool) -> Bytes) -> Vec<Bytes> {
    let count = frame.len().div_ceil(size);
    (frame.chunks(size).enumerate())
        .map(|(index, part)| put(part, index == 0, index + 1 == count))
        .collect()
}

/// RFC 6184 in packetization mode 1: small units share a STAP-A, large ones become FU-A fragments.
fn h264(frame: &Bytes) -> Vec<Bytes> {
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    const REFERENCE: u8 = 0x60;
    let mut payloads = Vec::new();
    let mut small: Vec<&[u8]> = Vec::new();
    let mut size = 1;
    let flush = |small: &mut Vec<&[u8]>, payloads: &mut Vec<Bytes>| {
        match small.as_slice() {
            [] => {}
            [unit] => payloads.push(Bytes::copy_from_slice(unit)),
            units => {
                let mut payload = BytesMut::new();
                let reference = units.iter().map(|u| u[0] & REFERENCE).max().unwrap_or(0);
                payload.put_u8(STAP_A | reference);
                for unit in units {
                    payload.put_u16(unit.len() as u16);
                    payload.put_slice(unit);
                }
                payloads.push(payload.freeze());
            }
        }
        small.clear();
    };
    let sent = length_prefixed(frame, NAL_LENGTH).filter(|unit| {
        !matches!(
            nal_type(unit),
            nal::DELIMITER | nal::END_OF_SEQUENCE | nal::END_OF_STREAM | nal::FILLER
        )
    });
    for unit in sent {
        if size + 2 + unit.len() > MAX_PAYLOAD {
            flush(&mut small, &mut payloads);
            size = 1;
        }
        if unit.len() <= MAX_PAYLOAD {
            size += 2 + unit.len();
            small.push(unit);
            continue;
        }
        let (header, body) = (unit[0], &unit[1..]);
        let parts = body.chunks(MAX_PAYLOAD - 2);
        let count = parts.len();
        for (index, part) in parts.enumerate() {
            let mut payload = BytesMut::with_capacity(2 + part.len());
            payload.put_u8(FU_A | header & REFERENCE);
            let start = if index == 0 { 0x80 } else { 0 };
            let end = if index + 1 == count { 0x40 } else { 0 };
            payload.put_u8(start | end | header & 0x1f);
            payload.put_slice(part);
            payloads.push(payload.freeze());
        }
    }
    flush(&mut small, &mut payloads);
    payloads
}

/// A malformed frame is left out first: `rtc` slices by the sizes that the units state.
fn av1(frame: &Bytes) -> Vec<Bytes> {
    if obus(frame).is_none() {
        return Vec::new();
    }
    Av1Payloader::default()
        .payload(MAX_PAYLOAD, frame)
        .unwrap_or_default()
}
