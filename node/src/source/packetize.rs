//! Coded frames into RTP payloads.

use std::iter::Peekable;

use banyan::limits::MAX_PAYLOAD;
use banyan::wire::announcement::Codec;
use bytes::{BufMut, Bytes, BytesMut};

use super::bitstream::{
    NAL_LENGTH, length_prefixed, nal, nal_type, obu, obus, put_leb128, vp9_size,
};

/// Cuts the frames of one track into payloads of at most [`MAX_PAYLOAD`] bytes.
///
/// All are cut here rather than by `rtc`: its H.264 payloader keeps one picture parameter set where
/// a stream may have several, its VP8 picture identifiers change their width on the way, its VP9
/// descriptors claim that every frame is a key frame, and its AV1 payloader cuts between units.
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
            Codec::Av1 => av1(frame, key),
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

/// AV1 RTP payload format section 4. Without a dependency descriptor libwebrtc takes every packet
/// with Z clear for the beginning of a frame and every one with Y clear for its end, and what it
/// then gives to the decoder must show a picture, or it asks for a key frame. So a temporal unit,
/// which may hold hidden frames, is cut inside its units only, never between two of them.
fn av1(frame: &Bytes, key: bool) -> Vec<Bytes> {
    const Z: u8 = 0x80;
    const Y: u8 = 0x40;
    const N: u8 = 0x08;
    let Some(units) = obus(frame) else {
        return Vec::new();
    };
    let units: Vec<Vec<u8>> = (units.iter())
        .filter(|unit| {
            let kind = obu::kind(unit.header[0]);
            !matches!(
                kind,
                obu::TEMPORAL_DELIMITER | obu::TILE_LIST | obu::PADDING
            ) && !unit.payload.is_empty()
        })
        .map(|unit| {
            let mut element = [unit.header, unit.payload].concat();
            element[0] &= !obu::HAS_SIZE;
            element
        })
        .collect();
    let mut payloads = Vec::new();
    let mut left = units.iter().map(Vec::as_slice).peekable();
    let mut rest = left.next();
    let mut flags = if key { N } else { 0 };
    while rest.is_some() {
        let (elements, cut) = av1_elements(&mut rest, &mut left);
        let mut payload = BytesMut::with_capacity(MAX_PAYLOAD);
        // The last of up to three elements needs no length.
        let count = if elements.len() <= 3 {
            elements.len()
        } else {
            0
        };
        payload.put_u8(flags | if cut { Y } else { 0 } | (count as u8) << 4);
        for (index, element) in elements.iter().enumerate() {
            if index + 1 != count {
                put_leb128(&mut payload, element.len());
            }
            payload.put_slice(element);
        }
        payloads.push(payload.freeze());
        flags = Z;
    }
    payloads
}

/// Takes the elements of one packet: from `rest`, of which the packet before may have taken the
/// beginning, and from the units that are `left` after it. Returns whether the last one is a
/// fragment, as it is in every packet but the last.
pub(super) fn av1_elements<'a>(
    rest: &mut Option<&'a [u8]>,
    left: &mut Peekable<impl Iterator<Item = &'a [u8]>>,
) -> (Vec<&'a [u8]>, bool) {
    /// Bytes of an element's length at most.
    const LENGTH: usize = 2;
    /// Room that an element needs to begin in: its length, a header with extension, and a byte.
    const START: usize = LENGTH + 3;
    const { assert!(MAX_PAYLOAD < 1 << 14) };
    let mut elements = Vec::new();
    let mut room = MAX_PAYLOAD - 1;
    while let Some(unit) = *rest {
        let fits = room - LENGTH;
        let follows = if left.peek().is_some() { START } else { 0 };
        if unit.len() + follows > fits {
            // At least a byte stays for the next packet, and every unit has two.
            let (part, after) = unit.split_at(fits.min(unit.len() - 1));
            elements.push(part);
            *rest = Some(after);
            return (elements, true);
        }
        elements.push(unit);
        room = fits - unit.len();
        *rest = left.next();
    }
    (elements, false)
}
