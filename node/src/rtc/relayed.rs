//! Links through a TURN server (RFC 8656), for pairs that cannot connect without one: the WebRTC
//! crate's client, over the engine's own port. All links of a node that need it share one allocation,
//! which ends a while after the last of them.
//!
//! A link knows a relayed path by its local address, which is the one that the server gave us.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan::wire::tracker::IceServer;
use bytes::BytesMut;
use rtc::crypto::RTCCryptoProvider;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::turn::client::{Client, ClientConfig, Event};
use tokio::sync::mpsc;

/// First retransmission of a request in milliseconds; it doubles each time.
const FIRST_RETRY_MS: u64 = 150;

/// How often the allocation is prolonged at least: often enough that a home router keeps its mapping,
/// and that a nonce which has run out is noticed long before anything depends on it.
const REFRESH: Duration = Duration::from_secs(20);

/// How long an allocation is kept that no link uses.
const IDLE: Duration = Duration::from_secs(10);

/// Peers' addresses that the server lets through: what the peers of a few links have.
const MAX_PEERS: usize = 64;

/// Most servers that are tried one after the other.
const MAX_SERVERS: usize = 4;

/// One allocation, wanted or standing.
pub(super) struct Relayed {
    provider: Arc<dyn RTCCryptoProvider>,
    /// Servers to try, the next one first.
    candidates: VecDeque<Server>,
    links: BTreeSet<LinkKey>,
    client: Option<Standing>,
    idle_since: Option<Instant>,
    /// The client's next timer.
    due: Option<Instant>,
    names: (mpsc::Sender<Resolved>, mpsc::Receiver<Resolved>),
    resolving: bool,
    /// What ends an allocation.
    last_words: Vec<(SocketAddr, BytesMut)>,
}

/// A server with our login.
pub(super) struct Server {
    host: String,
    username: String,
    password: String,
}

type Resolved = (Server, Option<SocketAddr>);

struct Standing {
    client: Client,
    server: SocketAddr,
    /// Our address there.
    relayed: Option<SocketAddr>,
    peers: HashSet<SocketAddr>,
}

/// What came of it.
pub(super) enum Found {
    /// These links may use this address.
    Address(Vec<LinkKey>, SocketAddr),
    /// A datagram of this peer, for our relayed address.
    Datagram {
        /// Our relayed address.
        local: SocketAddr,
        /// Who sent it.
        peer: SocketAddr,
        /// What.
        bytes: BytesMut,
    },
}

impl Relayed {
    pub(super) fn new(provider: Arc<dyn RTCCryptoProvider>) -> Self {
        Self {
            provider,
            candidates: VecDeque::new(),
            links: BTreeSet::new(),
            client: None,
            idle_since: None,
            due: None,
            names: mpsc::channel(MAX_SERVERS),
            resolving: false,
            last_words: Vec::new(),
        }
    }

    /// Lets `link` use a relay; its address, if there is one already.
    pub(super) fn want(&mut self, link: LinkKey, servers: &[IceServer]) -> Option<SocketAddr> {
        self.links.insert(link);
        self.idle_since = None;
        if let Some(standing) = &self.client {
            return standing.relayed;
        }
        if !self.resolving {
            self.candidates = servers
                .iter()
                .filter_map(usable)
                .take(MAX_SERVERS)
                .collect();
            self.try_next();
        }
        None
    }

    /// A link is gone.
    pub(super) fn forget(&mut self, now: Instant, link: LinkKey) {
        if self.links.remove(&link) && self.links.is_empty() {
            self.idle_since = Some(now);
        }
    }

    /// Whether datagrams from there are the server's.
    pub(super) fn is_server(&self, from: SocketAddr) -> bool {
        self.client.as_ref().is_some_and(|c| c.server == from)
    }

    /// Whether datagrams from this address of ours go through the server.
    pub(super) fn is_ours(&self, local: IpAddr) -> bool {
        let relayed = self.client.as_ref().and_then(|standing| standing.relayed);
        relayed.is_some_and(|relayed| relayed.ip() == local)
    }

