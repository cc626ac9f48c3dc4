//! One track at one node: its ring, its repair and its numbers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::{ExtSeq, Packet};
use super::repair::{Recovery, Repair};
use super::request::{KeyFrameRequests, Upstream};
use super::ring::{Placed, Ring};
use super::sequence::unwrap_near;
use super::shortfall::Shortfall;
use crate::limits::{MAX_PAYLOAD, MAX_SKIP, RESUME_REPAIRS};
use crate::wire::announcement::{MediaKind, TrackInfo};

/// SRTP counts rollovers in 32 bits (RFC 3711 section 3.3.1): no number reaches this.
const SEQ_END: ExtSeq = 1 << 48;

/// What became of a packet that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It was passed on.
    New,
    /// It was here already.
    Duplicate,
    /// It waits until the parent's head tells its full number.
    Unnumbered,
    /// It came after its place in the ring was given up.
    TooOld,
    /// It cannot belong to this stream: unknown track, oversized payload, or a sequence number
    /// before the track began or far from every other.
    Implausible,
}

/// What one track has seen since the relay began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackStats {
    /// Packets that arrived, each counted once.
    pub packets: u64,
    /// Bytes of payload in them.
    pub payload_bytes: u64,
    /// Packets that never arrived and are no longer asked for.
    pub lost: u64,
    /// Packets that arrived because they were asked for.
    pub repaired: u64,
    /// Packets that arrived again.
    pub duplicates: u64,
    /// Longest time between the arrivals of two packets since
    /// [`Relay::reset_gaps`](super::Relay::reset_gaps).
    pub largest_gap: Duration,
    /// Time between the two newest key frames.
    pub key_frame_interval: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) kind: MediaKind,
    pub(super) ring: Ring,
    pub(super) repair: Repair,
    pub(super) requests: KeyFrameRequests,
    pub(super) stats: TrackStats,
    shortfall: Shortfall,
    upstream: Upstream,
    first_seq: ExtSeq,
    /// Head of a parent, where the numbering continues if this node is far behind it.
    hint: Option<ExtSeq>,
    /// The lowest packet of those in the beginning. Nothing before it counts as lost.
    first_arrived: ExtSeq,
    last_arrival: Option<Instant>,
    /// RTP timestamp and arrival of the newest key frame.
    last_key_frame: Option<(u32, Instant)>,
}

impl Track {
    pub(super) fn new(info: &TrackInfo, upstream: Upstream) -> Self {
        Self {
            kind: info.codec.kind(),
            ring: Ring::new(info.codec),
            repair: Repair::new(),
            requests: KeyFrameRequests::new(upstream),
            stats: TrackStats::default(),
            shortfall: Shortfall::default(),
            upstream,
            first_seq: info.first_seq,
            hint: None,
            first_arrived: 0,
            last_arrival: None,
            last_key_frame: None,
        }
    }

    /// The number from which others are told apart: the own head, or a parent's if that is out of
    /// the own one's sight. Only a root knows it before anything else: it makes the numbers.
    fn reference(&self) -> Option<ExtSeq> {
        match (self.ring.head(), self.hint) {
            (Some(head), Some(hint)) if hint > head + MAX_SKIP => Some(hint),
            (Some(head), _) => Some(head),
            (None, Some(hint)) => Some(hint),
            (None, None) if self.upstream == Upstream::Publisher => Some(self.first_seq),
            (None, None) => None,
        }
    }

    /// The share of its packets that this node itself lacks, of late.
    pub(super) fn shortfall(&mut self, now: Instant) -> f32 {
        (self.shortfall).share(now, self.stats.packets, self.repair.overdue())
    }

    pub(super) fn unwrap_seq(&self, seq: u16) -> Option<ExtSeq> {
        Some(unwrap_near(seq, self.reference()?))
    }

    pub(super) fn set_head_hint(&mut self, head: ExtSeq) {
        // One less is what a root says before its first packet.
        if head < SEQ_END && head + 1 >= self.first_seq {
            self.hint = Some(head);
        }
    }

