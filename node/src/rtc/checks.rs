//! How many connectivity checks go where nobody has answered yet.
//!
//! A child names its own candidates, so it can name somebody else's address. What that stranger
//! gets of it is bounded here: for each link and address, and for each host over all links.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use banyan::limits::MAX_CANDIDATES;

/// Checks of one link to one address that has not answered any: at the usual pace they last
/// longer than the way of an answer to the child, and open a NAT's mapping many times over.
const MAX_UNANSWERED: u32 = 80;

/// Checks per second, and at once, to one host that has neither answered nor asked: 10 kB/s.
const PER_HOST: u32 = 100;

/// The same for all such hosts together: 100 joins a second with three candidates each.
const IN_ALL: u32 = 4000;

/// Hosts remembered: those of a second, at most.
const MAX_HOSTS: usize = 4096;

/// Addresses one link knows: its peer's candidates, and as many that checks came from.
const MAX_TARGETS: usize = 3 * MAX_CANDIDATES;

/// What a link has sent to its peer's addresses.
#[derive(Default)]
pub(super) struct Targets(Vec<Target>);

struct Target {
    addr: SocketAddr,
    sent: u32,
    /// Authentic checks from there that were answered.
    asked: u32,
    /// It has answered a check.
    answers: bool,
}

impl Targets {
    fn target(&mut self, addr: SocketAddr) -> Option<&mut Target> {
        let known = self.0.iter().position(|t| t.addr == addr);
        if known.is_none() && self.0.len() < MAX_TARGETS {
            self.0.push(Target {
                addr,
                sent: 0,
                asked: 0,
                answers: false,
            });
            return self.0.last_mut();
        }
        self.0.get_mut(known?)
    }

    /// An authentic check from there was answered.
    pub(super) fn asked(&mut self, addr: SocketAddr) {
        if let Some(target) = self.target(addr) {
            target.asked = target.asked.saturating_add(1);
        }
    }

    /// Nothing comes from there any more.
    pub(super) fn forget(&mut self, addr: SocketAddr) {
        self.0.retain(|target| target.addr != addr);
    }

    /// It has answered a check.
    pub(super) fn answered(&mut self, addr: SocketAddr) {
        if let Some(target) = self.target(addr) {
            target.answers = true;
        }
    }

    /// Whether a check may go there.
    pub(super) fn allow(&mut self, now: Instant, addr: SocketAddr, budget: &mut Budget) -> bool {
        let Some(target) = self.target(addr) else {
            return false;
        };
        if target.answers {
            return true;
        }
        // Whoever asks is given a little more than it sent, so nothing is gained by forging.
        let most = MAX_UNANSWERED.saturating_add(target.asked.saturating_mul(2));
        if target.sent >= most || (target.asked == 0 && !budget.take(now, addr.ip())) {
            return false;
        }
        target.sent += 1;
        true
    }
}

/// Checks to hosts that nothing is known of, over all links.
pub(super) struct Budget {
    hosts: HashMap<IpAddr, Bucket>,
    all: Bucket,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            hosts: HashMap::new(),
            all: Bucket::full(now, IN_ALL),
        }
    }

    fn take(&mut self, now: Instant, ip: IpAddr) -> bool {
        let host = match ip {
            IpAddr::V4(_) => ip,
            // A host of IPv6 has as many addresses as it likes.
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        };
        if !self.hosts.contains_key(&host) && self.hosts.len() >= MAX_HOSTS {
            self.hosts
                .retain(|_, bucket| !bucket.is_full(now, PER_HOST));
            if self.hosts.len() >= MAX_HOSTS {
                return false;
            }
        }
        let bucket = self
            .hosts
            .entry(host)
            .or_insert_with(|| Bucket::full(now, PER_HOST));
        bucket.take(now, PER_HOST) && self.all.take(now, IN_ALL)
    }
}

/// A token bucket that holds what comes in a second.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant, rate: u32) -> Self {
        Self {
            left: rate.into(),
            at: now,
        }
    }

    fn level(&self, now: Instant, rate: u32) -> f64 {
        let since: Duration = now.saturating_duration_since(self.at);
        (self.left + since.as_secs_f64() * f64::from(rate)).min(rate.into())
    }

    fn is_full(&self, now: Instant, rate: u32) -> bool {
        self.level(now, rate) >= rate.into()
    }

    fn take(&mut self, now: Instant, rate: u32) -> bool {
        self.left = self.level(now, rate);
        self.at = self.at.max(now);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    #[test]
    fn a_silent_host_gets_little_however_many_ask_for_it() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let mut sent = 0;
        for _ in 0..50 {
            let mut link = Targets::default();
            for port in 1..9 {
                for _ in 0..100 {
                    sent += u32::from(link.allow(now, addr(1, port), &mut budget));
                }
            }
        }
        assert_eq!(sent, PER_HOST);
        assert!(
            Targets::default().allow(now, addr(2, 1), &mut budget),
            "others are not concerned"
        );
        let later = now + Duration::from_millis(500);
        let mut link = Targets::default();
        let more: u32 = (0..100)
            .map(|_| u32::from(link.allow(later, addr(1, 1), &mut budget)))
            .sum();
        assert_eq!(more, PER_HOST / 2);
    }

    #[test]
    fn whoever_answers_is_checked_without_end() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let mut link = Targets::default();
        let a = addr(1, 1);
        let mut sent = |link: &mut Targets| -> u32 {
            (0..1000)
                .map(|_| u32::from(link.allow(now, a, &mut budget)))
                .sum()
        };
        assert_eq!(sent(&mut link), MAX_UNANSWERED);
        link.asked(a);
        assert_eq!(sent(&mut link), 2, "as much as it asked for, and once more");
        link.answered(a);
        assert_eq!(sent(&mut link), 1000);
    }

    #[test]
    fn a_spray_over_many_hosts_ends() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let mut sent = 0;
        for host in 0..20_000u32 {
            let addr = SocketAddr::from(((0xC633_6400 + host).to_be_bytes(), 1));
            sent += u32::from(Targets::default().allow(now, addr, &mut budget));
        }
        assert_eq!(sent, IN_ALL);
        assert!(budget.hosts.len() <= MAX_HOSTS);
    }
}
