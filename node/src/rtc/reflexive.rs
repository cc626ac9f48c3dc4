//! Our address as STUN servers see it (RFC 8489), asked through the media port so that the
//! mapping a home router makes is the one peers will use. Nothing waits for it: the candidate
//! trickles when it is known, and a server that never answers is given up quietly.
//!
//! A server that has a second port (RFC 5780) is asked there as well, and for an answer from where it
//! was not asked: that shows what the router does, which [`Findings`] judge.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan::reachability::Findings;
use rtc::stun::addr::MappedAddress;
use rtc::stun::attributes::{ATTR_CHANGE_REQUEST, ATTR_OTHER_ADDRESS};
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, TransactionId};
use rtc::stun::xoraddr::XorMappedAddress;
use tokio::sync::mpsc;

use super::demux::Transaction;

/// Most servers asked in a process.
const MAX_SERVERS: usize = 8;

/// Most addresses of one server that are asked: one per family, and a spare.
const MAX_SERVER_ADDRESSES: usize = 3;

/// First retransmission, doubled each time (RFC 8489 section 6.2.1 begins with 500 ms; a viewer
/// would wait for that).
const FIRST_RETRY: Duration = Duration::from_millis(150);

/// Requests to one address; with the doubling, it is given up after about 4.6 s.
const ATTEMPTS: u32 = 5;

/// Requests that find out about the router; given up after about a second.
const PROBES: u32 = 3;

/// The flag of CHANGE-REQUEST that asks for an answer from another port (RFC 5780 section 7.2).
const CHANGE_PORT: [u8; 4] = [0, 0, 0, 2];

/// How long a known mapping is told to further links before the server is asked again.
const FRESH: Duration = Duration::from_secs(60);

/// The servers and what they said.
pub(super) struct Reflexive {
    servers: HashMap<String, Server>,
    waiting: HashSet<LinkKey>,
    names: (mpsc::Sender<Resolved>, mpsc::Receiver<Resolved>),
    /// Something was learnt since this was looked at.
    news: bool,
}

type Resolved = (String, Vec<SocketAddr>);

#[derive(Default)]
struct Server {
    resolving: bool,
    addresses: Vec<SocketAddr>,
    queries: Vec<Query>,
    /// Our address, as seen from the first port of each of its addresses.
    mapped: Vec<(SocketAddr, SocketAddr)>,
    /// The same from the second ports.
    compared: Vec<(SocketAddr, SocketAddr)>,
    /// Its addresses that were asked to answer from elsewhere, and whether that arrived.
    unasked: Vec<(SocketAddr, bool)>,
    asked: Option<Instant>,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Our address.
    Address,
    /// Our address as the second port sees it.
    Comparison,
    /// An answer from a port that we never sent to.
    Unasked,
}

struct Query {
    purpose: Purpose,
    server: SocketAddr,
    transaction: Transaction,
    sent: u32,
    next: Instant,
}

/// What came of asking.
pub(super) enum Found {
    /// These links may tell their peer this address.
    Address(Vec<LinkKey>, SocketAddr),
    /// These links have heard all there is.
    Done(Vec<LinkKey>),
}

impl Reflexive {
    pub(super) fn new() -> Self {
        Self {
            servers: HashMap::new(),
            waiting: HashSet::new(),
            names: mpsc::channel(MAX_SERVERS * 2),
            news: false,
        }
    }

