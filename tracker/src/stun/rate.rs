//! How many answers one source may have.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Answers to one IPv4 address or IPv6 /64 in a second. Many people share an address, and each
/// asks a few times per connection; as a reflector it is worth about 15 kB/s.
const PER_SECOND: u16 = 200;

/// Counters; sources whose hashes meet share one, which only makes the limit stricter.
const COUNTERS: usize = 4096;

const WINDOW: Duration = Duration::from_secs(1);

/// Counts answers per source and second in memory of fixed size.
pub(super) struct RateLimit {
    hasher: RandomState,
    window: Option<Instant>,
    counters: Box<[u16]>,
}

impl RateLimit {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            window: None,
            counters: vec![0; COUNTERS].into_boxed_slice(),
        }
    }

    /// Whether `source` may have one more answer, which is then counted.
    pub(super) fn allow(&mut self, now: Instant, source: IpAddr) -> bool {
        let fresh = self
            .window
            .is_some_and(|start| now.saturating_duration_since(start) < WINDOW);
        if !fresh {
            self.window = Some(now);
            self.counters.fill(0);
        }
        let network = match source.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)),
        };
        let hash = self.hasher.hash_one(network);
        let counter = &mut self.counters[(hash % COUNTERS as u64) as usize];
        let allowed = *counter < PER_SECOND;
        *counter += u16::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_is_bounded_and_another_is_not_its_victim() {
        let mut rate = RateLimit::new();
        let now = Instant::now();
        let one = "192.0.2.1".parse().unwrap();
        let allowed = (0..1000).filter(|_| rate.allow(now, one)).count();
        assert_eq!(allowed, usize::from(PER_SECOND));
        let others = (0..20_u8)
            .filter(|n| rate.allow(now, IpAddr::from([198, 51, 100, *n])))
            .count();
        assert!(others >= 19, "{others}");
        assert!(rate.allow(now + WINDOW, one));
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one_source() {
        let mut rate = RateLimit::new();
        let now = Instant::now();
        let allowed = (0..1000_u16)
            .filter(|n| rate.allow(now, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, *n).into()))
            .count();
        assert_eq!(allowed, usize::from(PER_SECOND));
    }
}
