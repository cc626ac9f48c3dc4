//! Session descriptions for nodes further on: passing them on, and what those for this node say.
//!
//! A description goes to its end where a link leads there, else up: to the parent and the standby. It
//! never goes down again and crosses three links at most, so that few copies of it exist. Replies go
//! back the way it came, which stands in them. Nobody keeps anything about what it passes on.

use std::time::{Duration, Instant};

use super::{Attempt, Peer, PeerOutput, Stage};
use crate::id::{GrantToken, LinkKey, NodeId};
use crate::limits::{
    SIGNAL_BURST, SIGNAL_FIRST_HOPS, SIGNAL_INTERVAL, SIGNAL_NODE_BURST, SIGNAL_NODE_INTERVAL,
    SIGNAL_TTL,
};
use crate::wire::peer::PeerMessage;
use crate::wire::signal::{Signal, SignalBody, prove};
use crate::wire::tracker::PeerClass;

/// How much may be asked of this node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// How early the next one may come: never later than now, where few do.
    next: Option<Instant>,
}

impl Budget {
    /// Whether one more is within the budget.
    fn take(&mut self, now: Instant, burst: u32, interval: Duration) -> bool {
        let next = self.next.map_or(now, |next| next.max(now));
        let allowed = next <= now + interval * (burst - 1);
        if allowed {
            self.next = Some(next + interval);
        }
        allowed
    }
}

impl Peer {
    /// A neighbour has something for this node or for one further on.
    pub(super) fn signal_came(&mut self, now: Instant, link: LinkKey, mut signal: Signal) {
        let own = self.node();
        let Some(neighbour) = self.neighbour(link) else {
            return;
        };
        let budget = match self.children.get_mut(link) {
            Some(child) => child.liveness_mut(),
            None => (self.upstream.get_mut(link)).and_then(Attempt::liveness_mut),
        };
        if !budget.is_some_and(|l| l.signals.take(now, SIGNAL_BURST, SIGNAL_INTERVAL))
            || signal.ttl == 0
            || signal.via.last() != Some(&neighbour)
            || signal.via.contains(&own)
        {
            return;
        }
        if !signal.route.is_empty() && signal.route.remove(0) != own {
            return;
        }
        if signal.to == own {
            self.signal_for_this(now, signal);
        } else {
            self.pass_on(now, signal);
        }
    }

    fn signal_for_this(&mut self, now: Instant, signal: Signal) {
        let link = signal.link;
        match signal.body {
            SignalBody::Offer { .. } => self.admit_cold(now, signal),
            SignalBody::Bye => {
                let child = self
                    .children
                    .get(link)
                    .filter(|child| !child.is_connected());
                let detour = child.and_then(|child| child.detour.as_ref());
                if detour.is_some_and(|detour| signal.is_proven(&detour.token)) {
                    self.drop_child(now, link);
                }
            }
            SignalBody::Answer { .. } | SignalBody::Refuse { .. } => {
                let attempt = self.upstream.cold.iter().find(|a| a.link == link);
                let detour = attempt.and_then(|attempt| attempt.detour.as_ref());
                if !detour.is_some_and(|detour| signal.is_proven(&detour.token)) {
                    return;
                }
                match signal.body {
                    SignalBody::Answer { sdp, candidates } => {
                        self.cold_answered(now, link, &signal.via, sdp, candidates);
                    }
                    _ => self.cold_refused(now, link),
                }
            }
        }
    }

    /// Sends what a neighbour wrote or passed on further on its way, if there is one.
    fn pass_on(&mut self, now: Instant, mut signal: Signal) {
        if signal.ttl <= 1 || signal.via.len() >= usize::from(SIGNAL_TTL) {
            return;
        }
        let next = match signal.route.first() {
            Some(next) => self.link_to(*next).into_iter().collect(),
            None => match self.link_to(signal.to) {
                Some(link) => vec![link],
                None => self.upwards(&signal.via),
            },
        };
        if next.is_empty() || !(self.signals).take(now, SIGNAL_NODE_BURST, SIGNAL_NODE_INTERVAL) {
            return;
        }
        signal.ttl -= 1;
        signal.via.push(self.node());
        for link in next {
            self.send(link, PeerMessage::Signal(signal.clone()));
        }
    }

