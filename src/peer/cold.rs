//! Parents that are found without the tracker.
//!
//! While all is well the tracker tells this node which others would take it in, and those that it would
//! take in itself, with a token for each pair. A node that nobody feeds, and whose standby does not
//! either, asks the tracker and those nodes at once; whoever feeds it first is its parent, and the
//! others are let go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::detour::Detour;
use super::{Attempt, Peer, PeerEvent, PeerOutput, Stage};
use crate::id::{GrantToken, LinkId, LinkKey, NodeId};
use crate::limits::{
    COLD_ANSWER, COLD_ATTEMPTS, COLD_HEAD_START, COLD_PAUSE, COLD_PAUSE_MAX, GRANT_INTERVAL,
    GRANT_LIFETIME, MAX_COLD_PARENTS, MAX_GRANTS, STANDBY_DELAY, STANDBY_TRIAL,
};
use crate::wire::peer::PeerMessage;
use crate::wire::signal::{Signal, SignalBody};
use crate::wire::tracker::{ClientMessage, ColdParent, LostReason, PeerClass, RefuseReason};

/// What this node knows of others that need no tracker.
#[derive(Debug, Default)]
pub struct Cold {
    /// Who would take it in, the best first.
    parents: Vec<ColdParent>,
    /// Until when they would.
    until: Option<Instant>,
    /// Whom it would take in.
    admitted: BTreeMap<NodeId, Admission>,
    /// The present search.
    round: Option<Round>,
}

/// A child that this node would take in.
#[derive(Debug)]
struct Admission {
    token: GrantToken,
    until: Instant,
    /// The last of its attempts.
    newest: Option<LinkId>,
    /// When it may make another.
    again_at: Option<Instant>,
}

#[derive(Debug)]
struct Round {
    /// When the next parent is asked at the earliest.
    begins: Instant,
    tried: Vec<NodeId>,
    /// How often all were tried.
    count: u32,
}

impl Cold {
    /// How often all were tried in vain.
    pub fn rounds(&self) -> u32 {
        self.round.as_ref().map_or(0, |round| round.count)
    }

    /// Whether somebody would take this node in.
    fn any(&self, now: Instant) -> bool {
        !self.parents.is_empty() && self.until.is_some_and(|until| now < until)
    }
}

impl Peer {
    /// The tracker tells who would take this node in.
    pub(super) fn set_cold_parents(
        &mut self,
        now: Instant,
        lifetime: Duration,
        mut parents: Vec<ColdParent>,
    ) {
        let own = self.node();
        parents.retain(|parent| parent.node != own);
        parents.truncate(MAX_COLD_PARENTS);
        self.cold.parents = parents;
        self.cold.until = Some(now + lifetime.min(GRANT_LIFETIME));
    }

    /// The tracker tells whom this node is to take in, or not any more.
    pub(super) fn set_admission(
        &mut self,
        now: Instant,
        child: NodeId,
        token: GrantToken,
        lifetime: Duration,
    ) {
        let admitted = &mut self.cold.admitted;
        admitted.retain(|_, admission| admission.until > now);
        if lifetime.is_zero() || child == self.config.node {
            admitted.remove(&child);
            return;
        }
        let until = now + lifetime.min(GRANT_LIFETIME);
        if let Some(known) = admitted.get_mut(&child) {
            (known.token, known.until) = (token, until);
            return;
        }
        if admitted.len() >= MAX_GRANTS {
            let first = admitted.iter().min_by_key(|(_, admission)| admission.until);
            if let Some(first) = first.map(|(child, _)| *child) {
                admitted.remove(&first);
            }
        }
        let admission = Admission {
            token,
            until,
            newest: None,
            again_at: None,
        };
        admitted.insert(child, admission);
    }

    /// Nodes that would take this one in without the tracker, as the tracker told last.
    pub fn cold_parents(&self) -> impl Iterator<Item = NodeId> {
        self.cold.parents.iter().map(|parent| parent.node)
    }

