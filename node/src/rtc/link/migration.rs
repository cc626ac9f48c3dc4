//! A peer whose address changes keeps its connection.
//!
//! A NAT that maps anew, another network, an address that is gone: what the peer sends comes from somewhere
//! else then, and what is sent to it goes nowhere. The WebRTC crate's ICE agent stays with the pair it has
//! selected (RFC 8445 knows restarts for such a case, which need a way to signal). Here an end that is fed
//! and hears nothing asks with a check of its own. Whoever answers an authentic check from an address that is
//! not in use, while the one in use is silent, asks back at both; if the new one alone answers, everything goes
//! there. As in QUIC (RFC 9000 section 9) nobody is sent media who has not proved to be the peer: answers
//! to these checks are taken with their MESSAGE-INTEGRITY alone.
//!
//! A connection that has restarted ICE has agents that know better, and is left to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::ice::attributes::control::{AttrControlled, AttrControlling};
use rtc::ice::attributes::priority::PriorityAttr;
use rtc::stun::attributes::ATTR_USERNAME;
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use rtc::stun::textattrs::Username;

use super::Link;
use crate::rtc::demux::{Stun, Transaction};

/// Silence after which the end that is fed asks: a parent says something every 40 ms.
const FED_SILENCE: Duration = Duration::from_millis(150);

/// Only a parent that has fed this short a time ago is asked: a standby is silent for seconds.
const FED_WITHIN: Duration = Duration::from_secs(3);

/// Time between two checks to one address, and how many are sent into one silence.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
const PROBES: u8 = 20;

/// Silence of the address in use after which a check from another one is worth asking back.
const ASK_SILENCE: Duration = Duration::from_millis(200);

/// Silence after which another address that answers takes its place: a native child's heartbeats are
/// 250 ms apart.
const MOVED_SILENCE: Duration = Duration::from_millis(400);

/// Time the address in use is given to answer a check first.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// How long an address that took another's place counts as consenting after each answer: as long as the
/// agent waits for its own.
const CONSENT: Duration = Duration::from_secs(4);

/// Checks of our own that may still be answered: two a round, for half a second.
const MAX_CHECKS: usize = 12;

/// What is known of a peer's whereabouts, beside what the agent knows.
#[derive(Debug, Default)]
pub(super) struct Migration {
    /// Something came from the address in use that is not known to be authentic yet.
    pending: bool,
    /// When something authentic came from there.
    heard: Option<Instant>,
    /// When media did.
    fed: Option<Instant>,
    /// Checks sent into the present silence, and when the last one was.
    probes: u8,
    probed: Option<Instant>,
    checks: Vec<Check>,
    /// Checks to send.
    outbox: Vec<(IpAddr, SocketAddr, BytesMut)>,
    moved: Option<Moved>,
    /// The peer's address that the agent still means to use.
    left: Option<SocketAddr>,
    /// An address of ours from which it still means to ask.
    lost: Option<IpAddr>,
}

/// A check of our own that was not answered yet.
#[derive(Debug)]
struct Check {
    transaction: Transaction,
    to: SocketAddr,
    at: Instant,
}

/// Where everything goes instead of where the agent says.
#[derive(Debug, Clone, Copy)]
struct Moved {
    local: IpAddr,
    peer: SocketAddr,
    consented: Instant,
}

impl Migration {
    /// Where everything but checks goes; `None` is the agent's own choice.
    pub(super) fn path(&self) -> Option<(IpAddr, SocketAddr)> {
        self.moved.map(|moved| (moved.local, moved.peer))
    }

    /// Something came from the address in use; [`confirm`](Self::confirm) tells what it was.
    pub(super) fn came(&mut self) {
        self.pending = true;
    }

    /// What came was authentic.
    pub(super) fn confirm(&mut self, now: Instant, media: bool) {
        if std::mem::take(&mut self.pending) {
            self.heard = Some(now);
            self.probes = 0;
            self.checks.clear();
            if media {
                self.fed = Some(now);
            }
        }
    }

    /// What came was not.
    pub(super) fn forget(&mut self) {
        self.pending = false;
    }

