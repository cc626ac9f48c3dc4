//! Who waits for a parent, and who gets one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Instant;

use rand::Rng;

use super::member::{Assigned, Member, Signals};
use super::{Broadcast, Timer};
use crate::id::{LinkKey, NodeId};
use crate::limits::{COUNT_INTERVAL, NO_ROUTE_PAUSE, NO_ROUTE_TRIES, RESERVATION};
use crate::tree::{Class, Displacement, Handle, Placement, Spare, Wish};
use crate::wire::tracker::{PeerClass, ServerMessage, StreamState, WaitReason};

/// Whose turn it is first: by rank, then first come, first served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) rank: Rank,
    pub(super) number: u64,
}

/// Who goes first when slots are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It brings slots, or a subtree with them.
    BringsRoom,
    /// It watched already and lost its parent.
    Heals,
    /// It is new.
    New,
    /// It is fed and would like another parent.
    Moves,
}

#[derive(Debug)]
struct Waiting {
    node: NodeId,
    /// The chances there had been when it was tried last.
    tried: u64,
    reason: WaitReason,
    told: Option<(WaitReason, u32)>,
}

/// What a waiting peer gets.
enum Choice {
    /// A slot that is free.
    Slot(Place),
    /// The place of another peer.
    InPlaceOf(Displacement),
}

/// Where a peer is to go.
pub(super) struct Place {
    parent: Handle,
    /// Through a TURN server.
    relayed: bool,
}

impl Place {
    pub(super) fn direct(parent: Handle) -> Self {
        Self {
            parent,
            relayed: false,
        }
    }
}

/// The peers that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Turn, Waiting>,
    moving: usize,
    next: u64,
    /// Those who have not been told why they wait.
    untold: Vec<Turn>,
    nudges: u64,
    /// The chances there had been when everybody was tried last.
    tried: u64,
    /// The first of those with no way to a parent who is still to be tried again.
    resume_at: Option<Turn>,
    positions_due: Option<Instant>,
    /// Bytes of all unfinished attempts, placed or not.
    pub(super) bytes: usize,
}

impl Queue {
    pub(super) fn turn(&mut self, rank: Rank) -> Turn {
        self.next += 1;
        Turn {
            rank,
            number: self.next,
        }
    }

    pub(super) fn push(&mut self, turn: Turn, node: NodeId) {
        let waiting = Waiting {
            node,
            tried: 0,
            reason: WaitReason::Full,
            told: None,
        };
        if self.waiting.insert(turn, waiting).is_none() {
            self.moving += usize::from(turn.rank == Rank::Moves);
        }
        self.untold.push(turn);
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        if self.waiting.remove(&turn).is_some() {
            self.moving -= usize::from(turn.rank == Rank::Moves);
        }
    }

    /// Everybody may have a chance that no free slot tells of.
    pub(super) fn nudge(&mut self) {
        self.nudges += 1;
    }

    /// This one may have a chance that it had not before.
    pub(super) fn reconsider(&mut self, turn: Turn) {
        if let Some(waiting) = self.waiting.get_mut(&turn) {
            waiting.tried = 0;
            self.tried = 0;
        }
    }

    /// Has the trial of those who were passed over go on.
    pub(super) fn resume(&mut self) {
        self.tried = 0;
    }

    /// Tells everybody anew why they wait.
    pub(super) fn retell(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.told = None;
            waiting.tried = 0;
        }
        self.tried = 0;
        self.untold = self.waiting.keys().copied().collect();
        self.nudge();
    }

    #[cfg(test)]
    pub(super) fn who(&self, turn: Turn) -> Option<NodeId> {
        self.waiting.get(&turn).map(|waiting| waiting.node)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Those who get no picture while they wait.
    pub(super) fn unfed(&self) -> usize {
        self.waiting.len() - self.moving
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.positions_due
    }

    fn next_after(&self, after: Option<Turn>) -> Option<(Turn, &Waiting)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (turn, waiting) = self.waiting.range((from, Bound::Unbounded)).next()?;
        Some((*turn, waiting))
    }

    fn ahead(&self, turn: Turn) -> u32 {
        // Who comes new is the last one, as a rule.
        if self.waiting.last_key_value().map(|(&last, _)| last) == Some(turn) {
            return (self.waiting.len() - 1) as u32;
        }
        self.waiting.range(..turn).count() as u32
    }
}

impl Broadcast {
    /// Tries whoever may have a chance, in order.
    pub(super) fn admit(&mut self, now: Instant, rng: &mut impl Rng) {
        if self.state == StreamState::Live {
            // One more than the counts, so that 0 is never.
            let chances = 1 + self.tree.openings() + self.queue.nudges;
            if chances != self.queue.tried || !self.queue.untold.is_empty() {
                self.queue.tried = chances;
                self.try_waiting(now, chances, rng);
            }
        }
        for turn in std::mem::take(&mut self.queue.untold) {
            self.tell_waiting(turn);
        }
    }