    /// Sends something of this node's own: by the route, or else by whatever link stands.
    pub(super) fn send_signal(
        &mut self,
        to: NodeId,
        token: &GrantToken,
        route: &[NodeId],
        link: LinkKey,
        body: SignalBody,
    ) {
        let Some(proof) = prove(token, to, link, &body) else {
            return;
        };
        let (ttl, hops) = match route.first() {
            Some(next) => (route.len() as u8, self.link_to(*next).into_iter().collect()),
            None => (SIGNAL_TTL, self.first_hops(to)),
        };
        let signal = Signal {
            to,
            ttl,
            via: vec![self.node()],
            route: route.to_vec(),
            link,
            proof,
            body,
        };
        for hop in hops {
            self.send(hop, PeerMessage::Signal(signal.clone()));
        }
    }

    /// The links by which a node without a parent looks for another node: up, and then down, where
    /// each time others come first.
    fn first_hops(&self, to: NodeId) -> Vec<LinkKey> {
        if let Some(link) = self.link_to(to) {
            return vec![link];
        }
        let mut hops = self.upwards(&[]);
        let children: Vec<_> = self
            .children
            .movable()
            .filter(|l| self.speaks(*l))
            .collect();
        let first = self.cold.rounds() as usize * SIGNAL_FIRST_HOPS;
        let turned = children.iter().cycle().skip(first % children.len().max(1));
        hops.extend(turned.take(children.len()));
        hops.truncate(SIGNAL_FIRST_HOPS);
        hops
    }

    /// The links to the parent and to standbys, but those to nodes it has passed.
    fn upwards(&self, via: &[NodeId]) -> Vec<LinkKey> {
        let upstream = &self.upstream;
        let links = [&upstream.feeding, &upstream.standby, &upstream.aside];
        let links = links.into_iter().flatten();
        let stands = |attempt: &&Attempt| matches!(attempt.stage, Stage::Connected { .. });
        let new = |attempt: &&Attempt| attempt.parent.is_some_and(|p| !via.contains(&p));
        let links = links.filter(stands).filter(new);
        links.map(|attempt| attempt.link).collect()
    }

    /// The standing link to that node, if there is one.
    fn link_to(&self, node: NodeId) -> Option<LinkKey> {
        let above = self.upstream.attempts().find(|attempt| {
            attempt.parent == Some(node) && matches!(attempt.stage, Stage::Connected { .. })
        });
        let mut below = self.children.movable();
        above
            .map(|attempt| attempt.link)
            .or_else(|| below.find(|link| link.child == node && self.speaks(*link)))
    }

    /// The node at the other end of a standing link.
    fn neighbour(&self, link: LinkKey) -> Option<NodeId> {
        if self.children.contains(link) {
            return self.speaks(link).then_some(link.child);
        }
        let mut attempts = self.upstream.attempts();
        attempts.find(|attempt| attempt.link == link)?.parent
    }

    /// Whether a child understands what is meant for others.
    fn speaks(&self, link: LinkKey) -> bool {
        self.class_of(link) == Some(PeerClass::Native)
    }

    /// Sends off what was waiting for its candidates.
    pub(super) fn post_parcels(&mut self, now: Instant) {
        let mut parcels = Vec::new();
        for attempt in &mut self.upstream.cold {
            if let (Some(detour), Some(to)) = (&mut attempt.detour, attempt.parent)
                && let Some((sdp, candidates)) = detour.parcel.take(now)
            {
                attempt.stage = Stage::Connecting { since: now };
                let body = SignalBody::Offer { sdp, candidates };
                parcels.push((to, detour.token, detour.route.clone(), attempt.link, body));
            }
        }
        for (link, detour) in self.children.detours_mut() {
            if let Some((sdp, candidates)) = detour.parcel.take(now) {
                let body = SignalBody::Answer { sdp, candidates };
                parcels.push((link.child, detour.token, detour.route.clone(), link, body));
            }
        }
        for (to, token, route, link, body) in parcels {
            self.send_signal(to, &token, &route, link, body);
        }
    }

    /// A candidate of a connection whose ends speak over other peers. Whether it is one.
    pub(super) fn pack_candidate(&mut self, now: Instant, link: LinkKey, candidate: &str) -> bool {
        let detour = match self.children.get_mut(link) {
            Some(child) if child.is_connected() => None,
            Some(child) => child.detour.as_mut(),
            None => (self.upstream.get_mut(link)).and_then(|attempt| attempt.detour.as_mut()),
        };
        let known = detour.is_some();
        if let Some(detour) = detour {
            detour.parcel.add(now, candidate.to_owned());
        }
        known
    }

    /// Hands the other end's candidates to a link.
    pub(super) fn add_candidates(&mut self, link: LinkKey, candidates: Vec<String>) {
        for candidate in candidates {
            self.outputs
                .push_back(PeerOutput::AddCandidate { link, candidate });
        }
    }
}
