//! Who is calling, and by which name they call this tracker.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HOST};
use ipnet::IpNet;

use crate::config::PublicUrl;
use banyan_http::admission::Permit;

/// The two ends of a connection, attached to each of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The other end, IPv4 in its own form.
    pub(crate) peer: SocketAddr,
    /// This end.
    pub(crate) local: SocketAddr,
    /// Its place among the connections.
    pub(crate) permit: Arc<Permit>,
}

/// Whose word about the client is taken, and the tracker's own name.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    /// Reverse proxies.
    pub(crate) proxies: Vec<IpNet>,
    /// The tracker's name, if it was told one.
    pub(crate) public_url: Option<PublicUrl>,
}

impl Trust {
    /// Whether `address` is a reverse proxy of this tracker.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies
            .iter()
            .any(|network| network.contains(&address))
    }

    /// The client's address: the connection's, or what a trusted proxy says of it.
    ///
    /// `X-Forwarded-For` is read from its end, where trusted proxies add to it, up to the first
    /// address that is no trusted proxy. `Forwarded` (RFC 7239) counts only without it: a proxy
    /// that knows one of the two passes the other on as the client sent it.
    pub(crate) fn observed(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.is_proxy(peer) {
            return peer;
        }
        let list = |name| {
            let values = headers.get_all(name).iter();
            values
                .map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or("?"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let forwarded_for = list("x-forwarded-for");
        let forwarded = list(FORWARDED.as_str());
        let hops: Vec<&str> = if forwarded_for.is_empty() {
            forwarded.split(',').filter_map(forwarded_element).collect()
        } else {
            forwarded_for.split(',').collect()
        };
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            let Some(address) = node_address(hop) else {
                break;
            };
            client = address;
            if !self.is_proxy(address) {
                break;
            }
        }
        client
    }

    /// The authority (host and port) the client calls this tracker by; none if it names none.
    ///
    /// A broadcaster signs this name, so that nobody can pass the challenge of one tracker on to
    /// a broadcaster at another. A tracker that was told its public name therefore believes no
    /// other, except the address the connection really came to.
    pub(crate) fn authority(&self, connection: &Connection, headers: &HeaderMap) -> Option<String> {
        let proxied = self
            .is_proxy(connection.peer.ip())
            .then(|| headers.get("x-forwarded-host"))
            .flatten();
        let claimed = proxied
            .or_else(|| headers.get(HOST))?
            .to_str()
            .ok()
            .filter(|name| !name.is_empty())?
            .to_ascii_lowercase();
        match &self.public_url {
            Some(url) if !is_own_address(&claimed, connection.local.ip()) => {
                Some(url.authority().to_owned())
            }
            _ => Some(claimed),
        }
    }
}

fn is_own_address(authority: &str, local: IpAddr) -> bool {
    let host = host_of(authority);
    match host.parse::<IpAddr>() {
        Ok(address) => address == local.to_canonical(),
        Err(_) => host == "localhost" && local.to_canonical().is_loopback(),
    }
}

/// The host of an authority, an IPv6 address without its brackets.
pub(crate) fn host_of(authority: &str) -> &str {
    if let Some((host, _)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return host;
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

/// The value of `for` in one element of a `Forwarded` header.
fn forwarded_element(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| value.trim())
    })
}

/// An address with or without port, brackets and quotes.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    text.parse()
        .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()))
        .or_else(|_| text.trim_matches(['[', ']']).parse())
        .map(|address: IpAddr| address.to_canonical())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_http::admission::Admission;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn trust() -> Trust {
        Trust {
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
            public_url: None,
        }
    }

    fn observed(peer: &str, pairs: &[(&'static str, &str)]) -> String {
        trust()
            .observed(peer.parse().unwrap(), &headers(pairs))
            .to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let claim = [("x-forwarded-for", "192.0.2.1")];
        assert_eq!(observed("198.51.100.1", &claim), "198.51.100.1");
        assert_eq!(observed("10.0.0.1", &claim), "192.0.2.1");
        assert_eq!(observed("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_the_client_itself_put_into_the_list_is_not_believed() {
        let list = [
            ("x-forwarded-for", "203.0.113.9, 192.0.2.1"),
            ("x-forwarded-for", "10.0.0.7"),
            ("forwarded", "for=203.0.113.9"),
        ];
        assert_eq!(observed("10.0.0.1", &list), "192.0.2.1");
        assert_eq!(
            observed("10.0.0.1", &[("x-forwarded-for", "192.0.2.1, nonsense")]),
            "10.0.0.1"
        );
    }

    #[test]
    fn forwarded_is_understood() {
        let list = [(
            "forwarded",
            "proto=https;For=\"[2001:db8::1]:4711\", for=10.1.1.1",
        )];
        assert_eq!(observed("10.0.0.1", &list), "2001:db8::1");
    }

    fn authority(trust: &Trust, local: &str, host: &str) -> String {
        let admission = Admission::new(10, 10);
        let connection = Connection {
            peer: "192.0.2.1:1".parse().unwrap(),
            local: local.parse().unwrap(),
            permit: Arc::new(
                admission
                    .enter("192.0.2.1".parse().unwrap(), false)
                    .unwrap(),
            ),
        };
        trust
            .authority(&connection, &headers(&[("host", host)]))
            .unwrap()
    }

    #[test]
    fn a_tracker_that_knows_its_name_believes_no_other() {
        let named = Trust {
            public_url: Some("https://tracker.example".parse().unwrap()),
            ..Trust::default()
        };
        let at = |host| authority(&named, "192.168.1.5:8080", host);
        assert_eq!(at("evil.example"), "tracker.example");
        assert_eq!(at("203.0.113.1:8080"), "tracker.example");
        assert_eq!(at("192.168.1.5:8080"), "192.168.1.5:8080");
        assert_eq!(
            authority(&Trust::default(), "192.168.1.5:8080", "Other.Example"),
            "other.example"
        );
    }

    #[test]
    fn the_host_of_an_authority() {
        assert_eq!(host_of("a.example:80"), "a.example");
        assert_eq!(host_of("a.example"), "a.example");
        assert_eq!(host_of("[::1]:80"), "::1");
        assert_eq!(host_of("[::1]"), "::1");
    }
}
