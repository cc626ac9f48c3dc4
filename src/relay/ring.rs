//! The newest packets of one track, shared by all children.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keyframe::{Mark, mark};
use super::packet::{ExtSeq, Packet};
use crate::limits::{
    MAX_SKIP, RING_BYTES_MAX, RING_PACKETS_MAX, RING_TIME, RING_TIME_MAX, STREAM_RATE_MAX,
    STREAM_RATE_MIN,
};
use crate::wire::announcement::{Codec, MediaKind};

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is in the ring.
    New {
        /// The first packet of the key frame that can be started at because of this packet.
        key_frame: Option<ExtSeq>,
    },
    /// The ring holds it already.
    Duplicate,
    /// Its place has been given up.
    TooOld,
}

#[derive(Debug)]
struct Slot {
    packet: Arc<Packet>,
    arrived: Instant,
}

/// One track's packets by sequence number. The first and the last slot are never empty.
#[derive(Debug)]
pub(super) struct Ring {
    codec: Codec,
    slots: VecDeque<Option<Slot>>,
    /// Sequence number of the first slot.
    base: ExtSeq,
    /// Everything below was dropped once and stays away.
    floor: ExtSeq,
    bytes: usize,
    /// First packets of key frames in the ring, ascending.
    starts: VecDeque<ExtSeq>,
}

