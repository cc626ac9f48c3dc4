//! How far the packets of strangers come to a node, what STUN tells of that, and which two nodes
//! can connect.
//!
//! Terms are those of RFC 4787: a *mapping* is the address a router puts in place of a node's own,
//! *filtering* is what the router lets back in. Two nodes that both know each other's address and
//! both send at once get through any filter; what cannot be got through is a mapping that is another
//! one for each destination, unless the other end lets in packets from a port it was not told.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// How far strangers' packets come, over one address family.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Nobody could tell: there was no server to ask, or the peer cannot say, like a page. Such a
    /// peer counts as [`Cone`](Self::Cone), which most homes are.
    #[default]
    Unknown,
    /// One address for all destinations, and packets from a port that was never sent to arrive
    /// there: no router, a forwarded port, or a router that filters by address at most.
    Open,
    /// One address for all destinations, and only what was sent to may answer.
    Cone,
    /// Another address for each destination, so that nobody can be told the right one.
    Symmetric,
    /// No packet comes back.
    Blocked,
}

/// How far strangers' packets come to a node, per address family; none where the node has no address
/// of that family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reachability {
    /// Over IPv4.
    pub v4: Option<Reach>,
    /// Over IPv6.
    pub v6: Option<Reach>,
}

impl Reach {
    /// Every class with its name on the wire, in the order of the discriminants.
    pub const ALL: [(Self, &str); 5] = [
        (Self::Unknown, "unknown"),
        (Self::Open, "open"),
        (Self::Cone, "cone"),
        (Self::Symmetric, "symmetric"),
        (Self::Blocked, "blocked"),
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether packets of one class and of another find their way to each other.
    fn meets(self, other: Self) -> bool {
        use Reach::{Blocked, Cone, Open, Symmetric, Unknown};
        match (self, other) {
            (Blocked, _) | (_, Blocked) => false,
            (Open, _) | (_, Open) => true,
            (Cone | Unknown, Cone | Unknown) => true,
            (Symmetric, _) | (_, Symmetric) => false,
        }
    }
}

impl Default for Reachability {
    /// Of a peer that has said nothing: it may have both families.
    fn default() -> Self {
        Self {
            v4: Some(Reach::Unknown),
            v6: Some(Reach::Unknown),
        }
    }
}

impl Reachability {
    /// The class of the family that gets furthest, for people.
    pub fn best(&self) -> Reach {
        const ORDER: [Reach; 5] = [
            Reach::Open,
            Reach::Cone,
            Reach::Symmetric,
            Reach::Unknown,
            Reach::Blocked,
        ];
        let has = |reach: &Reach| self.v4 == Some(*reach) || self.v6 == Some(*reach);
        ORDER.into_iter().find(has).unwrap_or(Reach::Blocked)
    }

    /// Whether any server has answered this node.
    pub fn was_answered(&self) -> bool {
        let told = |reach| matches!(reach, Reach::Open | Reach::Cone | Reach::Symmetric);
        self.v4.is_some_and(told) || self.v6.is_some_and(told)
    }

    /// Whether somebody who found no way to this peer before may find one now.
    pub fn opens_more_than(&self, before: &Self) -> bool {
        let width = |reach: Option<Reach>| match reach {
            Some(Reach::Open) => 2,
            Some(Reach::Cone | Reach::Unknown) => 1,
            Some(Reach::Symmetric | Reach::Blocked) | None => 0,
        };
        width(self.v4) > width(before.v4) || width(self.v6) > width(before.v6)
    }

    /// The same for a reader that does not take silence for an answer: the servers may be what is
    /// out of reach.
    #[must_use]
    pub fn in_doubt(self) -> Self {
        let doubt = |reach| match reach {
            Reach::Blocked => Reach::Unknown,
            told => told,
        };
        Self {
            v4: self.v4.map(doubt),
            v6: self.v6.map(doubt),
        }
    }
}

/// One end of a pair, as its tracker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How far strangers' packets come.
    pub reachability: Reachability,
    /// The address the tracker sees it at.
    pub seen: IpAddr,
    /// Whether it can use a TURN server, as far as the server and the program go.
    pub relays: Relays,
}

/// How an end reaches TURN servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relays {
    /// It does not.
    No,
    /// Over UDP, from the port its media has.
    OverUdp,
    /// Over UDP, or TCP where that is blocked.
    OverAny,
}

/// Whether two peers can connect directly: over a family both have, or because they are neighbours
/// behind one address.
pub fn can_connect(a: &End, b: &End) -> bool {
    let family = |a: Option<Reach>, b: Option<Reach>| a.zip(b).is_some_and(|(a, b)| a.meets(b));
    family(a.reachability.v4, b.reachability.v4)
        || family(a.reachability.v6, b.reachability.v6)
        || site(a.seen) == site(b.seen)
}

