//! Which pairs can connect at all, from what peers say of the networks they sit in.

use super::member::Member;
use super::{Arrival, Broadcast};
use crate::id::{LinkKey, NodeId};
use crate::reachability::{End, Reachability, can_connect};
use crate::wire::tracker::ServerMessage;

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
        member.reachability = reachability;
        self.views.changed |= shown;
        self.queue.nudge();
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
        if self.meet(member, parent) {
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
        }
    }

    /// Notes what a session said before its peer joined.
    pub(super) fn introduce(&mut self, arrival: &Arrival) {
        self.set_reachability(arrival.node, arrival.reachability);
    }
}
