//! What a node itself lacks of what it was sent: its children report that as lost, too, and their paths
//! are not to blame.

use std::time::{Duration, Instant};

/// Time over which the share is taken: children report every second.
const WINDOW: Duration = Duration::from_secs(1);

/// Fewer packets say nothing.
const LEAST_PACKETS: u64 = 20;

/// The share of packets of one track that did not come by themselves. Whether they are repaired
/// afterwards makes no difference to what children report at that time.
#[derive(Debug, Default)]
pub(super) struct Shortfall {
    /// When the window began, and what had arrived and what had not by then.
    since: Option<(Instant, u64, u64)>,
    /// Of the window before.
    last: f32,
}

impl Shortfall {
    /// The share that was missing of late, 0 to 1, by how many packets have arrived and have been missing
    /// so far.
    pub(super) fn share(&mut self, now: Instant, arrived: u64, missed: u64) -> f32 {
        let (since, arrived_then, missed_then) = *self.since.get_or_insert((now, arrived, missed));
        let missing = missed.saturating_sub(missed_then);
        let all = missing + arrived.saturating_sub(arrived_then);
        let present = match all >= LEAST_PACKETS {
            true => missing as f32 / all as f32,
            false => 0.0,
        };
        let worst = self.last.max(present);
        if now >= since + WINDOW {
            self.since = Some((now, arrived, missed));
            self.last = present;
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_counts_at_once_and_for_two_windows() {
        let start = crate::virtual_clock::start();
        let at = |ms| start + Duration::from_millis(ms);
        let mut shortfall = Shortfall::default();
        assert_eq!(shortfall.share(at(0), 7, 7), 0.0);
        assert_eq!(shortfall.share(at(400), 37, 37), 0.5, "at once");
        assert_eq!(shortfall.share(at(1000), 37, 37), 0.5);
        let told = shortfall.share(at(2000), 137, 37);
        assert_eq!(told, 0.5, "reports are of the time before");
        assert_eq!(shortfall.share(at(2001), 138, 37), 0.0);
    }

    #[test]
    fn a_few_packets_say_nothing() {
        let start = crate::virtual_clock::start();
        let mut shortfall = Shortfall::default();
        shortfall.share(start, 0, 0);
        assert_eq!(shortfall.share(start, 1, 18), 0.0);
    }
}
