//! Which link a datagram belongs to.
//!
//! All peers share one port. A STUN request names the link by our user-name fragment, a STUN
//! response by the transaction we began, everything else only by the address it comes from. An
//! address becomes a link's once the link has answered an authenticated check from it; a newer
//! link takes it over, because a child that restarts comes back from the same address.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use banyan::id::LinkKey;

/// Most STUN transactions remembered: 4 s (the life of one) of consent checks on 1000 links and
/// a storm of 100 links that begin at once.
const MAX_TRANSACTIONS: usize = 32_768;

/// STUN message types (RFC 8489 section 5).
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;

/// USERNAME (RFC 8489 section 14.3).
const USERNAME: u16 = 0x0006;

/// Identifies a STUN request and its response (RFC 8489 section 5).
pub(super) type Transaction = [u8; 12];

#[derive(Default)]
pub(super) struct Demux {
    by_ufrag: HashMap<String, LinkKey>,
    by_addr: HashMap<SocketAddr, Owner>,
    by_transaction: HashMap<Transaction, LinkKey>,
    transactions: VecDeque<Transaction>,
}

#[derive(Clone, Copy)]
struct Owner {
    link: LinkKey,
    born: u64,
}

impl Demux {
    /// Makes a link known by its user-name fragment.
    pub(super) fn insert(&mut self, ufrag: &str, link: LinkKey) {
        self.by_ufrag.insert(ufrag.to_owned(), link);
    }

    /// Forgets a link.
    pub(super) fn remove(&mut self, ufrag: &str, link: LinkKey) {
        self.by_ufrag.remove(ufrag);
        self.by_addr.retain(|_, owner| owner.link != link);
    }

    /// The link a datagram is for.
    pub(super) fn route(&self, from: SocketAddr, bytes: &[u8]) -> Option<LinkKey> {
        if let Some(stun) = Stun::parse(bytes) {
            if let Some(ufrag) = stun.local_ufrag() {
                return self.by_ufrag.get(ufrag).copied();
            }
            if let Some(link) = self.by_transaction.get(&stun.transaction) {
                return Some(*link);
            }
        }
        self.by_addr.get(&from).map(|owner| owner.link)
    }

    /// Learns from what a link sends: which checks are its own, and which address it has accepted.
    pub(super) fn sent(&mut self, link: LinkKey, born: u64, to: SocketAddr, bytes: &[u8]) {
        match Stun::parse(bytes) {
            Some(stun) if stun.kind == BINDING_REQUEST => {
                if self.transactions.len() == MAX_TRANSACTIONS
                    && let Some(oldest) = self.transactions.pop_front()
                {
                    self.by_transaction.remove(&oldest);
                }
                self.transactions.push_back(stun.transaction);
                self.by_transaction.insert(stun.transaction, link);
            }
            Some(stun) if stun.kind == BINDING_SUCCESS => self.claim(link, born, to),
            _ => {}
        }
    }

    /// Makes an address that passed ICE a link's own, unless a newer link has it.
    pub(super) fn claim(&mut self, link: LinkKey, born: u64, addr: SocketAddr) {
        let owner = self.by_addr.entry(addr).or_insert(Owner { link, born });
        if owner.born < born {
            *owner = Owner { link, born };
        }
    }
}

/// The first byte of a datagram says what it is (RFC 7983).
pub(super) fn is_stun(bytes: &[u8]) -> bool {
    bytes.len() >= 20 && bytes[0] < 4
}

/// A DTLS record (RFC 7983).
pub(super) fn is_dtls(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|b| (20..64).contains(b))
}

/// What the demultiplexer reads of a STUN message.
pub(super) struct Stun<'a> {
    pub(super) kind: u16,
    pub(super) transaction: Transaction,
    attributes: &'a [u8],
}

impl<'a> Stun<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if !is_stun(bytes) {
            return None;
        }
        let (head, attributes) = bytes.split_at_checked(20)?;
        let transaction = head[8..20].try_into().ok()?;
        Some(Self {
            kind: u16::from_be_bytes([head[0], head[1]]),
            transaction,
            attributes,
        })
    }

    /// The receiver's half of the user name.
    fn local_ufrag(&self) -> Option<&'a str> {
        if self.kind != BINDING_REQUEST {
            return None;
        }
        let mut rest = self.attributes;
        while let Some((head, tail)) = rest.split_at_checked(4) {
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = tail.get(..length)?;
            if kind == USERNAME {
                return std::str::from_utf8(value)
                    .ok()?
                    .split_once(':')
                    .map(|(ours, _)| ours);
            }
            rest = tail.get(length.next_multiple_of(4)..)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use banyan::id::{LinkId, NodeId};

    use super::*;

    fn link(n: u32) -> LinkKey {
        LinkKey {
            child: NodeId::from_bytes([1; 16]),
            link: LinkId(n),
        }
    }

    fn stun(kind: u16, transaction: u8, user: &str) -> Vec<u8> {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0x21, 0x12, 0xA4, 0x42]);
        bytes.extend([transaction; 12]);
        if !user.is_empty() {
            // An attribute before it, of a length that needs padding.
            bytes.extend([0x80, 0x22, 0, 3, 1, 2, 3, 0]);
            bytes.extend(USERNAME.to_be_bytes());
            bytes.extend((user.len() as u16).to_be_bytes());
            bytes.extend(user.as_bytes());
        }
        bytes
    }

    #[test]
    fn by_name_by_transaction_by_address() {
        let mut demux = Demux::default();
        let (a, b): (SocketAddr, SocketAddr) = (
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap(),
        );
        demux.insert("ours", link(1));
        assert_eq!(
            demux.route(a, &stun(BINDING_REQUEST, 1, "ours:theirs")),
            Some(link(1))
        );
        assert_eq!(
            demux.route(a, &stun(BINDING_REQUEST, 1, "other:theirs")),
            None
        );
        assert_eq!(demux.route(a, &[128; 40]), None);
        demux.sent(link(1), 1, a, &stun(BINDING_SUCCESS, 1, ""));
        assert_eq!(demux.route(a, &[128; 40]), Some(link(1)));
        demux.sent(link(2), 2, b, &stun(BINDING_REQUEST, 9, "x:y"));
        assert_eq!(demux.route(b, &stun(BINDING_SUCCESS, 9, "")), Some(link(2)));
        assert_eq!(
            demux.route(b, &[22; 40]),
            None,
            "a request alone claims nothing"
        );
    }

    #[test]
    fn the_newer_link_keeps_an_address() {
        let mut demux = Demux::default();
        let a: SocketAddr = "192.0.2.1:1".parse().unwrap();
        demux.claim(link(1), 1, a);
        demux.claim(link(2), 2, a);
        demux.claim(link(1), 1, a);
        assert_eq!(demux.route(a, &[22; 40]), Some(link(2)));
        demux.remove("u", link(2));
        assert_eq!(demux.route(a, &[22; 40]), None);
    }

    #[test]
    fn broken_stun_is_harmless() {
        let demux = Demux::default();
        let a: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let good = stun(BINDING_REQUEST, 1, "ours:theirs");
        for end in 0..good.len() {
            assert_eq!(demux.route(a, &good[..end]), None);
        }
        let mut long = good;
        long[30] = 0xFF;
        assert_eq!(demux.route(a, &long), None);
    }
}
