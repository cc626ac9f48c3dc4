//! What the two ends of a connection say to each other through the tracker, and about it.
//!
//! A message about a connection that does not exist, or by a node that is no end of it, changes
//! nothing; it is counted, not answered, because messages cross each other on the way.

use std::time::Instant;

use super::member::Edge;
use super::{Broadcast, Timer};
use crate::id::{Generation, LinkKey, NodeId};
use crate::limits::{MAX_OFFER_BYTES, PARENT_AVOIDED, PARENT_REFUSED};
use crate::wire::tracker::{ErrorCode, PeerClass, RefuseReason, ServerMessage};

impl Broadcast {
    /// A parent's answer to its child's offer; once per connection.
    pub fn answer(&mut self, from: NodeId, link: LinkKey, sdp: String) {
        let signals = self
            .members
            .get_mut(&link.child)
            .filter(|member| member.other_end(link.link) == Some(from))
            .and_then(|member| member.signals(link.link));
        match signals {
            Some(signals) if !signals.answered => {
                signals.answered = true;
                self.send(link.child, ServerMessage::Answer { link, sdp });
            }
            _ => self.counters.stale += 1,
        }
    }

    /// An ICE candidate of one end, for the other. A child's candidates wait for the parent it
    /// gets.
    pub fn candidate(&mut self, from: NodeId, link: LinkKey, candidate: String) {
        let Some(member) = self.members.get_mut(&link.child) else {
            self.counters.stale += 1;
            return;
        };
        let parent = member.other_end(link.link);
        let from_child = from == link.child;
        let admitted = match member.signals(link.link) {
            Some(signals) if from_child => signals.from_child.admit(&candidate),
            Some(signals) if parent == Some(from) => signals.from_parent.admit(&candidate),
            _ => false,
        };
        if !admitted {
            self.counters.stale += 1;
            return;
        }
        if !from_child {
            self.send(link.child, ServerMessage::Candidate { link, candidate });
            return;
        }
        let attempt = member.attempt.as_mut();
        if let Some(attempt) = attempt.filter(|attempt| attempt.link == link.link) {
            if self.queue.bytes + candidate.len() > MAX_OFFER_BYTES {
                return;
            }
            self.queue.bytes += candidate.len();
            attempt.candidates.push(candidate.clone());
        }
        if let Some(parent) = parent {
            self.send(parent, ServerMessage::Candidate { link, candidate });
        }
    }

    /// A parent will not serve a child it was told to expect.
    pub fn refuse(&mut self, now: Instant, from: NodeId, link: LinkKey, reason: RefuseReason) {
        let child = link.child;
        let standby = self.members.get(&child).and_then(|member| member.standby);
        if standby.is_some_and(|standby| standby.link == link.link && standby.host == from) {
            self.counters.refused[reason as usize] += 1;
            self.give_up_standby(child);
            self.avoid_for_a_while(now, child, from);
            self.send(child, ServerMessage::NoStandby { link });
            return;
        }
        let coming = self
            .members
            .get(&child)
            .and_then(|member| member.attempt.as_ref())
            .filter(|attempt| attempt.link == link.link)
            .and_then(|attempt| attempt.assigned);
        if coming.is_none_or(|assigned| assigned.parent != from) {
            self.counters.stale += 1;
            return;
        }
        self.counters.refused[reason as usize] += 1;
        if self.give_up_move(child, from) {
            return;
        }
        match reason {
            RefuseReason::Full | RefuseReason::NoMedia => {
                self.withdraw(child);
                if let Some(parent) = self.members.get_mut(&from) {
                    let until = now + PARENT_REFUSED;
                    parent.full_until = Some(until);
                    self.timers.insert((until, Timer::Reopen(from)));
                }
                self.review(now, from);
                self.requeue(child);
            }
            RefuseReason::Cycle => {
                self.withdraw(child);
                self.avoid_for_a_while(now, child, from);
                self.requeue(child);
            }
            RefuseReason::Codec | RefuseReason::Offer => {
                self.withdraw(child);
                self.avoid_for_a_while(now, child, from);
                let attempt = self.members.get_mut(&child);
                let attempt = attempt.and_then(|member| member.attempt.as_mut());
                let first = attempt.is_some_and(|attempt| {
                    attempt.refusals += 1;
                    attempt.refusals == 1
                });
                if first && !self.is_root(&from) {
                    self.requeue(child);
                    return;
                }
                self.take_attempt(child, false);
                let (code, text) = if reason == RefuseReason::Codec {
                    (
                        ErrorCode::Codec,
                        "this peer cannot decode the stream's codecs",
                    )
                } else {
                    (ErrorCode::Offer, "the offer cannot be answered")
                };
                self.send_error(child, code, text);
            }
        }
    }

    fn avoid_for_a_while(&mut self, now: Instant, child: NodeId, parent: NodeId) {
        let parent = self.members.get(&parent).map(|parent| parent.handle);
        if let (Some(parent), Some(child)) = (parent, self.members.get_mut(&child)) {
            child.avoid(parent, now, Some(now + PARENT_AVOIDED));
        }
    }

    /// A child's connection stands: it hangs under its new parent now, and the old one is told.
    /// For a player its parent says so.
    pub fn attached(&mut self, from: NodeId, link: LinkKey, generation: Generation) {
        let attempt = self
            .members
            .get(&from)
            .filter(|member| link.child == from && member.class != PeerClass::Player)
            .and_then(|member| member.attempt.as_ref())
            .filter(|attempt| attempt.link == link.link);
        let assigned = attempt
            .and_then(|attempt| attempt.assigned)
            .filter(|assigned| assigned.generation == generation);
        if assigned.is_some() {
            self.attach_expected(from);
        } else if link.child == from && self.standby_attached(link, generation) {
            // It takes no place in the tree.
        } else {
            self.counters.stale += 1;
        }
    }

    /// Puts a child under the parent it was assigned to.
    pub(super) fn attach_expected(&mut self, from: NodeId) {
        let attempt = self.members.get(&from).and_then(|m| m.attempt.as_ref());
        let assigned = attempt.and_then(|attempt| attempt.assigned);
        let handles = assigned.and_then(|assigned| {
            let parent = self.members.get(&assigned.parent)?.handle;
            Some((self.members.get(&from)?.handle, parent, assigned.parent))
        });
        let Some((child, parent, parent_node)) = handles else {
            self.counters.stale += 1;
            return;
        };
        if self.tree.attach(child, parent).is_err() {
            // Not possible while its slot is reserved; if it were, the child would ask again.
            self.take_attempt(from, true);
            return;
        }
        self.counters.attached += 1;
        let attempt = self.take_attempt(from, false);
        self.release_place(from);
        if let (Some(member), Some(attempt)) = (self.members.get_mut(&from), attempt) {
            member.former = None;
            let old = member.edge.replace(Edge {
                parent: parent_node,
                link: Some(attempt.link),
                signals: attempt.signals,
            });
            self.counters.moved += u64::from(old.is_some());
            if let Some((old_parent, Some(link))) = old.map(|edge| (edge.parent, edge.link)) {
                let link = LinkKey { child: from, link };
                self.send(old_parent, ServerMessage::Release { link });
            }
        }
    }
}
