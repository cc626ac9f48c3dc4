//! A publisher's packets back in order, with a bounded wait for those that are missing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use banyan::relay::sequence::{unwrap_near, wire};

use crate::rtc::ReceivedPacket;

/// Time a missing packet is waited for when the publisher repairs: three tries on a path of
/// 100 ms. All viewers wait as long.
const REPAIR_WAIT: Duration = Duration::from_millis(400);

/// The same when it does not: only reordering can bring the packet.
const REORDER_WAIT: Duration = Duration::from_millis(50);

/// Time a missing packet is given to come out of order before it is asked for.
const ASK_AFTER: Duration = Duration::from_millis(3);

/// Time between two requests for the same packet.
const ASK_INTERVAL: Duration = Duration::from_millis(40);

/// Most packets that wait for a missing one: 400 ms of 30 Mbit/s.
const MAX_WAITING: usize = 1280;

/// Most packets that are missing at a time.
const MAX_MISSING: usize = 2000;

/// A number this far from the last one is no loss: the publisher counts anew.
const MAX_GAP: u64 = 1000;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next packet.
    Packet(ReceivedPacket),
    /// Packets are lost for good before the one that follows.
    Lost,
}

#[derive(Debug)]
pub(super) struct Reorder {
    repairs: bool,
    /// The number to hand out next, rollovers counted.
    next: Option<u64>,
    highest: u64,
    waiting: BTreeMap<u64, ReceivedPacket>,
    missing: BTreeMap<u64, Missing>,
    /// Packets given up since somebody asked.
    pub(super) lost: u64,
}

#[derive(Debug)]
struct Missing {
    since: Instant,
    ask_at: Instant,
}

