//! What must be known of a coded frame: where its units begin, whether it stands by itself, and
//! whether it needs what WebRTC does not offer.

use banyan::wire::announcement::Codec;
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the length in front of each NAL unit, in every H.264 frame inside this program.
pub(crate) const NAL_LENGTH: usize = 4;

/// H.264 NAL unit types (ITU-T H.264 table 7-1).
pub(crate) mod nal {
    pub(crate) const SLICE: u8 = 1;
    pub(crate) const IDR: u8 = 5;
    pub(crate) const SPS: u8 = 7;
    pub(crate) const PPS: u8 = 8;
    pub(crate) const DELIMITER: u8 = 9;
    pub(crate) const END_OF_SEQUENCE: u8 = 10;
    pub(crate) const END_OF_STREAM: u8 = 11;
    pub(crate) const FILLER: u8 = 12;
}

/// The type of a NAL unit.
pub(crate) fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |b| b & 0x1f)
}

/// The NAL units of a frame whose units are preceded by their length in `length_size` bytes; ends
/// at the first one that is not whole.
pub(crate) fn length_prefixed(mut data: &[u8], length_size: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_at_checked(length_size)?;
        let length = length.iter().fold(0, |n, b| (n << 8) | usize::from(*b));
        let (unit, rest) = rest.split_at_checked(length)?;
        data = rest;
        Some(unit)
    })
    .filter(|unit| !unit.is_empty())
}

/// The NAL units of a byte stream with start codes (ITU-T H.264 annex B).
pub(crate) fn annex_b(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let start = |from: usize| {
        data.get(from..)?
            .windows(3)
            .position(|w| w == [0, 0, 1])
            .map(|at| from + at)
    };
    let mut next = start(0);
    std::iter::from_fn(move || {
        let begin = next? + 3;
        next = start(begin);
        let unit = &data[begin..next.unwrap_or(data.len())];
        let end = unit.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        Some(&unit[..end])
    })
    .filter(|unit| !unit.is_empty())
}

/// Joins NAL units to a frame as this program holds it.
pub(crate) fn join_nals<'a>(units: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut frame = BytesMut::new();
    for unit in units {
        frame.put_u32(unit.len() as u32);
        frame.put_slice(unit);
    }
    frame.freeze()
}

/// Whether a NAL unit is a slice of a B picture (ITU-T H.264 section 7.4.3, slice_type).
pub(crate) fn is_b_slice(unit: &[u8]) -> bool {
    if !matches!(nal_type(unit), nal::SLICE | nal::IDR) {
        return false;
    }
    let mut bits = Bits::new(unit.get(1..).unwrap_or_default());
    let slice_type = bits.exp_golomb().and_then(|_| bits.exp_golomb());
    matches!(slice_type, Some(1 | 6))
}

/// Reads bits from the highest down.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        let byte = self.data.get(self.at / 8)?;
        let bit = (byte >> (7 - self.at % 8)) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    fn bits(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |n, _| Some((n << 1) | self.bit()?))
    }

    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.bits(zeros)?)
    }
}

/// The Exp-Golomb number that `data` begins with (ITU-T H.264 section 9.1).
pub(crate) fn exp_golomb(data: &[u8]) -> Option<u32> {
    Bits::new(data).exp_golomb()
}

/// AV1 open bitstream units (AV1 specification section 5.3).
pub(crate) mod obu {
    pub(crate) const SEQUENCE_HEADER: u8 = 1;
    pub(crate) const TEMPORAL_DELIMITER: u8 = 2;
    pub(crate) const TILE_LIST: u8 = 8;
    pub(crate) const PADDING: u8 = 15;
    pub(crate) const HAS_SIZE: u8 = 0b10;
    pub(crate) const HAS_EXTENSION: u8 = 0b100;

    /// The type of a unit with this first byte.
    pub(crate) fn kind(header: u8) -> u8 {
        (header >> 3) & 0x0f
    }
}

