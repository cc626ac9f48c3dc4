//! How fast a child that is behind catches up, and how much repair it may draw.

use std::time::{Duration, Instant};

use crate::limits::{CATCH_UP_SPEED_MAX, CATCH_UP_SPEED_MIN};

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

/// Bytes per second for each of `behind` children of a stream with `rate` bytes per second: ten
/// times real time for one or two, three times for eight and more, so that a parent that adopts
/// many at once does not flood its uplink.
pub(super) fn catch_up_rate(rate: u64, behind: usize) -> u64 {
    let shared = 24 / (behind as u64).max(1);
    rate * shared.clamp(CATCH_UP_SPEED_MIN, CATCH_UP_SPEED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::simulation::beginning;

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
        assert_eq!(catch_up_rate(100, 0), 1000);
        assert_eq!(catch_up_rate(100, 1), 1000);
        assert_eq!(catch_up_rate(100, 4), 600);
        assert_eq!(catch_up_rate(100, 500), 300);
    }
}
