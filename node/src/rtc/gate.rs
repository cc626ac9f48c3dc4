//! Which of a peer's datagrams its connection is given.
//!
//! The WebRTC crate keeps what it cannot use yet: fragments of handshake messages, which it puts
//! together by recursion; records it has no keys for; and a state for each source of RTP and RTCP,
//! made before a packet is known to be authentic. None of that is bounded there, so it is here.

/// Fragments of handshake messages in a link's life. A handshake has ten of them, a few more where
/// a certificate is long, and all are repeated for as long as one is lost.
const MAX_FRAGMENTS: usize = 256;

/// Their bytes: a chain of RSA certificates, many times over.
const MAX_HANDSHAKE: usize = 64 * 1024;

/// Bytes of other records before the handshake ends: what overtakes its last message, repeated.
const MAX_EARLY: usize = 16 * 1024;

/// What a record that waits costs beside its content.
const RECORD_COST: usize = 64;

/// Sources of one kind that a link has. A browser reports in the name of one for each track.
const MAX_SOURCES: usize = 16;

/// Lengths of the headers of a DTLS record and of a handshake message in it (RFC 6347 sections
/// 4.1 and 4.2.2).
const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;

/// Content type of a record that carries handshake messages (RFC 5246 appendix A.1).
const HANDSHAKE: u8 = 22;

/// What one link has been given.
#[derive(Debug, Default)]
pub(super) struct Gate {
    fragments: usize,
    handshake: usize,
    early: usize,
    reporters: Vec<u32>,
    senders: Vec<u32>,
}

impl Gate {
    /// Whether a DTLS datagram may pass. `secure` says whether the handshake has ended.
    pub(super) fn dtls(&mut self, datagram: &[u8], secure: bool) -> bool {
        let Some(cost) = Cost::of(datagram) else {
            return false;
        };
        let early = if secure { 0 } else { cost.early };
        let room = self.fragments + cost.fragments <= MAX_FRAGMENTS
            && self.handshake + cost.handshake <= MAX_HANDSHAKE
            && self.early + early <= MAX_EARLY;
        if room {
            self.fragments += cost.fragments;
            self.handshake += cost.handshake;
            self.early += early;
        }
        room
    }

    /// Whether an SRTCP datagram may pass.
    pub(super) fn rtcp(&mut self, datagram: &[u8]) -> bool {
        rtcp_source(datagram).is_some_and(|ssrc| known(&mut self.reporters, ssrc))
    }

    /// Whether an SRTP datagram may pass, where sources are not agreed on beforehand.
    pub(super) fn rtp(&mut self, datagram: &[u8]) -> bool {
        rtp_source(datagram).is_some_and(|ssrc| known(&mut self.senders, ssrc))
    }
}

/// The synchronization source of an RTP packet (RFC 3550 section 5.1).
pub(super) fn rtp_source(datagram: &[u8]) -> Option<u32> {
    source(datagram, 8)
}

/// The synchronization source in whose name an RTCP packet is (RFC 3550 section 6.4.1).
pub(super) fn rtcp_source(datagram: &[u8]) -> Option<u32> {
    source(datagram, 4)
}

/// Whether what is neither STUN nor DTLS is RTCP (RFC 5761 section 4).
pub(super) fn is_rtcp(datagram: &[u8]) -> bool {
    datagram
        .get(1)
        .is_some_and(|kind| (192..224).contains(kind))
}

fn source(datagram: &[u8], at: usize) -> Option<u32> {
    let bytes = datagram.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn known(sources: &mut Vec<u32>, ssrc: u32) -> bool {
    if sources.contains(&ssrc) {
        return true;
    }
    let room = sources.len() < MAX_SOURCES;
    if room {
        sources.push(ssrc);
    }
    room
}

/// What a DTLS datagram may cost.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cost {
    fragments: usize,
    handshake: usize,
    early: usize,
}

impl Cost {
    /// `None` where a record is cut off.
    fn of(mut datagram: &[u8]) -> Option<Self> {
        let mut cost = Self::default();
        while let Some((head, rest)) = datagram.split_at_checked(RECORD_HEADER) {
            let length = usize::from(u16::from_be_bytes([head[11], head[12]]));
            let (content, rest) = rest.split_at_checked(length)?;
            datagram = rest;
            let epoch = u16::from_be_bytes([head[3], head[4]]);
            if head[0] == HANDSHAKE {
                cost.handshake += content.len();
                cost.fragments += if epoch == 0 {
                    fragments(content)
                } else {
                    // Nobody sees how many are in there.
                    content.len().div_ceil(HANDSHAKE_HEADER)
                };
            }
            if head[0] != HANDSHAKE || epoch != 0 {
                cost.early += content.len() + RECORD_COST;
            }
        }
        datagram.is_empty().then_some(cost)
    }
}

