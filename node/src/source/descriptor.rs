//! What stands in front of the coded bytes in VP8 and VP9 payloads.

/// Length of a VP8 payload descriptor (RFC 7741 section 4.2).
pub(crate) fn vp8_descriptor(payload: &[u8]) -> Option<usize> {
    if payload.first()? & 0x80 == 0 {
        return Some(1);
    }
    let extension = payload.get(1)?;
    let mut length = 2;
    if extension & 0x80 != 0 {
        length += if payload.get(length)? & 0x80 != 0 {
            2
        } else {
            1
        };
    }
    if extension & 0x40 != 0 {
        length += 1;
    }
    if extension & 0x30 != 0 {
        length += 1;
    }
    Some(length)
}

/// Length of a VP9 payload descriptor (RFC 9628 section 4.2).
pub(crate) fn vp9_descriptor(payload: &[u8]) -> Option<usize> {
    let flags = *payload.first()?;
    let has = |flag: u8| flags & flag != 0;
    let (picture, inter, layers, flexible, structure) =
        (has(0x80), has(0x40), has(0x20), has(0x10), has(0x02));
    let mut at = 1;
    if picture {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    if layers {
        at += if flexible { 1 } else { 2 };
    }
    if inter && flexible {
        for _ in 0..3 {
            at += 1;
            if payload.get(at - 1)? & 1 == 0 {
                break;
            }
        }
    }
    if structure {
        let header = *payload.get(at)?;
        at += 1;
        if header & 0x10 != 0 {
            at += 4 * (usize::from(header >> 5) + 1);
        }
        if header & 0x08 != 0 {
            let pictures = *payload.get(at)?;
            at += 1;
            for _ in 0..pictures {
                at += 1 + usize::from(payload.get(at)? >> 2 & 3);
            }
        }
    }
    Some(at)
}
