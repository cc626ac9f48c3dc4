//! A publisher's payload that is larger than the tree carries, cut into several of the same
//! meaning.

use banyan::limits::MAX_PAYLOAD;
use banyan::relay::packet::EndToEndExtension;
use banyan::wire::announcement::Codec;
use bytes::{BufMut, Bytes, BytesMut};

use crate::source::bitstream::{join_nals, leb128, length_prefixed, nal_type, put_leb128};
use crate::source::descriptor::{vp8_descriptor, vp9_descriptor};
use crate::source::packetize::{Packetizer, av1_elements};

/// RFC 6184 table 1.
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Header extensions of a packet.
pub(super) type Extensions = Vec<(EndToEndExtension, Bytes)>;

/// The payloads that stand for `payload`, each at most [`MAX_PAYLOAD`] bytes; none if it cannot
/// be cut. The marker belongs on the last one.
pub(super) fn split(
    codec: Codec,
    payload: &Bytes,
    extensions: Extensions,
) -> Vec<(Bytes, Extensions)> {
    let parts = match codec {
        // An Opus packet is one unit; above 1150 bytes it has more than 460 kbit/s.
        Codec::Opus => Vec::new(),
        Codec::H264 => h264(payload),
        Codec::Vp8 => vp8(payload).unwrap_or_default(),
        Codec::Vp9 => vp9(payload).unwrap_or_default(),
        Codec::Av1 => av1(payload).unwrap_or_default(),
    };
    let last = parts.len().saturating_sub(1);
    (parts.into_iter().enumerate())
        .map(|(index, part)| (part, extensions_of(&extensions, index == 0, index == last)))
        .collect()
}

/// The dependency descriptor says where a frame begins and ends and is in every packet; what else
/// there is concerns the whole frame and stays on its last packet.
fn extensions_of(all: &Extensions, first: bool, last: bool) -> Extensions {
    /// The part of the descriptor that continuing packets have, and its first two flags.
    const MANDATORY: usize = 3;
    const START: u8 = 0x80;
    const END: u8 = 0x40;
    let part = |(kind, value): &(EndToEndExtension, Bytes)| {
        if *kind != EndToEndExtension::DependencyDescriptor {
            return last.then(|| (*kind, value.clone()));
        }
        let length = if first { value.len() } else { MANDATORY };
        let mut value = BytesMut::from(value.get(..length)?);
        let flags = value.first_mut()?;
        *flags &= !(if first { 0 } else { START } | if last { 0 } else { END });
        Some((*kind, value.freeze()))
    };
    all.iter().filter_map(part).collect()
}

fn h264(payload: &Bytes) -> Vec<Bytes> {
    let frame = match nal_type(payload) {
        STAP_A => join_nals(length_prefixed(&payload[1..], 2)),
        FU_A if payload.len() > 2 => return fragments(payload[0], payload[1], &payload[2..]),
        1..=23 => join_nals(std::iter::once(payload.as_ref())),
        _ => return Vec::new(),
    };
    Packetizer::new(Codec::H264).packetize(&frame, false)
}

/// Smaller fragments of a fragment.
fn fragments(indicator: u8, header: u8, body: &[u8]) -> Vec<Bytes> {
    const START: u8 = 0x80;
    const END: u8 = 0x40;
    let parts = body.chunks(MAX_PAYLOAD - 2);
    let count = parts.len();
    let part = |(index, part): (usize, &[u8])| {
        let mut header = header;
        header &= !(if index == 0 { 0 } else { START });
        header &= !(if index + 1 == count { 0 } else { END });
        joined(&[indicator, header], part)
    };
    parts.enumerate().map(part).collect()
}

fn vp8(payload: &[u8]) -> Option<Vec<Bytes>> {
    const START: u8 = 0x10;
    let (descriptor, body) = payload.split_at_checked(vp8_descriptor(payload)?)?;
    let mut continued = descriptor.to_vec();
    *continued.first_mut()? &= !START;
    Some(cut(descriptor, &continued, &continued, body))
}