    /// Nodes that this one would take in without the tracker.
    pub fn admitted(&self) -> usize {
        self.cold.admitted.len()
    }

    /// Whether nobody feeds this node, which was fed and wants to be.
    fn is_orphan(&self) -> bool {
        !self.is_root()
            && self.ever_attached
            && self.upstream.feeding.is_none()
            && !self.standby.on_trial()
            && !self.standby.is_draining()
            && !self.away
            && self.info.is_some()
    }

    /// Who is asked next.
    fn next_cold(&self) -> Option<ColdParent> {
        let tried = self.cold.round.as_ref().map(|round| &round.tried);
        let coming = self.upstream.coming.as_ref().and_then(|a| a.parent);
        let below = |node: NodeId| {
            let links = self.children.links();
            links
                .into_iter()
                .any(|l| l.child == node && self.children.takes(l))
        };
        let mut parents = self.cold.parents.iter().copied();
        parents.find(|parent| {
            !tried.is_some_and(|tried| tried.contains(&parent.node))
                && coming != Some(parent.node)
                && !below(parent.node)
        })
    }

    /// When the search goes on.
    pub(super) fn cold_deadline(&self) -> Option<Instant> {
        let searches = self.is_orphan()
            && self.upstream.cold.len() < COLD_ATTEMPTS
            && (self.upstream.cold.is_empty() || self.next_cold().is_some());
        let round = self.cold.round.as_ref().filter(|_| searches);
        let attempts = self.upstream.cold.iter().filter_map(cold_end);
        let parcels = self.upstream.cold.iter().map(|attempt| &attempt.detour);
        let parcels = parcels.flatten().filter_map(|d| d.parcel.deadline());
        round
            .map(|round| round.begins)
            .into_iter()
            .chain(attempts)
            .chain(parcels)
            .chain(self.children.parcels_due())
            .min()
    }

    /// Looks for a parent without the tracker, as long as there is none.
    pub(super) fn seek_cold(&mut self, now: Instant) {
        self.post_parcels(now);
        let late = |attempt: &Attempt| cold_end(attempt).is_some_and(|at| at <= now);
        let late = self.upstream.cold.iter().filter(|attempt| late(attempt));
        for link in late.map(|attempt| attempt.link).collect::<Vec<_>>() {
            self.lose_cold(now, link, LostReason::Silent);
        }
        if (self.upstream.feeding.as_ref()).is_some_and(|feeding| feeding.delivering) {
            self.cold.round = None;
            self.end_aside();
        }
        if !self.is_orphan() {
            return;
        }
        if !self.cold.any(now) {
            self.cold.round = None;
            return;
        }
        let ahead = if self.session.is_ready() {
            COLD_HEAD_START
        } else {
            Duration::ZERO
        };
        let round = self.cold.round.get_or_insert(Round {
            begins: now + ahead,
            tried: Vec::new(),
            count: 0,
        });
        if now < round.begins {
            return;
        }
        while self.upstream.cold.len() < COLD_ATTEMPTS {
            let next = self.next_cold();
            let Some(round) = &mut self.cold.round else {
                return;
            };
            let Some(parent) = next else {
                if self.upstream.cold.is_empty() {
                    let slower = 1 << (round.count / 3).min(8);
                    round.begins = now + (COLD_PAUSE * slower).min(COLD_PAUSE_MAX);
                    round.tried.clear();
                    round.count = round.count.saturating_add(1);
                }
                return;
            };
            round.tried.push(parent.node);
            self.begin_cold(now, parent);
        }
    }

    fn begin_cold(&mut self, now: Instant, parent: ColdParent) {
        self.next_link = self.next_link.next();
        let link = LinkKey {
            child: self.node(),
            link: self.next_link,
        };
        let detour = Detour::new(parent.token, Vec::new());
        let attempt = Attempt::to_cold(now, link, parent.node, detour);
        self.upstream.cold.push(attempt);
        let ice_servers = self.session.ice_servers().to_vec();
        self.outputs
            .push_back(PeerOutput::Connect { link, ice_servers });
    }

