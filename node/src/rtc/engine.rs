//! The engine: sockets, links, and the turn of the loop.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use banyan::id::{LinkKey, NodeId};
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::StreamInfo;
use banyan::wire::tracker::IceServer;
use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rtc::dtls::crypto::Certificate;
use rtc::peer_connection::certificate::RTCCertificate;

use super::demux::{Demux, is_dtls, is_stun};
use super::link::{Ciphers, Link, Seed, Stage};
use super::reflexive::{Found, Reflexive};
use super::sdp::{Description, LocalTransport, Remote, SdpError, Setup, answer, cname, offer};
use super::socket::{Datagram, Sockets};
use super::{
    Channel, CloseReason, EngineConfig, EngineError, EngineEvent, LoopbackCandidates, MessageData,
    PeerClass, candidate,
};

/// Most links: as many children as a node declares, and its own parents, old and new.
const MAX_LINKS: usize = banyan::limits::MAX_CHILDREN as usize + 16;

/// Most events waiting. Reading stops at half of it, so that only what a full batch of datagrams
/// can hold is ever added.
const MAX_EVENTS: usize = 32_768;

/// Batches read in one turn, so that a flood on the port does not keep timers from running.
const BATCHES_PER_TURN: usize = 8;

/// DTLS handshake datagrams handled in one turn: about 2 ms of public-key work, so that a storm
/// of joins does not delay the packets of those who are there.
const HANDSHAKES_PER_TURN: usize = 4;

/// Handshake datagrams that wait for their turn. A handshake has ten, and retransmits.
const MAX_HANDSHAKES_WAITING: usize = 4096;

/// How long the list of this host's addresses is used before it is read again.
const ADDRESSES_FRESH: Duration = Duration::from_secs(5);

/// Browsers remembered that could not do AES-GCM.
const MAX_WITHOUT_GCM: usize = 256;

/// Validity of the certificate: the life of any process. Peers check its fingerprint, not it.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// All peer connections of a process.
pub struct Engine {
    sockets: Sockets,
    links: HashMap<LinkKey, Link>,
    demux: Demux,
    events: VecDeque<EngineEvent>,
    dirty: Vec<LinkKey>,
    /// Last words of links that are gone, and requests to STUN servers.
    farewell: VecDeque<Datagram>,
    handshakes: VecDeque<Handshake>,
    reflexive: Reflexive,
    certificate: RTCCertificate,
    fingerprint: String,
    public_addr: Option<IpAddr>,
    loopback: LoopbackCandidates,
    addresses: (Instant, Vec<SocketAddr>),
    without_gcm: HashSet<NodeId>,
    born: u64,
    turn: usize,
    reporter: u32,
    rng: StdRng,
}

struct Handshake {
    link: LinkKey,
    local: SocketAddr,
    peer: SocketAddr,
    bytes: BytesMut,
}

impl Engine {
    /// Opens the port. Must be called inside a tokio runtime, whose thread the engine then stays
    /// on.
    ///
    /// # Errors
    /// [`EngineError::PortBusy`] names an explicit port that is in use; the others say what the
    /// system refused.
    pub fn bind(config: EngineConfig) -> Result<Self, EngineError> {
        let broken = |e: rtc::shared::error::Error| EngineError::Certificate(e.to_string());
        let provider =
            rtc::crypto::default_provider().map_err(|e| EngineError::Certificate(e.to_string()))?;
        let certificate =
            Certificate::generate_self_signed(vec!["banyan".to_owned()], provider.crypto())
                .map_err(broken)?;
        let expires = SystemTime::now() + CERTIFICATE_LIFE;
        let certificate = RTCCertificate::from_existing(certificate, expires);
        let fingerprint = certificate
            .get_fingerprints(provider.crypto())
            .map_err(broken)?
            .into_iter()
            .find(|f| f.algorithm == "sha-256")
            .map(|f| f.value.to_ascii_uppercase())
            .ok_or_else(|| EngineError::Certificate("no SHA-256 fingerprint".to_owned()))?;
        let sockets = Sockets::bind(&config.udp)?;
        let mut rng = StdRng::from_seed(config.rng_seed);
        let mut engine = Self {
            sockets,
            links: HashMap::new(),
            demux: Demux::default(),
            events: VecDeque::new(),
            dirty: Vec::new(),
            farewell: VecDeque::new(),
            handshakes: VecDeque::new(),
            reflexive: Reflexive::new(),
            certificate,
            fingerprint,
            public_addr: config.public_addr,
            loopback: config.loopback,
            addresses: (Instant::now(), Vec::new()),
            without_gcm: HashSet::new(),
            born: 0,
            turn: 0,
            reporter: rng.random(),
            rng,
        };
        engine.read_addresses(Instant::now());
        Ok(engine)
    }