    /// What to tell a child as hint.
    pub(super) fn known_head(&self) -> Option<ExtSeq> {
        let nothing_yet = self.upstream == Upstream::Publisher;
        let before_first = nothing_yet.then(|| self.first_seq.saturating_sub(1));
        self.ring.head().or(self.hint).or(before_first)
    }

    /// First packet that is still wanted: what is being repaired, or the one after the head.
    pub(super) fn next_wanted(&self, now: Instant) -> Option<ExtSeq> {
        let after_head = self.ring.head()? + 1;
        let since = now.checked_sub(RESUME_REPAIRS);
        Some(self.repair.lowest_pending(since).unwrap_or(after_head))
    }

    fn is_plausible(&self, packet: &Packet) -> bool {
        packet.payload.len() <= MAX_PAYLOAD
            && (self.first_seq..SEQ_END).contains(&packet.seq)
            && self
                .reference()
                .is_none_or(|near| packet.seq <= near.saturating_add(MAX_SKIP))
    }

    /// Takes a packet in. Beside its fate: where a child that waits can start because of it.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        packet: &Arc<Packet>,
    ) -> (Inserted, Option<ExtSeq>) {
        if !self.is_plausible(packet) {
            return (Inserted::Implausible, None);
        }
        let (oldest, head) = (self.ring.oldest(), self.ring.head());
        let key_frame = match self.ring.insert(now, packet) {
            Placed::New { key_frame } => key_frame,
            Placed::Duplicate => {
                self.stats.duplicates += 1;
                return (Inserted::Duplicate, None);
            }
            Placed::TooOld => return (Inserted::TooOld, None),
        };
        let seq = packet.seq;
        if let (Some(oldest), Some(head)) = (oldest, head) {
            match self.repair.close(seq) {
                Some(Recovery::Repaired) => self.stats.repaired += 1,
                Some(Recovery::Reordered) => {}
                // Given up too early.
                None if (self.first_arrived..head).contains(&seq) => {
                    self.stats.lost = self.stats.lost.saturating_sub(1);
                }
                None => {}
            }
            if seq > head + 1 {
                self.stats.lost += self.repair.open(now, head + 1..seq);
            }
            if seq + 1 < oldest {
                self.stats.lost += self.repair.open(now, seq + 1..oldest);
            }
        }
        if oldest.is_none_or(|oldest| seq < oldest) {
            self.first_arrived = seq;
            if self.upstream == Upstream::Parent && key_frame.is_none() {
                self.repair.look_back(now, seq, self.first_seq);
            }
        }
        self.stats.lost += self.repair.give_up_below(self.ring.floor());
        let first_sound = (self.kind == MediaKind::Audio && head.is_none()).then_some(seq);
        self.requests.on_packet(now, key_frame.is_some());
        if key_frame == Some(seq) {
            match self.last_key_frame.replace((packet.timestamp, now)) {
                // Another packet that a decoder could start with, of the same frame.
                Some(same) if same.0 == packet.timestamp => self.last_key_frame = Some(same),
                Some((_, before)) => {
                    let interval = now.saturating_duration_since(before);
                    self.stats.key_frame_interval = Some(interval);
                }
                None => {}
            }
        }
        self.stats.packets += 1;
        self.stats.payload_bytes += packet.payload.len() as u64;
        if let Some(last) = self.last_arrival.replace(now) {
            let gap = now.saturating_duration_since(last);
            self.stats.largest_gap = self.stats.largest_gap.max(gap);
        }
        (Inserted::New, key_frame.or(first_sound))
    }

    /// Where to begin so that nothing from `next` on is missing: one packet early if the very one
    /// is still being repaired, so that the link may carry it when it comes.
    pub(super) fn resume_from(&self, next: ExtSeq) -> ExtSeq {
        if self.ring.head().is_none_or(|head| next > head) {
            return next;
        }
        let present = self.ring.last_present(next);
        present.map_or(next, |packet| packet.seq)
    }

    /// Where a new child begins to see: the newest key frame that leads to the head without a
    /// packet that is lost for good.
    pub(super) fn fast_start(&self) -> Option<ExtSeq> {
        self.ring.fast_start(|seq| self.repair.is_pending(seq))
    }
}
