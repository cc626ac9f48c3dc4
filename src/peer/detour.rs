//! What two nodes say to each other before their connection stands, when other peers carry it.

use std::time::Instant;

use crate::id::{GrantToken, NodeId};
use crate::limits::{COLD_GATHER, MAX_CANDIDATES};

/// How the ends of one connection speak to each other over other peers.
#[derive(Debug, Clone)]
pub struct Detour {
    /// What both of them know.
    pub token: GrantToken,
    /// The nodes on the way, the other end last; empty while it is not known.
    pub route: Vec<NodeId>,
    /// What this node has to say.
    pub parcel: Parcel,
}

impl Detour {
    /// One that begins.
    pub fn new(token: GrantToken, route: Vec<NodeId>) -> Self {
        Self {
            token,
            route,
            parcel: Parcel::default(),
        }
    }
}

/// A session description and its candidates, which travel together.
#[derive(Debug, Clone, Default)]
pub struct Parcel {
    sdp: Option<String>,
    candidates: Vec<String>,
    /// When it goes, complete or not.
    due: Option<Instant>,
    sent: bool,
}

impl Parcel {
    /// The session description is ready.
    pub fn describe(&mut self, now: Instant, sdp: String) {
        if !self.sent {
            self.sdp = Some(sdp);
            self.due.get_or_insert(now + COLD_GATHER);
        }
    }

    /// A candidate was found; an empty one says there are no more. Those that come too late are not
    /// told: the other end finds this one by its checks.
    pub fn add(&mut self, now: Instant, candidate: String) {
        if candidate.is_empty() {
            self.due = Some(now);
        } else if !self.sent && self.candidates.len() < MAX_CANDIDATES {
            self.candidates.push(candidate);
        }
    }

    /// When it goes.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.sdp.is_some())
    }

    /// Takes it if it is to go now.
    pub fn take(&mut self, now: Instant) -> Option<(String, Vec<String>)> {
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        self.sent = true;
        Some((self.sdp.take()?, std::mem::take(&mut self.candidates)))
    }

    /// Whether it went.
    pub fn is_sent(&self) -> bool {
        self.sent
    }
}