    fn silent_for(&self, now: Instant, time: Duration) -> bool {
        self.heard.is_some_and(|at| now >= at + time)
    }

    /// Whether an address was asked less than `time` ago and has not answered.
    fn waits_for(&self, now: Instant, to: SocketAddr, time: Duration) -> bool {
        let mut checks = self.checks.iter();
        checks.any(|check| check.to == to && now < check.at + time)
    }

    /// Whether an address was asked at least [`ANSWER_TIME`] ago and has not answered.
    fn owes_an_answer(&self, now: Instant, to: SocketAddr) -> bool {
        let mut checks = self.checks.iter();
        checks.any(|check| check.to == to && now >= check.at + ANSWER_TIME)
    }
}

impl Link {
    /// Whether migration is this connection's way.
    fn may_migrate(&self) -> bool {
        self.connected() && !self.later.any()
    }

    /// When the next check into a parent's silence is due.
    pub(super) fn probe_deadline(&self) -> Option<Instant> {
        let known = &self.migration;
        let (heard, fed) = (known.heard?, known.fed?);
        // Who is fed by a node has offered.
        let fed_by_node = self.receives && self.client.is_none() && self.has_channels();
        if !fed_by_node || !self.may_migrate() {
            return None;
        }
        if known.probes >= PROBES || heard > fed + FED_WITHIN {
            return None;
        }
        let again = known.probed.map_or(heard, |at| at + PROBE_INTERVAL);
        Some(again.max(heard + FED_SILENCE))
    }