    /// Whether any of these servers is one that this client could use.
    pub(super) fn can_use(servers: &[IceServer]) -> bool {
        servers.iter().any(|server| usable(server).is_some())
    }

    /// Our address at the server, once there is one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.client.as_ref()?.relayed
    }

    /// Gives up the allocation at once.
    pub(super) fn end(&mut self, now: Instant) {
        self.candidates.clear();
        if let Some(standing) = self.client.take() {
            self.last_words.extend(standing.end(now));
        }
    }

    fn try_next(&mut self) {
        let Some(server) = self.candidates.pop_front() else {
            return;
        };
        self.resolving = true;
        let answer = self.names.0.clone();
        tokio::spawn(async move {
            let found = tokio::net::lookup_host(&server.host).await;
            // Media is IPv4 for most; the other family is taken where there is no choice.
            let found = found.ok().and_then(|found| {
                let mut found: Vec<SocketAddr> = found.collect();
                found.sort_by_key(SocketAddr::is_ipv6);
                found.first().copied()
            });
            // The engine may be gone.
            let _ = answer.send((server, found)).await;
        });
    }

    /// Waits for a name to be resolved.
    pub(super) async fn resolved(&mut self) -> Resolved {
        match self.names.1.recv().await {
            Some(resolved) => resolved,
            None => std::future::pending().await,
        }
    }

    pub(super) fn handle_resolved(&mut self, now: Instant, (server, found): Resolved) {
        self.resolving = false;
        let made = found.ok_or(Error::ErrNilTurnSocket).and_then(|address| {
            let config = ClientConfig {
                turn_serv_addr: address.to_string(),
                local_addr: unspecified(address),
                username: server.username,
                password: server.password,
                rto_in_ms: FIRST_RETRY_MS,
                allocation_refresh_interval_cap: Some(REFRESH),
                ..ClientConfig::default()
            };
            let mut client = Client::new(config, Arc::clone(&self.provider))?;
            client.allocate(now)?;
            Ok(Standing {
                client,
                server: address,
                relayed: None,
                peers: HashSet::new(),
            })
        });
        match made {
            Ok(standing) => self.client = Some(standing),
            Err(error) => {
                tracing::info!("the TURN server {} cannot be used: {error}", server.host);
                self.try_next();
            }
        }
    }

    /// A datagram from the server.
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let Some(standing) = &mut self.client else {
            return;
        };
        let transport = TransportContext {
            local_addr: unspecified(standing.server),
            peer_addr: standing.server,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let message = TaggedBytesMut {
            now,
            transport,
            message: BytesMut::from(bytes),
        };
        if let Err(error) = standing.client.handle_read(message) {
            tracing::trace!(%error, "datagram of the TURN server");
        }
    }

    /// Sends a datagram to a peer through the server. The first ones to a new peer are lost: the
    /// server is asked to let it through, and checks are repeated anyway.
    pub(super) fn send(&mut self, now: Instant, peer: SocketAddr, bytes: &[u8]) {
        let Some(standing) = &mut self.client else {
            return;
        };
        let Some(relayed) = standing.relayed else {
            return;
        };
        // A server in the world reaches nobody's home network, and most refuse to try.
        if is_private(peer.ip()) && !is_private(relayed.ip()) {
            return;
        }
        let Ok(mut relay) = standing.client.relay(relayed) else {
            return;
        };
        let sent = match relay.send_to(now, bytes, peer) {
            Err(Error::ErrNoPermission) if standing.peers.contains(&peer) => Ok(()),
            Err(Error::ErrNoPermission) if standing.peers.len() < MAX_PEERS => {
                standing.peers.insert(peer);
                relay.create_permission(now, peer).map(drop)
            }
            other => other,
        };
        if let Err(error) = sent {
            tracing::trace!(%error, %peer, "send through the TURN server");
        }
    }

    /// What happened at the server.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Found> {
        loop {
            let standing = self.client.as_mut()?;
            match standing.client.poll_event()? {
                Event::AllocateResponse(_, relayed) => {
                    tracing::info!("relayed by the TURN server {}", standing.server);
                    standing.relayed = Some(relayed);
                    return Some(Found::Address(
                        self.links.iter().copied().collect(),
                        relayed,
                    ));
                }
                Event::AllocateError(_, error) => {
                    tracing::info!("the TURN server {} refuses: {error}", standing.server);
                    self.give_up();
                }
                Event::TransactionTimeout(_) if standing.relayed.is_none() => {
                    tracing::info!("the TURN server {} does not answer", standing.server);
                    self.give_up();
                }
                // With the nonce that came along, it is asked for again with the next check.
                Event::CreatePermissionError(_, Error::ErrTryAgain) => standing.peers.clear(),
                Event::DataIndicationOrChannelData(_, peer, bytes) => {
                    if let Some(local) = standing.relayed {
                        return Some(Found::Datagram { local, peer, bytes });
                    }
                }
                _ => {}
            }
            self.expire(now);
        }
    }

    fn give_up(&mut self) {
        self.client = None;
        self.try_next();
    }

    /// What is to be sent to the server.
    pub(super) fn poll_send(&mut self) -> Option<(SocketAddr, BytesMut)> {
        if let Some(last) = self.last_words.pop() {
            return Some(last);
        }
        let standing = self.client.as_mut()?;
        let Some(message) = standing.client.poll_write() else {
            self.due = standing.client.poll_timeout();
            return None;
        };
        Some((standing.server, message.message))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), as known when there was nothing more to
    /// send.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.client.as_ref()?;
        let idle = self.idle_since.map(|since| since + IDLE);
        [self.due, idle].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(standing) = &mut self.client
            && let Err(error) = standing.client.handle_timeout(now)
        {
            tracing::debug!(%error, "timer of the TURN client");
        }
        self.expire(now);
    }

    /// Ends an allocation that no link has used for a while.
    fn expire(&mut self, now: Instant) {
        if self.idle_since.is_none_or(|since| now < since + IDLE) {
            return;
        }
        self.idle_since = None;
        self.end(now);
    }
}

