//! One track at one node: its ring, its repair and its numbers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::{ExtSeq, Packet};
use super::repair::{Recovery, Repair};
use super::request::{KeyFrameRequests, Upstream};
use super::ring::{Placed, Ring};
use super::sequence::unwrap_near;
use crate::limits::{MAX_PAYLOAD, MAX_SKIP};
use crate::wire::announcement::{MediaKind, TrackInfo};

/// What became of a packet that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It was passed on.
    New,
    /// It was here already.
    Duplicate,
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
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) kind: MediaKind,
    pub(super) ring: Ring,
    pub(super) repair: Repair,
    pub(super) requests: KeyFrameRequests,
    pub(super) stats: TrackStats,
    upstream: Upstream,
    first_seq: ExtSeq,
    /// Head of a parent, where the numbering continues if this node is far behind it.
    hint: Option<ExtSeq>,
    /// The lowest packet of those in the beginning. Nothing before it counts as lost.
    first_arrived: ExtSeq,
    last_arrival: Option<Instant>,
}

impl Track {
    pub(super) fn new(info: &TrackInfo, upstream: Upstream) -> Self {
        Self {
            kind: info.codec.kind(),
            ring: Ring::new(info.codec),
            repair: Repair::new(),
            requests: KeyFrameRequests::new(upstream),
            stats: TrackStats::default(),
            upstream,
            first_seq: info.first_seq,
            hint: None,
            first_arrived: 0,
            last_arrival: None,
        }
    }

    /// The number from which others are told apart: the own head, or a parent's if that is out of
    /// the own one's sight.
    fn reference(&self) -> ExtSeq {
        match (self.ring.head(), self.hint) {
            (Some(head), Some(hint)) if hint > head + MAX_SKIP => hint,
            (Some(head), _) => head,
            (None, Some(hint)) => hint,
            (None, None) => self.first_seq,
        }
    }

    pub(super) fn unwrap_seq(&self, seq: u16) -> ExtSeq {
        unwrap_near(seq, self.reference())
    }

    pub(super) fn set_head_hint(&mut self, head: ExtSeq) {
        self.hint = Some(head.max(self.first_seq));
    }

    /// First packet that is still wanted: what is being repaired, or the one after the head.
    pub(super) fn next_wanted(&self) -> Option<ExtSeq> {
        let after_head = self.ring.head()? + 1;
        Some(self.repair.lowest_pending().unwrap_or(after_head))
    }

    fn is_plausible(&self, packet: &Packet) -> bool {
        packet.payload.len() <= MAX_PAYLOAD
            && packet.seq >= self.first_seq
            && match (self.ring.head(), self.hint) {
                // The first packet of a source, or of a parent that told no head.
                (None, None) => true,
                _ => packet.seq <= self.reference().saturating_add(MAX_SKIP),
            }
    }

    /// Takes a packet in. Beside its fate: the key frame that can be started at because of it.
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
        self.requests.on_packet(now, key_frame.is_some());
        self.stats.packets += 1;
        self.stats.payload_bytes += packet.payload.len() as u64;
        if let Some(last) = self.last_arrival.replace(now) {
            let gap = now.saturating_duration_since(last);
            self.stats.largest_gap = self.stats.largest_gap.max(gap);
        }
        (Inserted::New, key_frame)
    }

    /// Where a new child begins to see: the newest key frame that leads to the head without a
    /// packet that is lost for good.
    pub(super) fn fast_start(&self) -> Option<ExtSeq> {
        self.ring.fast_start(|seq| self.repair.is_pending(seq))
    }
}
