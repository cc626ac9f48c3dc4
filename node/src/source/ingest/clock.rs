//! A publisher's time made the stream's: timestamps that go on from one publisher to the next,
//! and sender reports that tie sound and picture together.

use std::time::{Duration, Instant};

use banyan::relay::clock::ntp_duration;

/// A timestamp this far from where it should be is a jump: the time line goes on without it.
const JUMP: Duration = Duration::from_secs(5);

/// The least step between the last packet of one publisher and the first of the next.
const STEP: Duration = Duration::from_millis(33);

/// A publisher's clock that is this far from where it was is another clock.
const CLOCK_JUMP: u64 = 1 << 32;

/// Timestamps of one track.
#[derive(Debug)]
pub(super) struct Timeline {
    /// RTP clock rate in Hz.
    rate: u32,
    /// What to add to the publisher's timestamps, and its newest one.
    anchor: Option<Anchor>,
    /// The stream's newest timestamp and when it was given out.
    last: Option<(u32, Instant)>,
    base: u32,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    offset: u32,
    newest: u32,
    at: Instant,
}

/// A timestamp of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) timestamp: u32,
    /// The mapping is new: a report made with the one before it does not hold any more.
    pub(super) renewed: bool,
}

impl Timeline {
    /// `base` is the first timestamp of all.
    pub(super) const fn new(rate: u32, base: u32) -> Self {
        Self {
            rate,
            anchor: None,
            last: None,
            base,
        }
    }

    /// Another publisher begins, whose timestamps mean something else.
    pub(super) const fn restart(&mut self) {
        self.anchor = None;
    }

    /// The stream's timestamp of a packet that came with `timestamp`.
    pub(super) fn map(&mut self, now: Instant, timestamp: u32) -> Mapped {
        let anchor = self.anchor.filter(|anchor| {
            let elapsed = self.ticks(now.saturating_duration_since(anchor.at));
            let expected = anchor.newest.wrapping_add(elapsed);
            let off = timestamp.wrapping_sub(expected).cast_signed();
            off.unsigned_abs() <= self.ticks(JUMP)
        });
        let renewed = anchor.is_none();
        let mut anchor = anchor.unwrap_or_else(|| {
            let start = match self.last {
                None => self.base,
                Some((last, at)) => {
                    let elapsed = now.saturating_duration_since(at).max(STEP);
                    last.wrapping_add(self.ticks(elapsed))
                }
            };
            Anchor {
                offset: start.wrapping_sub(timestamp),
                newest: timestamp,
                at: now,
            }
        });
        if timestamp.wrapping_sub(anchor.newest).cast_signed() > 0 {
            anchor.newest = timestamp;
            anchor.at = now;
        }
        self.anchor = Some(anchor);
        let timestamp = timestamp.wrapping_add(anchor.offset);
        let ahead = |last: u32| timestamp.wrapping_sub(last).cast_signed() > 0;
        if renewed || self.last.is_none_or(|(last, _)| ahead(last)) {
            self.last = Some((timestamp, now));
        }
        Mapped { timestamp, renewed }
    }

    /// The stream's timestamp at the instant of a sender report that says `timestamp`; `None` if
    /// the report is about another time line than the packets'.
    pub(super) fn report(&self, now: Instant, timestamp: u32) -> Option<u32> {
        let anchor = self.anchor?;
        let elapsed = self.ticks(now.saturating_duration_since(anchor.at));
        let off = timestamp.wrapping_sub(anchor.newest.wrapping_add(elapsed));
        let near = off.cast_signed().unsigned_abs() <= self.ticks(JUMP) * 2;
        near.then(|| timestamp.wrapping_add(anchor.offset))
    }

    /// Time in units of the clock rate; wraps as timestamps do.
    fn ticks(&self, time: Duration) -> u32 {
        (time.as_nanos() * u128::from(self.rate) / 1_000_000_000) as u32
    }
}

