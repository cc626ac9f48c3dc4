//! ICE candidates: which of our addresses peers are told, and which of theirs are tried.

use std::net::{IpAddr, SocketAddr};

use banyan::limits::MAX_CANDIDATE;
use rtc::shared::ifaces;

use super::{EngineError, LoopbackCandidates};

/// Most addresses of this host that peers are told; with the public and the reflexive ones of
/// both families they stay within what a peer takes from another.
const MAX_HOST_CANDIDATES: usize = 4;

/// Interfaces made by containers and virtual machines. Their addresses are the same on every
/// host, so a check sent there reaches a stranger at best.
const VIRTUAL: [&str; 9] = [
    "docker", "br-", "veth", "virbr", "vnet", "cni", "flannel", "cali", "podman",
];

/// The addresses of this host that can be candidates for sockets bound to `bound`, best first.
pub(super) fn local_addresses(
    bound: impl Iterator<Item = IpAddr>,
    loopback: LoopbackCandidates,
) -> Vec<IpAddr> {
    let found = ifaces::ifaces().unwrap_or_default();
    let mut addresses = Vec::new();
    for bound in bound {
        if !bound.is_unspecified() {
            addresses.push(bound);
            continue;
        }
        let usable: Vec<(bool, IpAddr)> = found
            .iter()
            .filter_map(|i| Some((VIRTUAL.iter().any(|v| i.name.starts_with(v)), i.addr?.ip())))
            .filter(|(_, ip)| ip.is_ipv4() == bound.is_ipv4() && is_unicast(*ip))
            .collect();
        let real = usable
            .iter()
            .any(|(is_virtual, ip)| !is_virtual && !ip.is_loopback());
        addresses.extend(
            usable
                .into_iter()
                .filter(|(is_virtual, ip)| ip.is_loopback() || !(real && *is_virtual))
                .map(|(_, ip)| ip),
        );
    }
    let alone = addresses.iter().all(IpAddr::is_loopback);
    addresses.retain(|ip| !ip.is_loopback() || alone || loopback == LoopbackCandidates::Always);
    // IPv4 first: it is what most pairs of homes have in common. Stable, so that the system's
    // own order of interfaces stays.
    addresses.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    addresses.dedup();
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    let room = MAX_HOST_CANDIDATES - v6.len().min(MAX_HOST_CANDIDATES / 2);
    let mut best: Vec<IpAddr> = v4.into_iter().take(room).collect();
    let room = MAX_HOST_CANDIDATES - best.len();
    best.extend(v6.into_iter().take(room));
    best
}

/// An address packets of one peer can go to.
fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_multicast() || ip.is_link_local() || ip.is_broadcast() || ip.octets()[0] == 0)
        }
        IpAddr::V6(ip) => {
            !(ip.is_multicast()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
                || ip.to_ipv4_mapped().is_some())
        }
    }
}

/// A candidate line for one of our own addresses (RFC 8839 section 5.1). `rank` 0 is the best.
pub(super) fn host(addr: SocketAddr, rank: usize) -> String {
    line(addr, 126, rank, "typ host")
}

/// A candidate line for an address that a STUN server saw.
pub(super) fn reflexive(addr: SocketAddr, base: SocketAddr) -> String {
    let base = format!("typ srflx raddr {} rport {}", base.ip(), base.port());
    line(addr, 100, 0, &base)
}

/// A candidate line for our address at a TURN server whose answers come to `base`: the last one to be
/// tried.
pub(super) fn relay(addr: SocketAddr, base: SocketAddr) -> String {
    let base = format!("typ relay raddr {} rport {}", base.ip(), base.port());
    line(addr, 0, 0, &base)
}

/// The same for the ICE agent, which waits less for what it takes to be a host's.
pub(super) fn relay_as_host(addr: SocketAddr) -> String {
    line(addr, 0, 0, "typ host")
}

fn line(addr: SocketAddr, preference: u32, rank: usize, rest: &str) -> String {
    let local = 65_535 - u32::try_from(rank).unwrap_or(0).min(65_535);
    let priority = (preference << 24) | (local << 8) | 255;
    let (ip, port) = (addr.ip(), addr.port());
    let foundation = preference as usize * 100 + rank;
    format!("candidate:{foundation} 1 udp {priority} {ip} {port} {rest}")
}

