//! A small internet of network namespaces: a middle that forwards, and homes behind routers of every
//! kind that RFC 4787 tells of.

use crate::impairment::{Forwarder, Impairment};
use crate::network::{Namespace, cable};

/// What stands between a home and the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// Nothing.
    None,
    /// A router that translates to one port whatever the destination, and lets everybody in there.
    FullCone,
    /// The same, but only what was sent to may answer.
    PortRestricted,
    /// Another port for each destination.
    Symmetric,
    /// A router that lets TCP out, and no UDP.
    Blocked,
}

/// The middle of the network, where trackers are.
#[derive(Debug)]
pub struct Internet {
    /// Its namespace.
    pub middle: Namespace,
    _nowhere: Namespace,
    forwarder: Option<Forwarder>,
    homes: u8,
}

/// A machine and, where there is one, its router.
#[derive(Debug)]
pub struct Home {
    /// The machine.
    pub machine: Namespace,
    address: String,
    _router: Option<Namespace>,
}

impl Internet {
    /// The middle's address, for all homes.
    pub const V4: &str = "203.0.113.1";

    /// The same for homes with IPv6 alone.
    pub const V6: &str = "2001:db8::1";

    /// An internet without homes.
    pub fn new() -> Self {
        let internet = Self::without_forwarding();
        internet.middle.forward();
        internet
    }

    /// An internet in which IPv4 between two homes takes time and gets lost. What is in the middle
    /// itself is reached as fast as in any other.
    pub fn impaired(impairment: Impairment) -> Self {
        let mut internet = Self::without_forwarding();
        internet.middle.do_not_forward();
        let here = Self::V4.parse().unwrap();
        internet.forwarder = Some(Forwarder::start(&internet.middle, here, impairment));
        internet
    }

    fn without_forwarding() -> Self {
        let middle = Namespace::new("internet");
        middle.ip(&["addr", "add", &format!("{}/32", Self::V4), "dev", "lo"]);
        middle.ip(&["addr", "add", &format!("{}/128", Self::V6), "dev", "lo"]);
        // What nobody has gets lost on the way, as in the world, instead of being refused at once.
        let nowhere = Namespace::new("nowhere");
        cable(&middle, "198.19.0.1/24", &nowhere, "198.19.0.2/24");
        middle.ip(&["route", "add", "default", "via", "198.19.0.2"]);
        Self {
            middle,
            _nowhere: nowhere,
            forwarder: None,
            homes: 0,
        }
    }

    /// A home with IPv4.
    pub fn home(&mut self, router: Router) -> Home {
        self.homes += 1;
        let n = self.homes;
        let machine = Namespace::new("home");
        let [outside, public] = [1, 2].map(|end| format!("198.18.{n}.{end}"));
        let with_mask = |address: &str| format!("{address}/24");
        if router == Router::None {
            let outer = with_mask(&outside);
            let (_, end) = cable(&self.middle, &outer, &machine, &with_mask(&public));
            self.cut_packets(&machine, &end);
            machine.ip(&["route", "add", "default", "via", &outside]);
            return Home {
                machine,
                address: public,
                _router: None,
            };
        }
        let gateway = Namespace::new("router");
        let [inner, own] = [1, 2].map(|end| format!("192.168.{n}.{end}"));
        let outer = with_mask(&outside);
        let (_, end) = cable(&self.middle, &outer, &gateway, &with_mask(&public));
        self.cut_packets(&gateway, &end);
        cable(&gateway, &with_mask(&inner), &machine, &with_mask(&own));
        gateway.ip(&["route", "add", "default", "via", &outside]);
        machine.ip(&["route", "add", "default", "via", &inner]);
        gateway.forward();
        gateway.nft(&rules(router, &public, &own));
        Home {
            machine,
            address: own,
            _router: Some(gateway),
        }
    }

    /// A home with IPv6 alone, and no router.
    pub fn home_v6(&mut self) -> Home {
        self.homes += 1;
        let n = self.homes;
        let machine = Namespace::new("home");
        let [outside, own] = [1, 2].map(|end| format!("fd20:{n}::{end}"));
        let with_mask = |address: &str| format!("{address}/64");
        cable(
            &self.middle,
            &with_mask(&outside),
            &machine,
            &with_mask(&own),
        );
        machine.ip(&["-6", "route", "add", "default", "via", &outside]);
        Home {
            machine,
            address: own,
            _router: None,
        }
    }

    /// Has what leaves at `end` be cut into packets of the network's size, if a forwarder is to see
    /// them: virtual cables otherwise carry what a network card would cut.
    fn cut_packets(&self, at: &Namespace, end: &str) {
        if self.forwarder.is_some() {
            at.ip(&["link", "set", end, "gso_max_segs", "1"]);
        }
    }
}

impl Home {
    /// The machine's own address.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Default for Internet {
    fn default() -> Self {
        Self::new()
    }
}

/// The nftables rules of a router that is `public` outside, for the machine `own`.
fn rules(router: Router, public: &str, own: &str) -> String {
    // netfilter keeps a port where it can, which makes one mapping for all destinations.
    let masquerade = match router {
        Router::Symmetric => "masquerade random,fully-random",
        _ => "masquerade",
    };
    let inward = match router {
        Router::FullCone => format!("ip daddr {public} meta l4proto udp dnat to {own}"),
        _ => String::new(),
    };
    let stranger = match router {
        Router::FullCone => format!("ip daddr {own} accept"),
        _ => String::new(),
    };
    let outward = match router {
        Router::Blocked => "meta l4proto udp drop",
        _ => "accept",
    };
    format!(
        r#"
table ip router {{
    chain inward {{
        type nat hook prerouting priority -100;
        {inward}
    }}
    chain outward {{
        type nat hook postrouting priority 100;
        ip saddr {own} {masquerade}
    }}
    chain through {{
        type filter hook forward priority 0;
        ct state established,related accept
        ip saddr {own} {outward}
        ip saddr {own} accept
        {stranger}
        drop
    }}
    chain here {{
        type filter hook input priority 0;
        ip daddr {public} drop
    }}
}}
"#
    )
}
