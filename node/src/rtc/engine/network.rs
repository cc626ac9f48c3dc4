//! What this node knows of the network it sits in.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use banyan::id::{LinkId, LinkKey, NodeId};
use banyan::reachability::{Reach, Reachability};
use banyan::wire::tracker::IceServer;

use super::Engine;
use crate::rtc::relayed::{Found, Relayed};
use crate::rtc::socket::Datagram;
use crate::rtc::{EngineEvent, candidate};

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

    /// Lets a link we began go through a TURN server, where no other way is found. One that is gone
    /// needs none.
    pub fn relay(&mut self, now: Instant, link: LinkKey, servers: &[IceServer]) {
        if self.links.contains_key(&link)
            && let Some(address) = self.relayed.want(link, servers)
        {
            self.use_relay(now, link, address);
        }
    }

    /// Asks a TURN server for an address without a link that needs it; false where none of these
    /// can be used by a node. [`relayed_at`](Self::relayed_at) tells what came of it.
    pub fn try_relay(&mut self, servers: &[IceServer]) -> bool {
        let nobody = LinkKey {
            child: NodeId::from_bytes([0; 16]),
            link: LinkId::default(),
        };
        let can = Relayed::can_use(servers);
        if can {
            self.relayed.want(nobody, servers);
        }
        can
    }

    /// This node's address at a TURN server, while it has one.
    pub fn relayed_at(&self) -> Option<SocketAddr> {
        self.relayed.address()
    }

    /// Gives that address up.
    pub fn end_relay(&mut self, now: Instant) {
        self.relayed.end(now);
    }

    fn use_relay(&mut self, now: Instant, link: LinkKey, address: SocketAddr) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        entry.add_relayed(now, address);
        self.mark(link);
        // RFC 8839 section 5.1 lets the base be hidden.
        let base = SocketAddr::new(unspecified(address.ip()), 0);
        let candidate = candidate::relay(address, base);
        self.emit(EngineEvent::LocalCandidate { link, candidate });
    }

    /// Takes what came through the TURN server.
    pub(super) fn take_relayed(&mut self, now: Instant) {
        while let Some(found) = self.relayed.poll(now) {
            match found {
                Found::Address(links, address) => {
                    for link in links {
                        self.use_relay(now, link, address);
                    }
                }
                Found::Datagram { local, peer, bytes } => self.take_in(now, local, peer, &bytes),
            }
        }
    }

    /// Hands the TURN client what links send from their relayed address, and queues what it makes of
    /// that.
    pub(super) fn send_relayed(&mut self, now: Instant, link: LinkKey) {
        let Some(entry) = self.links.get_mut(&link).filter(|entry| entry.relayed) else {
            return;
        };
        let all = std::mem::take(&mut entry.queue);
        let (through, direct) = all.into_iter().partition(|d| self.relayed.is_ours(d.local));
        entry.queue = direct;
        let through: VecDeque<Datagram> = through;
        for datagram in through {
            entry.queued -= datagram.bytes.len();
            self.relayed.send(now, datagram.peer, &datagram.bytes);
        }
    }

    /// Where STUN servers see this node's port.
    pub fn seen_at(&self) -> Vec<SocketAddr> {
        self.reflexive.known()
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

const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