impl Standing {
    /// What tells the server to give our address up: it would refuse us another one.
    fn end(mut self, now: Instant) -> Vec<(SocketAddr, BytesMut)> {
        if let Some(Ok(mut relay)) = self.relayed.map(|at| self.client.relay(at))
            && let Err(error) = relay.close(now)
        {
            tracing::debug!(%error, "end of the allocation");
        }
        let mut words = Vec::new();
        while let Some(message) = self.client.poll_write() {
            words.push((self.server, message.message));
        }
        words
    }
}

const fn unspecified(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 0),
    }
}

/// An address that means another host in every home (RFC 1918, RFC 4193).
const fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    }
}

/// A `turn:` server over UDP, with a login (RFC 7065).
fn usable(server: &IceServer) -> Option<Server> {
    let (username, password) = (server.username.clone()?, server.credential.clone()?);
    let host = server.urls.iter().find_map(|url| {
        let rest = url.strip_prefix("turn:")?;
        let (host, query) = rest.split_once('?').unwrap_or((rest, ""));
        matches!(query, "" | "transport=udp").then(|| super::reflexive::with_port(host))?
    })?;
    Some(Server {
        host,
        username,
        password,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_over_udp_with_a_login_can_be_used() {
        let server = |url: &str, login: Option<&str>| {
            let server = IceServer {
                urls: vec![url.into()],
                username: login.map(str::to_owned),
                credential: login.map(str::to_owned),
            };
            usable(&server).map(|server| server.host)
        };
        let me = Some("me");
        assert_eq!(
            server("turn:t.example", me).as_deref(),
            Some("t.example:3478")
        );
        assert_eq!(
            server("turn:t.example:99?transport=udp", me).as_deref(),
            Some("t.example:99")
        );
        for (url, login) in [
            ("turn:t.example", None),
            ("turn:t.example?transport=tcp", me),
            ("turns:t.example", me),
            ("stun:t.example", me),
            ("turn:", me),
        ] {
            assert_eq!(server(url, login), None, "{url}");
        }
    }
}
