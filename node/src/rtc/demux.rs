//! Which link a datagram belongs to.
//!
//! All peers share one port. A STUN request names the link by our user-name fragment, a STUN
//! response by the transaction we began, everything else only by the address it comes from. A
//! free address becomes a link's once the link has answered an authenticated check from it. One
//! that is in use changes hands only when it has answered a check of the new link's own: a child
//! can write a sibling's address on its checks, but it never sees what is sent there. So a child
//! that restarts on its port is back at once, and nobody takes another's place.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use banyan::id::LinkKey;

/// Most STUN transactions remembered: 4 s (the life of one) of consent checks on 1000 links and
/// a storm of 100 links that begin at once.
const MAX_TRANSACTIONS: usize = 32_768;

/// How long an address that has answered a check counts as in use: three consent checks.
const IN_USE: Duration = Duration::from_secs(3);

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
    by_transaction: HashMap<Transaction, Check>,
    transactions: VecDeque<Transaction>,
}

#[derive(Clone, Copy)]
struct Owner {
    link: LinkKey,
    born: u64,
    /// When the address last answered a check of this link's.
    proven: Option<Instant>,
}

impl Owner {
    fn in_use(self, now: Instant) -> bool {
        self.proven
            .is_some_and(|at| now.saturating_duration_since(at) < IN_USE)
    }
}

/// A check of ours that may be answered.
#[derive(Clone, Copy)]
struct Check {
    link: LinkKey,
    born: u64,
    to: SocketAddr,
}

impl Demux {
    /// Makes a link known by its user-name fragment.
    pub(super) fn insert(&mut self, ufrag: &str, link: LinkKey) {
        self.by_ufrag.insert(ufrag.to_owned(), link);
    }

    /// Forgets one of a link's user-name fragments.
    pub(super) fn retire(&mut self, ufrag: &str) {
        self.by_ufrag.remove(ufrag);
    }

    /// Forgets a link.
    pub(super) fn remove(&mut self, link: LinkKey) {
        self.by_ufrag.retain(|_, owner| *owner != link);
        self.by_addr.retain(|_, owner| owner.link != link);
    }

    /// The link a datagram is for.
    pub(super) fn route(&self, from: SocketAddr, bytes: &[u8]) -> Option<LinkKey> {
        if let Some(stun) = Stun::parse(bytes) {
            if let Some(ufrag) = stun.local_ufrag() {
                return self.by_ufrag.get(ufrag).copied();
            }
            if let Some(check) = self.by_transaction.get(&stun.transaction) {
                return Some(check.link);
            }
        }
        self.by_addr.get(&from).map(|owner| owner.link)
    }

    /// Learns from what a link sends: which checks are its own, and which address it has accepted.
    pub(super) fn sent(
        &mut self,
        now: Instant,
        link: LinkKey,
        born: u64,
        to: SocketAddr,
        bytes: &[u8],
    ) {
        match Stun::parse(bytes) {
            Some(stun) if stun.kind == BINDING_REQUEST => {
                if self.transactions.len() == MAX_TRANSACTIONS
                    && let Some(oldest) = self.transactions.pop_front()
                {
                    self.by_transaction.remove(&oldest);
                }
                self.transactions.push_back(stun.transaction);
                let check = Check { link, born, to };
                self.by_transaction.insert(stun.transaction, check);
            }
            Some(stun) if stun.kind == BINDING_SUCCESS => self.claim(now, link, born, to),
            _ => {}
        }
    }

