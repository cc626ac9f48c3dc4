//! The engine: sockets and links.

mod network;
mod publisher;
mod renewal;
mod signaling;
mod turn;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use banyan::id::{LinkKey, NodeId};
use banyan::relay::packet::{Packet, TrackIndex};
use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rtc::crypto::RTCCryptoProvider;
use rtc::dtls::crypto::Certificate;
use rtc::peer_connection::certificate::RTCCertificate;

use super::checks::Budget;
use super::demux::Demux;
use super::link::Link;
use super::reflexive::Reflexive;
use super::relayed::Relayed;
use super::socket::{Datagram, Sockets};
pub use publisher::Publication;

use super::{Channel, EngineConfig, EngineError, EngineEvent, LoopbackCandidates, MessageData};

/// Most events waiting. Reading stops at half of it, so that only what a full batch of datagrams
/// can hold is ever added.
const MAX_EVENTS: usize = 32_768;

/// Browsers remembered that could not do AES-GCM.
const MAX_WITHOUT_GCM: usize = 256;

/// Validity of the certificate: the life of any process. Peers check its fingerprint, not it.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// All peer connections of a process.
pub struct Engine {
    sockets: Sockets,
    links: HashMap<LinkKey, Link>,
    demux: Demux,
    budget: Budget,
    events: VecDeque<EngineEvent>,
    dirty: Vec<LinkKey>,
    /// Last words of links that are gone, and requests to STUN servers.
    farewell: VecDeque<Datagram>,
    handshakes: VecDeque<Handshake>,
    reflexive: Reflexive,
    relayed: Relayed,
    certificate: RTCCertificate,
    provider: Arc<dyn RTCCryptoProvider>,
    fingerprint: String,
    public_addr: Option<IpAddr>,
    loopback: LoopbackCandidates,
    addresses: (Instant, Vec<SocketAddr>),
    /// Browsers whose handshake did not end when they were offered AES-GCM alone, newest last.
    without_gcm: VecDeque<NodeId>,
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
            budget: Budget::new(Instant::now()),
            events: VecDeque::new(),
            dirty: Vec::new(),
            farewell: VecDeque::new(),
            handshakes: VecDeque::new(),
            reflexive: Reflexive::new(),
            relayed: Relayed::new(Arc::clone(&provider)),
            certificate,
            provider,
            fingerprint,
            public_addr: config.public_addr,
            loopback: config.loopback,
            addresses: (Instant::now(), Vec::new()),
            without_gcm: VecDeque::new(),
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

    /// Ends a link; the peer is told. Unknown links are no error.
    pub fn close(&mut self, now: Instant, link: LinkKey) {
        if let Some(mut gone) = self.links.remove(&link) {
            if gone.gcm_only && gone.stuck() {
                self.offer_all_ciphers(link.child);
            }
            gone.close(now, &mut self.demux, &mut self.budget);
            self.demux.remove(link);
            self.reflexive.forget(link);
            for datagram in gone.queue.drain(..) {
                if self.relayed.is_ours(datagram.local) {
                    self.relayed.send(now, datagram.peer, &datagram.bytes);
                } else {
                    self.farewell.push_back(datagram);
                }
            }
            self.relayed.forget(now, link);
        }
    }

    /// From now on this browser may choose the cipher: it comes back when its handshake failed.
    fn offer_all_ciphers(&mut self, child: NodeId) {
        if self.without_gcm.contains(&child) {
            return;
        }
        if self.without_gcm.len() == MAX_WITHOUT_GCM {
            self.without_gcm.pop_front();
        }
        self.without_gcm.push_back(child);
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

    /// Bytes of UDP payload sent and received so far.
    pub fn traffic(&self) -> (u64, u64) {
        self.sockets.traffic()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    fn mark(&mut self, link: LinkKey) {
        if self.dirty.last() != Some(&link) {
            self.dirty.push(link);
        }
    }

    fn emit(&mut self, event: EngineEvent) {
        self.events.push_back(event);
    }
}
