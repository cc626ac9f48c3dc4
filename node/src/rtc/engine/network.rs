//! What this node knows of the network it sits in.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use banyan::reachability::{Reach, Reachability};
use banyan::wire::tracker::IceServer;

use super::Engine;

impl Engine {
    /// Asks these STUN servers, unless they were asked within a minute, how far strangers' packets
    /// come; [`learnt`](Self::learnt) tells.
    pub fn learn(&mut self, now: Instant, ice: &[IceServer]) {
        self.read_addresses(now);
        let urls = ice.iter().flat_map(|s| &s.urls).map(String::as_str);
        self.reflexive.learn(now, urls);
    }

    /// How far strangers' packets come, when that has just become known or is known anew.
    pub fn learnt(&mut self) -> Option<Reachability> {
        if !self.reflexive.take_news() {
            return None;
        }
        let v4 = self.reach_over(true)?;
        let v6 = self.reach_over(false)?;
        Some(Reachability { v4, v6 })
    }

    /// The class of a family; none while more is to come that decides it.
    fn reach_over(&self, v4: bool) -> Option<Option<Reach>> {
        let of_family = |ip: IpAddr| ip.is_ipv4() == v4;
        let (mut findings, complete) = self.reflexive.findings(v4);
        let own = self.addresses.1.iter().copied();
        findings.own = own.filter(|at: &SocketAddr| of_family(at.ip())).collect();
        findings.forwarded = self.public_addr.is_some_and(of_family);
        let decided =
            complete || findings.own.is_empty() || findings.forwarded || findings.is_symmetric();
        decided.then(|| findings.reach())
    }
}
