//! Puts the tracks of a recording on one time line.

use std::time::{Duration, Instant};

/// How long a recording waits for the sender reports that say how its tracks belong together,
/// before it goes by their arrival.
const PATIENCE: Duration = Duration::from_secs(3);

const NANOS: i128 = 1_000_000_000;

/// A 32-bit RTP timestamp with its rollovers counted.
#[derive(Debug, Default)]
pub(super) struct Unwrapped {
    last: Option<i64>,
}

impl Unwrapped {
    /// The timestamp nearest to the last one.
    pub(super) fn next(&mut self, timestamp: u32) -> i64 {
        let value = self.near(timestamp);
        self.last = Some(value);
        value
    }

    /// The same without taking it for the last one.
    pub(super) fn near(&self, timestamp: u32) -> i64 {
        match self.last {
            None => i64::from(timestamp),
            Some(last) => last + i64::from(timestamp.wrapping_sub(last as u32) as i32),
        }
    }
}

/// What is known of one track's clock.
#[derive(Debug)]
pub(super) struct TrackClock {
    rate: u32,
    pub(super) unwrapped: Unwrapped,
    /// Of the newest sender report: NTP time in nanoseconds and RTP timestamp.
    report: Option<(i128, u32)>,
    /// When the first packet came, and its timestamp.
    arrival: Option<(Instant, i64)>,
}

impl TrackClock {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate,
            unwrapped: Unwrapped::default(),
            report: None,
            arrival: None,
        }
    }

    /// A sender report (RFC 3550 section 6.4.1): `ntp` is its 64-bit NTP timestamp.
    pub(super) fn report(&mut self, ntp: u64, rtp: u32) {
        let nanos = (i128::from(ntp) * NANOS) >> 32;
        self.report = Some((nanos, rtp));
    }

    pub(super) fn arrived(&mut self, at: Instant, ticks: i64) {
        self.arrival.get_or_insert((at, ticks));
    }

    /// Nanoseconds of timestamp 0 on the clock of the sender reports.
    fn by_report(&self) -> Option<i128> {
        let (nanos, rtp) = self.report?;
        let ticks = self.unwrapped.near(rtp);
        Some(nanos - i128::from(ticks) * NANOS / i128::from(self.rate))
    }

    /// Nanoseconds of timestamp 0 after `start`, by the arrival of the first packet.
    fn by_arrival(&self, start: Instant) -> Option<i128> {
        let (at, ticks) = self.arrival?;
        let since = at.saturating_duration_since(start).as_nanos() as i128;
        Some(since - i128::from(ticks) * NANOS / i128::from(self.rate))
    }

    pub(super) fn nanos(&self, ticks: i64) -> i128 {
        i128::from(ticks) * NANOS / i128::from(self.rate)
    }
}

/// By what the tracks of a recording are placed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Basis {
    /// Sender reports.
    Reports,
    /// The arrival of the first packets, counted from this time.
    Arrival(Instant),
}

impl Basis {
    /// What to go by, once that is known.
    pub(super) fn of(clocks: &[&TrackClock], now: Instant) -> Option<Self> {
        let heard = || clocks.iter().filter(|clock| clock.arrival.is_some());
        let start = heard().filter_map(|c| c.arrival).map(|(at, _)| at).min()?;
        if clocks.len() == 1 {
            return Some(Self::Arrival(start));
        }
        let waited = now.saturating_duration_since(start) >= PATIENCE;
        let all_heard = heard().count() == clocks.len();
        if (all_heard || waited) && heard().all(|clock| clock.report.is_some()) {
            return Some(Self::Reports);
        }
        if waited {
            tracing::warn!("no sender reports: sound and picture are recorded as they arrived");
            return Some(Self::Arrival(start));
        }
        None
    }

    /// Nanoseconds of a track's timestamp 0 on the time line that all tracks share.
    pub(super) fn zero(&self, clock: &TrackClock) -> Option<i128> {
        match self {
            Self::Reports => clock.by_report(),
            Self::Arrival(start) => clock.by_arrival(*start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_roll_over() {
        let mut unwrapped = Unwrapped::default();
        assert_eq!(unwrapped.next(u32::MAX - 5), i64::from(u32::MAX) - 5);
        assert_eq!(unwrapped.next(10), i64::from(u32::MAX) + 11);
        assert_eq!(unwrapped.near(u32::MAX), i64::from(u32::MAX));
    }

    fn heard(gap: Duration) -> ([TrackClock; 2], Instant) {
        let now = Instant::now();
        let mut clocks = [TrackClock::new(90_000), TrackClock::new(48_000)];
        for (clock, at) in clocks.iter_mut().zip([now, now + gap]) {
            let ticks = clock.unwrapped.next(1_000);
            clock.arrived(at, ticks);
        }
        (clocks, now)
    }

    fn distance(basis: Basis, clocks: &[TrackClock; 2]) -> i128 {
        let at = |clock| basis.zero(clock).unwrap() + clock.nanos(1_000);
        at(&clocks[1]) - at(&clocks[0])
    }

    #[test]
    fn sender_reports_decide() {
        let (mut clocks, now) = heard(Duration::ZERO);
        assert!(Basis::of(&[&clocks[0], &clocks[1]], now).is_none());
        clocks[0].report(10 << 32, 91_000);
        clocks[1].report(12 << 32, 49_000);
        let basis = Basis::of(&[&clocks[0], &clocks[1]], now).unwrap();
        assert_eq!(distance(basis, &clocks), 2_000_000_000);
    }

    #[test]
    fn without_reports_by_arrival_after_a_while() {
        let gap = Duration::from_millis(20);
        let (clocks, now) = heard(gap);
        let both = [&clocks[0], &clocks[1]];
        assert!(Basis::of(&both, now + Duration::from_secs(2)).is_none());
        let basis = Basis::of(&both, now + PATIENCE).unwrap();
        assert_eq!(distance(basis, &clocks), gap.as_nanos() as i128);
    }
}