impl Reorder {
    pub(super) fn new(repairs: bool) -> Self {
        Self {
            repairs,
            next: None,
            highest: 0,
            waiting: BTreeMap::new(),
            missing: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Takes a packet in. True if the numbering began anew before it.
    pub(super) fn push(&mut self, now: Instant, packet: ReceivedPacket) -> bool {
        let Some(next) = self.next else {
            self.restart(packet);
            return false;
        };
        let number = unwrap_near(packet.seq, self.highest);
        let ahead = number > self.highest + MAX_GAP;
        let behind = number + MAX_GAP < next;
        if ahead || behind {
            self.restart(packet);
            return true;
        }
        if number < next || self.waiting.contains_key(&number) {
            return false;
        }
        for number in self.highest + 1..number {
            let ask_at = now + ASK_AFTER;
            let missing = Missing { since: now, ask_at };
            self.missing.insert(number, missing);
        }
        self.highest = self.highest.max(number);
        self.missing.remove(&number);
        self.waiting.insert(number, packet);
        false
    }

    fn restart(&mut self, packet: ReceivedPacket) {
        // One rollover ahead, so that nothing older lies below zero.
        let number = 0x1_0000 + u64::from(packet.seq);
        self.waiting.clear();
        self.missing.clear();
        self.waiting.insert(number, packet);
        self.highest = number;
        self.next = Some(number);
    }

    /// The next thing that can be handed out now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Next> {
        let next = self.next?;
        if let Some(packet) = self.waiting.remove(&next) {
            self.next = Some(next + 1);
            return Some(Next::Packet(packet));
        }
        let (&first, _) = self.waiting.first_key_value()?;
        let in_time = self.give_up_at().is_some_and(|at| now < at);
        let room = self.waiting.len() < MAX_WAITING && self.missing.len() < MAX_MISSING;
        if in_time && room {
            return None;
        }
        self.next = Some(first);
        self.lost += first - next;
        self.missing = self.missing.split_off(&first);
        Some(Next::Lost)
    }

    /// When the packet that is due is no longer waited for.
    fn give_up_at(&self) -> Option<Instant> {
        let wait = if self.repairs {
            REPAIR_WAIT
        } else {
            REORDER_WAIT
        };
        let missing = self.missing.first_key_value()?.1;
        Some(missing.since + wait)
    }

    /// The low 16 bits of packets to ask for now, rising.
    pub(super) fn requests(&mut self, now: Instant) -> Vec<u16> {
        if !self.repairs {
            return Vec::new();
        }
        let due = self.missing.iter_mut().filter(|(_, m)| m.ask_at <= now);
        due.map(|(number, missing)| {
            missing.ask_at = now + ASK_INTERVAL;
            wire(*number)
        })
        .collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let ask = self.missing.values().map(|m| m.ask_at).min();
        [self.give_up_at(), ask.filter(|_| self.repairs)]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn packet(seq: u16) -> ReceivedPacket {
        ReceivedPacket {
            track: 0,
            seq,
            timestamp: u32::from(seq),
            marker: true,
            extensions: Vec::new(),
            payload: Bytes::from_static(b"x"),
        }
    }

    fn drain(reorder: &mut Reorder, now: Instant) -> Vec<Option<u16>> {
        std::iter::from_fn(|| reorder.pop(now))
            .map(|next| match next {
                Next::Packet(packet) => Some(packet.seq),
                Next::Lost => None,
            })
            .collect()
    }

    #[test]
    fn order_is_restored_across_the_wrap() {
        let t0 = Instant::now();
        let mut reorder = Reorder::new(true);
        for seq in [65_534, 0, 65_535, 2, 2, 1] {
            assert!(!reorder.push(t0, packet(seq)));
        }
        let all = [65_534, 65_535, 0, 1, 2].map(Some);
        assert_eq!(drain(&mut reorder, t0), all);
        assert_eq!(reorder.deadline(), None);
    }

    #[test]
    fn a_missing_packet_is_asked_for_and_waited_for_so_long() {
        let t0 = Instant::now();
        let ms = Duration::from_millis;
        let mut reorder = Reorder::new(true);
        for seq in [10, 11, 14] {
            reorder.push(t0, packet(seq));
        }
        assert_eq!(drain(&mut reorder, t0), [Some(10), Some(11)]);
        assert!(reorder.requests(t0).is_empty());
        assert_eq!(reorder.requests(t0 + ms(3)), [12, 13]);
        assert!(reorder.requests(t0 + ms(20)).is_empty());
        reorder.push(t0 + ms(30), packet(12));
        assert_eq!(drain(&mut reorder, t0 + ms(30)), [Some(12)]);
        assert_eq!(reorder.requests(t0 + ms(50)), [13]);
        assert_eq!(drain(&mut reorder, t0 + ms(399)), []);
        assert_eq!(drain(&mut reorder, t0 + ms(400)), [None, Some(14)]);
        assert!(!reorder.push(t0 + ms(410), packet(13)), "too late");
        assert_eq!(drain(&mut reorder, t0 + ms(410)), []);
    }

    #[test]
    fn a_publisher_that_does_not_repair_is_not_waited_for_long() {
        let t0 = Instant::now();
        let mut reorder = Reorder::new(false);
        reorder.push(t0, packet(1));
        reorder.push(t0, packet(3));
        assert!(reorder.requests(t0 + REPAIR_WAIT).is_empty());
        assert_eq!(reorder.deadline(), Some(t0 + REORDER_WAIT));
        let later = t0 + REORDER_WAIT;
        assert_eq!(drain(&mut reorder, later), [Some(1), None, Some(3)]);
    }

    #[test]
    fn new_numbers_are_a_new_beginning_and_nothing_grows_without_end() {
        let t0 = Instant::now();
        let mut reorder = Reorder::new(true);
        reorder.push(t0, packet(100));
        assert!(reorder.push(t0, packet(30_000)));
        assert_eq!(drain(&mut reorder, t0), [Some(30_000)]);
        for round in 0..20_000u32 {
            reorder.push(t0, packet((round.wrapping_mul(977) % 65_536) as u16));
            assert!(reorder.waiting.len() + reorder.missing.len() <= 4000);
            drain(&mut reorder, t0);
        }
    }
}