/// Whether `child` and `parent` can connect through a TURN server that the child uses. The server is
/// taken to have every address family that they have.
pub fn can_relay(child: &End, parent: &End) -> bool {
    let sends = |end: &End| {
        let blocked = |reach: Option<Reach>| reach.is_none_or(|reach| reach == Reach::Blocked);
        !(blocked(end.reachability.v4) && blocked(end.reachability.v6))
    };
    let reaches_server = match child.relays {
        Relays::No => false,
        Relays::OverUdp => sends(child),
        Relays::OverAny => true,
    };
    // What the server sends for the child comes over UDP.
    reaches_server && sends(parent)
}

/// Whom one home or office shares an address with: all of an IPv4 address, or of an IPv6 /64.
fn site(seen: IpAddr) -> IpAddr {
    match seen.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// What is known of one address family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The node's own addresses, with its port.
    pub own: Vec<SocketAddr>,
    /// Whether its operator or its router said that its port is reachable from outside.
    pub forwarded: bool,
    /// Whether any server was asked.
    pub asked: bool,
    /// Where servers see the node: by the server's address.
    pub mapped: Vec<(SocketAddr, SocketAddr)>,
    /// Whether an answer arrived from a port that was never sent to; none where no server can do
    /// that (RFC 5780 section 4.4).
    pub unasked: Option<bool>,
}

impl Findings {
    /// The class they show; none where the node has no address of the family.
    pub fn reach(&self) -> Option<Reach> {
        if self.own.is_empty() {
            return None;
        }
        if self.forwarded {
            return Some(Reach::Open);
        }
        if self.mapped.is_empty() {
            return Some(if self.asked {
                Reach::Blocked
            } else if self.own.iter().any(|own| is_public_v4(own.ip())) {
                Reach::Open
            } else {
                Reach::Unknown
            });
        }
        if self.is_symmetric() {
            return Some(Reach::Symmetric);
        }
        let untouched = self.mapped.iter().any(|(_, seen)| self.own.contains(seen));
        Some(if self.unasked.unwrap_or(untouched) {
            Reach::Open
        } else {
            Reach::Cone
        })
    }

    /// Whether two servers see two ports of one address: the mapping depends on the destination.
    pub fn is_symmetric(&self) -> bool {
        self.mapped.iter().any(|(server, seen)| {
            (self.mapped.iter()).any(|(other, also)| {
                other != server && also.ip() == seen.ip() && also.port() != seen.port()
            })
        })
    }
}

