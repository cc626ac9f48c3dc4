//! Our address as STUN servers see it (RFC 8489), asked through the media port so that the
//! mapping a home router makes is the one peers will use. Nothing waits for it: the candidate
//! trickles when it is known, and a server that never answers is given up quietly.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use rtc::stun::message::{BINDING_REQUEST, Getter, Message, TransactionId};
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

/// How long a known mapping is told to further links before the server is asked again.
const FRESH: Duration = Duration::from_secs(60);

/// The servers and what they said.
pub(super) struct Reflexive {
    servers: HashMap<String, Server>,
    waiting: HashSet<LinkKey>,
    names: (mpsc::Sender<Resolved>, mpsc::Receiver<Resolved>),
}

type Resolved = (String, Vec<SocketAddr>);

#[derive(Default)]
struct Server {
    resolving: bool,
    queries: Vec<Query>,
    mapped: Vec<SocketAddr>,
    asked: Option<Instant>,
}

struct Query {
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
            known.extend(&server.mapped);
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
    }

    /// What the servers have said, each address once.
    pub(super) fn known(&self) -> Vec<SocketAddr> {
        let mut known: Vec<SocketAddr> = (self.servers.values())
            .flat_map(|server| server.mapped.iter().copied())
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
            server.queries.clear();
            match host.parse::<SocketAddr>() {
                Ok(addr) => server.query(now, addr),
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
                server.query(now, addr);
            }
        }
    }

    /// A STUN message that belongs to no link.
    pub(super) fn handle_response(&mut self, from: SocketAddr, bytes: &[u8]) -> Option<Found> {
        let transaction: Transaction = bytes.get(8..20)?.try_into().ok()?;
        let known: HashSet<SocketAddr> = self
            .servers
            .values()
            .flat_map(|s| s.mapped.iter().copied())
            .collect();
        let server = self.servers.values_mut().find(|s| {
            s.queries
                .iter()
                .any(|q| q.transaction == transaction && q.server == from)
        })?;
        server.queries.retain(|q| q.transaction != transaction);
        let mut message = Message {
            raw: bytes.to_vec(),
            ..Message::default()
        };
        message.decode().ok()?;
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&message).ok()?;
        let addr = SocketAddr::new(mapped.ip, mapped.port);
        server.mapped.push(addr);
        let known = known.contains(&addr);
        (!known).then(|| Found::Address(self.waiting.iter().copied().collect(), addr))
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
            server.queries.retain(|q| q.next > now || q.sent < ATTEMPTS);
            for query in server.queries.iter_mut().filter(|q| q.next <= now) {
                query.next = now + FIRST_RETRY * 2u32.pow(query.sent);
                query.sent += 1;
                let mut message = Message::new();
                let built = message.build(&[
                    Box::new(BINDING_REQUEST),
                    Box::new(TransactionId(query.transaction)),
                ]);
                if built.is_ok() {
                    send(query.server, &message.raw);
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
    const fn busy(&self) -> bool {
        self.resolving || !self.queries.is_empty()
    }

    fn query(&mut self, now: Instant, server: SocketAddr) {
        let transaction = TransactionId::new().0;
        self.queries.push(Query {
            server,
            transaction,
            sent: 0,
            next: now,
        });
    }
}

/// `host:port` of a `stun:` URI (RFC 7064); others are not for this.
fn host_and_port(url: &str) -> Option<String> {
    let host = url.strip_prefix("stun:")?.split('?').next()?;
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
