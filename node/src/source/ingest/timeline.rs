//! One track's timestamps: the publisher's made the stream's, which go on from one publisher to the
//! next and past every jump.

use std::time::{Duration, Instant};

use super::common_time::CommonTime;

/// Timestamps that run ahead of the time that passed by more than this have jumped.
const JUMP: Duration = Duration::from_secs(5);

/// Pictures may come in another order than they are shown in, this far apart at most. What goes
/// back further has jumped; sound never goes back.
const REORDERED: Duration = Duration::from_secs(1);

/// The step between two pictures or two packets of sound before any was seen.
const USUAL_STEP: Duration = Duration::from_millis(20);

/// A step above this is no usual one but a pause.
const PAUSE: Duration = Duration::from_secs(1);

/// A correction changes no step by more than this part of it.
const BEND: i64 = 4;

/// Timestamps of one track. Inside, they are units of the clock rate since the beginning of the
/// common time, rollovers counted.
#[derive(Debug)]
pub(super) struct Timeline {
    /// RTP clock rate in Hz.
    rate: u32,
    /// The timestamp at the beginning of the common time.
    base: u32,
    /// Packets go out in the order of their timestamps.
    in_order: bool,
    newest: Option<Newest>,
    /// The next packet is another publisher's, whose timestamps mean something else.
    restarted: bool,
    /// The last usual step.
    step: i64,
    /// What is still to be added, bit by bit.
    correction: i64,
    /// The publisher's last sender report: NTP time and RTP timestamp.
    report: Option<(u64, u32)>,
    /// A picture came that is shown before one that came earlier.
    pub(super) reordered: bool,
}

/// The newest timestamp.
#[derive(Debug, Clone, Copy)]
struct Newest {
    /// As the publisher counts.
    theirs: u32,
    /// As the stream does.
    ours: i64,
    at: Instant,
}

impl Timeline {
    /// `base` is the timestamp at the beginning of the common time.
    pub(super) fn new(rate: u32, base: u32, in_order: bool) -> Self {
        let mut timeline = Self {
            rate,
            base,
            in_order,
            newest: None,
            restarted: true,
            step: 0,
            correction: 0,
            report: None,
            reordered: false,
        };
        timeline.step = timeline.ticks(USUAL_STEP);
        timeline
    }

    /// Another publisher begins.
    pub(super) const fn restart(&mut self) {
        self.restarted = true;
        self.correction = 0;
        self.report = None;
        self.reordered = false;
    }

    /// The stream's timestamp of a packet that came with `timestamp`.
    pub(super) fn map(&mut self, now: Instant, timestamp: u32, common: &mut CommonTime) -> u32 {
        let ours = match self.newest.filter(|_| !self.restarted) {
            None => self.ticks_of(common.begin(now)),
            Some(newest) => newest.ours + self.step_from(newest, now, timestamp),
        };
        self.restarted = false;
        if self.newest.is_none_or(|newest| ours > newest.ours) {
            let (theirs, at) = (timestamp, now);
            self.newest = Some(Newest { theirs, ours, at });
            common.advance(now, self.nanos_of(ours));
        }
        self.on_the_wire(ours)
    }

    /// The stream's step to the packet with `timestamp`.
    fn step_from(&mut self, newest: Newest, now: Instant, timestamp: u32) -> i64 {
        let step = i64::from(timestamp.wrapping_sub(newest.theirs).cast_signed());
        let elapsed = self.ticks(now.saturating_duration_since(newest.at));
        let earliest = if self.in_order {
            0
        } else {
            -self.ticks(REORDERED)
        };
        // After a pause, a clock that ran on is taken as it is, and so is one that stood still: its
        // publisher may be about to catch up.
        if (earliest..=elapsed + self.ticks(JUMP)).contains(&step) {
            self.reordered |= step < 0;
            if step > 0 && step < self.ticks(PAUSE) {
                self.step = step;
            }
            let most = step.max(0) / BEND;
            let bent = self.correction.clamp(-most, most);
            self.correction -= bent;
            return step + bent;
        }
        tracing::debug!(ticks = step, "timestamps have jumped");
        self.report = None;
        // Nobody knows what the step would have been: the usual one, or the time that passed.
        if elapsed < 3 * self.step {
            self.step
        } else {
            elapsed
        }
    }

    /// A sender report came from the publisher.
    pub(super) const fn report(&mut self, ntp: u64, timestamp: u32) {
        self.report = Some((ntp, timestamp));
    }

    /// The common time at the publisher's NTP time 0, by its last report.
    pub(super) fn reported(&self) -> Option<i128> {
        let newest = self.newest.filter(|_| !self.restarted)?;
        let (ntp, timestamp) = self.report?;
        let ahead = i64::from(timestamp.wrapping_sub(newest.theirs).cast_signed());
        let ntp = (i128::from(ntp) * 1_000_000_000) >> 32;
        Some(i128::from(self.nanos_of(newest.ours + ahead)) - ntp)
    }

