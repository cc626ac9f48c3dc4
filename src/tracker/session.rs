//! One session: who it is, how long it may be silent, how much it may say.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::Rng;

use super::{SessionId, Tracker};
use crate::broadcast::Arrival;
use crate::id::StreamId;
use crate::limits::{HELLO_TIMEOUT, IDLE_TIMEOUT, LEASE, MESSAGE_BURST, MESSAGES_PER_SECOND};
use crate::wire::tracker::{PeerClass, Publish};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) observed: IpAddr,
    pub(super) authority: String,
    /// When it spoke last.
    pub(super) heard: Instant,
    /// Who it is, once it has said so.
    pub(super) hello: Option<Arrival>,
    /// The stream it is the root or a peer of.
    pub(super) stream: Option<StreamId>,
    /// What it wants to publish, and the nonce it has to sign.
    pub(super) proving: Option<(Publish, String)>,
    pub(super) budget: Budget,
    /// When its silence is looked at.
    armed: Option<Instant>,
}

impl Session {
    pub(super) fn new(now: Instant, observed: IpAddr, authority: String) -> Self {
        Self {
            observed,
            authority,
            heard: now,
            hello: None,
            stream: None,
            proving: None,
            budget: Budget::new(now),
            armed: None,
        }
    }

    /// When it is gone if it stays silent.
    fn lease(&self) -> Instant {
        let allowed = match (self.hello, self.stream) {
            (None, _) => HELLO_TIMEOUT,
            (Some(_), None) => IDLE_TIMEOUT,
            // Its parent tells whether it lives; this finds a shell that forgot it.
            (Some(arrival), _) if arrival.class == PeerClass::Player => IDLE_TIMEOUT,
            (Some(_), Some(_)) => LEASE,
        };
        self.heard + allowed
    }
}

/// A token bucket, in thousandths of a message.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: u64,
    filled: Instant,
}

impl Budget {
    const FULL: u64 = MESSAGE_BURST as u64 * 1000;
    /// Granted messages do not pile up beyond the handshakes of a thousand children.
    const MOST: u64 = Self::FULL + 10_000 * 1000;

    fn new(now: Instant) -> Self {
        Self {
            tokens: Self::FULL,
            filled: now,
        }
    }

    /// Whether one more message is within the budget.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = now;
        if self.tokens < Self::FULL {
            let passed = passed.min(Duration::from_secs(3600)).as_micros() as u64;
            let earned = passed * u64::from(MESSAGES_PER_SECOND) / 1000;
            self.tokens = Self::FULL.min(self.tokens + earned);
        }
        let allowed = self.tokens >= 1000;
        self.tokens = self.tokens.saturating_sub(1000);
        allowed
    }

    /// Allows messages that the tracker has asked for.
    pub(super) fn grant(&mut self, messages: u32) {
        self.tokens = Self::MOST.min(self.tokens + u64::from(messages) * 1000);
    }
}

impl<R: Rng> Tracker<R> {
    /// Notes when a session's silence is looked at.
    pub(super) fn arm(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let at = session.lease();
        if let Some(before) = session.armed.replace(at) {
            self.leases.remove(&(before, id));
        }
        self.leases.insert((at, id));
    }

    /// Closes a session that was silent too long, or looks again later.
    pub(super) fn lease_due(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.armed = None;
        if session.lease() <= now {
            self.close(now, id);
        } else {
            self.arm(id);
        }
    }

    /// Forgets a session; its stream learns that the peer is gone.
    pub(super) fn end_session(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(at) = session.armed {
            self.leases.remove(&(at, id));
        }
        let Some(arrival) = session.hello else {
            return;
        };
        if self.nodes.get(&arrival.node) == Some(&id) {
            self.nodes.remove(&arrival.node);
        }
        if let Some(stream) = session.stream
            && let Some(broadcast) = self.streams.get_mut(&stream)
        {
            broadcast.session_lost(now, arrival.node);
            self.settle(now, stream);
        }
    }
}
