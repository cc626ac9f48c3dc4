//! One link: a peer connection of the WebRTC crate, and what the engine knows beside it.

mod channels;
mod early;
mod flight;
mod migration;
mod outgoing;
mod restart;
mod setup;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan::limits::MAX_CANDIDATES;
use bytes::BytesMut;
use rtc::crypto::RTCCryptoProvider;
use rtc::interceptor::Packet as Tapped;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::srtp::context::Context;

use super::checks::{Budget, Targets};
use super::congestion::Arrivals;
use super::demux::{Demux, Stun, is_dtls, is_stun};
use super::feedback;
use super::gate::{self, Gate};
use super::keys::Exported;
use super::media::Media;
use super::sdp::{LocalTransport, Remote, Setup};
use super::socket::Datagram;
use super::tap::Inbox;
use super::{CloseReason, EngineEvent};
use channels::{Channels, message_data};
use early::Early;
use flight::Flight;
use migration::Migration;
use restart::Later;

pub(super) use setup::{CONNECT_TIME, CONSENT, Ciphers, Seed};

/// ICE checks while connecting: this often at first, less often when that did not help. The
/// crate's own 200 ms make every link 200 ms late.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Media datagrams in a row that could not be decrypted, after which the link is given up: half a
/// second of video. Each SRTP session counts sequence-number rollovers for itself (RFC 3711 section
/// 3.3.1); a receiver that missed one understands nothing any more, and cannot be told.
const MAX_UNREADABLE: u32 = 150;

/// And how long nothing may have been readable meanwhile: who forges the parent's address can send
/// a lot between two of its packets.
const UNREADABLE_TIME: Duration = Duration::from_millis(500);

/// Shortest time to a timer that lies in the past after it has run, so that it cannot spin.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// Least time between two receiver reports (RFC 3550 section 6.2 would allow 5 s; a parent that
/// adapts wants to know sooner).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Content type of a DTLS record that is an alert (RFC 5246 appendix A.1).
const DTLS_ALERT: u8 = 21;

/// Most addresses from which one peer's checks are taken: its candidates, and as many that its
/// NAT made of them.
const MAX_SOURCES: usize = 2 * MAX_CANDIDATES;

/// Least time between two addresses that make room for a new one.
const SOURCE_REST: Duration = Duration::from_secs(10);

/// A peer connection and its surroundings.
pub(super) struct Link {
    pub(super) key: LinkKey,
    pub(super) born: u64,
    pub(super) local: LocalTransport,
    pub(super) stage: Stage,
    pub(super) media: Media,
    pub(super) cname: String,
    /// Sources of tracks it carried before, which never come again.
    pub(super) former_sources: Vec<u32>,
    /// It has offered anew.
    pub(super) renewing: bool,
    /// Datagrams the socket has not taken yet.
    pub(super) queue: VecDeque<Datagram>,
    pub(super) queued: usize,
    /// When a timer of this link is due.
    pub(super) deadline: Option<Instant>,
    /// Something came in: [`service`](Self::service) is due.
    pub(super) fed: bool,
    /// Something may have to go out: [`drain`](Self::drain) is due.
    pub(super) dirty: bool,
    /// Set when the link has ended; the engine removes it.
    pub(super) ended: Option<CloseReason>,
    /// It may use our address at a TURN server.
    pub(super) relayed: bool,
    /// The peer was offered nothing but AES-GCM.
    pub(super) gcm_only: bool,
    connection: Box<RTCPeerConnection>,
    inbox: Inbox,
    channels: Option<Channels>,
    addresses: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
    gate: Gate,
    /// Where checks have come from.
    sources: Vec<SocketAddr>,
    /// When the oldest of them made room last.
    source_forgotten: Option<Instant>,
    /// Where checks have gone to.
    pub(super) targets: Targets,
    /// Candidates that came before the answer.
    untried: Vec<String>,
    /// Of the connection's own ICE session.
    remote_ufrag: String,
    remote_pwd: String,
    /// Of the peer's certificate, where it offered.
    remote_fingerprint: String,
    later: Later,
    migration: Migration,
    /// How long the peer may be silent until it counts as disconnected, and from then as gone.
    consent: (Duration, Duration),
    ice_up: bool,
    secure: bool,
    /// The handshake's newest flight.
    flight: Flight,
    /// Media that came before the handshake's end.
    early: Early,
    /// The addresses in use, ours and the peer's.
    path: Option<(IpAddr, SocketAddr)>,
    /// Whether we begin the handshake; not known for links that we offer.
    client: Option<bool>,
    provider: Arc<dyn RTCCryptoProvider>,
    exported: Exported,
    /// Encrypts media beside the connection, where the cipher allows.
    sender: Option<Context>,
    reporter: u32,
    next_report: Option<Instant>,
    checking_since: Instant,
    /// The last round of checks; `None` makes the next one due at once.
    last_check: Option<Instant>,
    /// Media is sent to us, so something should be readable.
    pub(super) receives: bool,
    /// Media datagrams since the last one that could be read.
    unreadable: u32,
    readable_at: Instant,
    connect_time: Duration,
}

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// We offered and wait for an answer.
    Offering,
    /// Both descriptions are known; until this instant it may take.
    Connecting(Instant),
    /// Everything is open.
    Connected,
}

