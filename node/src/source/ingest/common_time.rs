//! The time that all tracks of a stream share.
//!
//! It is counted in nanoseconds since the stream's first packet and runs on through all publishers
//! of an epoch. Each track's timestamps count it at the track's clock rate from a random base, and
//! so a timestamp stands for the same instant for ever: whoever has learnt once which sound belongs
//! to which picture, a recording above all, stays right. A publisher's time becomes this time as
//! follows.
//!
//! 1. The first packet of each track is placed by its arrival ([`CommonTime::begin`]).
//! 2. From one packet to the next the publisher's own step counts; a step that no clock makes has
//!    the usual length instead (`timeline`).
//! 3. Where the publisher's reports say that this put sound and picture apart, the steps between
//!    pictures are made shorter or longer until it is mended ([`CommonTime::picture_off`]).
//! 4. Children are told how this time stands to the wall clock, for all tracks at once
//!    ([`CommonTime::tell`]).

use std::time::{Duration, Instant};

use banyan::relay::clock::ntp_duration;

const MS: i64 = 1_000_000;

/// Between the last packet of one publisher and the first of the next: one picture.
const STEP: i64 = 33 * MS;

/// How the common time stands to the wall clock is told again after this long: clocks drift by some
/// 50 millionths.
const TELL_INTERVAL: i64 = 5_000 * MS;

/// From here on it is told at once, as after a pause in which the publisher's clock stood still,
/// but not more often than this.
const STRAYED: i64 = 1_000 * MS;
const TELL_ANEW: i64 = 1_000 * MS;

/// Sound and picture that are further apart than this, by two reports, are brought together. What
/// stays comes on top of the 30 ms that Chromium leaves: together they must not be seen.
const APART: i64 = 15 * MS;

/// Reports that say more are not believed: what is captured together is not sent so far apart.
const BELIEVED: i64 = 5_000 * MS;

#[derive(Debug, Default)]
pub(super) struct CommonTime {
    /// The furthest it has come, and when.
    front: Option<(Instant, i64)>,
    /// When the present publisher began.
    begun: Option<(Instant, i64)>,
    /// What was told last.
    told: Option<(Instant, i64)>,
    /// How far the picture was off at the last report.
    off: i64,
}

impl CommonTime {
    /// Another publisher begins.
    pub(super) const fn restart(&mut self) {
        self.begun = None;
        self.off = 0;
    }

    /// The time of a track's first packet.
    pub(super) fn begin(&mut self, now: Instant) -> i64 {
        let (at, time) = *self.begun.get_or_insert_with(|| {
            let time = self
                .front
                .map_or(0, |(at, time)| time + since(at, now).max(STEP));
            (now, time)
        });
        time + since(at, now)
    }

    /// A track has come to `time`.
    pub(super) fn advance(&mut self, now: Instant, time: i64) {
        if self.front.is_none_or(|(_, front)| time > front) {
            self.front = Some((now, time));
        }
    }

    /// What time it is, if that should be told.
    pub(super) fn tell(&mut self, now: Instant) -> Option<i64> {
        let (at, front) = self.front?;
        let here = front + since(at, now);
        let time = match self.told {
            None => here,
            Some((at, told)) => {
                let age = since(at, now);
                let off = here - (told + age);
                if off.abs() > STRAYED && age > TELL_ANEW {
                    here
                } else if age > TELL_INTERVAL {
                    // Slowly, because packets do not come evenly.
                    told + age + off / 8
                } else {
                    return None;
                }
            }
        };
        self.told = Some((now, time));
        Some(time)
    }

    /// How much to add to the picture's time, where reports say that `picture` and `sound` have
    /// this common time at the same time of the publisher's clock.
    pub(super) fn picture_off(&mut self, picture: i128, sound: i128) -> Option<i64> {
        let off = i64::try_from(sound - picture).unwrap_or(i64::MAX);
        let before = std::mem::replace(&mut self.off, off);
        let far = |off: i64| (APART..BELIEVED).contains(&off.saturating_abs());
        // A single report may be an outlier.
        if !far(off) || !far(before) || off.signum() != before.signum() {
            return None;
        }
        self.off = 0;
        Some(off.signum() * off.abs().min(before.abs()))
    }
}

fn since(at: Instant, now: Instant) -> i64 {
    i64::try_from(now.saturating_duration_since(at).as_nanos()).unwrap_or(i64::MAX)
}

/// This machine's wall clock.
#[derive(Debug)]
pub(super) struct WallClock {
    /// Any instant and its NTP time.
    origin: (Instant, u64),
}

impl WallClock {
    pub(super) const fn new(now: Instant, ntp: u64) -> Self {
        Self { origin: (now, ntp) }
    }

    /// NTP time at `now`.
    pub(super) fn at(&self, now: Instant) -> u64 {
        let since: Duration = now.saturating_duration_since(self.origin.0);
        self.origin.1.wrapping_add(ntp_duration(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_first_packets_of_a_publisher_are_placed_by_their_arrival() {
        let t0 = Instant::now();
        let mut common = CommonTime::default();
        assert_eq!(common.begin(t0), 0);
        assert_eq!(common.begin(t0 + ms(70)), 70 * MS);
        common.advance(t0 + ms(70), 70 * MS);
        common.restart();
        assert_eq!(common.begin(t0 + ms(1_070)), 1_070 * MS);
        assert_eq!(common.begin(t0 + ms(1_080)), 1_080 * MS);
    }

    #[test]
    fn the_time_is_told_rarely_and_at_once_when_it_has_strayed() {
        let t0 = Instant::now();
        let mut common = CommonTime::default();
        assert_eq!(common.tell(t0), None);
        common.advance(t0, 0);
        assert_eq!(common.tell(t0), Some(0));
        common.advance(t0 + ms(4_000), 3_920 * MS);
        assert_eq!(common.tell(t0 + ms(4_000)), None);
        common.advance(t0 + ms(6_000), 5_920 * MS);
        assert_eq!(common.tell(t0 + ms(6_000)), Some(5_990 * MS));
        // The publisher paused, and its clock stood still.
        common.advance(t0 + ms(12_000), 5_960 * MS);
        assert_eq!(common.tell(t0 + ms(12_000)), Some(5_960 * MS));
    }

    #[test]
    fn the_picture_is_off_when_two_reports_agree() {
        let mut common = CommonTime::default();
        let ms = |n: i64| i128::from(n * MS);
        assert_eq!(common.picture_off(ms(130), ms(0)), None);
        assert_eq!(common.picture_off(ms(10), ms(0)), None, "an outlier");
        assert_eq!(common.picture_off(ms(130), ms(0)), None);
        assert_eq!(common.picture_off(ms(110), ms(0)), Some(-110 * MS));
        assert_eq!(common.picture_off(ms(0), ms(2_000)), None);
        assert_eq!(common.picture_off(ms(0), ms(2_100)), Some(2_000 * MS));
        assert_eq!(common.picture_off(ms(90_000), ms(0)), None);
        assert_eq!(common.picture_off(ms(90_000), ms(0)), None, "beyond belief");
    }
}
