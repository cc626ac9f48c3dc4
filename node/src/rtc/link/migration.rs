//! A peer whose address changes keeps its connection.
//!
//! A NAT that maps anew, another network, an address that is gone: what the peer sends comes from somewhere
//! else then, and what is sent to it goes nowhere. The WebRTC crate's ICE agent stays with the pair it has
//! selected (RFC 8445 knows restarts for such a case, which need a way to signal). Here the end that is fed
//! asks with a check as soon as it hears nothing; the other end sees an authentic check from a new
//! address, asks back there, and when that is answered while the old address is silent, everything goes to
//! the new one. As in QUIC (RFC 9000 section 9) nobody is sent anything who has not answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::ice::attributes::control::AttrControlling;
use rtc::ice::attributes::priority::PriorityAttr;
use rtc::stun::attributes::ATTR_USERNAME;
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, Message, TransactionId};
use rtc::stun::textattrs::Username;

use super::Link;
use crate::rtc::demux::Stun;
use crate::rtc::socket::Datagram;

/// Silence after which the end that is fed asks: a parent says something every 40 ms.
const FED_SILENCE: Duration = Duration::from_millis(150);

/// Only a parent that has fed this short a time ago is asked: a standby is silent for seconds.
const FED_WITHIN: Duration = Duration::from_secs(3);

/// Time between two such checks, and how many of them are sent into one silence.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
const PROBES: u8 = 20;

/// Silence of the present address after which another one that answers takes its place: a native child's
/// heartbeats are 250 ms apart.
const MOVED_SILENCE: Duration = Duration::from_millis(400);

/// How long an address that took another's place counts as consenting after each answer: as long as the
/// agent waits for its own.
const CONSENT: Duration = Duration::from_secs(4);

/// What is known of a peer's whereabouts, beside what the agent knows.
#[derive(Debug, Default)]
pub(super) struct Migration {
    /// When something came from the address in use.
    heard: Option<Instant>,
    /// When media did.
    fed: Option<Instant>,
    /// Checks sent into the present silence, and when the last one was.
    probes: u8,
    probed: Option<Instant>,
    /// Where everything goes instead of where the agent says, and when it was answered from there.
    moved: Option<(IpAddr, SocketAddr, Instant)>,
    /// The peer's address that the agent still means to use.
    left: Option<SocketAddr>,
    /// When the peer asked from there again.
    returned: Option<Instant>,
    /// An address of ours from which it still means to ask.
    lost: Option<IpAddr>,
}

impl Migration {
    /// Where everything but checks goes; `None` is the agent's own choice.
    pub(super) fn path(&self) -> Option<(IpAddr, SocketAddr)> {
        self.moved.map(|(local, peer, _)| (local, peer))
    }

    /// An authentic check from there was answered.
    pub(super) fn asked(&mut self, now: Instant, peer: SocketAddr) {
        if self.left == Some(peer) {
            self.returned = Some(now);
        }
    }

    /// Whether a check goes where the peer was, who consents from elsewhere now.
    pub(super) fn vouches(&self, now: Instant, asked: SocketAddr) -> bool {
        if self.returned.is_some_and(|at| now < at + MOVED_SILENCE) {
            return false;
        }
        let elsewhere = |&(_, peer, at): &_| peer != asked && now < at + CONSENT;
        self.left == Some(asked) && self.moved.as_ref().is_some_and(elsewhere)
    }

    /// Something came from the address in use.
    pub(super) fn heard(&mut self, now: Instant, media: bool) {
        self.heard = Some(now);
        self.probes = 0;
        if media {
            self.fed = Some(now);
        }
    }

    /// When the next check into the silence is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (heard, fed) = (self.heard?, self.fed?);
        if self.probes >= PROBES || heard > fed + FED_WITHIN {
            return None;
        }
        let again = self.probed.map_or(heard, |at| at + PROBE_INTERVAL);
        Some(again.max(heard + FED_SILENCE))
    }
}

impl Link {
    /// Asks a parent that is silent, from wherever we are now.
    pub(super) fn probe(&mut self, now: Instant) {
        let due = self.migration.deadline();
        if !self.receives || !self.connected() || due.is_none_or(|due| now < due) {
            return;
        }
        let Some((_, peer)) = self.path else {
            return;
        };
        self.migration.probes += 1;
        self.migration.probed = Some(now);
        let user = format!("{}:{}", self.remote_ufrag, self.local.ufrag);
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(
            self.remote_pwd.clone(),
            self.provider.crypto(),
        );
        let mut check = Message::new();
        // Who is fed has offered, so it controls; it nominates nothing.
        let built = check.build(&[
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(Username::new(ATTR_USERNAME, user)),
            Box::new(AttrControlling(0)),
            Box::new(PriorityAttr(0)),
            Box::new(integrity),
            Box::new(FINGERPRINT),
        ]);
        if let Err(error) = built {
            tracing::debug!(%error, "a check of our own");
            return;
        }
        // The system knows which address is left.
        let local = any(peer);
        let bytes = BytesMut::from(&check.raw[..]);
        self.enqueue(Datagram { local, peer, bytes });
    }

    /// An address has answered a check of ours.
    pub(in crate::rtc) fn proved(&mut self, now: Instant, local: IpAddr, peer: SocketAddr) {
        let Some((_, before)) = self.path.filter(|_| self.connected()) else {
            return;
        };
        if peer == before {
            if let Some((_, _, at)) = &mut self.migration.moved {
                *at = now;
            }
            return;
        }
        let heard = self.migration.heard;
        if heard.is_none_or(|at| now >= at + MOVED_SILENCE) {
            tracing::debug!(%before, %peer, "a peer has moved");
            self.migration.left.get_or_insert(before);
            self.migration.moved = Some((local, peer, now));
            self.path = Some((local, peer));
            self.migration.heard(now, false);
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

    /// The address of ours that is in use cannot be sent from any more.
    pub(in crate::rtc) fn lost_local(&mut self, now: Instant, lost: IpAddr) {
        if let Some((local, peer)) = self.path.filter(|(local, _)| *local == lost) {
            tracing::debug!(%local, "an address of this host is gone");
            self.migration.lost = Some(lost);
            self.migration.moved = Some((any(peer), peer, now));
            self.path = Some((any(peer), peer));
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
