//! Where a decoder may start: does this RTP payload begin a key frame?
//!
//! Payloads come from the network; every function here is total on any bytes.

use crate::wire::announcement::Codec;

/// What one payload says about the frame it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A decoder can start with this very packet.
    Start,
    /// It belongs to a key frame, but what the decoder needs first may be in packets before it
    /// that have the same timestamp (H.264: a slice of an IDR picture without parameter sets).
    Inside,
}

/// The mark of `payload`, if it has one. Sound has none: a decoder starts anywhere.
pub fn mark(codec: Codec, payload: &[u8]) -> Option<Mark> {
    match codec {
        Codec::Opus => None,
        Codec::H264 => h264(payload),
        Codec::Vp8 => vp8(payload).then_some(Mark::Start),
        Codec::Vp9 => vp9(payload).then_some(Mark::Start),
        Codec::Av1 => av1(payload).then_some(Mark::Start),
    }
}

const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// RFC 6184: NAL unit types in single packets, STAP-A aggregates (section 5.7.1) and the first
/// fragment of an FU-A (section 5.8).
fn h264(payload: &[u8]) -> Option<Mark> {
    let of_type = |nal_type| match nal_type {
        NAL_SPS => Some(Mark::Start),
        NAL_IDR => Some(Mark::Inside),
        _ => None,
    };
    match payload.first()? & 0x1f {
        NAL_STAP_A => {
            let mut rest = &payload[1..];
            let mut found = None;
            while let [high, low, tail @ ..] = rest {
                let size = usize::from(u16::from_be_bytes([*high, *low]));
                let nal = tail.get(..size)?;
                match nal.first().and_then(|header| of_type(header & 0x1f)) {
                    Some(Mark::Start) => return Some(Mark::Start),
                    Some(Mark::Inside) => found = Some(Mark::Inside),
                    None => {}
                }
                rest = &tail[size..];
            }
            found
        }
        NAL_FU_A => {
            let header = *payload.get(1)?;
            let first_fragment = header & 0x80 != 0;
            first_fragment.then(|| of_type(header & 0x1f)).flatten()
        }
        nal_type => of_type(nal_type),
    }
}

/// RFC 7741 sections 4.2 and 4.3: start of partition 0, and the frame header's inverse key-frame
/// bit.
fn vp8(payload: &[u8]) -> bool {
    let mut bytes = payload.iter().copied();
    let Some(descriptor) = bytes.next() else {
        return false;
    };
    let start_of_frame = descriptor & 0x10 != 0 && descriptor & 0x07 == 0;
    if !start_of_frame {
        return false;
    }
    if descriptor & 0x80 != 0 {
        let Some(extension) = bytes.next() else {
            return false;
        };
        if extension & 0x80 != 0 {
            // The picture id has 7 or 15 bits.
            match bytes.next() {
                Some(id) if id & 0x80 != 0 => _ = bytes.next(),
                Some(_) => {}
                None => return false,
            }
        }
        if extension & 0x40 != 0 {
            bytes.next();
        }
        if extension & 0x30 != 0 {
            bytes.next();
        }
    }
    bytes.next().is_some_and(|header| header & 0x01 == 0)
}

/// RFC 9628 section 4.2: begins a frame (B), not predicted from another (P), lowest spatial layer.
fn vp9(payload: &[u8]) -> bool {
    let Some(&flags) = payload.first() else {
        return false;
    };
    let [has_id, predicted, has_layers, begins] =
        [0x80, 0x40, 0x20, 0x08].map(|bit| flags & bit != 0);
    if predicted || !begins {
        return false;
    }
    let mut at = 1;
    if has_id {
        match payload.get(at) {
            Some(id) if id & 0x80 != 0 => at += 2,
            Some(_) => at += 1,
            None => return false,
        }
    }
    // Something must follow the descriptor, or there is no frame in here.
    match payload.get(at) {
        Some(layers) if has_layers => (layers >> 1) & 0x07 == 0,
        Some(_) => true,
        None => false,
    }
}

