//! The root's clock, carried to every hop: which RTP timestamp belongs to which wall-clock time.
//!
//! Sender reports (RFC 3550 section 6.4.1) let a receiver play sound and picture together. Every
//! hop extrapolates the root's own mapping instead of making one of its own, so that a child may
//! change its parent and stay in sync.

use std::time::{Duration, Instant};

/// Fractions of an NTP second (RFC 3550 section 4: 32 bits before and after the point).
const NTP_SECOND: u128 = 1 << 32;

/// One track's mapping between wall clock and RTP timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackClock {
    /// When this mapping was learnt.
    at: Instant,
    /// NTP time then.
    ntp: u64,
    /// RTP timestamp then.
    rtp: u32,
    /// RTP clock rate in Hz.
    rate: u32,
}

impl TrackClock {
    /// The mapping that at `at` it is `ntp`, and the track's timestamp is `rtp`.
    pub fn new(at: Instant, ntp: u64, rtp: u32, rate: u32) -> Self {
        Self { at, ntp, rtp, rate }
    }

    /// NTP time and RTP timestamp at `now`: both advanced alike, so the line through them stays
    /// the root's.
    pub fn at(&self, now: Instant) -> (u64, u32) {
        let elapsed = now.saturating_duration_since(self.at);
        let ntp = self.ntp.wrapping_add(ntp_duration(elapsed));
        let ticks = elapsed.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        (ntp, self.rtp.wrapping_add(ticks as u32))
    }
}

/// A duration in NTP's fixed-point seconds.
pub fn ntp_duration(duration: Duration) -> u64 {
    (duration.as_nanos() * NTP_SECOND / 1_000_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_advance_alike() {
        let t0 = crate::virtual_clock::start();
        let clock = TrackClock::new(t0, 5 << 32, u32::MAX, 90_000);
        let (ntp, rtp) = clock.at(t0 + Duration::from_millis(500));
        assert_eq!(ntp, (5 << 32) + (1 << 31));
        assert_eq!(rtp, 44_999, "timestamps wrap");
    }

    #[test]
    fn a_day_later_it_has_not_drifted() {
        let t0 = crate::virtual_clock::start();
        let clock = TrackClock::new(t0, 0, 0, 48_000);
        let (ntp, rtp) = clock.at(t0 + Duration::from_secs(86_400));
        assert_eq!(ntp >> 32, 86_400);
        assert_eq!(u64::from(rtp), 86_400 * 48_000);
    }
}
