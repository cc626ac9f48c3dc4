//! How fast a child that is behind catches up, and how much repair it may draw.

use std::time::{Duration, Instant};

use crate::limits::{CATCH_UP_BURST, CATCH_UP_BURST_MIN, CATCH_UP_SPEED_MAX, CATCH_UP_SPEED_MIN};

/// A token bucket in bytes. It may run into debt by one packet, so that any packet passes.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: i64,
    size: i64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket of `size` bytes.
    pub(super) fn full(now: Instant, size: usize) -> Self {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        Self {
            tokens: size,
            size,
            filled: now,
        }
    }

    /// Lets in what `rate` bytes per second brought since the last time.
    pub(super) fn fill(&mut self, now: Instant, rate: u64) {
        let elapsed = now.saturating_duration_since(self.filled);
        // A second at any sane rate fills every bucket here.
        let micros = elapsed.min(Duration::from_secs(1)).as_micros() as u64;
        let gained = rate.saturating_mul(micros) / 1_000_000;
        if gained == 0 {
            return;
        }
        let gained = i64::try_from(gained).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(self.size);
        self.filled = now;
    }

    /// Whether anything is left.
    pub(super) fn has_tokens(&self) -> bool {
        self.tokens > 0
    }

    /// Takes `bytes` out; call only while there are tokens.
    pub(super) fn take(&mut self, bytes: usize) {
        self.tokens -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }
}

/// How much each of several children that are behind gets of the uplink.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Bytes per second of the stream.
    pub(super) stream_rate: u64,
    /// Children that catch up.
    pub(super) behind: usize,
    /// Bytes per second left beside what live children get, if the uplink's limit is known.
    pub(super) spare: Option<u64>,
}

impl Share {
    /// Bytes per second for each child: ten times real time for one or two, three times for eight
    /// and more, so that a parent that adopts many at once does not flood its uplink; and never
    /// more than the uplink has left, down to a quarter above real time, below which nobody would
    /// ever catch up.
    pub(super) fn rate(self) -> u64 {
        let behind = (self.behind as u64).max(1);
        let speed = (24 / behind).clamp(CATCH_UP_SPEED_MIN, CATCH_UP_SPEED_MAX);
        let rate = self.stream_rate * speed;
        let least = self.stream_rate + self.stream_rate / 4;
        self.spare
            .map_or(rate, |spare| rate.min(spare / behind).max(least))
    }

    /// Bytes a child gets before pacing begins.
    pub(super) fn burst(self) -> usize {
        (CATCH_UP_BURST / self.behind.max(1)).max(CATCH_UP_BURST_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::tests::beginning;

    #[test]
    fn a_bucket_gives_its_size_and_then_its_rate() {
        let start = beginning();
        let mut bucket = Bucket::full(start, 5000);
        let mut drawn = 0;
        for ms in 0..2000 {
            bucket.fill(start + Duration::from_millis(ms), 10_000);
            while bucket.has_tokens() {
                bucket.take(1000);
                drawn += 1000;
            }
        }
        assert!((24_000..=26_000).contains(&drawn), "{drawn}");
    }

    #[test]
    fn a_slow_rate_is_not_rounded_away() {
        let start = beginning();
        let mut bucket = Bucket::full(start, 10);
        bucket.take(10);
        for us in 0..100_000 {
            bucket.fill(start + Duration::from_micros(us), 100);
        }
        assert!(bucket.tokens >= 9, "{}", bucket.tokens);
    }

    #[test]
    fn speed_is_shared() {
        let rate = |behind, spare| {
            let stream_rate = 100;
            Share {
                stream_rate,
                behind,
                spare,
            }
            .rate()
        };
        assert_eq!(rate(0, None), 1000);
        assert_eq!(rate(1, None), 1000);
        assert_eq!(rate(4, None), 600);
        assert_eq!(rate(500, None), 300);
        assert_eq!(rate(2, Some(800)), 400);
        assert_eq!(rate(20, Some(800)), 125);
        assert_eq!(rate(1, Some(1 << 40)), 1000);
    }
}