    /// The offer of a link that needs no tracker is ready. False if it is none of those.
    pub(super) fn cold_offer_ready(&mut self, now: Instant, link: LinkKey, sdp: &str) -> bool {
        let attempt = self.upstream.cold.iter_mut().find(|a| a.link == link);
        let Some(detour) = attempt.and_then(|attempt| attempt.detour.as_mut()) else {
            return false;
        };
        detour.parcel.describe(now, sdp.to_owned());
        true
    }

    /// A node that was asked over others takes this one in.
    pub(super) fn cold_answered(
        &mut self,
        now: Instant,
        link: LinkKey,
        via: &[NodeId],
        sdp: String,
        candidates: Vec<String>,
    ) {
        let epoch = self.epoch();
        let attempt = self.upstream.cold.iter_mut().find(|a| a.link == link);
        let Some(attempt) = attempt else {
            return;
        };
        if std::mem::replace(&mut attempt.answered, true) {
            return;
        }
        attempt.described = epoch;
        if let Some(detour) = &mut attempt.detour {
            detour.route = via.iter().rev().copied().collect();
        }
        if let Some(parent) = attempt.parent {
            self.unpair(now, link, parent);
        }
        self.outputs.push_back(PeerOutput::SetAnswer { link, sdp });
        self.add_candidates(link, candidates);
    }

    /// A node that was asked over others does not take this one in.
    pub(super) fn cold_refused(&mut self, now: Instant, link: LinkKey) {
        if let Some(attempt) = self.upstream.get_mut(link) {
            // It need not be told again.
            attempt.detour = None;
        }
        self.lose_cold(now, link, LostReason::Closed);
    }

    /// A link that was to need no tracker is of no use; its other end is told.
    pub(super) fn lose_cold(&mut self, now: Instant, link: LinkKey, reason: LostReason) {
        let cold = &mut self.upstream.cold;
        let Some(at) = cold.iter().position(|attempt| attempt.link == link) else {
            return;
        };
        let attempt = cold.remove(at);
        if matches!(attempt.stage, Stage::Connected { .. }) {
            self.send(link, PeerMessage::Bye);
        } else if let (Some(to), Some(detour)) = (attempt.parent, attempt.detour)
            && detour.parcel.is_sent()
        {
            let Detour { token, route, .. } = *detour;
            self.send_signal(to, &token, &route, link, SignalBody::Bye);
        }
        self.outputs.push_back(PeerOutput::Close { link });
        if matches!(reason, LostReason::Unreachable | LostReason::Unusable) {
            let parents = &mut self.cold.parents;
            parents.retain(|parent| Some(parent.node) != attempt.parent);
        }
        if let Some(round) = &mut self.cold.round {
            round.begins = round.begins.max(now);
        }
    }

    /// Somebody feeds this node: the search is over.
    pub(super) fn end_cold(&mut self, now: Instant) {
        for link in self
            .upstream
            .cold
            .iter()
            .map(|a| a.link)
            .collect::<Vec<_>>()
        {
            self.lose_cold(now, link, LostReason::Closed);
        }
        self.cold.round = None;
        self.end_aside();
    }

    /// The first media over a link that needed no tracker: it is the parent's. False if it is none of
    /// those.
    pub(super) fn cold_feeds(&mut self, now: Instant, link: LinkKey) -> bool {
        let cold = &mut self.upstream.cold;
        let Some(at) = cold.iter().position(|attempt| attempt.link == link) else {
            return false;
        };
        let mut attempt = cold.remove(at);
        attempt.detour = None;
        let parent = attempt.parent;
        self.dismiss(now);
        let moved = self.upstream.feeding.replace(attempt);
        self.outputs
            .push_back(PeerOutput::Feeding { link: Some(link) });
        for other in moved.into_iter().chain(self.upstream.coming.take()) {
            let link = other.link;
            if matches!(other.stage, Stage::Connected { .. }) {
                self.send(link, PeerMessage::Bye);
            }
            self.outputs.push_back(PeerOutput::Close { link });
        }
        self.end_cold(now);
        self.join_at = None;
        let lost = self.upstream.lost.take();
        if let Some(parent) = parent {
            self.tell_tracker(ClientMessage::Switched { link, parent, lost });
            self.heals += 1;
            let healed = true;
            self.event(PeerEvent::Attached { parent, healed });
        }
        self.want_standby(now + STANDBY_DELAY);
        true
    }

