//! How links begin: offers, answers, candidates.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan::wire::announcement::StreamInfo;
use banyan::wire::tracker::IceServer;
use rand::Rng;
use rand::rngs::StdRng;

use super::Engine;
use crate::rtc::link::{CONNECT_TIME, CONSENT, Ciphers, Link, Seed, Stage};
use crate::rtc::media::Media;
use crate::rtc::reflexive::Found;
use crate::rtc::sdp::{Description, LocalTransport, Remote, SdpError, Setup, answer, cname, offer};
use crate::rtc::{EngineError, EngineEvent, PeerClass, candidate};

/// Most links: as many children as a node declares, and its own parents, old and new.
const MAX_LINKS: usize = banyan::limits::MAX_CHILDREN as usize + 16;

/// Least time between two readings of this host's addresses because something could not be sent.
const REFUSAL_REST: Duration = Duration::from_millis(250);

/// How long the list of this host's addresses is used before it is read again.
const ADDRESSES_FRESH: Duration = Duration::from_secs(5);

impl Engine {
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
        self.begin(now, link, ice, true)
    }

    /// Begins a link as a player does: media alone, no data channels. The parent must answer
    /// `setup:active`, as engines do.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn play(
        &mut self,
        now: Instant,
        link: LinkKey,
        ice: &[IceServer],
    ) -> Result<(), EngineError> {
        self.begin(now, link, ice, false)
    }

    fn begin(
        &mut self,
        now: Instant,
        link: LinkKey,
        ice: &[IceServer],
        channels: bool,
    ) -> Result<(), EngineError> {
        self.check_room(link)?;
        let local = self.local_transport();
        let sdp = offer::offer(&local, channels);
        self.read_addresses(now);
        self.born += 1;
        let seed = self.seed(link, local, Ciphers::Any);
        let made = Link::offering(now, seed, channels)?;
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
        if entry.has_channels() && remote.channels.is_none() {
            return Err(SdpError::Missing("data channels").into());
        }
        let lines = answer::tracks(&description, &remote, stream)?;
        entry.media = Media::new(lines);
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
        // It may be back before its first link is known to have failed.
        if self
            .links
            .values()
            .any(|l| l.key.child == link.child && l.gcm_only && l.stuck())
        {
            self.offer_all_ciphers(link.child);
        }
        let gcm = class == PeerClass::Browser && !self.without_gcm.contains(&link.child);
        let ciphers = if gcm { Ciphers::GcmOnly } else { Ciphers::Any };
        self.read_addresses(now);
        self.born += 1;
        let mut made = Link::answering(now, self.seed(link, local, ciphers), &remote, setup)?;
        made.media = Media::new(lines);
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

    pub(super) fn handle_found(&mut self, found: Found) {
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
        if let Some(candidate) = self.reflexive_candidate(addr) {
            self.emit(EngineEvent::LocalCandidate { link, candidate });
        }
    }

    /// None for an address that this host has itself.
    fn reflexive_candidate(&self, addr: SocketAddr) -> Option<String> {
        if self.addresses.1.contains(&addr) {
            return None;
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
        Some(candidate::reflexive(addr, base))
    }

    /// The addresses known now with those that STUN servers have told.
    pub(super) fn known_candidates(&self) -> Vec<String> {
        let told = self.reflexive.known();
        let mut candidates = self.host_candidates();
        candidates.extend((told.into_iter()).filter_map(|addr| self.reflexive_candidate(addr)));
        candidates
    }

    /// Tells the addresses known now; those that STUN servers see come when they answer.
    fn tell_candidates(&mut self, now: Instant, link: LinkKey, ice: &[IceServer]) {
        for candidate in self.host_candidates() {
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

    /// The addresses known now, best first.
    pub(super) fn host_candidates(&self) -> Vec<String> {
        let public = self.public_addr.map(|ip| SocketAddr::new(ip, self.port()));
        let mut addresses: Vec<SocketAddr> = public
            .into_iter()
            .chain(self.addresses.1.iter().copied())
            .collect();
        addresses.dedup();
        let ranked = addresses.into_iter().enumerate();
        ranked
            .map(|(rank, addr)| candidate::host(addr, rank))
            .collect()
    }

    pub(super) fn check_room(&self, link: LinkKey) -> Result<(), EngineError> {
        if self.links.contains_key(&link) {
            return Err(EngineError::LinkExists(link));
        }
        if self.links.len() >= MAX_LINKS {
            return Err(EngineError::TooManyLinks(self.links.len()));
        }
        Ok(())
    }

    pub(super) fn seed(&self, key: LinkKey, local: LocalTransport, ciphers: Ciphers) -> Seed<'_> {
        Seed {
            key,
            born: self.born,
            local,
            certificate: &self.certificate,
            provider: &self.provider,
            ciphers,
            reporter: self.reporter,
            addresses: &self.addresses.1,
            connect_time: CONNECT_TIME,
            consent: CONSENT,
        }
    }

    pub(super) fn insert(&mut self, link: Link) {
        let key = link.key;
        self.demux.insert(&link.local.ufrag, key);
        self.links.insert(key, link);
        self.dirty.push(key);
    }

    pub(super) fn local_transport(&mut self) -> LocalTransport {
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

    /// Nothing could be sent from an address: if this host does not have it any more, links go on from another.
    pub(super) fn check_address(&mut self, now: Instant, refused: IpAddr) {
        if now >= self.addresses.0 + REFUSAL_REST {
            self.addresses.1.clear();
        }
        self.read_addresses(now);
        if !self.addresses.1.iter().any(|known| known.ip() == refused) {
            for link in self.links.values_mut() {
                link.lost_local(refused);
            }
        }
    }

    pub(super) fn read_addresses(&mut self, now: Instant) {
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
