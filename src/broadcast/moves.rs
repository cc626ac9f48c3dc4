//! Better places for peers that have one: who is told to move, and what becomes of it.
//!
//! A move is planned: a slot is kept at the new parent, the peer is told, asks as ever, and is sent
//! there. Its present parent feeds it until the new one does. Whatever goes wrong on the way, it stays
//! where it is.

use std::time::Instant;

use rand::Rng;

use super::member::{Member, Plan};
use super::queue::Place;
use super::{Broadcast, Timer};
use crate::id::{LinkKey, NodeId};
use crate::limits::{
    EVICTION_PAUSE, HEALING_PAUSE, MOVE_PAUSE, REBALANCE_INTERVAL, RESERVATION, SMALL_TREE,
};
use crate::tree::{Displacement, Handle};
use crate::wire::tracker::{PeerClass, ServerMessage, StreamState};

impl Broadcast {
    /// Whether the shape of the tree may change by itself now: not while nobody could follow.
    pub(super) fn may_rebalance(&self) -> bool {
        self.state == StreamState::Live && self.tree.attached() > 2 && !self.root_is_lost()
    }

    /// Once a second: slots kept for heals are freed again, slots that have opened near the root are
    /// filled, and who has earned a better place gets it.
    pub(super) fn rebalance(&mut self, now: Instant, rng: &mut impl Rng) {
        if self.rebalance_at.is_some_and(|at| now < at) || !self.may_rebalance() {
            return;
        }
        self.rebalance_at = Some(now + REBALANCE_INTERVAL);
        if self.renewed_until.is_some_and(|until| now < until) {
            return;
        }
        let large = self.tree.attached() > SMALL_TREE;
        let healing_at = self.healing_at.filter(|_| !large);
        let calm = |pause| healing_at.is_none_or(|at| now >= at + pause);
        let mut left = self.tree.moves_per_second();
        // Who heals or waits for a slot goes first.
        if self.queue.unfed() == 0 && calm(MOVE_PAUSE) {
            let mut round = self.round;
            for candidate in self.tree.next_candidates(&mut round) {
                if left == 0 {
                    break;
                }
                left -= usize::from(self.promote(now, candidate, rng));
            }
            self.round = round;
        }
        while left > 0 && calm(HEALING_PAUSE) {
            let bars = |child, parent| self.stays(now, child) || !self.suit(now, child, parent);
            let found = match calm(MOVE_PAUSE) {
                true => self.tree.find_move(&bars, rng),
                false => self.tree.find_relief(&bars, rng),
            };
            let Some(found) = found else {
                break;
            };
            if !self.begin_move(now, found.child, found.parent) {
                break;
            }
            left -= 1;
        }
    }

    /// Gives a peer the place of one that is worth less, if there is one. Whether it was told to move.
    fn promote(&mut self, now: Instant, candidate: Handle, rng: &mut impl Rng) -> bool {
        if self.stays(now, candidate) {
            return false;
        }
        let bars = |child, parent| {
            (child != candidate && self.stays(now, child)) || !self.suit(now, child, parent)
        };
        let Some(place) = self.tree.find_promotion(candidate, now, &bars, rng) else {
            return false;
        };
        let begun = self.begin_move(now, candidate, place.parent);
        if begun {
            self.note_displacement(candidate, place.victim);
        }
        begun
    }

    /// Sends a joining peer to the place of another, which goes below it once it is fed, or at once
    /// if there is no slot for both.
    pub(super) fn assign_in_place_of(&mut self, now: Instant, joiner: NodeId, place: Displacement) {
        let full = self.tree.get(place.parent).is_some_and(|p| !p.has_room());
        let Some(handle) = self.members.get(&joiner).map(|member| member.handle) else {
            return;
        };
        if full {
            self.evict(now, place.victim);
            if let Some(member) = self.members.get_mut(&joiner) {
                member.evicted_at = Some(now);
            }
        } else {
            self.note_displacement(handle, place.victim);
        }
        self.assign(now, joiner, Place::direct(place.parent));
    }