    /// A child asks over other peers to be taken in. Who does not know the token is not answered.
    pub(super) fn admit_cold(&mut self, now: Instant, signal: Signal) {
        let link = signal.link;
        let Some(admission) = self.cold.admitted.get_mut(&link.child) else {
            return;
        };
        let token = admission.token;
        if admission.until <= now
            || signal.via.first() != Some(&link.child)
            || admission.newest.is_some_and(|newest| link.link <= newest)
            || admission.again_at.is_some_and(|at| now < at)
            || !signal.is_proven(&token)
        {
            return;
        }
        admission.newest = Some(link.link);
        admission.again_at = Some(now + GRANT_INTERVAL);
        let SignalBody::Offer { sdp, candidates } = signal.body else {
            return;
        };
        let route: Vec<_> = signal.via.iter().rev().copied().collect();
        // Of what it tried before nothing is left.
        for old in self.children.links() {
            if old.child == link.child && self.children.takes(old) {
                self.drop_child(now, old);
            }
        }
        if let Some(reason) = self.refusal(link.child) {
            let body = SignalBody::Refuse { reason };
            return self.send_signal(link.child, &token, &route, link, body);
        }
        self.unpair(now, link, link.child);
        self.admit(now, link, PeerClass::Native, sdp);
        if let Some(child) = self.children.get_mut(link) {
            child.detour = Some(Box::new(Detour::new(token, route)));
        }
        self.add_candidates(link, candidates);
    }

    /// Why this node cannot feed that one now.
    fn refusal(&self, child: NodeId) -> Option<RefuseReason> {
        let path = self.path();
        // What the parent lacks cannot be passed on either.
        let above = self.feeding_liveness().is_some_and(|l| l.remote.healing);
        if child == self.node() || path.contains(&child) {
            Some(RefuseReason::Cycle)
        } else if self.info.is_none() || path.is_empty() || self.is_healing() || above {
            Some(RefuseReason::NoMedia)
        } else if self.standby.is_draining()
            || self.children.taken() >= usize::from(self.config.slots)
        {
            Some(RefuseReason::Full)
        } else {
            None
        }
    }

    /// The standby feeds nobody now, and may pass on what this node has to say to others.
    pub(super) fn set_standby_aside(&mut self, now: Instant, reason: Option<LostReason>) {
        let stands = |attempt: &mut Attempt| matches!(attempt.stage, Stage::Connected { .. });
        if !self.cold.any(now) {
            return self.drop_standby(reason);
        }
        let Some(mut standby) = self.upstream.standby.take_if(stands) else {
            return self.drop_standby(reason);
        };
        standby.quiet();
        self.send(standby.link, PeerMessage::Deactivate);
        self.forget_standby(standby.parent, reason);
        self.end_aside();
        self.upstream.aside = Some(standby);
    }

    pub(super) fn end_aside(&mut self) {
        if let Some(aside) = self.upstream.aside.take() {
            self.send(aside.link, PeerMessage::Bye);
            self.outputs
                .push_back(PeerOutput::Close { link: aside.link });
        }
    }
}

/// When an attempt is given up for the next one.
fn cold_end(attempt: &Attempt) -> Option<Instant> {
    match attempt.stage {
        Stage::Connecting { since } if !attempt.answered => Some(since + COLD_ANSWER),
        Stage::Connected { since, .. } if !attempt.delivering && attempt.renewal.is_none() => {
            Some(since + STANDBY_TRIAL)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