    /// The UDP port, the same for both address families.
    pub fn port(&self) -> u16 {
        self.sockets.port()
    }

    /// How many links there are, in any state.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Begins a link to a parent: tells [`EngineEvent::Offer`] at once and candidates after.
    ///
    /// # Errors
    /// If the key is in use or there are too many links.
    pub fn connect(
        &mut self,
        now: Instant,
        link: LinkKey,
        ice: &[IceServer],
    ) -> Result<(), EngineError> {
        self.check_room(link)?;
        let local = self.local_transport();
        let sdp = offer::offer(&local);
        self.read_addresses(now);
        self.born += 1;
        let made = Link::offering(now, self.seed(link, local, Ciphers::Any))?;
        self.insert(made);
        self.emit(EngineEvent::Offer { link, sdp });
        self.tell_candidates(now, link, ice);
        Ok(())
    }

    /// Takes the parent's answer to our offer. `stream` says which tracks it may send.
    ///
    /// # Errors
    /// [`EngineError::NotWaiting`] if there is no open offer; the description's fault otherwise.
    pub fn set_answer(
        &mut self,
        now: Instant,
        link: LinkKey,
        sdp: &str,
        stream: &StreamInfo,
    ) -> Result<(), EngineError> {
        let entry = self
            .links
            .get_mut(&link)
            .ok_or(EngineError::UnknownLink(link))?;
        if entry.stage != Stage::Offering {
            return Err(EngineError::NotWaiting(link));
        }
        let description = Description::parse(sdp)?;
        let remote = description.remote()?;
        if remote.channels.is_none() {
            return Err(SdpError::Missing("data channels").into());
        }
        let lines = answer::tracks(&description, &remote, stream)?;
        entry.media = super::media::Media::new(lines);
        entry.cname = cname(&stream.cname);
        entry.answered(now, &remote)?;
        self.mark(link);
        Ok(())
    }

    /// Answers a child's offer: tells [`EngineEvent::Answer`] at once and candidates after.
    ///
    /// # Errors
    /// [`SdpError::NoCommonCodec`] if the child cannot play the stream; other faults of the
    /// offer; or if the key is in use or there are too many links.
    pub fn accept(
        &mut self,
        now: Instant,
        link: LinkKey,
        offer: &str,
        stream: &StreamInfo,
        class: PeerClass,
        ice: &[IceServer],
    ) -> Result<(), EngineError> {
        self.check_room(link)?;
        let description = Description::parse(offer)?;
        let remote: Remote = description.remote()?;
        // Answering actively lets the handshake begin with the first check that passes.
        let setup = if remote.setup == Setup::Active {
            Setup::Passive
        } else {
            Setup::Active
        };
        let local = self.local_transport();
        let decodes = class != PeerClass::Native;
        let (sdp, lines) = answer::answer(&description, &remote, stream, decodes, &local, setup)?;
        let gcm = class == PeerClass::Browser && !self.without_gcm.contains(&link.child);
        let ciphers = if gcm { Ciphers::GcmOnly } else { Ciphers::Any };
        self.read_addresses(now);
        self.born += 1;
        let mut made = Link::answering(now, self.seed(link, local, ciphers), &remote, setup)?;
        made.media = super::media::Media::new(lines);
        made.cname = cname(&stream.cname);
        self.insert(made);
        self.emit(EngineEvent::Answer { link, sdp });
        self.tell_candidates(now, link, ice);
        Ok(())
    }