impl Link {
    pub(super) const fn connected(&self) -> bool {
        matches!(self.stage, Stage::Connected)
    }

    /// The role we answered in, if we did.
    pub(super) fn answered_as(&self) -> Option<Setup> {
        self.client.map(|client| match client {
            true => Setup::Active,
            false => Setup::Passive,
        })
    }

    /// Whether a child that offers anew describes the connection it has.
    pub(super) fn same_transport(&self, remote: &Remote) -> bool {
        remote.pwd == self.remote_pwd
            && remote.fingerprint == self.remote_fingerprint
            && remote.channels.is_some() == self.has_channels()
    }

    /// Whether it was begun with data channels.
    pub(super) const fn has_channels(&self) -> bool {
        self.channels.is_some()
    }

    /// The peer is a publisher.
    pub(super) fn publishes(&mut self) {
        self.receives = true;
        self.flight = Flight::last_once();
    }

    /// Whether there is a path but no secure session yet.
    pub(super) const fn handshaking(&self) -> bool {
        !self.secure
    }

    /// Whether the connection may see a datagram from the peer.
    pub(super) fn admits(&mut self, bytes: &[u8]) -> bool {
        if is_stun(bytes) {
            true
        } else if is_dtls(bytes) {
            self.gate.dtls(bytes, self.secure)
        } else if gate::is_rtcp(bytes) {
            // A parent reports in the names of its tracks, which may change often.
            let agreed = gate::rtcp_source(bytes).and_then(|ssrc| self.media.source(ssrc));
            agreed.is_some() || self.gate.rtcp(bytes)
        } else if self.media.is_published() {
            self.gate.rtp(bytes)
        } else {
            // Children send no media, and a parent what was agreed.
            self.receives
                && gate::rtp_source(bytes).is_some_and(|ssrc| self.media.source(ssrc).is_some())
        }
    }

    /// A datagram from the peer.
    pub(super) fn read(&mut self, now: Instant, local: SocketAddr, peer: SocketAddr, bytes: &[u8]) {
        if is_stun(bytes) {
            // The agent knows checks only to addresses it has. An interface that came later, or
            // that peers are not told of, is as good.
            self.add_local(local);
            if !self.known_source(now, peer) {
                return;
            }
        } else if is_dtls(bytes) {
            self.flight.received(now, bytes, self.secure);
        } else if !self.secure && self.media.is_published() {
            self.early.keep(local, peer, bytes);
            return;
        } else {
            self.unreadable += 1;
        }
        self.fed = true;
        if self.path.is_some_and(|(_, used)| used == peer) {
            self.migration.came();
        }
        if self.answers(now, local.ip(), peer, bytes) {
            return;
        }
        let transport = TransportContext {
            local_addr: self.asked_from(local, bytes),
            peer_addr: peer,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        if self.later.read(now, transport, bytes) {
            return;
        }
        let datagram = TaggedBytesMut {
            now,
            transport,
            message: BytesMut::from(bytes),
        };
        // What cannot be authenticated is dropped, as RFC 3711 and RFC 8489 ask.
        match self.connection.handle_read(datagram) {
            Ok(()) if is_stun(bytes) => self.migration.confirm(now, false),
            Ok(()) => {}
            Err(error) => tracing::trace!(%error, "datagram"),
        }
    }

    /// Whether checks from this address are taken: each new one costs the agent a candidate and
    /// checks of its own, for as long as the link lives.
    fn known_source(&mut self, now: Instant, peer: SocketAddr) -> bool {
        if self.sources.contains(&peer) {
            return true;
        }
        if self.sources.len() >= MAX_SOURCES {
            // A peer behind a NAT that maps anew again and again.
            let rested = self
                .source_forgotten
                .is_none_or(|at| now >= at + SOURCE_REST);
            let used = self.path.map(|(_, peer)| peer);
            let oldest = (self.sources.iter()).position(|source| Some(*source) != used);
            let Some(oldest) = oldest.filter(|_| rested && self.connected()) else {
                return false;
            };
            let oldest = self.sources.remove(oldest);
            self.targets.forget(oldest);
            self.source_forgotten = Some(now);
        }
        self.sources.push(peer);
        true
    }

    /// Timers that are due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Stage::Connecting(by) = self.stage
            && by <= now
        {
            let reason = self.failure();
            self.ended.get_or_insert(reason);
            return;
        }
        if !self.ice_up {
            self.last_check = Some(now);
        }
        if let Err(error) = self.connection.handle_timeout(now) {
            tracing::debug!(%error, "timer");
        }
        self.later.handle_timeout(now);
        if self.next_report.is_some_and(|t| t <= now) {
            self.next_report = None;
            if let Some(report) = feedback::reception(now, self.reporter, &mut self.media) {
                self.send_rtcp(now, vec![report]);
            }
        }
        self.send_arrivals(now);
        self.repeat_flight(now);
        self.probe(now);
        self.fed = true;
    }