fn vp9(payload: &[u8]) -> Option<Vec<Bytes>> {
    const BEGIN: u8 = 0x08;
    const END: u8 = 0x04;
    const STRUCTURE: u8 = 0x02;
    let (descriptor, body) = payload.split_at_checked(vp9_descriptor(payload)?)?;
    // The scalability structure stands last in the descriptor, and in the first packet alone.
    let mut last = payload.to_vec();
    *last.first_mut()? &= !(BEGIN | STRUCTURE);
    last.truncate(vp9_descriptor(&last)?);
    let mut middle = last.clone();
    *middle.first_mut()? &= !END;
    let mut first = descriptor.to_vec();
    *first.first_mut()? &= !END;
    Some(cut(&first, &middle, &last, body))
}

/// `body` behind one descriptor in the first part, another in those between, a third in the last.
fn cut(first: &[u8], middle: &[u8], last: &[u8], body: &[u8]) -> Vec<Bytes> {
    let room = MAX_PAYLOAD
        .saturating_sub(first.len().max(last.len()))
        .max(1);
    let count = body.len().div_ceil(room);
    (body.chunks(room).enumerate())
        .map(|(index, part)| match index {
            0 => joined(first, part),
            index if index + 1 == count => joined(last, part),
            _ => joined(middle, part),
        })
        .collect()
}

fn joined(head: &[u8], body: &[u8]) -> Bytes {
    [head, body].concat().into()
}

