//! Which STUN and TURN servers a peer is given.

use std::net::{IpAddr, SocketAddr};

use banyan::wire::tracker::IceServer;

use crate::caller::host_of;
use crate::turn::Turn;

/// What to hand out as ICE servers.
#[derive(Debug, Clone)]
pub(crate) struct IceOffer {
    /// Who tells peers their address.
    pub(crate) stun: StunOffer,
    /// Who relays for those that cannot connect.
    pub(crate) turn: Option<Turn>,
}

/// What to hand out besides TURN with time-limited passwords.
#[derive(Debug, Clone)]
pub(crate) enum StunOffer {
    /// What the configuration names, to everybody.
    Configured(Vec<IceServer>),
    /// This tracker's own STUN, by the name each peer calls the tracker.
    OwnStun(SocketAddr),
    /// None.
    Nothing,
}

impl IceOffer {
    /// The servers for a peer that calls this tracker `authority`.
    pub(crate) fn servers(&self, authority: &str) -> Vec<IceServer> {
        let mut servers = match &self.stun {
            StunOffer::Configured(servers) => servers.clone(),
            StunOffer::OwnStun(stun) => own_stun(*stun, authority).into_iter().collect(),
            StunOffer::Nothing => Vec::new(),
        };
        servers.extend(self.turn.as_ref().map(Turn::server));
        servers
    }

    /// The TURN servers among them, those with time-limited passwords without one.
    pub(crate) fn relays(&self) -> Vec<IceServer> {
        let is_turn = |url: &String| url.starts_with("turn");
        let mut relays = match &self.stun {
            StunOffer::Configured(servers) => servers.clone(),
            StunOffer::OwnStun(_) | StunOffer::Nothing => Vec::new(),
        };
        relays.retain(|server| server.urls.iter().any(is_turn));
        relays.extend(self.turn.as_ref().map(|turn| IceServer {
            urls: turn.urls.clone(),
            username: None,
            credential: None,
        }));
        relays
    }
}

/// None for peers on this very host: they learn nothing from it and would wait for it.
fn own_stun(stun: SocketAddr, authority: &str) -> Option<IceServer> {
    let host = if stun.ip().is_unspecified() {
        host_of(authority).to_owned()
    } else {
        stun.ip().to_string()
    };
    let host = match host.parse::<IpAddr>() {
        Ok(address) if address.to_canonical().is_loopback() => return None,
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(address) => address.to_string(),
        Err(_) if is_local_name(&host) || !is_domain_name(&host) => return None,
        Err(_) => host,
    };
    Some(IceServer {
        urls: vec![format!("stun:{host}:{}", stun.port())],
        username: None,
        credential: None,
    })
}

/// RFC 6761 section 6.3.
fn is_local_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// The name comes from a request header: nothing but a domain name passes.
fn is_domain_name(host: &str) -> bool {
    (1..=253).contains(&host.len())
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(stun: &str, authority: &str) -> Option<String> {
        let offer = IceOffer {
            stun: StunOffer::OwnStun(stun.parse().unwrap()),
            turn: None,
        };
        let server = offer.servers(authority).pop()?;
        server.urls.into_iter().next()
    }

    #[test]
    fn the_own_stun_is_named_as_the_peer_names_the_tracker() {
        let any = "[::]:3478";
        assert_eq!(
            url(any, "tracker.example:8080").as_deref(),
            Some("stun:tracker.example:3478")
        );
        assert_eq!(
            url(any, "192.168.1.5:8080").as_deref(),
            Some("stun:192.168.1.5:3478")
        );
        assert_eq!(
            url(any, "[2001:db8::1]:8080").as_deref(),
            Some("stun:[2001:db8::1]:3478")
        );
        assert_eq!(
            url("192.0.2.9:3479", "tracker.example").as_deref(),
            Some("stun:192.0.2.9:3479")
        );
    }

    #[test]
    fn loopback_peers_and_strange_names_get_none() {
        for authority in [
            "127.0.0.1:8080",
            "localhost:8080",
            "[::1]:8080",
            "a b",
            "x?y",
        ] {
            assert_eq!(url("0.0.0.0:3478", authority), None, "{authority}");
        }
        assert_eq!(url("127.0.0.1:3478", "tracker.example"), None);
    }
}