    fn repeat_flight(&mut self, now: Instant) {
        let datagrams = self.flight.repeat(now, self.secure).to_vec();
        for (local, peer, bytes) in datagrams {
            self.enqueue(Datagram { local, peer, bytes });
        }
    }

    /// Whether there is a path, but no common cipher or no end of the handshake yet.
    pub(super) const fn stuck(&self) -> bool {
        self.ice_up && !self.secure
    }

    /// Tells a publisher when its packets arrived.
    fn send_arrivals(&mut self, now: Instant) {
        let about = self.media.tracks.iter().find(|t| t.line.ssrc != 0);
        let about = about.map_or(0, |t| t.line.ssrc);
        let reporter = self.reporter;
        let arrivals = self.media.arrivals.as_mut();
        if let Some(feedback) = arrivals.and_then(|a| a.feedback(now, reporter, about)) {
            self.send_rtcp(now, vec![feedback]);
        }
    }

    /// What a link that fails now has failed at.
    const fn failure(&self) -> CloseReason {
        if self.ice_up && !self.connected() {
            CloseReason::DtlsFailed
        } else {
            CloseReason::IceFailed
        }
    }

    /// Drains what the connection has to tell.
    pub(super) fn service(&mut self, now: Instant, emit: &mut impl FnMut(EngineEvent)) {
        self.fed = false;
        self.dirty = true;
        while let Some(event) = self.connection.poll_event() {
            self.handle_event(event);
        }
        if self.secure {
            for (local, peer, bytes) in self.early.take() {
                self.read(now, local, peer, &bytes);
            }
            self.fed = false;
        }
        self.settle_sessions(now, emit);
        let link = self.key;
        let taken = self.inbox.take();
        if !taken.is_empty() {
            self.unreadable = 0;
            self.readable_at = now;
            let media = |(_, packet): &(_, Tapped)| matches!(packet, Tapped::Rtp(_));
            self.migration.confirm(now, taken.iter().any(media));
        } else if self.receives
            && self.connected()
            && self.unreadable > MAX_UNREADABLE
            && now.saturating_duration_since(self.readable_at) > UNREADABLE_TIME
        {
            self.ended.get_or_insert(CloseReason::Unreadable);
        }
        for (at, packet) in taken {
            match packet {
                Tapped::Rtp(packet) => {
                    if let Some(packet) = self.media.receive(at, packet) {
                        self.next_report.get_or_insert(now + REPORT_INTERVAL);
                        emit(EngineEvent::Packet { link, packet });
                    }
                }
                Tapped::Rtcp(packets) => {
                    feedback::read(at, link, &mut self.media, &packets, &mut *emit);
                }
                _ => {}
            }
        }
        while let Some(message) = self.connection.poll_read() {
            if let RTCMessage::DataChannelMessage(id, message) = message.message
                && let Some(channel) = self.channels.as_ref().and_then(|c| c.name(id))
                && let Some(data) = message_data(message)
            {
                self.migration.confirm(now, false);
                emit(EngineEvent::Message {
                    link,
                    channel,
                    data,
                });
            }
        }
        self.migration.forget();
        if let Stage::Connecting(_) = self.stage
            && self.secure
            && self.channels.as_ref().is_none_or(|c| c.open == [true; 2])
        {
            self.stage = Stage::Connected;
            emit(EngineEvent::Connected { link });
        }
    }

