//! ICE restarts (RFC 8445 section 9): a new ICE session beside the one in use.
//!
//! The WebRTC crate restarts by dropping its session first, and what arrives until the new one is
//! connected is lost. So a new session has an agent of its own here and takes over once it is
//! connected. The connection stays on its first session: it is told that the peer consents for as
//! long as a later session vouches for that, and all but checks goes where the later one says.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::limits::MAX_CANDIDATES;
use banyan::wire::trickle::Credentials;
use bytes::BytesMut;
use rtc::crypto::RTCCryptoProvider;
use rtc::ice::agent::agent_config::AgentConfig;
use rtc::ice::candidate::unmarshal_candidate;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::ice::state::ConnectionState;
use rtc::ice::{Agent, Event};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::{TaggedBytesMut, TransportContext};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_SUCCESS, Message, TransactionId};
use rtc::stun::xoraddr::XorMappedAddress;

use super::migration::Migration;
use super::setup::{CHECKS_PER_PAIR, CONSENT_INTERVAL};
use super::{CHECK_INTERVAL, Link, check_pace};
use crate::rtc::checks::{Budget, Targets};
use crate::rtc::demux::{Demux, Stun, Transaction};
use crate::rtc::{CloseReason, EngineError, EngineEvent, candidate};

/// From the answer to a restart until its session must be connected: the peer may gather
/// candidates for a while. Then the one before counts again.
const RESTART_TIME: Duration = Duration::from_secs(15);

/// The sessions after the connection's own.
#[derive(Default)]
pub(super) struct Later {
    /// Everything is sent on its path.
    current: Option<Box<Session>>,
    /// Not connected yet.
    next: Option<Box<Session>>,
    /// User-name fragments of sessions that are over.
    retired: Vec<String>,
}

/// An ICE session with an agent of its own.
struct Session {
    /// Our user-name fragment.
    ufrag: String,
    agent: Agent,
    peers: Vec<SocketAddr>,
    begun: Instant,
    checking_since: Instant,
    last_check: Option<Instant>,
    state: ConnectionState,
    /// The addresses in use, ours and the peer's.
    path: Option<(IpAddr, SocketAddr)>,
}

impl Later {
    fn sessions(&mut self) -> impl Iterator<Item = &mut Session> {
        let both = [&mut self.next, &mut self.current];
        both.into_iter().flatten().map(|session| &mut **session)
    }

    pub(super) const fn any(&self) -> bool {
        self.current.is_some() || self.next.is_some()
    }

    /// Where everything but checks goes; `None` is the connection's own choice.
    pub(super) fn path(&self) -> Option<(IpAddr, SocketAddr)> {
        self.current.as_ref().and_then(|session| session.path)
    }

    pub(super) fn add_local(&mut self, address: SocketAddr, rank: usize) {
        for session in self.sessions() {
            session.add_local(address, rank);
        }
    }

    /// A check or an answer to one; true if it was a later session's.
    pub(super) fn read(&mut self, now: Instant, transport: TransportContext, bytes: &[u8]) -> bool {
        let Some(stun) = Stun::parse(bytes).filter(|_| self.any()) else {
            return false;
        };
        let named = stun.local_ufrag();
        let named_one = |session: &&mut Session| named.is_none_or(|ours| ours == session.ufrag);
        // An answer is that session's whose password it is made with.
        self.sessions().filter(named_one).any(|session| {
            let message = BytesMut::from(bytes);
            let datagram = TaggedBytesMut {
                now,
                transport,
                message,
            };
            session.agent.handle_read(datagram).is_ok()
        })
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for session in self.sessions() {
            if session.path.is_none() {
                session.last_check = Some(now);
            }
            if let Err(error) = session.agent.handle_timeout(now) {
                tracing::debug!(%error, "timer of an ICE session");
            }
        }
    }

    /// When a timer of theirs is due; may lie in the past.
    pub(super) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let ends = self.next.as_ref().map(|next| next.begun + RESTART_TIME);
        let timers = self.sessions().filter_map(|session| {
            let timer = session.agent.poll_timeout()?;
            let paced = session.last_check.filter(|_| session.path.is_none());
            Some(match paced {
                Some(last) => timer.max(last + check_pace(now, session.checking_since)),
                None => timer,
            })
        });
        timers.chain(ends).min()
    }
}

impl Session {
    fn new(
        now: Instant,
        ours: &Credentials,
        theirs: &Credentials,
        (silent, gone): (Duration, Duration),
        provider: Arc<dyn RTCCryptoProvider>,
    ) -> Result<Self, Error> {
        let config = AgentConfig {
            local_ufrag: ours.ufrag.clone(),
            local_pwd: ours.pwd.clone(),
            multicast_dns_mode: MulticastDnsMode::Disabled,
            check_interval: CHECK_INTERVAL,
            max_binding_requests: Some(CHECKS_PER_PAIR),
            disconnected_timeout: Some(silent),
            failed_timeout: Some(gone),
            keepalive_interval: Some(CONSENT_INTERVAL),
            prflx_acceptance_min_wait: Some(Duration::ZERO),
            ..AgentConfig::default()
        };
        let mut agent = Agent::new(now, Arc::new(config), provider)?;
        // Roles stay (RFC 8445 section 6.1.1): who restarts has offered.
        let (ufrag, pwd) = (theirs.ufrag.clone(), theirs.pwd.clone());
        agent.start_connectivity_checks(now, false, ufrag, pwd)?;
        Ok(Self {
            ufrag: ours.ufrag.clone(),
            agent,
            peers: Vec::new(),
            begun: now,
            checking_since: now,
            last_check: None,
            state: ConnectionState::Checking,
            path: None,
        })
    }