impl Ring {
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            slots: VecDeque::new(),
            base: 0,
            floor: 0,
            bytes: 0,
            starts: VecDeque::new(),
        }
    }

    /// Oldest packet.
    pub(super) fn oldest(&self) -> Option<ExtSeq> {
        (!self.slots.is_empty()).then_some(self.base)
    }

    /// Nothing below this is taken in any more.
    pub(super) fn floor(&self) -> ExtSeq {
        self.floor
    }

    /// Newest packet.
    pub(super) fn head(&self) -> Option<ExtSeq> {
        let last = self.slots.len().checked_sub(1)?;
        Some(self.base + last as ExtSeq)
    }

    pub(super) fn get(&self, seq: ExtSeq) -> Option<&Arc<Packet>> {
        self.slot(seq).map(|slot| &slot.packet)
    }

    /// When the packet came.
    pub(super) fn arrived(&self, seq: ExtSeq) -> Option<Instant> {
        self.slot(seq).map(|slot| slot.arrived)
    }

    fn slot(&self, seq: ExtSeq) -> Option<&Slot> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.slots.get(index)?.as_ref()
    }

    /// Takes a packet in and lets the oldest go.
    pub(super) fn insert(&mut self, now: Instant, packet: &Arc<Packet>) -> Placed {
        let seq = packet.seq;
        if let (Some(oldest), Some(head)) = (self.oldest(), self.head()) {
            if seq < oldest && (seq < self.floor || head - seq >= MAX_SKIP) {
                return Placed::TooOld;
            }
            if self.slot(seq).is_some() {
                return Placed::Duplicate;
            }
            if seq > head && seq - head >= RING_PACKETS_MAX as ExtSeq {
                self.clear(seq);
            }
        } else if seq < self.floor {
            return Placed::TooOld;
        }
        self.put(
            seq,
            Slot {
                packet: Arc::clone(packet),
                arrived: now,
            },
        );
        self.bytes += packet.payload.len();
        let key_frame = mark(self.codec, &packet.payload)
            .and_then(|mark| self.first_of_key_frame(packet, mark))
            .filter(|&start| self.note_start(start, packet.timestamp));
        self.prune(now);
        Placed::New { key_frame }
    }

    fn clear(&mut self, floor: ExtSeq) {
        self.slots.clear();
        self.starts.clear();
        self.bytes = 0;
        self.floor = floor;
    }

    fn put(&mut self, seq: ExtSeq, slot: Slot) {
        if self.slots.is_empty() {
            self.base = seq;
        }
        while seq < self.base {
            self.slots.push_front(None);
            self.base -= 1;
        }
        let index = (seq - self.base) as usize;
        while self.slots.len() <= index {
            self.slots.push_back(None);
        }
        self.slots[index] = Some(slot);
    }

    /// The first packet of the key frame that `packet` belongs to, unless it may be missing.
    fn first_of_key_frame(&self, packet: &Packet, mark: Mark) -> Option<ExtSeq> {
        if mark == Mark::Start {
            return Some(packet.seq);
        }
        let mut first = packet.seq;
        loop {
            let before = self.get(first.checked_sub(1)?)?;
            if before.timestamp != packet.timestamp {
                return Some(first);
            }
            first = before.seq;
        }
    }

    /// Remembers a key frame once, at the lowest packet known to begin it. Whether the frame is
    /// news.
    fn note_start(&mut self, start: ExtSeq, timestamp: u32) -> bool {
        let at = self.starts.partition_point(|&other| other < start);
        let same_frame = |other: Option<&ExtSeq>| {
            other
                .and_then(|&seq| self.get(seq))
                .is_some_and(|packet| packet.timestamp == timestamp)
        };
        if at
            .checked_sub(1)
            .is_some_and(|i| same_frame(self.starts.get(i)))
        {
            return false;
        }
        if same_frame(self.starts.get(at)) {
            self.starts[at] = start;
            return false;
        }
        self.starts.insert(at, start);
        true
    }

    fn prune(&mut self, now: Instant) {
        let pinned = self.starts.back().copied().unwrap_or(ExtSeq::MAX);
        while self.slots.len() > 1 {
            let expendable = match self.slots.front() {
                Some(Some(slot)) => {
                    let age = now.saturating_duration_since(slot.arrived);
                    age > RING_TIME_MAX
                        || (age > RING_TIME && self.base < pinned)
                        || self.bytes > RING_BYTES_MAX
                        || self.slots.len() > RING_PACKETS_MAX
                }
                _ => true,
            };
            if !expendable {
                break;
            }
            self.base += 1;
            if let Some(Some(slot)) = self.slots.pop_front() {
                self.bytes -= slot.packet.payload.len();
                // What is missing between here and the next packet may still come: after a pause
                // everything before it is old, and the first packets may come in disorder.
                self.floor = self.base;
            }
        }
        while self.starts.front().is_some_and(|&start| start < self.base) {
            self.starts.pop_front();
        }
    }

    /// Bytes of payload held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// First present packet at or after `seq`.
    pub(super) fn next_present(&self, seq: ExtSeq) -> Option<&Arc<Packet>> {
        let index = usize::try_from(seq.saturating_sub(self.base)).ok()?;
        self.slots
            .range(index.min(self.slots.len())..)
            .flatten()
            .next()
            .map(|slot| &slot.packet)
    }

    /// Last present packet at or before `seq`.
    pub(super) fn last_present(&self, seq: ExtSeq) -> Option<&Arc<Packet>> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.slots
            .range(..self.slots.len().min(index.saturating_add(1)))
            .rev()
            .flatten()
            .next()
            .map(|slot| &slot.packet)
    }

    /// First key frame that begins at or after `seq`.
    pub(super) fn key_frame_from(&self, seq: ExtSeq) -> Option<ExtSeq> {
        let at = self.starts.partition_point(|&start| start < seq);
        self.starts.get(at).copied()
    }

    /// Newest key frame from which every packet up to the head is here, or `coming`.
    pub(super) fn fast_start(&self, coming: impl Fn(ExtSeq) -> bool) -> Option<ExtSeq> {
        let start = *self.starts.back()?;
        let head = self.head()?;
        (start..=head)
            .all(|seq| self.slot(seq).is_some() || coming(seq))
            .then_some(start)
    }

    /// Media time from packet `seq` to the head by their RTP timestamps; zero if they run
    /// backwards.
    pub(super) fn behind_head(&self, seq: ExtSeq) -> Duration {
        let (Some(packet), Some(newest)) =
            (self.get(seq), self.head().and_then(|head| self.get(head)))
        else {
            return Duration::ZERO;
        };
        self.media_time(packet.timestamp, newest.timestamp)
    }

    fn media_time(&self, from: u32, to: u32) -> Duration {
        let ticks = to.wrapping_sub(from);
        if ticks > u32::MAX / 2 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(f64::from(ticks) / f64::from(self.codec.clock_rate()))
    }

    /// Oldest packet that is at most `lag` of media time behind the head.
    pub(super) fn at_lag(&self, lag: Duration) -> Option<ExtSeq> {
        let head = self.head()?;
        let newest = self.get(head)?.timestamp;
        self.slots
            .iter()
            .rev()
            .flatten()
            .take_while(|slot| self.media_time(slot.packet.timestamp, newest) <= lag)
            .last()
            .map(|slot| slot.packet.seq)
    }

    /// Bytes of payload per second of media time, within sane bounds.
    pub(super) fn rate(&self) -> u64 {
        let span = self
            .oldest()
            .map_or(Duration::ZERO, |oldest| self.behind_head(oldest));
        // Less than half a second is one key frame and little else.
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(500);
        let rate = self.bytes as u64 * 1000 / millis;
        match self.codec.kind() {
            MediaKind::Audio => rate.min(STREAM_RATE_MIN),
            MediaKind::Video => rate.clamp(STREAM_RATE_MIN, STREAM_RATE_MAX),
        }
    }
}

#[cfg(test)]
mod tests;