/// The publisher's wall clock as this machine's.
#[derive(Debug)]
pub(super) struct WallClock {
    /// Any instant and its NTP time.
    origin: (Instant, u64),
    /// What to add to the publisher's NTP times; the same for all its tracks.
    offset: Option<u64>,
}

impl WallClock {
    pub(super) const fn new(now: Instant, ntp: u64) -> Self {
        Self {
            origin: (now, ntp),
            offset: None,
        }
    }

    /// Another publisher begins.
    pub(super) const fn restart(&mut self) {
        self.offset = None;
    }

    /// NTP time at `now`.
    pub(super) fn at(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin.0);
        self.origin.1.wrapping_add(ntp_duration(since))
    }

    /// This machine's NTP time for one of the publisher's, told at `now`.
    pub(super) fn translate(&mut self, now: Instant, ntp: u64) -> u64 {
        let here = self.at(now);
        let told = self.offset.map(|offset| ntp.wrapping_add(offset));
        match told {
            Some(told) if told.wrapping_sub(here).cast_signed().unsigned_abs() < CLOCK_JUMP => told,
            _ => {
                self.offset = Some(here.wrapping_sub(ntp));
                here
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn steps_stay_and_wraps_do_not_show() {
        let t0 = Instant::now();
        let mut line = Timeline::new(90_000, 1_000);
        let first = u32::MAX - 4_000;
        for frame in 0..10 {
            let at = t0 + ms(33) * frame;
            let mapped = line.map(at, first.wrapping_add(3_000 * frame));
            assert_eq!(mapped.timestamp, 1_000 + 3_000 * frame);
            assert_eq!(mapped.renewed, frame == 0);
        }
        // A picture that comes out of order in time keeps its place.
        assert_eq!(
            line.map(t0 + ms(330), first.wrapping_add(24_000)).timestamp,
            25_000
        );
    }

    #[test]
    fn a_jump_and_another_publisher_go_on_where_time_is() {
        let t0 = Instant::now();
        let mut line = Timeline::new(90_000, 0);
        line.map(t0, 500);
        let jump = line.map(t0 + ms(100), 500 + 90_000 * 3_600);
        assert!(jump.renewed);
        assert_eq!(jump.timestamp, 9_000);
        let back = line.map(t0 + ms(200), 600);
        assert!(back.renewed);
        assert_eq!(back.timestamp, 18_000);
        line.restart();
        let other = line.map(t0 + ms(2_200), 77);
        assert_eq!(other.timestamp, 18_000 + 180_000);
        // At once, it still goes forward.
        line.restart();
        let next = line.map(t0 + ms(2_200), 99).timestamp;
        assert!(next > other.timestamp);
        // A pause in which the publisher's clock went on is no jump.
        let later = line.map(t0 + ms(62_200), 99 + 90_000 * 60);
        assert!(!later.renewed);
        assert_eq!(later.timestamp, next + 90_000 * 60);
    }

    #[test]
    fn reports_follow_the_packets() {
        let t0 = Instant::now();
        let mut line = Timeline::new(48_000, 10);
        assert_eq!(line.report(t0, 5), None);
        line.map(t0, 1_000);
        assert_eq!(line.report(t0 + ms(1_000), 49_000), Some(48_010));
        assert_eq!(line.report(t0, 48_000 * 3_600), None);
    }

    #[test]
    fn the_publishers_clock_is_set_once() {
        let t0 = Instant::now();
        let mut wall = WallClock::new(t0, 100 << 32);
        assert_eq!(wall.translate(t0 + ms(1_000), 7 << 32), 101 << 32);
        // 20 ms late, and the time it tells is 20 ms older: the line stays.
        let second = wall.translate(t0 + ms(2_020), 8 << 32);
        assert_eq!(second, 102 << 32);
        // Set anew by an hour.
        assert_eq!(wall.translate(t0 + ms(3_000), 3_609 << 32), 103 << 32);
    }
}