    /// Asks a parent that is silent, from wherever we are now.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.probe_deadline().is_some_and(|due| due <= now)
            && let Some((local, peer)) = self.path
        {
            self.migration.probes += 1;
            self.migration.probed = Some(now);
            self.ask(now, local, peer);
        }
    }

    /// Puts a check of our own into the outbox.
    fn ask(&mut self, now: Instant, local: IpAddr, to: SocketAddr) {
        let user = format!("{}:{}", self.remote_ufrag, self.local.ufrag);
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(
            self.remote_pwd.clone(),
            self.provider.crypto(),
        );
        // Who has offered controls (RFC 8445 section 6.1.1); this nominates nothing.
        let role: Box<dyn Setter> = match self.client {
            None => Box::new(AttrControlling(0)),
            Some(_) => Box::new(AttrControlled(0)),
        };
        let id = TransactionId::new();
        let mut check = Message::new();
        let built = check.build(&[
            Box::new(BINDING_REQUEST),
            Box::new(id),
            Box::new(Username::new(ATTR_USERNAME, user)),
            role,
            Box::new(PriorityAttr(0)),
            Box::new(integrity),
            Box::new(FINGERPRINT),
        ]);
        if let Err(error) = built {
            tracing::debug!(%error, "a check of our own");
            return;
        }
        let known = &mut self.migration;
        if known.checks.len() >= MAX_CHECKS {
            known.checks.remove(0);
        }
        known.checks.push(Check {
            transaction: id.0,
            to,
            at: now,
        });
        let bytes = BytesMut::from(&check.raw[..]);
        known.outbox.push((local, to, bytes));
        self.dirty = true;
    }

    /// Checks of our own to send now.
    pub(super) fn take_checks(&mut self) -> Vec<(IpAddr, SocketAddr, BytesMut)> {
        std::mem::take(&mut self.migration.outbox)
    }

    /// An authentic check from `peer` was answered: if that is not where the peer is known to be, and it is
    /// silent there, both addresses are asked.
    pub(super) fn was_asked(&mut self, now: Instant, local: IpAddr, peer: SocketAddr) {
        let Some((own, before)) = self.path.filter(|_| self.may_migrate()) else {
            return;
        };
        if peer == before || !self.migration.silent_for(now, ASK_SILENCE) {
            return;
        }
        if !self
            .migration
            .waits_for(now, before, ANSWER_TIME + PROBE_INTERVAL)
        {
            self.ask(now, own, before);
        }
        if !self.migration.waits_for(now, peer, PROBE_INTERVAL / 2) {
            self.ask(now, local, peer);
        }
    }

    /// Takes an answer to a check of our own; false if it is none.
    pub(super) fn answers(
        &mut self,
        now: Instant,
        local: IpAddr,
        peer: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        let Some(stun) = Stun::parse(bytes).filter(Stun::is_success) else {
            return false;
        };
        let mut checks = self.migration.checks.iter();
        let ours = |check: &Check| check.transaction == stun.transaction && check.to == peer;
        let Some(at) = checks.position(ours) else {
            return false;
        };
        let mut answer = Message::new();
        answer.raw = bytes.to_vec();
        let crypto = self.provider.crypto();
        let key = self.remote_pwd.as_bytes();
        let checked =
            (answer.decode()).and_then(|()| MessageIntegrity::check(&mut answer, key, crypto));
        if let Err(error) = checked {
            tracing::trace!(%error, "an answer to a check of our own");
            return true;
        }
        let Some((_, before)) = self.path.filter(|_| self.may_migrate()) else {
            return true;
        };
        if peer == before {
            if let Some(moved) = &mut self.migration.moved {
                moved.consented = now;
            }
            self.migration.came();
            self.migration.confirm(now, false);
            return true;
        }
        self.migration.checks.remove(at);
        let known = &self.migration;
        if known.silent_for(now, MOVED_SILENCE) && known.owes_an_answer(now, before) {
            tracing::debug!(%before, %peer, "a peer has moved");
            self.migration.left.get_or_insert(before);
            self.go_to(now, local, peer);
        }
        true
    }

    fn go_to(&mut self, now: Instant, local: IpAddr, peer: SocketAddr) {
        self.migration.moved = Some(Moved {
            local,
            peer,
            consented: now,
        });
        self.path = Some((local, peer));
        self.migration.came();
        self.migration.confirm(now, false);
    }

    /// Whether the agent's check goes where the peer was, who consents from elsewhere now: it is asked there
    /// instead.
    pub(super) fn vouches(&mut self, now: Instant, asked: SocketAddr) -> bool {
        let Some(moved) = self.migration.moved.filter(|_| self.may_migrate()) else {
            return false;
        };
        let elsewhere = self.migration.left == Some(asked) && moved.peer != asked;
        if elsewhere {
            self.ask(now, moved.local, moved.peer);
        }
        elsewhere && now < moved.consented + CONSENT
    }

    /// An address of ours is gone.
    pub(in crate::rtc) fn lost_local(&mut self, lost: IpAddr) {
        // The address at a TURN server is no matter of this host.
        if self.relayed || !self.may_migrate() {
            return;
        }
        if let Some((_, peer)) = self.path.filter(|(local, _)| *local == lost) {
            tracing::debug!(local = %lost, "an address of this host is gone");
            let consented = self.migration.moved.map(|moved| moved.consented);
            let heard = self.migration.heard;
            if let Some(consented) = consented.or(heard) {
                let local = any(peer);
                self.migration.lost = Some(lost);
                self.migration.moved = Some(Moved {
                    local,
                    peer,
                    consented,
                });
                self.path = Some((local, peer));
            }
        }
    }

    /// The address to send a check from that the agent means to send from `local`.
    pub(super) fn present(&self, local: IpAddr, peer: SocketAddr) -> IpAddr {
        match self.migration.lost {
            Some(lost) if lost == local => any(peer),
            _ => local,
        }
    }

    /// Where the agent believes to be reached with an answer that came to `local`: it asks from an address
    /// that is gone, and the system sends that from another one.
    pub(super) fn asked_from(&self, local: SocketAddr, bytes: &[u8]) -> SocketAddr {
        let answer = Stun::parse(bytes).is_some_and(|stun| stun.is_success());
        match self.migration.lost {
            Some(lost) if answer && lost.is_ipv4() == local.is_ipv4() => {
                SocketAddr::new(lost, local.port())
            }
            _ => local,
        }
    }
}

/// Whatever address of ours leads to `peer`.
const fn any(peer: SocketAddr) -> IpAddr {
    match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