    /// Takes one of the peer's candidates; an empty one ends them. Candidates that are not tried
    /// (other transports, `.local` names, multicast and link-local addresses, more than
    /// [`MAX_CANDIDATES`](banyan::limits::MAX_CANDIDATES)) are passed over.
    ///
    /// # Errors
    /// If the line cannot be read or the link is unknown.
    pub fn add_candidate(
        &mut self,
        now: Instant,
        link: LinkKey,
        candidate: &str,
    ) -> Result<(), EngineError> {
        let entry = self
            .links
            .get_mut(&link)
            .ok_or(EngineError::UnknownLink(link))?;
        entry.add_candidate(now, candidate)?;
        self.mark(link);
        Ok(())
    }

    /// Ends a link; the peer is told. Unknown links are no error.
    pub fn close(&mut self, now: Instant, link: LinkKey) {
        if let Some(mut gone) = self.links.remove(&link) {
            gone.close(now, &mut self.demux);
            self.demux.remove(&gone.local.ufrag, link);
            self.reflexive.forget(link);
            self.farewell.append(&mut gone.queue);
        }
    }

    /// Sends a message; before the link is connected, it is dropped.
    ///
    /// # Errors
    /// If the link is unknown or the message too large.
    pub fn send_message(
        &mut self,
        now: Instant,
        link: LinkKey,
        channel: Channel,
        data: MessageData,
    ) -> Result<(), EngineError> {
        let entry = self
            .links
            .get_mut(&link)
            .ok_or(EngineError::UnknownLink(link))?;
        entry.send_message(now, channel, data)?;
        self.mark(link);
        Ok(())
    }