    /// Adds `nanos` to the timestamps to come, little by little.
    pub(super) fn correct(&mut self, nanos: i64) {
        self.correction = self.ticks_of(nanos);
    }

    /// The stream's timestamp at this common time.
    pub(super) fn at(&self, nanos: i64) -> u32 {
        self.on_the_wire(self.ticks_of(nanos))
    }

    const fn on_the_wire(&self, ours: i64) -> u32 {
        // Timestamps wrap.
        self.base.wrapping_add(ours as u32)
    }

    /// Time in units of the clock rate.
    fn ticks(&self, time: Duration) -> i64 {
        self.ticks_of(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    }

    /// The same from nanoseconds, rounded.
    fn ticks_of(&self, nanos: i64) -> i64 {
        let ticks = i128::from(nanos) * i128::from(self.rate) + 500_000_000;
        ticks.div_euclid(1_000_000_000) as i64
    }

    fn nanos_of(&self, ticks: i64) -> i64 {
        (i128::from(ticks) * 1_000_000_000 / i128::from(self.rate)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn video() -> (Timeline, CommonTime) {
        (Timeline::new(90_000, 1_000, false), CommonTime::default())
    }

    #[test]
    fn steps_stay_and_wraps_do_not_show() {
        let t0 = Instant::now();
        let (mut line, mut common) = video();
        let first = u32::MAX - 4_000;
        for frame in 0..10 {
            let at = t0 + ms(33) * frame;
            let mapped = line.map(at, first.wrapping_add(3_000 * frame), &mut common);
            assert_eq!(mapped, 1_000 + 3_000 * frame);
        }
        assert!(!line.reordered);
        // A picture that comes out of order in time keeps its place.
        let early = line.map(t0 + ms(330), first.wrapping_add(24_000), &mut common);
        assert_eq!(early, 25_000);
        assert!(line.reordered);
    }

    #[test]
    fn a_jump_goes_on_with_the_usual_step_or_the_time_that_passed() {
        let t0 = Instant::now();
        let (mut line, mut common) = video();
        line.map(t0, 500, &mut common);
        line.map(t0 + ms(33), 3_500, &mut common);
        let forward = 3_500 + 90_000 * 3_600;
        assert_eq!(line.map(t0 + ms(70), forward, &mut common), 7_000);
        let next = line.map(t0 + ms(100), forward + 3_000, &mut common);
        assert_eq!(next, 10_000);
        assert_eq!(line.map(t0 + ms(400), 600, &mut common), 37_000);
    }

    #[test]
    fn tracks_that_jump_together_stay_together() {
        let t0 = Instant::now();
        let (mut video, mut common) = video();
        let mut audio = Timeline::new(48_000, 0, true);
        for n in 0..10_u32 {
            // The picture comes 10 ms later, by a clock that is set back by an hour on the way.
            let (at, set_back) = (t0 + ms(20) * n, 3_600 * u32::from(n > 5));
            let sound = (960 * n).wrapping_sub(set_back * 48_000);
            let picture = (1_800 * n).wrapping_sub(set_back * 90_000);
            assert_eq!(audio.map(at, sound, &mut common), 960 * n);
            let seen = video.map(at + ms(10), picture, &mut common);
            assert_eq!(seen, 1_000 + 900 + 1_800 * n);
        }
    }

    #[test]
    fn another_publisher_goes_on_where_time_is() {
        let t0 = Instant::now();
        let (mut line, mut common) = video();
        line.map(t0, 500, &mut common);
        line.restart();
        common.restart();
        let other = line.map(t0 + ms(2_000), 77, &mut common);
        assert_eq!(other, 1_000 + 180_000);
        // At once, it still goes forward.
        line.restart();
        common.restart();
        assert!(line.map(t0 + ms(2_000), 99, &mut common) > other);
    }

    #[test]
    fn a_clock_is_taken_as_it_is_after_a_pause() {
        let t0 = Instant::now();
        let (mut line, mut common) = video();
        line.map(t0, 0, &mut common);
        line.map(t0 + ms(33), 3_000, &mut common);
        // It ran on.
        let minute = 3_000 + 60 * 90_000;
        assert_eq!(
            line.map(t0 + ms(60_033), minute, &mut common),
            1_000 + minute
        );
        // It stood still, and what was missed comes at once.
        for frame in 1..300 {
            let stamp = minute + 3_000 * frame;
            let mapped = line.map(t0 + ms(70_000), stamp, &mut common);
            assert_eq!(mapped, 1_000 + stamp);
        }
    }

    #[test]
    fn a_correction_bends_time_and_never_turns_it_back() {
        let t0 = Instant::now();
        let (mut line, mut common) = video();
        line.map(t0, 0, &mut common);
        line.correct(-100_000_000);
        let stamps: Vec<u32> = (1..30)
            .map(|n| line.map(t0 + ms(33) * n, 3_000 * n, &mut common))
            .collect();
        assert!(stamps.windows(2).all(|pair| pair[1] >= pair[0] + 2_250));
        assert_eq!(stamps.last(), Some(&(1_000 + 3_000 * 29 - 9_000)));
    }
}