/// Handshake fragments in a record, by the lengths they tell.
fn fragments(mut content: &[u8]) -> usize {
    let mut count = 0;
    while !content.is_empty() {
        count += 1;
        let length = content.get(1..4).map_or(0, |length| {
            usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2])
        });
        content = content.get(HANDSHAKE_HEADER + length..).unwrap_or(&[]);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 1];
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
        bytes
    }

    /// A handshake message of so many bytes that tells another length.
    fn message(tells: u8, bytes: usize) -> Vec<u8> {
        let mut message = vec![11, 0, 0, tells, 0, 0, 0, 0, 0, 0, 0, tells];
        message.extend(vec![7; bytes]);
        message
    }

    #[test]
    fn a_handshake_passes_with_all_its_repetitions() {
        let mut gate = Gate::default();
        for _ in 0..10 {
            for size in [150, 300, 1000, 70, 90] {
                let hello = record(HANDSHAKE, 0, &message(0, size)[..size]);
                assert!(gate.dtls(&hello, false));
            }
            let last = [record(20, 0, &[1]), record(HANDSHAKE, 1, &[9; 40])];
            assert!(gate.dtls(&last.concat(), false));
            assert!(gate.dtls(&record(23, 1, &[9; 200]), false));
        }
        for _ in 0..10_000 {
            assert!(gate.dtls(&record(23, 1, &[9; 1200]), true));
        }
    }

    #[test]
    fn fragments_are_counted_by_what_they_tell() {
        assert_eq!(fragments(&[]), 0);
        assert_eq!(fragments(&[11]), 1);
        assert_eq!(fragments(&message(30, 30)), 1);
        assert_eq!(fragments(&[message(30, 30), message(5, 5)].concat()), 2);
        // It tells nothing, so that many fit into one record.
        assert_eq!(fragments(&message(0, 0).repeat(90)), 90);
        assert_eq!(fragments(&message(200, 10)), 1);
    }

    #[test]
    fn fragments_that_never_end_are_held_back_at_any_time() {
        for secure in [false, true] {
            let mut gate = Gate::default();
            let full = record(HANDSHAKE, 0, &message(0, 0).repeat(90));
            let passed = (0..100).filter(|_| gate.dtls(&full, secure)).count();
            assert_eq!(passed, MAX_FRAGMENTS / 90);
            let sealed = record(HANDSHAKE, 1, &[1; 1200]);
            assert!(!gate.dtls(&sealed, secure));
        }
    }

    #[test]
    fn records_that_cannot_be_read_yet_are_few() {
        for early in [record(23, 1, &[1; 1200]), record(20, 0, &[1])] {
            let mut gate = Gate::default();
            let passed = (0..10_000).filter(|_| gate.dtls(&early, false)).count();
            assert!((10..=MAX_EARLY / RECORD_COST).contains(&passed), "{passed}");
        }
    }

    #[test]
    fn cut_off_records_do_not_pass() {
        let mut gate = Gate::default();
        let whole = record(HANDSHAKE, 0, &message(4, 4));
        for end in 1..whole.len() {
            assert!(!gate.dtls(&whole[..end], false), "{end} bytes");
        }
        assert!(gate.dtls(&whole, false));
    }

    #[test]
    fn sources_are_few() {
        let mut gate = Gate::default();
        let packet = |ssrc: u32| [&[0x80, 96, 0, 1, 0, 0, 0, 0][..], &ssrc.to_be_bytes()].concat();
        let report = |ssrc: u32| [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes()].concat();
        for ssrc in 0..1000 {
            let early = ssrc < MAX_SOURCES as u32;
            assert_eq!(gate.rtp(&packet(ssrc)), early);
            assert_eq!(gate.rtcp(&report(ssrc)), early);
        }
        assert!(gate.rtp(&packet(3)) && gate.rtcp(&report(3)));
        assert!(!gate.rtp(&[0x80; 11]) && !gate.rtcp(&[0x80; 7]));
        assert!(is_rtcp(&report(1)) && !is_rtcp(&packet(1)));
    }
}
