//! What a receiver tells its sender (RFC 3550 section 6.4 and appendix A).

use std::time::{Duration, Instant};

use rtc::rtcp::reception_report::ReceptionReport;

/// Statistics of one received track since it began on this link.
pub(super) struct Reception {
    clock_rate: u32,
    first: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Interarrival jitter in clock units, times 16.
    jitter: u32,
    last: Option<(Instant, u32)>,
    /// The last sender report: middle 32 bits of its NTP time, and when it came.
    sender_report: Option<(u32, Instant)>,
}

impl Reception {
    pub(super) const fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            first: None,
            highest: 0,
            received: 0,
            expected_before: 0,
            received_before: 0,
            jitter: 0,
            last: None,
            sender_report: None,
        }
    }

    pub(super) fn received(&mut self, now: Instant, seq: u16, timestamp: u32) {
        self.received += 1;
        let Some(first) = self.first else {
            self.first = Some(0x1_0000 + u64::from(seq));
            self.highest = 0x1_0000 + u64::from(seq);
            self.last = Some((now, timestamp));
            return;
        };
        let ahead = seq.wrapping_sub((self.highest & 0xFFFF) as u16);
        if ahead != 0 && ahead < 0x8000 {
            self.highest += u64::from(ahead);
        } else if self.highest - u64::from(0u16.wrapping_sub(ahead)) < first {
            // Older than the first one seen: a late start is no loss.
            self.first = Some(self.highest - u64::from(0u16.wrapping_sub(ahead)));
        }
        if let Some((then, before)) = self.last
            && before != timestamp
        {
            let elapsed = now.saturating_duration_since(then).as_secs_f64();
            let arrived = elapsed * f64::from(self.clock_rate);
            let sent = f64::from(timestamp.wrapping_sub(before).cast_signed());
            // Appendix A.8, with the noise bounded to what 32 bits hold.
            let off = (arrived - sent).abs().min(1e8) as u32;
            self.jitter = self.jitter + off - ((self.jitter + 8) >> 4);
            self.last = Some((now, timestamp));
        }
    }

    pub(super) fn sender_report(&mut self, now: Instant, ntp: u64) {
        self.sender_report = Some((middle(ntp), now));
    }

    /// Whether anything arrived since the last report.
    pub(super) const fn news(&self) -> bool {
        self.received > self.received_before
    }

    /// The report for `ssrc`, and the beginning of the next interval.
    pub(super) fn report(&mut self, now: Instant, ssrc: u32) -> ReceptionReport {
        let expected = self.first.map_or(0, |first| self.highest - first + 1);
        let expected_now = expected - self.expected_before.min(expected);
        let received_now = self.received - self.received_before;
        self.expected_before = expected;
        self.received_before = self.received;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        let lost = expected.saturating_sub(self.received).min(0x7F_FFFF);
        let (last, delay) = match self.sender_report {
            Some((ntp, then)) => (ntp, short(now.saturating_duration_since(then))),
            None => (0, 0),
        };
        ReceptionReport {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            total_lost: lost as u32,
            last_sequence_number: ((self.highest - 0x1_0000 * u64::from(self.first.is_some()))
                & 0xFFFF_FFFF) as u32,
            jitter: self.jitter >> 4,
            last_sender_report: last,
            delay,
        }
    }
}

/// The middle 32 bits of an NTP time, by which reports name each other.
pub(super) const fn middle(ntp: u64) -> u32 {
    ((ntp >> 16) & 0xFFFF_FFFF) as u32
}

/// A duration in units of 1/65536 s.
fn short(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros() * 65_536 / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_counted_across_the_wrap() {
        let now = Instant::now();
        let mut reception = Reception::new(90_000);
        for seq in (65_500..65_536u32).chain(0..64) {
            if seq % 10 != 0 {
                reception.received(now, seq as u16, seq * 3000);
            }
        }
        let report = reception.report(now, 7);
        assert_eq!(report.last_sequence_number, 0x1_0000 + 63);
        // 65501 is the first; 65510, 65520, 65530, 0, 10, .. 60 are missing.
        assert_eq!(report.total_lost, 10);
        assert_eq!(report.fraction_lost, (10 * 256 / 99) as u8);
        assert!(!reception.news());
        reception.received(now, 64, 0);
        assert!(reception.news());
        assert_eq!(reception.report(now, 7).fraction_lost, 0);
    }

    #[test]
    fn an_older_first_packet_is_no_loss() {
        let now = Instant::now();
        let mut reception = Reception::new(48_000);
        for seq in [3u16, 4, 1, 2, 65_535, 0] {
            reception.received(now, seq, 0);
        }
        let report = reception.report(now, 7);
        assert_eq!((report.total_lost, report.fraction_lost), (0, 0));
    }

    #[test]
    fn a_sender_report_is_answered_with_its_age() {
        let now = Instant::now();
        let mut reception = Reception::new(48_000);
        reception.received(now, 1, 1);
        reception.sender_report(now, 0x1122_3344_5566_7788);
        let report = reception.report(now + Duration::from_millis(500), 7);
        assert_eq!(report.last_sender_report, 0x3344_5566);
        assert_eq!(report.delay, 32_768);
    }
}