/// "RTP Payload Format For AV1" section 4.4: the aggregation header's N bit, which senders must
/// set on the first packet of a coded video sequence; and, for those that forget it, a first OBU
/// that is a sequence header.
fn av1(payload: &[u8]) -> bool {
    const OBU_SEQUENCE_HEADER: u8 = 1;
    let [aggregation, rest @ ..] = payload else {
        return false;
    };
    let continues_a_fragment = aggregation & 0x80 != 0;
    if continues_a_fragment || rest.is_empty() {
        return false;
    }
    if aggregation & 0x08 != 0 {
        return true;
    }
    let obu_count = (aggregation >> 4) & 0x03;
    let obu = if obu_count == 1 {
        rest
    } else {
        // A LEB128 length stands before every OBU but a counted last one.
        let Some(length_end) = rest.iter().take(8).position(|byte| byte & 0x80 == 0) else {
            return false;
        };
        &rest[length_end + 1..]
    };
    obu.first()
        .is_some_and(|header| (header >> 3) & 0x0f == OBU_SEQUENCE_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn h264_forms() {
        let h264 = |payload: &[u8]| mark(Codec::H264, payload);
        assert_eq!(h264(&[0x67, 0x42]), Some(Mark::Start), "single SPS");
        assert_eq!(h264(&[0x65, 0x88]), Some(Mark::Inside), "single IDR slice");
        assert_eq!(h264(&[0x41, 0x9a]), None, "single non-IDR slice");
        let stap = [0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x67, 0x42, 0, 1, 0x68];
        assert_eq!(h264(&stap), Some(Mark::Start), "AUD, SPS, PPS");
        assert_eq!(h264(&[0x78, 0, 1, 0x65]), Some(Mark::Inside));
        assert_eq!(h264(&[0x78, 0, 9, 0x67]), None, "length past the end");
        assert_eq!(h264(&[0x7c, 0x85, 1]), Some(Mark::Inside), "FU-A, first");
        assert_eq!(h264(&[0x7c, 0x05, 1]), None, "FU-A, not the first");
        assert_eq!(h264(&[0x7c, 0x81, 1]), None, "FU-A of a non-IDR slice");
    }

    #[test]
    fn vp8_forms() {
        let vp8 = |payload: &[u8]| mark(Codec::Vp8, payload).is_some();
        assert!(vp8(&[0x10, 0x00]));
        assert!(!vp8(&[0x10, 0x01]), "inter frame");
        assert!(!vp8(&[0x00, 0x00]), "not the start of a partition");
        assert!(!vp8(&[0x11, 0x00]), "partition 1");
        assert!(vp8(&[0x90, 0x80, 0x12, 0x00]), "7-bit picture id");
        assert!(vp8(&[0x90, 0xf0, 0x92, 0x34, 1, 0xc1, 0x10]), "everything");
        assert!(!vp8(&[0x90, 0xf0, 0x92, 0x34, 1, 0xc1, 0x11]));
        assert!(!vp8(&[0x90, 0x80]));
    }

    #[test]
    fn vp9_forms() {
        let vp9 = |payload: &[u8]| mark(Codec::Vp9, payload).is_some();
        assert!(vp9(&[0x08, 0x82]));
        assert!(!vp9(&[0x48, 0x82]), "predicted");
        assert!(!vp9(&[0x04, 0x82]), "not the beginning");
        assert!(vp9(&[0xa8, 0x81, 0x02, 0x00, 0]), "lowest spatial layer");
        assert!(!vp9(&[0xa8, 0x81, 0x02, 0x02, 0]), "second spatial layer");
        assert!(!vp9(&[0x88]));
    }

    #[test]
    fn av1_forms() {
        let av1 = |payload: &[u8]| mark(Codec::Av1, payload).is_some();
        assert!(av1(&[0x18, 0x0a, 0x01]), "N bit");
        assert!(av1(&[0x10, 0x0a, 0x01]), "sequence header alone");
        assert!(av1(&[0x20, 0x02, 0x08, 0x00, 0x30]), "with its length");
        assert!(!av1(&[0x10, 0x30, 0x01]), "a frame");
        assert!(!av1(&[0x98, 0x0a, 0x01]), "continues a fragment");
        assert!(!av1(&[
            0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
        ]));
    }

    proptest! {
        #[test]
        fn total_on_any_bytes(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            for codec in [Codec::Opus, Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1] {
                mark(codec, &payload);
            }
        }
    }
}
