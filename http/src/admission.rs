//! How many connections there may be, in total and from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections.
#[derive(Debug)]
pub struct Admission {
    total_limit: usize,
    address_limit: usize,
    exempts_loopback: bool,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The server is full.
    #[error("this server has as many connections as it takes")]
    Total,
    /// This address has its share.
    #[error("this address has as many connections as one address may have")]
    Address,
}

/// A place that was taken; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    counts_total: bool,
    address: Option<IpAddr>,
}

impl Admission {
    /// With these limits. Loopback addresses count in the total alone: a proxy or a mesh on the
    /// same machine is many clients.
    pub fn new(total_limit: usize, address_limit: usize) -> Arc<Self> {
        Self::with(total_limit, address_limit, true)
    }

    /// With these limits, where a loopback address is like any other.
    pub fn of_every_address(total_limit: usize, address_limit: usize) -> Arc<Self> {
        Self::with(total_limit, address_limit, false)
    }

    fn with(total_limit: usize, address_limit: usize, exempts_loopback: bool) -> Arc<Self> {
        Arc::new(Self {
            total_limit,
            address_limit,
            exempts_loopback,
            counts: Mutex::default(),
        })
    }

    /// A place for a connection from `address`; `exempt` ones count in the total alone.
    ///
    /// # Errors
    /// When all places, or those of one address, are taken.
    pub fn enter(self: &Arc<Self>, address: IpAddr, exempt: bool) -> Result<Permit, Refused> {
        let mut counts = self.lock();
        if counts.total >= self.total_limit {
            return Err(Refused::Total);
        }
        let address = self.count_address(&mut counts, address, exempt)?;
        counts.total += 1;
        Ok(Permit {
            admission: Arc::clone(self),
            counts_total: true,
            address,
        })
    }

    /// A place for a client whose connection a proxy has already brought in: counts for its
    /// address alone.
    ///
    /// # Errors
    /// When the places of one address are taken.
    pub fn enter_behind_proxy(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Refused> {
        let mut counts = self.lock();
        let address = self.count_address(&mut counts, address, false)?;
        Ok(Permit {
            admission: Arc::clone(self),
            counts_total: false,
            address,
        })
    }

    fn count_address(
        &self,
        counts: &mut Counts,
        address: IpAddr,
        exempt: bool,
    ) -> Result<Option<IpAddr>, Refused> {
        let address = network(address);
        if exempt || (self.exempts_loopback && address.is_loopback()) {
            return Ok(None);
        }
        let count = counts.per_address.entry(address).or_default();
        if *count >= self.address_limit {
            return Err(Refused::Address);
        }
        *count += 1;
        Ok(Some(address))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // No code panics while it holds the lock, and counts stay usable if one did.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        counts.total -= usize::from(self.counts_total);
        if let Some(address) = self.address
            && let Entry::Occupied(mut count) = counts.per_address.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What counts as one address: in IPv6, a host has a /64 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let admission = Admission::new(3, 2);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        let first = admission.enter(one, false).unwrap();
        let _second = admission.enter(one, false).unwrap();
        assert_eq!(admission.enter(one, false).unwrap_err(), Refused::Address);
        let _third = admission.enter(other, false).unwrap();
        assert_eq!(admission.enter(other, false).unwrap_err(), Refused::Total);
        drop(first);
        let _fourth = admission.enter(one, false).unwrap();
    }

    #[test]
    fn loopback_counts_in_the_total_alone() {
        let admission = Admission::new(3, 1);
        let loopback: IpAddr = "::1".parse().unwrap();
        let permits: Vec<_> = (0..3).map(|_| admission.enter(loopback, false)).collect();
        assert!(permits.iter().all(Result::is_ok));
        assert_eq!(
            admission.enter(loopback, false).unwrap_err(),
            Refused::Total
        );
    }

    #[test]
    fn loopback_addresses_count_where_it_is_asked_for() {
        let admission = Admission::of_every_address(3, 1);
        let one: IpAddr = "127.0.0.1".parse().unwrap();
        let _first = admission.enter(one, false).unwrap();
        assert_eq!(admission.enter(one, false).unwrap_err(), Refused::Address);
        assert!(admission.enter("127.0.0.2".parse().unwrap(), false).is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let admission = Admission::new(10, 1);
        let _first = admission
            .enter("2001:db8::1".parse().unwrap(), false)
            .unwrap();
        assert!(
            admission
                .enter("2001:db8::2".parse().unwrap(), false)
                .is_err()
        );
        assert!(
            admission
                .enter("2001:db8:0:1::2".parse().unwrap(), false)
                .is_ok()
        );
    }
}
