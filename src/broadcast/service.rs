//! Whether parents deliver: what their children receive beside what they receive themselves.
//!
//! A parent that carries less than it says, and does not notice or does not tell, is found out by its
//! children together. It counts for fewer slots then, the children that are too many move away as in any
//! other move, and it is believed more again with time. One child's word changes nothing.

use std::time::{Duration, Instant};

use super::{Broadcast, Timer};
use crate::id::NodeId;
use crate::limits::{DOUBT, DOUBT_MAX, MOVE_PAUSE, UNDERFED_SHARE, UNDERFED_TIME};

/// Weight of a new report in what a peer is said to receive.
const NEWEST: f32 = 0.5;

/// Seconds that two reports are taken to be apart at least: more would come of two that met on their way.
const LEAST_ELAPSED: f32 = 0.05;

/// What a peer receives, as it reports.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Packets per second, smoothed.
    received: f32,
    /// When it reported last: some report more often than others.
    reported_at: Option<Instant>,
    /// Its share of what its parent receives.
    share: f32,
    /// Since when that has been too little.
    underfed_since: Option<Instant>,
}

/// Children have found out that a parent carries less than it says.
#[derive(Debug)]
pub(super) struct Doubt {
    /// When it was lowered last.
    at: Instant,
    /// When one slot more is believed.
    until: Instant,
    /// Time to that; it doubles each time children complain again.
    patience: Duration,
}

impl Broadcast {
    /// A peer has reported what it received since its last report.
    pub(super) fn note_service(&mut self, now: Instant, child: NodeId, received: u32) {
        let Some(member) = self.members.get_mut(&child) else {
            return;
        };
        let service = &mut member.service;
        let since = service.reported_at.replace(now);
        let elapsed = since.map_or(1.0, |at| now.saturating_duration_since(at).as_secs_f32());
        let elapsed = elapsed.max(LEAST_ELAPSED);
        let weight = (NEWEST * elapsed).min(NEWEST);
        service.received += weight * (received as f32 / elapsed - service.received);
        let (own, fed) = (service.received, member.fed);
        // It takes some reports to know.
        let Some((parent, _)) = fed.filter(|&(_, since)| now >= since + UNDERFED_TIME) else {
            service.underfed_since = None;
            service.share = 1.0;
            return;
        };
        let Some(above) = self.members.get(&parent).map(|m| m.service.received) else {
            return;
        };
        let Some(member) = self.members.get_mut(&child) else {
            return;
        };
        let service = &mut member.service;
        service.share = if above > 1.0 {
            (own / above).min(1.0)
        } else {
            1.0
        };
        if service.share >= UNDERFED_SHARE {
            service.underfed_since = None;
            return;
        }
        let since = *service.underfed_since.get_or_insert(now);
        if now >= since + UNDERFED_TIME {
            self.doubt(now, parent);
        }
    }

    /// A child gets too little. If others do, its parent carries fewer than it has.
    fn doubt(&mut self, now: Instant, parent: NodeId) {
        let Some(member) = self.members.get(&parent) else {
            return;
        };
        let settles = member
            .doubt
            .as_ref()
            .is_some_and(|d| now < d.at + 2 * MOVE_PAUSE);
        if settles || self.is_root(&parent) {
            return;
        }
        let handle = member.handle;
        let (mut children, mut underfed, mut carried) = (0_u16, 0_u16, 0.0);
        for child in self.tree.children(handle) {
            let Some(child) = self.member_at(child) else {
                continue;
            };
            children += 1;
            // Of who has not complained nothing bad is known; players never report.
            carried += match child.service.underfed_since {
                Some(_) => child.service.share,
                None => 1.0,
            };
            let since = child.service.underfed_since;
            underfed += u16::from(since.is_some_and(|since| now >= since + UNDERFED_TIME));
        }
        let slots = self.tree.get(handle).map_or(0, |peer| peer.slots());
        if underfed < 2 || 2 * underfed < children || slots < children {
            return;
        }
        let carries = ((0.8 * carried) as u16).min(children - 1);
        self.tree.set_doubted(handle, Some(carries));
        let Some(member) = self.members.get_mut(&parent) else {
            return;
        };
        let before = member.doubt.take();
        let patience = before
            .as_ref()
            .map_or(DOUBT, |d| (2 * d.patience).min(DOUBT_MAX));
        let until = now + patience;
        member.doubt = Some(Doubt {
            at: now,
            until,
            patience,
        });
        if let Some(before) = before {
            self.timers.remove(&(before.until, Timer::Trust(parent)));
        }
        self.timers.insert((until, Timer::Trust(parent)));
        self.counters.doubted += 1;
    }

    /// One slot more of a parent is believed again.
    pub(super) fn trust(&mut self, now: Instant, parent: NodeId) {
        let Some(member) = self.members.get_mut(&parent) else {
            return;
        };
        let handle = member.handle;
        let Some(doubt) = member.doubt.as_mut().filter(|doubt| doubt.until <= now) else {
            return;
        };
        let Some(peer) = self.tree.get(handle) else {
            return;
        };
        let more = peer.doubted().map(|slots| slots + 1);
        let more = more.filter(|slots| *slots < peer.declared());
        self.tree.set_doubted(handle, more);
        if more.is_some() {
            doubt.until = now + doubt.patience;
            self.timers.insert((doubt.until, Timer::Trust(parent)));
        } else {
            member.doubt = None;
        }
    }
}
