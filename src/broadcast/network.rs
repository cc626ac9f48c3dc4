//! Which pairs can connect at all, from what peers say of the networks they sit in.

use super::member::Member;
use super::{Arrival, Broadcast};
use crate::id::{LinkKey, NodeId};
use crate::reachability::{End, Reachability, Relays, can_connect, can_relay};
use crate::wire::tracker::{PeerClass, ServerMessage};

impl Broadcast {
    /// A peer says how far strangers' packets come to it. A connection it is making that cannot
    /// come to be is taken back at once.
    pub fn set_reachability(&mut self, node: NodeId, reachability: Reachability) {
        self.stun_answers |= reachability.was_answered();
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        if member.reachability == reachability {
            return;
        }
        let shown = member.reachability.best() != reachability.best();
        let opens = reachability.opens_more_than(&member.reachability);
        member.reachability = reachability;
        self.views.changed |= shown;
        if let Some(attempt) = &member.attempt {
            self.queue.reconsider(attempt.turn);
        }
        if opens
            && self
                .tree
                .get(member.handle)
                .is_some_and(|peer| peer.attached())
        {
            self.queue.nudge();
        }
        self.take_back_hopeless(node);
    }

    fn take_back_hopeless(&mut self, child: NodeId) {
        let Some(member) = self.members.get(&child) else {
            return;
        };
        let Some(attempt) = &member.attempt else {
            return;
        };
        let Some(parent) = attempt.assigned.and_then(|a| self.members.get(&a.parent)) else {
            return;
        };
        let relayed = attempt.assigned.is_some_and(|assigned| assigned.relayed);
        if self.meet(member, parent) || (relayed && self.meet_relayed(member, parent)) {
            return;
        }
        let link = LinkKey {
            child,
            link: attempt.link,
        };
        self.take_attempt(child, true);
        self.send(child, ServerMessage::Release { link });
    }

    /// Whether two peers can connect, as far as is known.
    pub(super) fn meet(&self, a: &Member, b: &Member) -> bool {
        can_connect(&self.end_of(a), &self.end_of(b))
    }

    /// Whether they can with a TURN server between them, as far as is known.
    pub(super) fn meet_relayed(&self, child: &Member, parent: &Member) -> bool {
        can_relay(&self.end_of(child), &self.end_of(parent))
    }

    fn end_of(&self, member: &Member) -> End {
        // Where no peer has heard of the STUN servers, they are what cannot be reached.
        let reachability = if self.stun_answers {
            member.reachability
        } else {
            member.reachability.in_doubt()
        };
        End {
            reachability,
            seen: member.seen,
            relays: match member.class {
                _ if self.relays.is_empty() => Relays::No,
                PeerClass::Native => Relays::OverUdp,
                PeerClass::Browser => Relays::OverAny,
                PeerClass::Player => Relays::No,
            },
        }
    }

    /// Notes what a session said before its peer joined.
    pub(super) fn introduce(&mut self, arrival: &Arrival) {
        self.set_reachability(arrival.node, arrival.reachability);
    }
}
