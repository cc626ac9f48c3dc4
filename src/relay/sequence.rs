//! Sequence numbers: from the 16 bits in the RTP header to a number that never wraps.

use super::packet::ExtSeq;

/// The extended sequence number with low bits `seq` that lies nearest to `near` (RFC 3550
/// appendix A.1 in its stateless form). Right whenever the true number is less than 2^15 away.
pub fn unwrap_near(seq: u16, near: ExtSeq) -> ExtSeq {
    let ahead = ExtSeq::from(seq.wrapping_sub(wire(near)));
    let above = near.saturating_add(ahead);
    if ahead < 0x8000 {
        return above;
    }
    // Below zero there is nothing, so the nearest number that exists lies ahead.
    near.checked_sub(0x1_0000 - ahead).unwrap_or(above)
}

/// The 16 bits of `seq` that travel in the RTP header.
pub const fn wire(seq: ExtSeq) -> u16 {
    (seq & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn across_the_wrap() {
        assert_eq!(unwrap_near(0, 0x1_ffff), 0x2_0000);
        assert_eq!(unwrap_near(0xffff, 0x2_0000), 0x1_ffff);
        assert_eq!(unwrap_near(0xffff, 3), 0xffff);
        assert_eq!(unwrap_near(5, 5), 5);
    }

    proptest! {
        #[test]
        fn finds_whatever_is_near(near in 0x1_0000u64..1 << 40, offset in -0x7fffi64..0x8000) {
            let truth = near.checked_add_signed(offset).unwrap();
            prop_assert_eq!(unwrap_near(wire(truth), near), truth);
        }

        #[test]
        fn keeps_the_bits(seq: u16, near: u64) {
            // The last numbers before 2^64 saturate; no stream lives that long.
            prop_assume!(near < 1 << 63);
            prop_assert_eq!(wire(unwrap_near(seq, near)), seq);
        }
    }
}