    fn add_local(&mut self, address: SocketAddr, rank: usize) {
        let line = candidate::host(address, rank);
        let line = line.strip_prefix("candidate:").unwrap_or(&line);
        let added = unmarshal_candidate(line).and_then(|c| self.agent.add_local_candidate(c));
        if let Err(error) = added {
            tracing::debug!(%error, %address, "local candidate");
        }
    }

    fn add_remote(&mut self, now: Instant, remote: &candidate::Remote) -> Result<(), Error> {
        if self.peers.contains(&remote.addr) || self.peers.len() == MAX_CANDIDATES {
            return Ok(());
        }
        self.peers.push(remote.addr);
        self.checking_since = now;
        let candidate = unmarshal_candidate(&remote.line)?;
        self.agent.add_remote_candidate(candidate).map(|_| ())
    }

    /// Learns how far it is.
    fn listen(&mut self) {
        while let Some(told) = self.agent.poll_event() {
            match told.event {
                Event::ConnectionStateChange(state) => self.state = state,
                Event::SelectedCandidatePairChange(local, remote) => {
                    self.path = Some((local.base_addr().ip(), remote.addr()));
                }
                _ => {}
            }
        }
    }

    const fn failed(&self) -> bool {
        matches!(
            self.state,
            ConnectionState::Failed | ConnectionState::Closed
        )
    }
}

impl Link {
    /// Begins another ICE session with these credentials. The one in use stays until it is
    /// connected; an earlier one that is not connected yet is given up.
    pub(in crate::rtc) fn restart_ice(
        &mut self,
        now: Instant,
        ours: &Credentials,
        theirs: &Credentials,
    ) -> Result<(), EngineError> {
        if !self.connected() {
            return Err(EngineError::NotConnected(self.key));
        }
        let provider = Arc::clone(&self.provider);
        let mut next = Session::new(now, ours, theirs, self.consent, provider)?;
        for (rank, address) in self.addresses.iter().enumerate() {
            next.add_local(*address, rank);
        }
        let given_up = self.later.next.replace(Box::new(next));
        (self.later.retired).extend(given_up.map(|session| session.ufrag));
        // The peer may be somewhere else now, with as many addresses as before.
        self.targets = Targets::default();
        self.sources.clear();
        self.migration = Migration::default();
        self.dirty = true;
        Ok(())
    }

    /// Takes a candidate for the newest session, if that is not the connection's own.
    pub(super) fn add_later_candidate(
        &mut self,
        now: Instant,
        remote: &candidate::Remote,
    ) -> Option<Result<(), EngineError>> {
        let session = self.later.sessions().next()?;
        self.dirty = true;
        Some(session.add_remote(now, remote).map_err(EngineError::from))
    }

    /// Lets a session that is connected take over, and gives up one that is not in time.
    pub(super) fn settle_sessions(&mut self, now: Instant, emit: &mut impl FnMut(EngineEvent)) {
        for session in self.later.sessions() {
            session.listen();
        }
        let first = &self.local.ufrag;
        if let Some(next) = self.later.next.take() {
            if next.path.is_some() {
                let before = self.later.current.replace(next);
                let over = before.map_or_else(|| first.clone(), |session| session.ufrag);
                self.later.retired.push(over);
                emit(EngineEvent::Restarted { link: self.key });
            } else if next.failed() || next.begun + RESTART_TIME <= now {
                tracing::debug!("an ICE restart came to nothing");
                self.later.retired.push(next.ufrag);
            } else {
                self.later.next = Some(next);
            }
        }
        let current = self.later.current.as_ref();
        if self.later.next.is_none() && current.is_some_and(|session| session.failed()) {
            self.ended.get_or_insert(CloseReason::IceFailed);
        }
    }

    /// Moves what the later sessions want sent to the queue.
    pub(super) fn drain_sessions(&mut self, now: Instant, demux: &mut Demux, budget: &mut Budget) {
        for ufrag in self.later.retired.drain(..) {
            demux.retire(&ufrag);
        }
        let sent: Vec<TaggedBytesMut> = (self.later.sessions())
            .flat_map(|session| std::iter::from_fn(|| session.agent.poll_write()))
            .collect();
        for message in sent {
            self.send_stun(now, demux, budget, message);
        }
    }

    /// Answers a check of the connection's own in the peer's place, once later sessions do the
    /// checking or the peer consents from where it has moved; false otherwise.
    pub(super) fn vouch(
        &mut self,
        now: Instant,
        transport: TransportContext,
        check: Transaction,
    ) -> bool {
        if !self.later.any() && !self.vouches(now, transport.peer_addr) {
            return false;
        }
        let pwd = self.remote_pwd.clone();
        let crypto = self.provider.crypto();
        let mapped = transport.local_addr;
        let mut answer = Message::new();
        let built = answer.build(&[
            Box::new(TransactionId(check)),
            Box::new(BINDING_SUCCESS),
            Box::new(XorMappedAddress {
                ip: mapped.ip(),
                port: mapped.port(),
            }),
            Box::new(MessageIntegrity::new_short_term_integrity_with_provider(
                pwd, crypto,
            )),
            Box::new(FINGERPRINT),
        ]);
        let message = BytesMut::from(&answer.raw[..]);
        let datagram = TaggedBytesMut {
            now,
            transport,
            message,
        };
        if let Err(error) = built.and_then(|()| self.connection.handle_read(datagram)) {
            tracing::debug!(%error, "vouching for the first ICE session");
        }
        true
    }
}