    fn try_waiting(&mut self, now: Instant, chances: u64, rng: &mut impl Rng) {
        let mut after = None;
        let mut in_vain = NO_ROUTE_TRIES;
        let resume_at = self.queue.resume_at.take();
        let mut passed_over = false;
        while let Some((turn, waiting)) = self.queue.next_after(after)
            && (self.free_slots() > 0 || turn.rank == Rank::BringsRoom)
        {
            after = Some(turn);
            if waiting.tried == chances {
                continue;
            }
            // Every free slot is looked at for such a one, and nearly always in vain.
            if waiting.reason == WaitReason::NoRoute && waiting.tried != 0 {
                if in_vain == 0 || resume_at.is_some_and(|at| turn < at) {
                    passed_over = true;
                    if in_vain == 0 {
                        self.queue.resume_at.get_or_insert(turn);
                    }
                    continue;
                }
                in_vain -= 1;
            }
            let node = waiting.node;
            match self.choose(now, node, rng) {
                Ok(Choice::Slot(place)) => self.assign(now, node, place),
                Ok(Choice::InPlaceOf(place)) => self.assign_in_place_of(now, node, place),
                Err(reason) => {
                    let retry = self.members.get(&node).and_then(|m| m.retry_at(now));
                    if let Some(at) = retry {
                        self.timers.insert((at, Timer::Retry(node)));
                    }
                    if let Some(waiting) = self.queue.waiting.get_mut(&turn) {
                        waiting.tried = chances;
                        if waiting.reason != reason {
                            waiting.reason = reason;
                            self.queue.untold.push(turn);
                        }
                    }
                }
            }
        }
        if passed_over {
            self.timers.insert((now + NO_ROUTE_PAUSE, Timer::Resume));
        }
    }

    fn free_slots(&self) -> u64 {
        self.tree.free_slots(Class::Native) + self.tree.free_slots(Class::Browser)
    }

    /// The place for a waiting peer, or why there is none.
    fn choose(&self, now: Instant, node: NodeId, rng: &mut impl Rng) -> Result<Choice, WaitReason> {
        let member = self.members.get(&node).ok_or(WaitReason::Full)?;
        if self.waits_for_root(now, member) {
            return Err(WaitReason::Full);
        }
        // Others wait for what hangs below it; one alone leaves the kept slots to those.
        let heals = self.tree.children(member.handle).next().is_some();
        let kept = self.keep_last_until.is_some_and(|until| now < until);
        let joiner = member.handle;
        // Who asks for another parent while it is fed does not want the same again.
        let present = self.tree.parent(joiner);
        let regime = self.tree.regime();
        let mut find = |alone: bool| {
            let bars = |child: Handle, parent: Handle| match child == joiner {
                true => {
                    Some(parent) == present
                        || self.paired(member, parent)
                        || self.keeps_apart(now, member, parent, alone)
                }
                false => !self.may_follow(now, child, parent),
            };
            let wish = Wish {
                joiner,
                keep_last: kept && !self.tree.brings_room(joiner),
                spare: if heals { Spare::Freely } else { Spare::Last },
                excluded: &|child, parent| {
                    bars(child, parent) || (child != joiner && self.stays(now, child))
                },
            };
            if present.is_some() {
                return self.tree.find_parent(&wish, rng).map(Placement::Slot);
            }
            let placed = self.tree.find_place(&wish, regime, rng);
            if placed.is_some() || self.free_slots() > 0 || !self.may_evict(now, member) {
                return placed;
            }
            let wish = Wish {
                excluded: &bars,
                ..wish
            };
            let place = self.tree.find_eviction(&wish, rng);
            place.map(Placement::Displace)
        };
        let choice = |placement| match placement {
            Placement::Slot(parent) => Choice::Slot(Place::direct(parent)),
            Placement::Displace(place) => Choice::InPlaceOf(place),
        };
        if let Some(place) = find(false) {
            return Ok(choice(place));
        }
        if member.lost_any_lately()
            && let Some(place) = find(true)
        {
            return Ok(choice(place));
        }
        let mut find = |excluded: &dyn Fn(Handle, Handle) -> bool| {
            let wish = Wish {
                joiner,
                keep_last: kept && !self.tree.brings_room(joiner),
                spare: Spare::Last,
                excluded,
            };
            self.tree.find_parent(&wish, rng)
        };
        if !self.relays.is_empty()
            && let Some(parent) = find(&|_, parent| {
                let other = self.member_at(parent);
                let out_of_reach = other.is_some_and(|other| !self.meet_relayed(member, other));
                Some(parent) == present || member.avoids_relayed(parent, now) || out_of_reach
            })
        {
            let relayed = true;
            return Ok(Choice::Slot(Place { parent, relayed }));
        }
        match find(&|_, _| false) {
            Some(_) => Err(WaitReason::NoRoute),
            None => Err(WaitReason::Full),
        }
    }

