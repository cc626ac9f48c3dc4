//! What a player counts of one track.

use std::time::{Duration, Instant};

/// Packets remembered to tell a repeated one from one that comes late: 15 s of 270 per second.
const WINDOW: u64 = 4096;

/// Counts the packets of one track.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Packets, each once.
    pub packets: u64,
    /// Packets that came again.
    pub repeated: u64,
    /// Bytes of RTP payload.
    pub bytes: u64,
    /// Longest time between two packets so far.
    largest_gap: Duration,
    first: u64,
    highest: u64,
    seen: Box<[bool]>,
    last: Option<Instant>,
    frame: Option<Frame>,
    whole_frame: bool,
}

/// The frame that is just coming in.
#[derive(Debug, Clone, Copy)]
struct Frame {
    timestamp: u32,
    first: u64,
    packets: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            packets: 0,
            repeated: 0,
            bytes: 0,
            largest_gap: Duration::ZERO,
            first: 0,
            highest: 0,
            seen: vec![false; WINDOW as usize].into(),
            last: None,
            frame: None,
            whole_frame: false,
        }
    }
}

impl Tally {
    /// Counts a packet. Says whether it completed the track's first whole frame.
    pub fn packet(
        &mut self,
        now: Instant,
        seq: u16,
        timestamp: u32,
        marker: bool,
        bytes: usize,
    ) -> bool {
        let Some(last) = self.last.replace(now) else {
            // Far enough from zero that an older packet has a number too.
            self.first = (1 << 16) | u64::from(seq);
            self.highest = self.first;
            self.count(self.first, bytes);
            return self.framed(self.first, timestamp, marker);
        };
        self.largest_gap = self.largest_gap.max(now.saturating_duration_since(last));
        // The nearest number with these low bits (RFC 3550 appendix A.1).
        let step = i64::from(seq.wrapping_sub(self.highest as u16) as i16);
        let ext = self.highest.saturating_add_signed(step);
        if ext + WINDOW <= self.highest {
            return false;
        }
        if ext > self.highest {
            // Places of the ring that stood for older packets begin anew.
            for skipped in (self.highest + 1..=ext).rev().take(WINDOW as usize) {
                self.seen[(skipped % WINDOW) as usize] = false;
            }
            self.highest = ext;
        }
        if self.seen[(ext % WINDOW) as usize] {
            self.repeated += 1;
            return false;
        }
        self.first = self.first.min(ext);
        self.count(ext, bytes);
        self.framed(ext, timestamp, marker)
    }

    /// Packets that never came, as far as one can tell now.
    pub fn lost(&self) -> u64 {
        match self.last {
            Some(_) => (self.highest - self.first + 1).saturating_sub(self.packets),
            None => 0,
        }
    }

    /// Longest time without a packet, up to `now`: a track that has fallen silent tells it too.
    pub fn largest_gap(&self, now: Instant) -> Duration {
        let silent = self.last.map(|last| now.saturating_duration_since(last));
        self.largest_gap.max(silent.unwrap_or_default())
    }

    fn count(&mut self, ext: u64, bytes: usize) {
        self.seen[(ext % WINDOW) as usize] = true;
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Whether the first frame is whole with this packet. The first packet of a session begins
    /// one; after a hole the frame behind it is the next that can be whole.
    fn framed(&mut self, ext: u64, timestamp: u32, marker: bool) -> bool {
        if self.whole_frame {
            return false;
        }
        let frame = match &mut self.frame {
            Some(frame) if frame.timestamp == timestamp => {
                frame.first = frame.first.min(ext);
                frame.packets += 1;
                *frame
            }
            other => *other.insert(Frame {
                timestamp,
                first: ext,
                packets: 1,
            }),
        };
        self.whole_frame = marker && ext + 1 - frame.first == frame.packets;
        self.whole_frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(tally: &mut Tally, seqs: impl IntoIterator<Item = u16>) {
        let now = Instant::now();
        for seq in seqs {
            tally.packet(now, seq, u32::from(seq), false, 10);
        }
    }

    #[test]
    fn holes_are_losses_until_they_are_filled() {
        let mut tally = Tally::default();
        count(&mut tally, [65_533, 65_534, 1, 2]);
        assert_eq!((tally.packets, tally.lost()), (4, 2));
        count(&mut tally, [65_535, 65_535]);
        assert_eq!((tally.packets, tally.lost(), tally.repeated), (5, 1, 1));
        assert_eq!(tally.bytes, 50);
    }

    #[test]
    fn a_packet_before_the_first_counts_too() {
        let mut tally = Tally::default();
        count(&mut tally, [0, 65_534, 1]);
        assert_eq!((tally.packets, tally.lost()), (3, 1));
    }

    #[test]
    fn a_long_hole_leaves_no_trace_in_the_window() {
        let mut tally = Tally::default();
        count(&mut tally, 0..100);
        count(&mut tally, 20_000..30_000);
        assert_eq!((tally.packets, tally.lost()), (10_100, 19_900));
        assert_eq!(tally.repeated, 0);
    }

    #[test]
    fn the_longest_silence_is_kept() {
        let mut tally = Tally::default();
        let start = Instant::now();
        for (seq, at) in [(1, 0), (2, 20), (3, 70), (4, 80)] {
            tally.packet(start + Duration::from_millis(at), seq, 0, false, 1);
        }
        let silent_at = |at| tally.largest_gap(start + Duration::from_millis(at));
        assert_eq!(silent_at(100), Duration::from_millis(50));
        assert_eq!(silent_at(200), Duration::from_millis(120), "and goes on");
    }

    #[test]
    fn a_frame_is_whole_with_all_its_packets() {
        let now = Instant::now();
        let mut tally = Tally::default();
        assert!(!tally.packet(now, 7, 100, false, 1));
        // Number 8 is missing: this frame is not whole, the next one is.
        assert!(!tally.packet(now, 9, 100, true, 1));
        assert!(!tally.packet(now, 10, 200, false, 1));
        assert!(tally.packet(now, 11, 200, true, 1));
        assert!(!tally.packet(now, 12, 300, true, 1), "only the first one");
    }
}
