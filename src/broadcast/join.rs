//! A peer asks for a parent: the first, another one, or one for a parent it lost.

use std::time::Instant;

use super::member::{Attempt, Signals};
use super::queue::{Rank, Turn};
use super::{Arrival, Broadcast, Timer};
use crate::id::{LinkKey, NodeId};
use crate::limits::{MAX_OFFER_BYTES, MAX_STREAM_PEERS, MAX_WAITING, PARENT_AVOIDED};
use crate::wire::tracker::{ErrorCode, Join, Lost, LostReason, ServerMessage};

impl Broadcast {
    /// Takes a request for a parent. It replaces an unfinished older one of the same peer.
    pub fn join(&mut self, now: Instant, arrival: Arrival, join: Join) {
        let node = arrival.node;
        if self.is_root(&node) {
            self.send_error(
                node,
                ErrorCode::Unexpected,
                "the root of a stream has no parent",
            );
            return;
        }
        if !self.members.contains_key(&node) {
            if self.members.len() >= MAX_STREAM_PEERS {
                let text = "this tracker takes no more viewers of this stream";
                self.send_error(node, ErrorCode::Overloaded, text);
                return;
            }
            self.enter(now, arrival);
            let status = self.status();
            self.send(node, ServerMessage::Stream(status));
        }
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        if member.newest_link.is_some_and(|newest| join.link <= newest) {
            self.counters.stale += 1;
            return;
        }
        // What was lost is lost, even if the request comes too soon.
        let lost = join.lost.filter(|lost| lost.parent != node);
        let evicted = member.evicted.take().is_some();
        let was_fed = lost.is_some_and(|lost| self.parent_lost(now, node, lost)) || evicted;
        if lost.is_some() {
            // It has let its standby go as well.
            self.give_up_standby(node);
        }
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        if !member.may_join(now) {
            let text = "too many requests for a parent in a short time";
            self.send_error(node, ErrorCode::Overloaded, text);
            return;
        }
        member.newest_link = Some(join.link);
        self.counters.joins += 1;
        self.counters.heals += u64::from(lost.is_some());
        let former_turn = self.take_attempt(node, true).map(|attempt| attempt.turn);
        let bytes = self.queue.bytes + join.offer.len();
        if self.queue.len() >= MAX_WAITING || bytes > MAX_OFFER_BYTES {
            let text = "too many viewers wait for this stream at the moment";
            self.send_error(node, ErrorCode::Overloaded, text);
            return;
        }
        let rank = self.rank(node, was_fed);
        // Who tries again keeps its turn, and its claim if it had a parent before.
        let same =
            |turn: &Turn| turn.rank == rank || (turn.rank == Rank::Heals && rank == Rank::New);
        let turn = match former_turn.filter(same) {
            Some(turn) => turn,
            None => self.queue.turn(rank),
        };
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        self.queue.bytes = bytes;
        member.attempt = Some(Attempt {
            link: join.link,
            offer: join.offer,
            candidates: Vec::new(),
            signals: Signals::default(),
            turn,
            assigned: None,
            heals: lost.is_some(),
            planned: false,
            refusals: 0,
        });
        self.queue.push(turn, node);
        self.follow_plan(now, node);
    }

    /// How urgent a peer's request is.
    fn rank(&self, node: NodeId, was_fed: bool) -> Rank {
        let Some(member) = self.members.get(&node) else {
            return Rank::New;
        };
        if self
            .tree
            .get(member.handle)
            .is_some_and(|peer| peer.attached())
        {
            let parent = member.edge.as_ref().map(|edge| edge.parent);
            let parent = parent.and_then(|parent| self.members.get(&parent));
            if parent.is_some_and(|parent| parent.draining) {
                Rank::Heals
            } else {
                Rank::Moves
            }
        } else if self.tree.brings_room(member.handle) {
            Rank::BringsRoom
        } else if was_fed || member.former.is_some() {
            Rank::Heals
        } else {
            Rank::New
        }
    }