/// The elements of an aggregate, cut inside of them only (see [`Packetizer`]).
fn av1(payload: &[u8]) -> Option<Vec<Bytes>> {
    const Z: u8 = 0x80;
    const Y: u8 = 0x40;
    const N: u8 = 0x08;
    let (header, mut rest) = payload.split_first()?;
    let counted = usize::from(header >> 4 & 3);
    let mut elements: Vec<&[u8]> = Vec::new();
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let element;
        if number == counted {
            (element, rest) = (rest, &[][..]);
        } else {
            let (size, took) = leb128(rest)?;
            (element, rest) = rest.get(took..)?.split_at_checked(size)?;
        }
        // A header alone says nothing, unless it is a piece of another packet's element.
        let piece =
            (elements.is_empty() && header & Z != 0) || (rest.is_empty() && header & Y != 0);
        if element.len() >= 2 || (piece && !element.is_empty()) {
            elements.push(element);
        }
    }
    let mut left = elements.into_iter().peekable();
    let mut rest = left.next();
    let mut parts = Vec::new();
    let mut flags = header & (Z | N);
    while rest.is_some() {
        let (elements, fragment) = av1_elements(&mut rest, &mut left);
        let unfinished = fragment || (rest.is_none() && header & Y != 0);
        let mut part = BytesMut::with_capacity(MAX_PAYLOAD);
        part.put_u8(flags | if unfinished { Y } else { 0 });
        for element in elements {
            put_leb128(&mut part, element.len());
            part.put_slice(element);
        }
        parts.push(part.freeze());
        flags = Z;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::depacketize::Depacketizer;
    use banyan::relay::packet::Packet;
    use proptest::prelude::*;

    /// What a player puts together from these payloads.
    fn assembled(codec: Codec, payloads: &[Bytes]) -> Option<Bytes> {
        let mut depacketizer = Depacketizer::new(codec);
        let mut frame = None;
        for (seq, payload) in (70_000..).zip(payloads) {
            let packet = Packet {
                track: 0,
                seq,
                timestamp: 1,
                marker: seq + 1 == 70_000 + payloads.len() as u64,
                extensions: Vec::new(),
                payload: payload.clone(),
            };
            frame = depacketizer.push(&packet).or(frame);
        }
        frame.map(|frame| frame.data)
    }

    fn noise(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 31 % 251) as u8 | 1).collect()
    }

    /// A whole frame in one payload of any size.
    fn whole(codec: Codec, length: usize) -> Bytes {
        let body = noise(length);
        let bytes = match codec {
            Codec::H264 => {
                let unit = [&[0x65, 0x88], &body[..]].concat();
                let mut stap = vec![0x78, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 0, 2, 0x68, 0xce];
                stap.extend((unit.len() as u16).to_be_bytes());
                stap.extend(unit);
                stap
            }
            // A key frame: the lowest bit of the frame tag is clear.
            Codec::Vp8 => [&[0x90, 0x80, 0x81, 0x23, 0x10, 0x02, 0x00], &body[..]].concat(),
            // Flags I, B, E, V; the structure of one layer with its size.
            Codec::Vp9 => {
                let head = [0x8e, 0x81, 0x23, 0x10, 1, 0x40, 0, 0xb4];
                [&head[..], &[0x82, 0x49, 0x83, 0x42, 0], &body].concat()
            }
            Codec::Av1 => {
                let mut payload = vec![0x28, 3, 0x08, 1, 2, 0x30];
                payload.extend(&body);
                payload
            }
            Codec::Opus => body,
        };
        bytes.into()
    }

    const VIDEO: [Codec; 4] = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1];

    #[test]
    fn parts_make_the_same_frame() {
        for codec in VIDEO {
            for length in [1_140, 1_151, 2_297, 5_000, 30_000] {
                let payload = whole(codec, length);
                let parts = split(codec, &payload, Vec::new());
                let parts: Vec<Bytes> = parts.into_iter().map(|(part, _)| part).collect();
                assert!(parts.iter().all(|p| (1..=MAX_PAYLOAD).contains(&p.len())));
                let expected = assembled(codec, &[payload]).unwrap();
                assert_eq!(
                    assembled(codec, &parts),
                    Some(expected),
                    "{codec:?} {length}"
                );
            }
        }
    }

    #[test]
    fn a_fragment_is_cut_into_fragments() {
        let unit = whole(Codec::H264, 4_000).slice(13..);
        let [a, b] = [&unit[1..2_000], &unit[2_000..]];
        let fragments = [joined(&[0x7c, 0x80 | 5], a), joined(&[0x7c, 0x40 | 5], b)];
        let sets = [
            Bytes::from_static(&[0x67, 0x42]),
            Bytes::from_static(&[0x68, 0xce]),
        ];
        let expected = assembled(Codec::H264, &[&sets[..], &fragments].concat());
        let mut parts = sets.to_vec();
        for fragment in &fragments {
            let split = split(Codec::H264, fragment, Vec::new());
            parts.extend(split.into_iter().map(|(part, _)| part));
        }
        assert!(parts.iter().all(|part| part.len() <= MAX_PAYLOAD));
        assert!(expected.is_some());
        assert_eq!(assembled(Codec::H264, &parts), expected);
    }

    #[test]
    fn the_dependency_descriptor_tells_the_parts_apart() {
        let descriptor = Bytes::from_static(&[0xc5, 0, 9, 0x80, 1, 2]);
        let extensions = vec![
            (EndToEndExtension::DependencyDescriptor, descriptor),
            (
                EndToEndExtension::VideoOrientation,
                Bytes::from_static(&[1]),
            ),
        ];
        let parts = split(Codec::Vp8, &whole(Codec::Vp8, 3_000), extensions);
        let told: Vec<_> = parts.iter().map(|(_, e)| e[0].1.to_vec()).collect();
        assert_eq!(
            told,
            [
                vec![0x85, 0, 9, 0x80, 1, 2],
                vec![0x05, 0, 9],
                vec![0x45, 0, 9]
            ]
        );
        let counts: Vec<usize> = parts.iter().map(|(_, e)| e.len()).collect();
        assert_eq!(counts, [1, 1, 2]);
    }

    proptest! {
        #[test]
        fn total_on_any_bytes(payload in prop::collection::vec(any::<u8>(), 0..4_000)) {
            let payload = Bytes::from(payload);
            for codec in [Codec::Opus, Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1] {
                let parts = split(codec, &payload, Vec::new());
                prop_assert!(parts.iter().all(|(part, _)| part.len() <= MAX_PAYLOAD));
            }
        }
    }
}
