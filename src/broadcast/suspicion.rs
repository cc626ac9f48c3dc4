//! What children say of a parent, and what follows.
//!
//! Peers are volunteers and some lie, so the word of one child evicts nobody. It takes a second
//! witness: the tracker's own silence from that parent, or other children.

use std::time::Instant;

use super::{Broadcast, Timer};
use crate::id::NodeId;
use crate::limits::{COMPLAINT_WINDOW, COMPLAINTS, PARENT_SHUNNED, SUSPECT_SILENCE};

impl Broadcast {
    /// A peer said something.
    pub fn heard(&mut self, now: Instant, node: NodeId) {
        if let Some(member) = self.members.get_mut(&node) {
            member.heard = now;
        }
    }

    /// A child called this parent silent. If the tracker does not hear from it either, it has
    /// stopped, and its own slot is given to others.
    pub(super) fn suspect(&mut self, now: Instant, parent: NodeId) {
        if let Some(member) = self.members.get(&parent)
            && member.edge.is_some()
        {
            let at = member.heard + SUSPECT_SILENCE;
            if at <= now {
                self.suspend(now, parent);
            } else {
                self.timers.insert((at, Timer::Suspect(parent)));
            }
        }
    }

    pub(super) fn look_at_suspect(&mut self, now: Instant, parent: NodeId) {
        let heard = self.members.get(&parent).map(|member| member.heard);
        if heard.is_some_and(|heard| heard + SUSPECT_SILENCE <= now) {
            self.suspend(now, parent);
        }
    }

    /// Takes a silent peer out of the tree. It stays a member: a report brings it back, to its
    /// place if that is still kept.
    fn suspend(&mut self, now: Instant, node: NodeId) {
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        let Some(edge) = member.edge.take() else {
            return;
        };
        member.former = Some(edge.clone());
        self.tree.detach(member.handle);
        self.keep_place(now, node, &edge);
        self.bereave(now, edge.parent);
    }

    /// Counts a complaint of one child. A parent that several lost gets no new ones for a while;
    /// it keeps those it has. The root is exempt: without it there is no stream.
    pub(super) fn complain(&mut self, now: Instant, child: NodeId, about: NodeId) {
        if self.is_root(&about) {
            return;
        }
        let Some(parent) = self.members.get_mut(&about) else {
            return;
        };
        parent
            .complaints
            .retain(|&(who, at)| who != child && now < at + COMPLAINT_WINDOW);
        parent.complaints.push((child, now));
        let left = self.tree.get(parent.handle).map_or(0, |peer| peer.used());
        let count = parent.complaints.len();
        if count >= COMPLAINTS || (count >= 2 && left == 0) {
            parent.complaints.clear();
            let until = now + PARENT_SHUNNED;
            parent.shunned_until = Some(until);
            self.timers.insert((until, Timer::Reopen(about)));
            self.review(now, about);
        }
    }

    /// Opens or closes a parent for new children, as its state has it.
    pub(super) fn review(&mut self, now: Instant, node: NodeId) {
        let root_gone = self.is_root(&node) && self.root_is_lost();
        if let Some(member) = self.members.get_mut(&node) {
            member.full_until.take_if(|until| *until <= now);
            member.shunned_until.take_if(|until| *until <= now);
            let shut = member.full_until.is_some()
                || member.shunned_until.is_some()
                || member.draining
                || root_gone;
            self.tree.set_open(member.handle, !shut);
        }
    }
}