    fn handle_event(&mut self, event: RTCPeerConnectionEvent) {
        match event {
            RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(state) => match state {
                RTCIceConnectionState::Connected | RTCIceConnectionState::Completed => {
                    self.ice_up = true;
                }
                RTCIceConnectionState::Failed => {
                    self.ended.get_or_insert(CloseReason::IceFailed);
                }
                _ => {}
            },
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => match state {
                RTCPeerConnectionState::Connected => {
                    self.secure = true;
                    self.flight.over();
                    self.sender = self.exported.sender(self.client, self.provider.as_ref());
                }
                RTCPeerConnectionState::Failed => {
                    let reason = self.failure();
                    self.ended.get_or_insert(reason);
                }
                _ => {}
            },
            RTCPeerConnectionEvent::OnDataChannel(event) => {
                let Some(channels) = &mut self.channels else {
                    return;
                };
                match event {
                    RTCDataChannelEvent::OnOpen(id) => channels.opened(id),
                    RTCDataChannelEvent::OnClose(id) if channels.name(id).is_some() => {
                        self.ended.get_or_insert(CloseReason::Remote);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Moves what the connection wants sent to the queue, and learns the next deadline.
    pub(super) fn drain(&mut self, now: Instant, demux: &mut Demux, budget: &mut Budget) {
        self.dirty = false;
        self.drain_sessions(now, demux, budget);
        while let Some(message) = self.connection.poll_write() {
            let bytes = message.message;
            // A link without channels has no other way to tell that the peer said goodbye: the
            // connection answers a close_notify it could decrypt, and tells nobody.
            if self.channels.is_none() && self.connected() && bytes.first() == Some(&DTLS_ALERT) {
                self.ended.get_or_insert(CloseReason::Remote);
            }
            if is_stun(&bytes) {
                let check = Stun::parse(&bytes).filter(Stun::is_check);
                if check.is_none_or(|check| !self.vouch(now, message.transport, check.transaction))
                {
                    let message = TaggedBytesMut {
                        message: bytes,
                        ..message
                    };
                    self.send_stun(now, demux, budget, message);
                }
                continue;
            }
            let own = (
                message.transport.local_addr.ip(),
                message.transport.peer_addr,
            );
            let moved = || self.migration.path();
            let (local, peer) = self.later.path().or_else(moved).unwrap_or(own);
            self.flight.sent(now, local, peer, &bytes);
            if self.path != Some((local, peer)) {
                self.path = Some((local, peer));
                demux.claim(now, self.key, self.born, peer);
            }
            self.enqueue(Datagram { local, peer, bytes });
        }
        for (local, peer_addr, message) in self.take_checks() {
            let transport = TransportContext {
                local_addr: SocketAddr::new(local, 0),
                peer_addr,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            };
            let check = TaggedBytesMut {
                now,
                transport,
                message,
            };
            self.send_stun(now, demux, budget, check);
        }
        let mut next = self.connection.poll_timeout();
        if !self.ice_up
            && let Some(last) = self.last_check
        {
            next = next.map(|t| t.max(last + check_pace(now, self.checking_since)));
        }
        let next = [next, self.later.deadline(now)].into_iter().flatten().min();
        let next = next.map(|t| if t <= now { now + TIMER_MIN } else { t });
        let by = match self.stage {
            Stage::Connecting(by) => Some(by),
            _ => None,
        };
        let over = self.ended.map(|_| now);
        let arrivals = self.media.arrivals.as_ref().and_then(Arrivals::deadline);
        let flight = self.flight.deadline();
        let probe = self.probe_deadline().map(|t| t.max(now + TIMER_MIN));
        self.deadline = [next, by, self.next_report, over, arrivals, flight, probe]
            .into_iter()
            .flatten()
            .min();
    }

    /// Sends a check or an answer to one, if the peer's address is worth it.
    fn send_stun(
        &mut self,
        now: Instant,
        demux: &mut Demux,
        budget: &mut Budget,
        message: TaggedBytesMut,
    ) {
        let peer = message.transport.peer_addr;
        let local = self.present(message.transport.local_addr.ip(), peer);
        let bytes = message.message;
        if let Some(stun) = Stun::parse(&bytes) {
            if stun.is_success() {
                self.targets.asked(peer);
                self.was_asked(now, local, peer);
            } else if stun.is_check() && !self.targets.allow(now, peer, budget) {
                return;
            }
        }
        demux.sent(now, self.key, self.born, peer, &bytes);
        self.enqueue(Datagram { local, peer, bytes });
    }
}

/// Time between two rounds of checks: quick for a peer that answers at once, slow for one that
/// does not.
fn check_pace(now: Instant, since: Instant) -> Duration {
    let age = now.saturating_duration_since(since);
    if age < Duration::from_millis(250) {
        CHECK_INTERVAL
    } else if age < Duration::from_millis(1000) {
        CHECK_INTERVAL * 4
    } else {
        CHECK_INTERVAL * 15
    }
}