    /// Learns from what arrives: an answer to a check of ours proves that the link's peer is at
    /// the address the check went to. Only who got the check knows its 96 random bits. True for
    /// such an answer.
    pub(super) fn received(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> bool {
        if let Some(stun) = Stun::parse(bytes)
            && stun.kind == BINDING_SUCCESS
            && let Some(check) = self.by_transaction.get(&stun.transaction).copied()
            && check.to == from
        {
            self.prove(now, check);
            return true;
        }
        false
    }

    fn prove(&mut self, now: Instant, check: Check) {
        let Check { link, born, to } = check;
        let proven = Owner {
            link,
            born,
            proven: Some(now),
        };
        match self.by_addr.entry(to) {
            Entry::Vacant(free) => {
                free.insert(proven);
            }
            Entry::Occupied(mut entry) => {
                let owner = *entry.get();
                if owner.link == link || owner.born < born || !owner.in_use(now) {
                    entry.insert(proven);
                }
            }
        }
    }

    /// Makes an address a link's own, unless it is in use or a newer link has it.
    pub(super) fn claim(&mut self, now: Instant, link: LinkKey, born: u64, addr: SocketAddr) {
        let claim = Owner {
            link,
            born,
            proven: None,
        };
        let owner = self.by_addr.entry(addr).or_insert(claim);
        if owner.born < born && !owner.in_use(now) {
            *owner = claim;
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

    /// Whether it is a check.
    pub(super) fn is_check(&self) -> bool {
        self.kind == BINDING_REQUEST
    }

    /// Whether it says that a check was authentic.
    pub(super) fn is_success(&self) -> bool {
        self.kind == BINDING_SUCCESS
    }

    /// The receiver's half of the user name.
    pub(super) fn local_ufrag(&self) -> Option<&'a str> {
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
        let now = Instant::now();
        demux.sent(now, link(1), 1, a, &stun(BINDING_SUCCESS, 1, ""));
        assert_eq!(demux.route(a, &[128; 40]), Some(link(1)));
        demux.sent(now, link(2), 2, b, &stun(BINDING_REQUEST, 9, "x:y"));
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
        let now = Instant::now();
        demux.claim(now, link(1), 1, a);
        demux.claim(now, link(2), 2, a);
        demux.claim(now, link(1), 1, a);
        assert_eq!(demux.route(a, &[22; 40]), Some(link(2)));
        demux.remove(link(2));
        assert_eq!(demux.route(a, &[22; 40]), None);
    }

    /// `link` checks `to`, which answers from `from`.
    fn check(
        demux: &mut Demux,
        now: Instant,
        n: u32,
        transaction: u8,
        [to, from]: [SocketAddr; 2],
    ) {
        let request = stun(BINDING_REQUEST, transaction, "theirs:ours");
        demux.sent(now, link(n), n.into(), to, &request);
        demux.received(now, from, &stun(BINDING_SUCCESS, transaction, ""));
    }

    #[test]
    fn an_address_in_use_is_taken_only_by_who_answers_there() {
        let mut demux = Demux::default();
        let [a, b]: [SocketAddr; 2] = ["192.0.2.1:1", "192.0.2.1:2"].map(|a| a.parse().unwrap());
        let media = [128; 40];
        let now = Instant::now();
        // Somebody who spoofs the address is there first, and gives way.
        demux.claim(now, link(9), 9, a);
        check(&mut demux, now, 1, 1, [a, a]);
        assert_eq!(demux.route(a, &media), Some(link(1)));
        // Checks with a forged source are answered, which changes nothing.
        demux.sent(now, link(9), 9, a, &stun(BINDING_SUCCESS, 2, ""));
        assert_eq!(demux.route(a, &media), Some(link(1)));
        // Neither does an answer from elsewhere, or to a check nobody sent.
        check(&mut demux, now, 9, 3, [a, b]);
        demux.received(now, a, &stun(BINDING_SUCCESS, 4, ""));
        assert_eq!(demux.route(a, &media), Some(link(1)));
        // A newer link of who is there takes over at once.
        check(&mut demux, now, 10, 5, [a, a]);
        assert_eq!(demux.route(a, &media), Some(link(10)));
        // Consent for an old link that comes late does not take it back,
        check(&mut demux, now, 1, 6, [a, a]);
        assert_eq!(demux.route(a, &media), Some(link(10)));
        // unless the new one has fallen silent.
        check(&mut demux, now + IN_USE, 1, 7, [a, a]);
        assert_eq!(demux.route(a, &media), Some(link(1)));
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