/// A peer's candidate in the form the ICE agent is given, or `None` for one that is not tried:
/// another transport, a `.local` name (the peer's own checks reveal its address), an address that
/// is not one host's.
pub(super) fn remote(text: &str) -> Result<Option<Remote>, EngineError> {
    if text.len() > MAX_CANDIDATE {
        return Err(EngineError::Candidate(format!("{} bytes long", text.len())));
    }
    let line = text.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    let line = line.strip_prefix("candidate:").unwrap_or(line);
    let words: Vec<&str> = line.split_whitespace().collect();
    let [
        _,
        component,
        transport,
        priority,
        address,
        port,
        "typ",
        kind,
        ..,
    ] = words[..]
    else {
        return Err(EngineError::Candidate("not a candidate line".to_owned()));
    };
    let broken = |what: &str| EngineError::Candidate(format!("its {what} cannot be read"));
    let priority: u32 = priority.parse().map_err(|_| broken("priority"))?;
    let port: u16 = port.parse().map_err(|_| broken("port"))?;
    if !matches!(kind, "host" | "srflx" | "prflx" | "relay") {
        return Err(broken("type"));
    }
    if component != "1" || !transport.eq_ignore_ascii_case("udp") || address.ends_with(".local") {
        return Ok(None);
    }
    let ip: IpAddr = address.parse().map_err(|_| broken("address"))?;
    if port == 0 || !is_unicast(ip) {
        return Ok(None);
    }
    let addr = SocketAddr::new(ip, port);
    Ok(Some(Remote {
        addr,
        line: format!("1 1 udp {priority} {ip} {port} typ host"),
    }))
}

/// A peer's candidate that is tried.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) addr: SocketAddr,
    /// For the agent. All are called host candidates: the kind only makes the agent wait.
    pub(super) line: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_candidates_are_read_back() {
        let addr: SocketAddr = "192.0.2.7:7144".parse().unwrap();
        let read = remote(&host(addr, 0)).unwrap().unwrap();
        assert_eq!(read.addr, addr);
        let base = "0.0.0.0:7144".parse().unwrap();
        assert_eq!(remote(&reflexive(addr, base)).unwrap().unwrap().addr, addr);
        assert_eq!(remote(&relay(addr, base)).unwrap().unwrap().addr, addr);
        assert!(relay_as_host(addr).ends_with("typ host"));
        let v6: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        assert_eq!(remote(&host(v6, 3)).unwrap().unwrap().addr, v6);
    }

    #[test]
    fn strange_addresses_are_not_tried() {
        for ip in [
            "224.0.0.251",
            "255.255.255.255",
            "169.254.1.1",
            "0.0.0.0",
            "ff02::1",
            "fe80::9",
            "::",
        ] {
            let line = format!("candidate:1 1 udp 1 {ip} 5000 typ host");
            assert_eq!(remote(&line).unwrap(), None, "{ip}");
        }
        assert_eq!(
            remote("candidate:1 1 udp 1 1.2.3.4 0 typ host").unwrap(),
            None
        );
        assert_eq!(
            remote("candidate:1 2 udp 1 1.2.3.4 9 typ host").unwrap(),
            None
        );
    }

    #[test]
    fn loopback_is_there_when_nothing_else_is() {
        let bound = || ["127.0.0.1".parse().unwrap()].into_iter();
        assert_eq!(
            local_addresses(bound(), LoopbackCandidates::WhenAlone).len(),
            1
        );
        let any = || ["0.0.0.0".parse().unwrap(), "::".parse().unwrap()].into_iter();
        let quiet = local_addresses(any(), LoopbackCandidates::WhenAlone);
        let all = local_addresses(any(), LoopbackCandidates::Always);
        assert!(!quiet.is_empty() && quiet.len() <= MAX_HOST_CANDIDATES);
        assert!(all.iter().any(IpAddr::is_loopback) || all.len() == MAX_HOST_CANDIDATES);
    }
}