    /// Asks `urls` for `link` and returns what is already known.
    pub(super) fn ask<'a>(
        &mut self,
        now: Instant,
        link: LinkKey,
        urls: impl Iterator<Item = &'a str>,
    ) -> Vec<SocketAddr> {
        let mut known = Vec::new();
        for host in urls.filter_map(host_and_port) {
            let Some(server) = self.look_up(now, host) else {
                continue;
            };
            known.extend(server.mapped.iter().map(|(_, seen)| *seen));
            if server.busy() {
                self.waiting.insert(link);
            }
        }
        known
    }

    /// Asks `urls` for nobody in particular.
    pub(super) fn learn<'a>(&mut self, now: Instant, urls: impl Iterator<Item = &'a str>) {
        for host in urls.filter_map(host_and_port) {
            self.look_up(now, host);
        }
        self.news = true;
    }

    /// Whether something was learnt since this was asked last.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// What is known of a family, and whether that is all there will be.
    pub(super) fn findings(&self, v4: bool) -> (Findings, bool) {
        let of_family = |at: &SocketAddr| at.is_ipv4() == v4;
        let mut findings = Findings::default();
        let mut complete = true;
        for server in self.servers.values() {
            complete &= !server.resolving && !server.queries.iter().any(|q| of_family(&q.server));
            findings.asked |= server.asked_at(v4);
            let seen = server.mapped.iter().chain(&server.compared).copied();
            findings.mapped.extend(seen.filter(|(at, _)| of_family(at)));
            for (_, arrived) in server.unasked.iter().filter(|(at, _)| of_family(at)) {
                findings.unasked = Some(*arrived || findings.unasked == Some(true));
            }
        }
        (findings, complete)
    }

    /// What the servers have said, each address once.
    pub(super) fn known(&self) -> Vec<SocketAddr> {
        let mut known: Vec<SocketAddr> = (self.servers.values())
            .flat_map(|server| server.mapped.iter().map(|(_, seen)| *seen))
            .collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    /// A server, asked unless it has been asked of late; none when there are too many.
    fn look_up(&mut self, now: Instant, host: String) -> Option<&mut Server> {
        if !self.servers.contains_key(&host) && self.servers.len() == MAX_SERVERS {
            return None;
        }
        let server = self.servers.entry(host.clone()).or_default();
        let fresh = server
            .asked
            .is_some_and(|t| now.saturating_duration_since(t) < FRESH);
        if !fresh {
            server.asked = Some(now);
            server.mapped.clear();
            server.compared.clear();
            server.unasked.clear();
            server.queries.clear();
            server.addresses.clear();
            match host.parse::<SocketAddr>() {
                Ok(addr) => server.begin(now, addr),
                Err(_) if !server.resolving => {
                    server.resolving = true;
                    let answer = self.names.0.clone();
                    tokio::spawn(async move {
                        let found = tokio::net::lookup_host(&host).await;
                        let found = found.map_or_else(|_| Vec::new(), Iterator::collect);
                        // The engine may be gone.
                        let _ = answer.send((host, found)).await;
                    });
                }
                Err(_) => {}
            }
        }
        Some(server)
    }

    /// Whether `link` will hear more.
    pub(super) fn awaited(&self, link: LinkKey) -> bool {
        self.waiting.contains(&link)
    }

    pub(super) fn forget(&mut self, link: LinkKey) {
        self.waiting.remove(&link);
    }

    /// Waits for a name to be resolved.
    pub(super) async fn resolved(&mut self) -> Resolved {
        match self.names.1.recv().await {
            Some(resolved) => resolved,
            None => std::future::pending().await,
        }
    }

    pub(super) fn handle_resolved(&mut self, now: Instant, (host, found): Resolved) {
        if let Some(server) = self.servers.get_mut(&host) {
            server.resolving = false;
            for addr in found.into_iter().take(MAX_SERVER_ADDRESSES) {
                server.begin(now, addr);
            }
        }
        self.news = true;
    }

    /// A STUN message that belongs to no link.
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Found> {
        let transaction: Transaction = bytes.get(8..20)?.try_into().ok()?;
        let known = self.known();
        let server = (self.servers.values_mut())
            .find(|s| s.queries.iter().any(|q| q.answered_by(transaction, from)))?;
        let at = (server.queries.iter()).position(|q| q.answered_by(transaction, from))?;
        let query = server.queries.remove(at);
        self.news = true;
        let mut message = Message {
            raw: bytes.to_vec(),
            ..Message::default()
        };
        message.decode().ok()?;
        if message.typ != BINDING_SUCCESS {
            return None;
        }
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&message).ok()?;
        let addr = SocketAddr::new(mapped.ip, mapped.port);
        match query.purpose {
            Purpose::Address => {
                server.mapped.push((from, addr));
                let mut other = MappedAddress::default();
                if other.get_from_as(&message, ATTR_OTHER_ADDRESS).is_ok() && other.port != 0 {
                    // Its address is taken to be the one that answers: behind a router of its own,
                    // a server does not know it.
                    let second = SocketAddr::new(from.ip(), other.port);
                    server.query(now, Purpose::Comparison, second);
                    server.query(now, Purpose::Unasked, from);
                }
                let told = known.binary_search(&addr).is_ok();
                (!told).then(|| Found::Address(self.waiting.iter().copied().collect(), addr))
            }
            Purpose::Comparison => {
                server.compared.push((from, addr));
                None
            }
            Purpose::Unasked => {
                // A server that does not know what was asked for answers from where it was asked.
                if from != query.server {
                    server.unasked.push((query.server, true));
                }
                None
            }
        }
    }

    /// When to call [`poll`](Self::poll) again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.servers
            .values()
            .flat_map(|s| &s.queries)
            .map(|q| q.next)
            .min()
    }

    /// Requests that are due, and the links that need wait no longer.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        mut send: impl FnMut(SocketAddr, &[u8]),
    ) -> Option<Found> {
        for server in self.servers.values_mut() {
            let Server {
                queries, unasked, ..
            } = server;
            let before = queries.len();
            queries.retain(|query| {
                let over = query.next <= now && query.sent >= query.purpose.attempts();
                if over && query.purpose == Purpose::Unasked {
                    unasked.push((query.server, false));
                }
                !over
            });
            self.news |= queries.len() < before;
            for query in server.queries.iter_mut().filter(|q| q.next <= now) {
                query.next = now + FIRST_RETRY * 2u32.pow(query.sent);
                query.sent += 1;
                if let Some(request) = query.request() {
                    send(query.server, &request);
                }
            }
        }
        if self.waiting.is_empty() || self.servers.values().any(Server::busy) {
            return None;
        }
        Some(Found::Done(self.waiting.drain().collect()))
    }
}