    /// Whether a peer that brings slots may take a place by force.
    pub(super) fn may_evict(&self, now: Instant, member: &Member) -> bool {
        let last = member.evicted_at;
        last.is_none_or(|last| now >= last + EVICTION_PAUSE)
    }

    /// Takes a peer's place from it. It asks for another, and comes before those who are new.
    fn evict(&mut self, now: Instant, victim: Handle) {
        let node = self.tree.get(victim).map(|peer| peer.node());
        let Some((node, member)) = node.and_then(|node| Some((node, self.members.get_mut(&node)?)))
        else {
            return;
        };
        let Some(edge) = member.edge.take() else {
            return;
        };
        member.evicted = Some((edge.parent, now + RESERVATION));
        self.tree.detach(victim);
        if let Some(link) = edge.link {
            let link = LinkKey { child: node, link };
            self.send(edge.parent, ServerMessage::Release { link });
        }
    }

    fn note_displacement(&mut self, joiner: Handle, victim: Handle) {
        let name = |handle| self.tree.get(handle).map(|peer| peer.node());
        if let (Some(joiner), Some(victim)) = (name(joiner), name(victim))
            && let Some(member) = self.members.get_mut(&joiner)
        {
            member.displaces = Some(victim);
        }
    }

    /// A peer is fed in its new place: whose place that was goes below it, if nothing has changed.
    pub(super) fn displace(&mut self, now: Instant, joiner: NodeId) {
        let Some(member) = self.members.get_mut(&joiner) else {
            return;
        };
        let handle = member.handle;
        let Some(victim) = member.displaces.take().and_then(|v| self.members.get(&v)) else {
            return;
        };
        let victim = victim.handle;
        if self.tree.parent(victim) == self.tree.parent(handle)
            && !self.stays(now, victim)
            && self.suit(now, victim, handle)
        {
            self.begin_move(now, victim, handle);
        }
    }

    /// Whether a peer must not be told to move now.
    pub(super) fn stays(&self, now: Instant, peer: Handle) -> bool {
        let Some(member) = self.member_at(peer) else {
            return true;
        };
        // A player has one connection for its life.
        member.class == PeerClass::Player
            || member.attempt.is_some()
            || member.planned.is_some()
            || member.edge.as_ref().is_none_or(|edge| edge.link.is_none())
            || member.fed.is_none()
            || member.moved_at.is_some_and(|at| now < at + MOVE_PAUSE)
    }

    /// Whether a peer that is fed might as well be fed by this parent, which is fed itself.
    fn suit(&self, now: Instant, child: Handle, parent: Handle) -> bool {
        let Some(above) = self.member_at(parent) else {
            return false;
        };
        let fed = above.fed.is_some() || self.tree.root() == Some(parent);
        let healing = above.bereaved_at.is_some_and(|at| now < at + MOVE_PAUSE);
        // It may have children that this tracker does not know of yet.
        let used = self.tree.get(parent).map_or(0, |peer| peer.used());
        let known = above.reported.len() <= used.into();
        fed && !healing && known && self.may_follow(now, child, parent)
    }

    /// A parent has lost a child: who heals goes before who would like a better place.
    pub(super) fn bereave(&mut self, now: Instant, parent: NodeId) {
        self.healing_at = Some(now);
        if let Some(parent) = self.members.get_mut(&parent) {
            parent.bereaved_at = Some(now);
        }
    }

    /// Whether a peer could go below another.
    pub(super) fn may_follow(&self, now: Instant, child: Handle, parent: Handle) -> bool {
        self.member_at(child).is_some_and(|child| {
            !child.failed_to_move_to(parent) && !self.keeps_apart(now, child, parent, false)
        })
    }

