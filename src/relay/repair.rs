//! Which packets of one track are missing, when to ask for them, and when to give up.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::packet::ExtSeq;
use crate::limits::{
    LOOKBACK, MAX_MISSING, NACK_INTERVAL_MAX, NACK_INTERVAL_MIN, NACK_TRIES, REORDER_ALLOWANCE,
    RING_TIME,
};

/// Tries for a packet that may never have been sent on this link.
const LOOKBACK_TRIES: u8 = 6;

#[derive(Debug)]
struct Missing {
    since: Instant,
    due: Instant,
    tries: u8,
    /// Asked for in case it was sent before the first packet that arrived.
    guess: bool,
}

/// How a missing packet came in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// By itself, late.
    Reordered,
    /// After it was asked for.
    Repaired,
}

/// The missing packets of one track.
#[derive(Debug)]
pub(super) struct Repair {
    missing: BTreeMap<ExtSeq, Missing>,
    /// No request is due before this.
    next_due: Option<Instant>,
    rtt: Duration,
    /// Packets that did not come by themselves in time.
    overdue: u64,
}

impl Repair {
    pub(super) fn new() -> Self {
        Self {
            missing: BTreeMap::new(),
            next_due: None,
            rtt: Duration::ZERO,
            overdue: 0,
        }
    }

    /// Round-trip time to whoever answers the requests.
    pub(super) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// Whether the packet may still come.
    pub(super) fn is_pending(&self, seq: ExtSeq) -> bool {
        self.missing.contains_key(&seq)
    }

    /// Whether any of these packets may still come.
    pub(super) fn any_pending(&self, seqs: Range<ExtSeq>) -> bool {
        self.missing.range(seqs).next().is_some()
    }

    /// Lowest packet that was sent, is missed since `since` or later, and may still come.
    pub(super) fn lowest_pending(&self, since: Option<Instant>) -> Option<ExtSeq> {
        let recent = |missing: &Missing| since.is_none_or(|since| missing.since >= since);
        let mut known = self.missing.iter();
        known
            .find(|(_, missing)| !missing.guess && recent(missing))
            .map(|(&seq, _)| seq)
    }

    /// The head moved past `gap`. Returns how many packets are given up to stay in bounds.
    pub(super) fn open(&mut self, now: Instant, gap: Range<ExtSeq>) -> u64 {
        let most = MAX_MISSING as ExtSeq;
        let first = gap.start.max(gap.end.saturating_sub(most));
        for seq in first..gap.end {
            self.add(now, seq, false);
        }
        let mut lost = first - gap.start;
        while self.missing.len() > MAX_MISSING {
            if let Some((_, missing)) = self.missing.pop_first() {
                lost += u64::from(!missing.guess);
            }
        }
        lost
    }

    /// The first packet of the track came and it may not be the first that was sent.
    pub(super) fn look_back(&mut self, now: Instant, first: ExtSeq, lowest: ExtSeq) {
        for seq in lowest.max(first.saturating_sub(LOOKBACK))..first {
            self.add(now, seq, true);
        }
    }

