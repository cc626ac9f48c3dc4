//! H.264 parameter sets: kept, and put in front of key frames that come without them.

use banyan::relay::keyframe::{Mark, mark};
use banyan::wire::announcement::Codec;
use bytes::Bytes;

use crate::source::bitstream::{exp_golomb, join_nals, length_prefixed, nal, nal_type};
use crate::source::packetize::Packetizer;

/// Most sets kept of each kind. Encoders use one, a few use one per resolution.
const MAX_SETS: usize = 8;

/// Aggregation packets of type A (RFC 6184 section 5.7.1).
const STAP_A: u8 = 24;

/// The parameter sets of one track.
#[derive(Debug, Default)]
pub(super) struct ParameterSets {
    sequence: Vec<Bytes>,
    picture: Vec<Bytes>,
    /// The timestamp at which a sequence parameter set came last.
    seen_at: Option<u32>,
}

impl ParameterSets {
    /// Sets from a session description.
    pub(super) fn new(sets: &[Bytes]) -> Self {
        let mut known = Self::default();
        for set in sets {
            known.keep(set);
        }
        known
    }

    /// Looks at the next packet in order; returns what must go out in front of it, with its
    /// timestamp.
    pub(super) fn before(&mut self, timestamp: u32, payload: &Bytes) -> Vec<Bytes> {
        match payload.first().map(|first| first & 0x1f) {
            Some(STAP_A) => {
                for unit in length_prefixed(&payload[1..], 2) {
                    self.keep(unit);
                }
            }
            Some(nal::SPS | nal::PPS) => self.keep(payload),
            _ => {}
        }
        match mark(Codec::H264, payload) {
            Some(Mark::Start) => self.seen_at = Some(timestamp),
            Some(Mark::Inside) if self.seen_at != Some(timestamp) => {
                self.seen_at = Some(timestamp);
                return self.packets();
            }
            _ => {}
        }
        Vec::new()
    }

    /// Whether a key frame can be shown to those who have seen nothing before.
    pub(super) fn known(&self) -> bool {
        !self.sequence.is_empty() && !self.picture.is_empty()
    }

    fn packets(&self) -> Vec<Bytes> {
        if !self.known() {
            return Vec::new();
        }
        let units = self.sequence.iter().chain(&self.picture).map(Bytes::as_ref);
        Packetizer::new(Codec::H264).packetize(&join_nals(units), false)
    }

    fn keep(&mut self, unit: &[u8]) {
        let sets = match nal_type(unit) {
            nal::SPS => &mut self.sequence,
            nal::PPS => &mut self.picture,
            _ => return,
        };
        if sets.iter().any(|known| known == unit) {
            return;
        }
        // A set replaces the one with its number.
        sets.retain(|known| id(known) != id(unit));
        if sets.len() == MAX_SETS {
            sets.remove(0);
        }
        sets.push(Bytes::copy_from_slice(unit));
    }
}

/// The number of a parameter set (ITU-T H.264 sections 7.3.2.1.1 and 7.3.2.2): an Exp-Golomb code
/// behind the profile, or at once.
fn id(unit: &[u8]) -> Option<u32> {
    let at = if nal_type(unit) == nal::SPS { 4 } else { 1 };
    exp_golomb(unit.get(at..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0x8c];
    const PPS: &[u8] = &[0x68, 0xce, 0x3c];
    const IDR: &[u8] = &[0x65, 0x88, 1];

    fn b(bytes: &'static [u8]) -> Bytes {
        Bytes::from_static(bytes)
    }

    #[test]
    fn a_bare_key_frame_gets_its_sets_once() {
        let mut sets = ParameterSets::new(&[b(SPS), b(PPS)]);
        assert!(sets.known());
        let put = sets.before(5, &b(IDR));
        assert_eq!(put.len(), 1, "one STAP-A");
        assert_eq!(mark(Codec::H264, &put[0]), Some(Mark::Start));
        assert!(sets.before(5, &b(IDR)).is_empty(), "the second slice");
        assert!(sets.before(6, &b(&[0x41, 0x9a])).is_empty());
        assert_eq!(sets.before(7, &b(IDR)).len(), 1);
    }

    #[test]
    fn sets_in_band_are_learnt_and_not_repeated() {
        let mut sets = ParameterSets::new(&[]);
        assert!(sets.before(1, &b(IDR)).is_empty(), "none are known");
        assert!(sets.before(2, &b(SPS)).is_empty());
        assert!(sets.before(2, &b(PPS)).is_empty());
        assert!(sets.before(2, &b(IDR)).is_empty());
        assert!(sets.known());
        let newer: &[u8] = &[0x67, 0x42, 0xc0, 0x28, 0x8c];
        let stap = [&[0x78, 0, 5], newer].concat();
        assert!(sets.before(3, &Bytes::from(stap)).is_empty());
        assert_eq!(
            sets.sequence,
            [newer],
            "the number is the same, so it is replaced"
        );
    }
}