    /// Whether one of two stands by for the other: two nodes have one connection at most.
    fn paired(&self, child: &Member, parent: Handle) -> bool {
        let host = |of: &Member| of.standby.map(|standby| standby.host);
        let name = |handle| self.tree.get(handle).map(|peer| peer.node());
        let above = self.member_at(parent).and_then(host);
        let below = host(child);
        (below.is_some() && below == name(parent))
            || (above.is_some() && above == name(child.handle))
    }

    /// The member that has this place in the tree.
    pub(super) fn member_at(&self, handle: Handle) -> Option<&Member> {
        self.members.get(&self.tree.get(handle)?.node())
    }

    /// Whether a peer must not get this parent: they cannot connect, or it lost it a moment ago, or
    /// one above it. `alone`: there is no other.
    pub(super) fn keeps_apart(
        &self,
        now: Instant,
        member: &Member,
        parent: Handle,
        alone: bool,
    ) -> bool {
        let apart = |above| !self.meet(member, above);
        if self.member_at(parent).is_some_and(apart) || member.avoids(parent, now, alone) {
            return true;
        }
        // Everything is below the root, so that says nothing.
        let root = self.tree.root();
        let lost = |above| Some(above) != root && member.lost_lately(above, now, alone);
        member.lost_any_lately() && self.tree.ancestry(parent).any(lost)
    }

    /// Reserves a slot for a waiting peer and introduces the two to each other.
    pub(super) fn assign(&mut self, now: Instant, child: NodeId, place: Place) {
        let Place { parent, relayed } = place;
        let Some((parent_node, depth)) = self
            .tree
            .get(parent)
            .map(|peer| (peer.node(), peer.depth() + 1))
        else {
            return;
        };
        let Some(member) = self.members.get_mut(&child) else {
            return;
        };
        let (Some(info), Some(attempt)) = (&self.info, &mut member.attempt) else {
            return;
        };
        if self.tree.reserve(member.handle, parent).is_err() {
            return;
        }
        member.generation = member.generation.next();
        let generation = member.generation;
        let until = now + RESERVATION;
        attempt.assigned = Some(Assigned {
            parent: parent_node,
            relayed,
            generation,
            until,
        });
        attempt.signals = Signals {
            from_child: attempt.signals.from_child,
            ..Signals::default()
        };
        let link = LinkKey {
            child,
            link: attempt.link,
        };
        let assigned = ServerMessage::Assigned {
            link,
            parent: parent_node,
            generation,
            depth,
            info: info.clone(),
            // Pages have the servers already, and use them by themselves.
            relay: if relayed && member.class == PeerClass::Native {
                self.relays.clone()
            } else {
                Vec::new()
            },
        };
        let expect = ServerMessage::Expect {
            link,
            class: member.class,
            offer: attempt.offer.clone(),
            generation,
        };
        let candidates = attempt.candidates.clone();
        self.queue.remove(attempt.turn);
        self.timers.insert((until, Timer::Reservation(child)));
        if let Some(parent) = self.members.get_mut(&parent_node) {
            parent.expected.insert(child);
        }
        self.counters.assigned += 1;
        self.make_room(parent_node);
        self.send(child, assigned);
        self.send(parent_node, expect);
        for candidate in candidates {
            self.send(parent_node, ServerMessage::Candidate { link, candidate });
        }
    }

    /// Tells a waiting peer why and behind how many.
    fn tell_waiting(&mut self, turn: Turn) {
        let ahead = self.queue.ahead(turn);
        let live = self.state == StreamState::Live && !self.away;
        let Some(waiting) = self.queue.waiting.get_mut(&turn) else {
            return;
        };
        let reason = if live {
            waiting.reason
        } else {
            WaitReason::NoMedia
        };
        let ahead = if reason == WaitReason::Full { ahead } else { 0 };
        if waiting.told == Some((reason, ahead)) {
            return;
        }
        waiting.told = Some((reason, ahead));
        let node = waiting.node;
        self.send(node, ServerMessage::Waiting { reason, ahead });
    }

    /// Tells everybody their new place in the queue, not too often.
    pub(super) fn tell_positions(&mut self, now: Instant) {
        if self.queue.waiting.is_empty() || self.state != StreamState::Live || self.away {
            self.queue.positions_due = None;
            return;
        }
        if self.queue.positions_due.is_some_and(|due| now < due) {
            return;
        }
        self.queue.positions_due = Some(now + self.pause(COUNT_INTERVAL));
        let mut news = Vec::new();
        for (ahead, waiting) in (0_u32..).zip(self.queue.waiting.values_mut()) {
            if let Some((WaitReason::Full, told)) = waiting.told
                && told != ahead
            {
                waiting.told = Some((WaitReason::Full, ahead));
                news.push((waiting.node, ahead));
            }
        }
        for (node, ahead) in news {
            let reason = WaitReason::Full;
            self.send(node, ServerMessage::Waiting { reason, ahead });
        }
    }
}