/// Reads an unsigned number of at most 32 bits (AV1 specification section 4.10.5); returns it and
/// the bytes it took.
pub(crate) fn leb128(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (index, byte) in data.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

/// Writes such a number.
pub(crate) fn put_leb128(out: &mut impl BufMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// One open bitstream unit: its header without the size field's flag, and its payload.
pub(crate) struct Obu<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// The units of a temporal unit in low-overhead format, or `None` if it is malformed.
pub(crate) fn obus(mut data: &[u8]) -> Option<Vec<Obu<'_>>> {
    let mut found = Vec::new();
    while let Some(first) = data.first() {
        let header_size = if first & obu::HAS_EXTENSION == 0 {
            1
        } else {
            2
        };
        let (header, rest) = data.split_at_checked(header_size)?;
        let (payload, rest) = if first & obu::HAS_SIZE == 0 {
            (rest, &[][..])
        } else {
            let (size, took) = leb128(rest)?;
            rest.get(took..)?.split_at_checked(size)?
        };
        found.push(Obu { header, payload });
        data = rest;
    }
    Some(found)
}

/// Whether a decoder can start at this frame. H.264 comes with length-prefixed NAL units.
pub(crate) fn is_key(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        Codec::Opus => true,
        Codec::H264 => length_prefixed(frame, NAL_LENGTH).any(|unit| nal_type(unit) == nal::IDR),
        // RFC 6386 section 9.1: the lowest bit of the frame tag is clear.
        Codec::Vp8 => frame.first().is_some_and(|b| b & 1 == 0),
        Codec::Vp9 => vp9_frame(frame).is_some_and(|(_, key)| key),
        Codec::Av1 => obus(frame).is_some_and(|units| {
            units
                .iter()
                .any(|u| obu::kind(u.header[0]) == obu::SEQUENCE_HEADER)
        }),
    }
}

/// Profile of a VP9 frame and whether it is a key frame (VP9 bitstream specification 6.2).
pub(crate) fn vp9_frame(frame: &[u8]) -> Option<(u32, bool)> {
    let mut bits = Bits::new(frame);
    if bits.bits(2)? != 2 {
        return None;
    }
    let profile = bits.bit()? | bits.bit()? << 1;
    if profile == 3 {
        bits.bit()?;
    }
    let shows_existing = bits.bit()? == 1;
    let key = bits.bit()? == 0;
    Some((profile, key && !shows_existing))
}

/// Width and height in a VP8 key frame (RFC 6386 section 9.1).
pub(crate) fn vp8_size(frame: &[u8]) -> Option<(u16, u16)> {
    let size = frame.get(6..10)?;
    (frame.get(3..6)? == [0x9d, 0x01, 0x2a]).then(|| {
        let side = |low: u8, high: u8| u16::from_le_bytes([low, high]) & 0x3fff;
        (side(size[0], size[1]), side(size[2], size[3]))
    })
}

/// Width and height in a VP9 key frame.
pub(crate) fn vp9_size(frame: &[u8]) -> Option<(u16, u16)> {
    use shiguredo_mp4::bitstream::vp9::{Vp9FrameSize, parse_frame_header};
    match parse_frame_header(frame).ok()?.frame_size {
        Vp9FrameSize::Resolved { width, height } => {
            Some((width.try_into().ok()?, height.try_into().ok()?))
        }
        _ => None,
    }
}

/// Samples at 48 kHz in an Opus packet (RFC 6716 section 3.1); 0 for a malformed one.
pub(crate) fn opus_samples(packet: &[u8]) -> u32 {
    let Some(toc) = packet.first() else {
        return 0;
    };
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config % 4)],
        12..=15 => [480, 960][usize::from(config % 2)],
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |count| u32::from(count & 0x3f)),
    };
    // A packet holds at most 120 ms.
    (frame * frames).min(5760)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_of_both_formats() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65];
        let units: Vec<_> = annex_b(&stream).collect();
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65]]);
        let joined = join_nals(units.iter().copied());
        let again: Vec<_> = length_prefixed(&joined, NAL_LENGTH).collect();
        assert_eq!(again, units);
        assert!(is_key(Codec::H264, &joined));
        // The last unit is cut off.
        assert_eq!(length_prefixed(&joined[..joined.len() - 1], 4).count(), 2);
    }

    #[test]
    fn slices_of_b_pictures() {
        // first_mb_in_slice 0 (1), slice_type 1 (010) or 6 (00111), or P: 0 (1) and 5 (00110)
        assert!(is_b_slice(&[0x01, 0b1010_0000]));
        assert!(is_b_slice(&[0x01, 0b1001_1100]));
        assert!(!is_b_slice(&[0x41, 0b1100_0000]));
        assert!(!is_b_slice(&[0x41, 0b1001_1000]));
        assert!(!is_b_slice(&[0x41, 0]));
    }

    #[test]
    fn leb128_numbers() {
        for value in [0, 127, 128, 300, 1 << 20, (1 << 32) - 1] {
            let mut out = Vec::new();
            put_leb128(&mut out, value);
            assert_eq!(leb128(&out), Some((value, out.len())));
        }
        assert_eq!(leb128(&[0x7f]), Some((127, 1)));
        assert_eq!(leb128(&[0xac, 0x02, 9]), Some((300, 2)));
        assert_eq!(leb128(&[0x80]), None);
    }

    #[test]
    fn opus_packet_lengths() {
        assert_eq!(opus_samples(&[0xfc]), 960);
        assert_eq!(opus_samples(&[0x7c]), 960);
        assert_eq!(opus_samples(&[0x18]), 2880);
        assert_eq!(opus_samples(&[0xff, 3]), 2880);
        assert_eq!(opus_samples(&[]), 0);
    }
}