/// An IPv4 address that nobody translates: hosts with one are servers, as a rule. With IPv6
/// everybody has public addresses, and the router's filter before them.
fn is_public_v4(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let carrier = ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_documentation()
                || carrier)
        }
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Reach::{Blocked, Cone, Open, Symmetric, Unknown};
    use super::*;

    fn end(v4: Option<Reach>, v6: Option<Reach>, seen: &str) -> End {
        End {
            reachability: Reachability { v4, v6 },
            seen: seen.parse().unwrap(),
            relays: Relays::No,
        }
    }

    #[test]
    fn who_can_connect_to_whom() {
        // Rows and columns in the order of `Reach::ALL`.
        let table = [
            (Unknown, [true, true, true, false, false]),
            (Open, [true, true, true, true, false]),
            (Cone, [true, true, true, false, false]),
            (Symmetric, [false, true, false, false, false]),
            (Blocked, [false, false, false, false, false]),
        ];
        for (a, row) in table {
            for ((b, _), expected) in Reach::ALL.into_iter().zip(row) {
                let apart = |a, b| {
                    let (one, two) = (end(Some(a), None, "192.0.2.1"), end(Some(b), None, "::1"));
                    assert_eq!(can_connect(&one, &two), can_connect(&two, &one));
                    can_connect(&one, &two)
                };
                assert_eq!(apart(a, b), expected, "{a:?} and {b:?}");
                let (one, two) = (
                    end(None, Some(a), "2001:db8::1"),
                    end(None, Some(b), "2001:db8:1::1"),
                );
                assert_eq!(
                    can_connect(&one, &two),
                    expected,
                    "{a:?} and {b:?} over IPv6"
                );
            }
        }
    }

    #[test]
    fn two_need_a_family_in_common_or_one_address() {
        let four = end(Some(Open), None, "192.0.2.1");
        let six = end(None, Some(Open), "2001:db8::1");
        assert!(!can_connect(&four, &six));
        let both = end(Some(Symmetric), Some(Cone), "192.0.2.2");
        assert!(can_connect(&both, &six) && can_connect(&both, &four));
        // Neighbours need no way through their router.
        let symmetric = end(Some(Symmetric), None, "::ffff:192.0.2.2");
        assert!(can_connect(&symmetric, &both));
        let (one, two) = ("2001:db8::5", "2001:db8::6");
        assert!(can_connect(
            &end(None, Some(Blocked), one),
            &end(None, Some(Blocked), two)
        ));
    }

    #[test]
    fn a_relay_helps_all_that_can_send_to_it() {
        let cases = [
            (Symmetric, Relays::OverUdp, Symmetric, true),
            (Symmetric, Relays::OverUdp, Cone, true),
            (Symmetric, Relays::No, Cone, false),
            (Blocked, Relays::OverUdp, Open, false),
            (Blocked, Relays::OverAny, Open, true),
            (Symmetric, Relays::OverAny, Blocked, false),
        ];
        for (child, relays, parent, expected) in cases {
            let child = End {
                relays,
                ..end(Some(child), None, "192.0.2.1")
            };
            let parent = end(Some(parent), None, "192.0.2.2");
            assert_eq!(can_relay(&child, &parent), expected, "{child:?} {parent:?}");
        }
    }

    #[test]
    fn what_answers_tell() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (first, second) = (address("203.0.113.1:3478"), address("203.0.113.1:3479"));
        let home = Findings {
            own: vec![address("192.168.1.2:7144")],
            asked: true,
            ..Findings::default()
        };
        let seen = |mapped: &[(SocketAddr, &str)], unasked| Findings {
            mapped: mapped
                .iter()
                .map(|(at, seen)| (*at, address(seen)))
                .collect(),
            unasked,
            ..home.clone()
        };
        let router = "198.51.100.7:7144";
        let cases = [
            ("no address", Findings::default(), None),
            ("silence", home.clone(), Some(Blocked)),
            (
                "nobody to ask",
                Findings {
                    asked: false,
                    ..home.clone()
                },
                Some(Unknown),
            ),
            (
                "nobody to ask, on a server",
                Findings {
                    asked: false,
                    own: vec![address("8.8.8.8:7144")],
                    ..home.clone()
                },
                Some(Open),
            ),
            (
                "a forwarded port",
                Findings {
                    forwarded: true,
                    ..home.clone()
                },
                Some(Open),
            ),
            (
                "one mapping, filtered",
                seen(&[(first, router), (second, router)], Some(false)),
                Some(Cone),
            ),
            (
                "one mapping, not filtered",
                seen(&[(first, router), (second, router)], Some(true)),
                Some(Open),
            ),
            (
                "a server that has one port",
                seen(&[(first, router)], None),
                Some(Cone),
            ),
            (
                "no router, and a server that has one port",
                seen(&[(first, "192.168.1.2:7144")], None),
                Some(Open),
            ),
            (
                "no router, but a filter",
                seen(&[(first, "192.168.1.2:7144")], Some(false)),
                Some(Cone),
            ),
            (
                "two mappings",
                seen(
                    &[(first, router), (second, "198.51.100.7:7145")],
                    Some(false),
                ),
                Some(Symmetric),
            ),
            (
                // One server on this side of the router: two addresses, no contradiction.
                "a server at home",
                seen(
                    &[(first, router), (second, "192.168.1.2:7144")],
                    Some(false),
                ),
                Some(Cone),
            ),
            (
                "two answers of one server",
                seen(&[(first, router), (first, "198.51.100.7:9")], Some(false)),
                Some(Cone),
            ),
        ];
        for (name, findings, expected) in cases {
            assert_eq!(findings.reach(), expected, "{name}");
        }
    }

    #[test]
    fn people_are_shown_the_better_family_and_silence_may_be_doubted() {
        let both = |v4, v6| Reachability { v4, v6 };
        assert_eq!(both(Some(Symmetric), Some(Cone)).best(), Cone);
        assert_eq!(both(Some(Blocked), Some(Unknown)).best(), Unknown);
        assert_eq!(both(None, None).best(), Blocked);
        assert_eq!(Reachability::default().best(), Unknown);
        assert!(!both(Some(Blocked), Some(Unknown)).was_answered());
        assert!(both(Some(Blocked), Some(Symmetric)).was_answered());
        let wide = both(Some(Open), None);
        assert!(wide.opens_more_than(&both(Some(Cone), None)));
        assert!(!both(Some(Cone), None).opens_more_than(&Reachability::default()));
        assert!(!wide.opens_more_than(&wide));
        let doubted = both(Some(Blocked), None).in_doubt();
        assert_eq!(doubted, both(Some(Unknown), None));
    }

    #[test]
    fn the_list_is_in_the_order_of_its_discriminants_and_names_what_is_written() {
        for (index, (reach, name)) in Reach::ALL.into_iter().enumerate() {
            assert_eq!(reach as usize, index);
            assert_eq!(reach.name(), name);
            assert_eq!(serde_json::to_value(reach).unwrap(), name);
        }
    }
}