impl Server {
    /// Whether our address is still to be told.
    fn busy(&self) -> bool {
        let asks = |query: &Query| query.purpose == Purpose::Address;
        self.resolving || self.queries.iter().any(asks)
    }

    /// Whether it was asked at an address of this family.
    fn asked_at(&self, v4: bool) -> bool {
        self.addresses.iter().any(|at| at.is_ipv4() == v4)
    }

    fn begin(&mut self, now: Instant, server: SocketAddr) {
        self.addresses.push(server);
        self.query(now, Purpose::Address, server);
    }

    fn query(&mut self, now: Instant, purpose: Purpose, server: SocketAddr) {
        let transaction = TransactionId::new().0;
        self.queries.push(Query {
            purpose,
            server,
            transaction,
            sent: 0,
            next: now,
        });
    }
}

impl Purpose {
    const fn attempts(self) -> u32 {
        match self {
            Self::Address => ATTEMPTS,
            Self::Comparison | Self::Unasked => PROBES,
        }
    }
}

impl Query {
    fn answered_by(&self, transaction: Transaction, from: SocketAddr) -> bool {
        let expected = match self.purpose {
            Purpose::Address | Purpose::Comparison => from == self.server,
            Purpose::Unasked => true,
        };
        expected && self.transaction == transaction
    }

    fn request(&self) -> Option<Vec<u8>> {
        let mut message = Message::new();
        let built = message.build(&[
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId(self.transaction)),
        ]);
        if self.purpose == Purpose::Unasked {
            message.add(ATTR_CHANGE_REQUEST, &CHANGE_PORT);
        }
        built.ok().map(|()| message.raw)
    }
}

/// `host:port` of a `stun:` URI (RFC 7064); others are not for this.
fn host_and_port(url: &str) -> Option<String> {
    with_port(url.strip_prefix("stun:")?.split('?').next()?)
}

/// `host:port`, the port being that of STUN and TURN where none is named.
pub(super) fn with_port(host: &str) -> Option<String> {
    let host = host.trim_start_matches('/');
    if host.is_empty() || host.len() > 255 {
        return None;
    }
    let bare_v6 = host.starts_with('[') && host.ends_with(']');
    let has_port = !bare_v6
        && host
            .rsplit_once(':')
            .is_some_and(|(_, p)| p.parse::<u16>().is_ok());
    Some(if has_port {
        host.to_owned()
    } else {
        format!("{host}:3478")
    })
}