    /// Draws the conclusions from a child's word that it lost a parent. Whether it had this one.
    pub(super) fn parent_lost(&mut self, now: Instant, child: NodeId, lost: Lost) -> bool {
        self.release_place(child);
        self.healing_at = Some(now);
        let Some(member) = self.members.get_mut(&child) else {
            return false;
        };
        let attempt = member.attempt.as_ref().and_then(|attempt| attempt.assigned);
        let was_coming = attempt.is_some_and(|assigned| assigned.parent == lost.parent);
        let relayed = attempt.is_some_and(|assigned| assigned.relayed);
        let was_former = member
            .former
            .take_if(|edge| edge.parent == lost.parent)
            .is_some();
        // Whoever lost a parent is fed by nobody, whichever parent it names.
        let edge = member.edge.take();
        let was_edge = edge.is_some();
        if let Some(edge) = edge {
            let handle = member.handle;
            self.tree.detach(handle);
            if self.tree.brings_room(handle) {
                self.keep_last_slot(now);
            }
            if let Some(link) = edge.link {
                let link = LinkKey { child, link };
                self.send(edge.parent, ServerMessage::Release { link });
            }
        }
        let Some(parent) = self.members.get(&lost.parent).map(|parent| parent.handle) else {
            return was_edge || was_former;
        };
        if self.renewed_until.is_some_and(|until| now < until) {
            return was_edge || was_former;
        }
        let until = match lost.reason {
            LostReason::Unreachable | LostReason::Unusable => None,
            LostReason::Silent | LostReason::Closed | LostReason::Leaving | LostReason::Starved => {
                Some(now + PARENT_AVOIDED)
            }
        };
        if let Some(member) = self.members.get_mut(&child) {
            if lost.reason == LostReason::Unreachable && !relayed && !self.relays.is_empty() {
                member.beyond_reach(parent, now);
            } else {
                member.avoid(parent, now, until);
            }
        }
        let had = was_edge || was_former;
        if lost.reason == LostReason::Silent && had {
            self.suspect(now, lost.parent);
        }
        let blames = matches!(
            lost.reason,
            LostReason::Silent | LostReason::Unreachable | LostReason::Starved
        );
        if blames && (had || was_coming) {
            self.complain(now, child, lost.parent);
        }
        was_edge || was_former
    }

    /// Ends a peer's request, placed or not. With `release` the parent it was assigned to is told.
    pub(super) fn take_attempt(&mut self, child: NodeId, release: bool) -> Option<Attempt> {
        let parent = self.withdraw(child);
        let attempt = self.members.get_mut(&child)?.attempt.take()?;
        self.queue.remove(attempt.turn);
        self.queue.bytes -= attempt.bytes();
        if let Some(parent) = parent.filter(|_| release) {
            let link = LinkKey {
                child,
                link: attempt.link,
            };
            self.send(parent, ServerMessage::Release { link });
        }
        Some(attempt)
    }

    /// Gives back the slot reserved for a child; returns the parent that had it.
    pub(super) fn withdraw(&mut self, child: NodeId) -> Option<NodeId> {
        let member = self.members.get_mut(&child)?;
        let assigned = member.attempt.as_mut()?.assigned.take()?;
        self.tree.unreserve(member.handle);
        let timer = (assigned.until, Timer::Reservation(child));
        self.timers.remove(&timer);
        if let Some(parent) = self.members.get_mut(&assigned.parent) {
            parent.expected.remove(&child);
        }
        Some(assigned.parent)
    }

    /// Puts a request whose parent fell away back in its place in the queue.
    pub(super) fn requeue(&mut self, child: NodeId) {
        let attempt = self.members.get(&child).and_then(|m| m.attempt.as_ref());
        if let Some(attempt) = attempt.filter(|attempt| attempt.assigned.is_none()) {
            self.queue.push(attempt.turn, child);
        }
    }

    pub(super) fn reservation_expired(&mut self, now: Instant, child: NodeId) {
        let attempt = self.members.get(&child).and_then(|m| m.attempt.as_ref());
        let assigned = attempt.and_then(|attempt| attempt.assigned);
        if assigned.is_some_and(|assigned| assigned.until <= now) {
            self.counters.expired += 1;
            let attempt = self.take_attempt(child, true);
            if let Some(assigned) = assigned
                && attempt.is_some_and(|attempt| attempt.planned)
            {
                self.note_failed_move(child, assigned.parent);
            }
            if self.is_player(&child) {
                self.end_player(now, child, "the player did not connect");
            }
        }
    }
}