    /// Keeps a slot for a peer and tells it to ask for a parent.
    fn begin_move(&mut self, now: Instant, child: Handle, parent: Handle) -> bool {
        let name = |handle| self.tree.get(handle).map(|peer| peer.node());
        let (Some(node), Some(parent_node)) = (name(child), name(parent)) else {
            return false;
        };
        if self.tree.reserve(child, parent).is_err() {
            return false;
        }
        if let Some(parent) = self.members.get_mut(&parent_node) {
            parent.expected.insert(node);
        }
        // Two nodes have one connection at most: one that stands by becomes none.
        for (one, other) in [(node, parent_node), (parent_node, node)] {
            self.part_with_standby(one, other);
        }
        let Some(member) = self.members.get_mut(&node) else {
            return false;
        };
        let until = now + RESERVATION;
        member.planned = Some(Plan {
            parent: parent_node,
            until,
        });
        member.moved_at = Some(now);
        member.generation = member.generation.next();
        let generation = member.generation;
        self.timers.insert((until, Timer::Plan(node)));
        self.send(node, ServerMessage::Move { generation });
        true
    }

    fn part_with_standby(&mut self, child: NodeId, host: NodeId) {
        let standby = self.members.get(&child).and_then(|member| member.standby);
        if let Some(standby) = standby.filter(|standby| standby.host == host) {
            let link = LinkKey {
                child,
                link: standby.link,
            };
            self.give_up_standby(child);
            self.send(child, ServerMessage::NoStandby { link });
        }
    }

    /// Gives back the slot that was kept for a peer. Whose it was.
    pub(super) fn cancel_plan(&mut self, child: NodeId) -> Option<NodeId> {
        let member = self.members.get_mut(&child)?;
        let plan = member.planned.take()?;
        self.tree.unreserve(member.handle);
        self.timers.remove(&(plan.until, Timer::Plan(child)));
        if let Some(parent) = self.members.get_mut(&plan.parent) {
            parent.expected.remove(&child);
        }
        Some(plan.parent)
    }

    /// A peer asks for a parent: if it was told to, that is the one a slot was kept at.
    pub(super) fn follow_plan(&mut self, now: Instant, child: NodeId) {
        let Some(parent) = self.cancel_plan(child) else {
            return;
        };
        let (Some(member), Some(above)) = (self.members.get(&child), self.members.get(&parent))
        else {
            return;
        };
        let attached = self.tree.get(above.handle).is_some_and(|p| p.attached());
        let parent = above.handle;
        if self.state != StreamState::Live || !attached || member.avoids(parent, now, false) {
            return;
        }
        if let Some(attempt) = self
            .members
            .get_mut(&child)
            .and_then(|m| m.attempt.as_mut())
        {
            attempt.planned = true;
        }
        self.assign(now, child, Place::direct(parent));
    }

    pub(super) fn plan_expired(&mut self, now: Instant, child: NodeId) {
        let plan = self.members.get(&child).and_then(|member| member.planned);
        if plan.is_some_and(|plan| plan.until <= now)
            && let Some(parent) = self.cancel_plan(child)
        {
            self.note_failed_move(child, parent);
        }
    }

    /// A parent will not serve a child that was told to move there and is fed still: it was the
    /// tracker's wish, so it stays where it is. False for any other child.
    pub(super) fn give_up_move(&mut self, child: NodeId, parent: NodeId) -> bool {
        let member = self.members.get(&child).filter(|m| m.edge.is_some());
        let attempt = member.and_then(|member| member.attempt.as_ref());
        let Some(attempt) = attempt.filter(|attempt| attempt.planned) else {
            return false;
        };
        let link = LinkKey {
            child,
            link: attempt.link,
        };
        self.take_attempt(child, false);
        self.note_failed_move(child, parent);
        self.send(child, ServerMessage::Release { link });
        true
    }

    /// A move came to nothing: the peer is not sent there again soon.
    pub(super) fn note_failed_move(&mut self, child: NodeId, parent: NodeId) {
        let parent = self.members.get(&parent).map(|parent| parent.handle);
        if let (Some(parent), Some(child)) = (parent, self.members.get_mut(&child)) {
            child.note_failed_move(parent);
        }
    }
}