    /// Sends packets to a child in this order; they leave at the next [`flush`](Self::flush).
    /// Tracks the link does not carry are passed over.
    pub fn send_packets(&mut self, now: Instant, link: LinkKey, packets: &[Arc<Packet>]) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.send_packets(now, packets);
            self.mark(link);
        }
    }

    /// Sends a sender report: `ntp` (32.32 bits) and `rtp` are the same instant.
    pub fn send_sender_report(
        &mut self,
        now: Instant,
        link: LinkKey,
        track: TrackIndex,
        ntp: u64,
        rtp: u32,
    ) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.send_sender_report(now, track, ntp, rtp);
            self.mark(link);
        }
    }

    /// Asks the parent for packets again; `seqs` are best in rising order.
    pub fn request_packets(
        &mut self,
        now: Instant,
        link: LinkKey,
        track: TrackIndex,
        seqs: &[u16],
    ) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.request_packets(now, track, seqs);
            self.mark(link);
        }
    }

    /// Asks the parent for a key frame.
    pub fn request_key_frame(&mut self, now: Instant, link: LinkKey, track: TrackIndex) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.request_key_frame(now, track);
            self.mark(link);
        }
    }

    /// Waits until there is something to do: a datagram, room in a socket that was full, a timer
    /// of the engine, or `deadline`. May be dropped at any point.
    pub async fn wait(&mut self, deadline: Option<Instant>) {
        let until = [deadline, self.deadline()].into_iter().flatten().min();
        if until.is_some_and(|t| t <= Instant::now()) || !self.events.is_empty() {
            // Lets the runtime look at the sockets.
            tokio::task::yield_now().await;
            return;
        }
        let timer = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let name = tokio::select! {
            () = self.sockets.ready() => None,
            () = timer => None,
            name = self.reflexive.resolved() => Some(name),
        };
        if let Some(name) = name {
            self.reflexive.handle_resolved(Instant::now(), name);
        }
    }

    /// Reads what the sockets have, up to a turn's worth.
    pub fn receive(&mut self, now: Instant) {
        for index in 0..self.sockets.count() {
            for _ in 0..BATCHES_PER_TURN {
                if self.events.len() >= MAX_EVENTS / 2 {
                    return;
                }
                let Self {
                    sockets,
                    links,
                    demux,
                    dirty,
                    handshakes,
                    reflexive,
                    events,
                    ..
                } = self;
                let mut found = Vec::new();
                let more = sockets.read(index, |datagram| {
                    let Some(link) = demux.route(datagram.peer, datagram.bytes) else {
                        if is_stun(datagram.bytes) {
                            found.extend(reflexive.handle_response(datagram.peer, datagram.bytes));
                        }
                        return;
                    };
                    let Some(entry) = links.get_mut(&link) else {
                        return;
                    };
                    if is_dtls(datagram.bytes) && entry.handshaking() {
                        if handshakes.len() < MAX_HANDSHAKES_WAITING {
                            let (local, peer) = (datagram.local, datagram.peer);
                            let bytes = BytesMut::from(datagram.bytes);
                            handshakes.push_back(Handshake {
                                link,
                                local,
                                peer,
                                bytes,
                            });
                        }
                        return;
                    }
                    entry.read(now, datagram.local, datagram.peer, datagram.bytes);
                    if entry.connected() {
                        dirty.push(link);
                    } else {
                        // The next datagram may need the keys that this one completes.
                        entry.service(now, &mut |event| events.push_back(event));
                        dirty.push(link);
                    }
                });
                for found in found {
                    self.handle_found(found);
                }
                self.service(now);
                if !more {
                    break;
                }
            }
        }
        self.shake_hands(now);
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<LinkKey> = self
            .links
            .values()
            .filter(|l| l.deadline.is_some_and(|t| t <= now))
            .map(|l| l.key)
            .collect();
        for link in due {
            if let Some(entry) = self.links.get_mut(&link) {
                entry.handle_timeout(now);
                self.mark(link);
            }
        }
        let farewell = &mut self.farewell;
        let found = self.reflexive.poll(now, |peer, bytes| {
            let local = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            farewell.push_back(Datagram {
                local,
                peer,
                bytes: BytesMut::from(bytes),
            });
        });
        if let Some(found) = found {
            self.handle_found(found);
        }
        self.service(now);
    }

    /// Bytes of UDP payload sent and received so far.
    pub fn traffic(&self) -> (u64, u64) {
        self.sockets.traffic()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    /// Sends what is queued. Call it once per turn, after the orders of the turn.
    pub fn flush(&mut self, now: Instant) {
        self.service(now);
        if !self.farewell.is_empty() {
            self.sockets.send(now, &mut self.farewell);
            self.farewell.truncate(MAX_HANDSHAKES_WAITING);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        // A socket that is full most of the time must not serve the same links first each time.
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % dirty.len().max(1);
        dirty.rotate_left(first);
        for link in dirty {
            if let Some(entry) = self.links.get_mut(&link) {
                if entry.dirty {
                    entry.drain(now, &mut self.demux);
                }
                entry.queued -= self.sockets.send(now, &mut entry.queue);
                if !entry.queue.is_empty() {
                    self.dirty.push(link);
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; may lie in the past.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.handshakes.is_empty() {
            return Some(Instant::now());
        }
        let links = self.links.values().filter_map(|l| l.deadline).min();
        [links, self.reflexive.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Handles some of the handshake datagrams that wait.
    fn shake_hands(&mut self, now: Instant) {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(next) = self.handshakes.pop_front() else {
                break;
            };
            if let Some(entry) = self.links.get_mut(&next.link) {
                entry.read(now, next.local, next.peer, &next.bytes);
                let events = &mut self.events;
                entry.service(now, &mut |event| events.push_back(event));
                self.dirty.push(next.link);
            }
        }
        self.service(now);
    }

    /// Drains the links that something happened to.
    fn service(&mut self, now: Instant) {
        let mut gone = Vec::new();
        self.dirty.sort_unstable();
        self.dirty.dedup();
        for link in &self.dirty {
            if let Some(entry) = self.links.get_mut(link) {
                if entry.fed {
                    let events = &mut self.events;
                    entry.service(now, &mut |event| {
                        // Only a flood of datagrams in one turn comes here; what is dropped is
                        // media, which repairs itself.
                        if events.len() < MAX_EVENTS || !matches!(event, EngineEvent::Packet { .. })
                        {
                            events.push_back(event);
                        }
                    });
                }
                gone.extend(entry.ended.map(|reason| (*link, reason)));
            }
        }
        for (link, reason) in gone {
            self.end(now, link, reason);
        }
    }

    fn end(&mut self, now: Instant, link: LinkKey, reason: CloseReason) {
        if let Some(entry) = self.links.get(&link)
            && reason == CloseReason::DtlsFailed
            && entry.gcm_only
            && self.without_gcm.len() < MAX_WITHOUT_GCM
        {
            self.without_gcm.insert(link.child);
        }
        self.close(now, link);
        self.emit(EngineEvent::Closed { link, reason });
    }

    fn handle_found(&mut self, found: Found) {
        match found {
            Found::Address(links, addr) => {
                for link in links {
                    self.emit_reflexive(link, addr);
                }
            }
            Found::Done(links) => {
                for link in links {
                    self.emit(EngineEvent::LocalCandidate {
                        link,
                        candidate: String::new(),
                    });
                }
            }
        }
    }

    fn emit_reflexive(&mut self, link: LinkKey, addr: SocketAddr) {
        if self.addresses.1.contains(&addr) {
            return;
        }
        let base = self
            .addresses
            .1
            .iter()
            .find(|a| a.is_ipv4() == addr.is_ipv4());
        // Hides which interface it is; RFC 8839 section 5.1 allows that.
        let base = base.map_or(addr, |a| match a {
            SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], a.port())),
            SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], a.port())),
        });
        let candidate = candidate::reflexive(addr, base);
        self.emit(EngineEvent::LocalCandidate { link, candidate });
    }

    /// Tells the addresses known now; those that STUN servers see come when they answer.
    fn tell_candidates(&mut self, now: Instant, link: LinkKey, ice: &[IceServer]) {
        let public = self.public_addr.map(|ip| SocketAddr::new(ip, self.port()));
        let mut addresses: Vec<SocketAddr> = public
            .into_iter()
            .chain(self.addresses.1.iter().copied())
            .collect();
        addresses.dedup();
        for (rank, addr) in addresses.into_iter().enumerate() {
            let candidate = candidate::host(addr, rank);
            self.emit(EngineEvent::LocalCandidate { link, candidate });
        }
        let urls = ice.iter().flat_map(|s| &s.urls).map(String::as_str);
        for addr in self.reflexive.ask(now, link, urls) {
            self.emit_reflexive(link, addr);
        }
        if !self.reflexive.awaited(link) {
            self.emit(EngineEvent::LocalCandidate {
                link,
                candidate: String::new(),
            });
        }
    }

    fn check_room(&self, link: LinkKey) -> Result<(), EngineError> {
        if self.links.contains_key(&link) {
            return Err(EngineError::LinkExists(link));
        }
        if self.links.len() >= MAX_LINKS {
            return Err(EngineError::TooManyLinks(self.links.len()));
        }
        Ok(())
    }

    fn seed(&self, key: LinkKey, local: LocalTransport, ciphers: Ciphers) -> Seed<'_> {
        Seed {
            key,
            born: self.born,
            local,
            certificate: &self.certificate,
            ciphers,
            reporter: self.reporter,
            addresses: &self.addresses.1,
        }
    }

    fn insert(&mut self, link: Link) {
        let key = link.key;
        self.demux.insert(&link.local.ufrag, key);
        self.links.insert(key, link);
        self.dirty.push(key);
    }

    fn mark(&mut self, link: LinkKey) {
        if self.dirty.last() != Some(&link) {
            self.dirty.push(link);
        }
    }

    fn emit(&mut self, event: EngineEvent) {
        self.events.push_back(event);
    }

    fn local_transport(&mut self) -> LocalTransport {
        LocalTransport {
            ufrag: self.letters(8),
            pwd: self.letters(24),
            fingerprint: self.fingerprint.clone(),
            session: self.rng.next_u64() >> 2,
        }
    }

    fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let letter = |rng: &mut StdRng| char::from(LETTERS[(rng.next_u32() & 63) as usize]);
        (0..count).map(|_| letter(&mut self.rng)).collect()
    }

    fn read_addresses(&mut self, now: Instant) {
        let (read, known) = &self.addresses;
        if !known.is_empty() && now.saturating_duration_since(*read) < ADDRESSES_FRESH {
            return;
        }
        let port = self.port();
        let found = candidate::local_addresses(self.sockets.bound(), self.loopback);
        self.addresses = (
            now,
            found
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port))
                .collect(),
        );
    }
}