    fn add(&mut self, now: Instant, seq: ExtSeq, guess: bool) {
        let due = now + REORDER_ALLOWANCE;
        let missing = self.missing.entry(seq).or_insert(Missing {
            since: now,
            due,
            tries: 0,
            guess,
        });
        missing.guess &= guess;
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    /// A packet came. `None` if nobody missed it.
    pub(super) fn close(&mut self, seq: ExtSeq) -> Option<Recovery> {
        let missing = self.missing.remove(&seq)?;
        if self.missing.is_empty() {
            self.next_due = None;
        }
        Some(if missing.tries == 0 {
            Recovery::Reordered
        } else {
            Recovery::Repaired
        })
    }

    /// Gives up everything below `seq`. Returns how many packets that are.
    pub(super) fn give_up_below(&mut self, seq: ExtSeq) -> u64 {
        let mut lost = 0;
        while let Some(entry) = self.missing.first_entry() {
            if *entry.key() >= seq {
                break;
            }
            lost += u64::from(!entry.remove().guess);
        }
        lost
    }

    /// Somebody else answers from now on: count tries afresh, and first let a resumed stream bring
    /// what it brings anyway.
    pub(super) fn restart(&mut self, now: Instant) {
        let due = now + self.interval(0);
        for missing in self.missing.values_mut() {
            missing.due = due;
            missing.tries = 0;
        }
        self.next_due = (!self.missing.is_empty()).then_some(due);
    }

    /// Time from one request to the next: the answer's way there and back with a margin, longer
    /// with every try, because a parent that lacks the packet repairs it itself first.
    fn interval(&self, tries: u8) -> Duration {
        let first = NACK_INTERVAL_MIN.max(self.rtt * 3 / 2);
        let factor = 1.25f64.powi(i32::from(tries.saturating_sub(1)));
        first.mul_f64(factor).min(NACK_INTERVAL_MAX.max(first))
    }

    /// Appends the packets to ask for now to `ask`. Returns how many were given up.
    pub(super) fn poll(&mut self, now: Instant, ask: &mut Vec<ExtSeq>) -> u64 {
        if self.next_due.is_none_or(|due| now < due) {
            return 0;
        }
        let mut lost = 0;
        let intervals: [Duration; NACK_TRIES as usize + 1] =
            std::array::from_fn(|tries| self.interval(tries as u8));
        self.missing.retain(|&seq, missing| {
            if now < missing.due {
                return true;
            }
            let tries = if missing.guess {
                LOOKBACK_TRIES
            } else {
                NACK_TRIES
            };
            let too_late = now.saturating_duration_since(missing.since) > RING_TIME;
            if missing.tries >= tries || too_late {
                lost += u64::from(!missing.guess);
                return false;
            }
            self.overdue += u64::from(missing.tries == 0 && !missing.guess);
            missing.tries += 1;
            missing.due = now + intervals[usize::from(missing.tries)];
            ask.push(seq);
            true
        });
        self.next_due = self.missing.values().map(|missing| missing.due).min();
        lost
    }

    /// Packets so far that were not just late: asked for, whether they came then or not.
    pub(super) fn overdue(&self) -> u64 {
        self.overdue
    }

    /// When to call [`poll`](Self::poll).
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::tests::beginning;

    fn poll(repair: &mut Repair, now: Instant) -> (Vec<ExtSeq>, u64) {
        let mut ask = Vec::new();
        let lost = repair.poll(now, &mut ask);
        (ask, lost)
    }

    #[test]
    fn what_comes_by_itself_is_not_asked_for() {
        let now = beginning();
        let mut repair = Repair::new();
        repair.open(now, 100..102);
        assert_eq!(poll(&mut repair, now), (vec![], 0));
        assert_eq!(repair.close(100), Some(Recovery::Reordered));
        let due = repair.deadline().unwrap();
        assert_eq!(poll(&mut repair, due), (vec![101], 0));
        assert_eq!(repair.close(101), Some(Recovery::Repaired));
        assert_eq!(repair.close(101), None);
        assert_eq!(repair.deadline(), None);
    }

    #[test]
    fn asks_in_growing_intervals_and_gives_up() {
        let start = beginning();
        let mut repair = Repair::new();
        repair.set_rtt(Duration::from_millis(40));
        repair.open(start, 7..8);
        let (mut asked, mut now) = (Vec::new(), start);
        loop {
            now = now.max(repair.deadline().unwrap());
            let (ask, lost) = poll(&mut repair, now);
            asked.extend(ask.iter().map(|_| now));
            if lost == 1 {
                break;
            }
        }
        assert_eq!(asked[1] - asked[0], Duration::from_millis(60));
        assert!(asked.windows(3).all(|t| t[2] - t[1] >= t[1] - t[0]));
        assert!(asked.len() <= usize::from(NACK_TRIES));
        assert!(now - start <= RING_TIME + NACK_INTERVAL_MAX);
        assert!(!repair.is_pending(7));
    }

    #[test]
    fn bounded_and_the_oldest_go_first() {
        let now = beginning();
        let mut repair = Repair::new();
        assert_eq!(repair.open(now, 0..1000), 0);
        let more = MAX_MISSING as u64 + 10;
        assert_eq!(repair.open(now, 2000..2000 + more), 10 + 1000);
        assert_eq!(repair.missing.len(), MAX_MISSING);
        assert_eq!(repair.lowest_pending(None), Some(2010));
        assert_eq!(repair.give_up_below(2020), 10);
    }

    #[test]
    fn guesses_cost_little_and_are_no_loss() {
        let mut now = beginning();
        let mut repair = Repair::new();
        repair.look_back(now, 100, 97);
        assert_eq!(repair.lowest_pending(None), None);
        let mut asked = 0;
        while let Some(due) = repair.deadline() {
            now = due;
            let (ask, lost) = poll(&mut repair, now);
            assert_eq!(lost, 0);
            asked += ask.len();
        }
        assert_eq!(asked, 3 * usize::from(LOOKBACK_TRIES));
    }

    #[test]
    fn another_parent_is_asked_from_the_start() {
        let start = beginning();
        let mut repair = Repair::new();
        repair.open(start, 7..8);
        for _ in 0..NACK_TRIES {
            let due = repair.deadline().unwrap();
            poll(&mut repair, due);
        }
        let later = start + Duration::from_secs(4);
        repair.restart(later);
        let due = repair.deadline().unwrap();
        assert!(due > later);
        assert_eq!(poll(&mut repair, due), (vec![7], 0));
    }
}
