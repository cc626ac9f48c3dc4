//! In-order delivery to a local sink, with a bounded wait for repairs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::{ExtSeq, Packet};
use super::track::Track;
use crate::wire::announcement::MediaKind;

/// Where the sink stands in each track.
#[derive(Debug)]
pub(super) struct Delivery {
    wait: Duration,
    lanes: Vec<Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    /// The packet to deliver next, once the track has begun.
    next: Option<ExtSeq>,
    /// Since when it has been missing.
    waiting_since: Option<Instant>,
}

impl Delivery {
    pub(super) fn new(wait: Duration, tracks: usize) -> Self {
        Self {
            wait,
            lanes: std::iter::repeat_with(Lane::default).take(tracks).collect(),
        }
    }

    /// Hands out whatever is next in order, and passes over what will not come or took too long.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        tracks: &[Track],
        mut deliver: impl FnMut(Arc<Packet>),
    ) {
        for (lane, track) in self.lanes.iter_mut().zip(tracks) {
            lane.advance(now, track, self.wait, &mut deliver);
        }
    }

    /// When a wait is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waits = self.lanes.iter().filter_map(|lane| lane.waiting_since);
        waits.map(|since| since + self.wait).min()
    }
}

impl Lane {
    fn advance(
        &mut self,
        now: Instant,
        track: &Track,
        wait: Duration,
        deliver: &mut impl FnMut(Arc<Packet>),
    ) {
        let start = || match track.kind {
            MediaKind::Audio => track.ring.oldest(),
            MediaKind::Video => track.ring.key_frame_from(0),
        };
        let Some(mut next) = self.next.or_else(start) else {
            return;
        };
        while let Some(packet) = track.ring.next_present(next) {
            if packet.seq > next {
                let waited = |since| now.saturating_duration_since(since) >= wait;
                let since = *self.waiting_since.get_or_insert(now);
                if track.repair.any_pending(next..packet.seq) && !waited(since) {
                    break;
                }
            }
            self.waiting_since = None;
            next = packet.seq + 1;
            deliver(Arc::clone(packet));
        }
        self.next = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::relay::request::Upstream;
    use crate::relay::tests::beginning;
    use crate::wire::announcement::{Codec, TrackInfo};

    const NONE: [ExtSeq; 0] = [];

    fn track() -> Track {
        let info = TrackInfo {
            codec: Codec::Vp8,
            fmtp: String::new(),
            ssrc: 1,
            first_seq: 70_000,
        };
        Track::new(&info, Upstream::Parent)
    }

    fn insert(tracks: &mut [Track], now: Instant, seq: ExtSeq, key: bool) {
        let packet = Packet {
            track: 0,
            seq,
            timestamp: seq as u32,
            marker: true,
            extensions: Vec::new(),
            payload: Bytes::copy_from_slice(&[if key { 0x10 } else { 0 }, 0]),
        };
        tracks[0].insert(now, &Arc::new(packet));
    }

    fn advance(delivery: &mut Delivery, now: Instant, tracks: &[Track]) -> Vec<ExtSeq> {
        let mut delivered = Vec::new();
        delivery.advance(now, tracks, |packet| delivered.push(packet.seq));
        delivered
    }

    #[test]
    fn waits_for_repairs_and_no_longer_than_allowed() {
        let start = beginning();
        let wait = Duration::from_millis(500);
        let mut tracks = [track()];
        let mut delivery = Delivery::new(wait, 1);
        insert(&mut tracks, start, 70_000, false);
        assert_eq!(
            advance(&mut delivery, start, &tracks),
            NONE,
            "no key frame yet"
        );
        insert(&mut tracks, start, 70_001, true);
        insert(&mut tracks, start, 70_003, false);
        assert_eq!(advance(&mut delivery, start, &tracks), [70_001]);
        assert_eq!(delivery.deadline(), Some(start + wait));
        insert(&mut tracks, start, 70_002, false);
        assert_eq!(advance(&mut delivery, start, &tracks), [70_002, 70_003]);
        assert_eq!(delivery.deadline(), None);
        insert(&mut tracks, start, 70_006, false);
        assert_eq!(advance(&mut delivery, start, &tracks), NONE);
        let later = delivery.deadline().unwrap();
        assert_eq!(advance(&mut delivery, later, &tracks), [70_006]);
        insert(&mut tracks, later, 70_004, false);
        assert_eq!(
            advance(&mut delivery, later, &tracks),
            NONE,
            "never backwards"
        );
    }
}
