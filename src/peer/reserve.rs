//! Standing by for others: children that this node is connected to, and feeds when they ask.
//!
//! They take no slot before that. Where none is free, that of a child which has fallen silent is lent
//! to the one that lost it: the silent child is sent nothing until it speaks.

use std::time::Instant;

use super::{Peer, PeerOutput};
use crate::id::{LinkKey, NodeId};
use crate::limits::{CHILD_SUSPECT, MAX_STANDBY_CLIENTS};
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{ClientMessage, PeerClass, RefuseReason};

impl Peer {
    /// A child is to be connected to, and fed when it asks for that.
    pub(super) fn expect_reserve(
        &mut self,
        now: Instant,
        link: LinkKey,
        class: PeerClass,
        offer: String,
    ) {
        if self.children.contains(link) {
            return;
        }
        let refuse = if link.child == self.node() || self.path().contains(&link.child) {
            Some(RefuseReason::Cycle)
        } else if self.info.is_none() {
            Some(RefuseReason::NoMedia)
        } else if !self.has_room_for_reserve() {
            Some(RefuseReason::Full)
        } else {
            None
        };
        if let Some(reason) = refuse {
            self.tell_tracker(ClientMessage::Refuse { link, reason });
            return;
        }
        self.admit(now, link, class, offer);
        self.children.set_reserve(link);
    }

    /// This node has been asked to be a standby. Whether it can.
    fn has_room_for_reserve(&self) -> bool {
        self.config.slots > 0
            && !self.standby.is_draining()
            && self.children.reserves() < MAX_STANDBY_CLIENTS
    }

    /// A child asks for media. Whether it gets a slot, if this node is its standby.
    pub(super) fn grant(&mut self, now: Instant, link: LinkKey) -> bool {
        let Some(child) = self.children.get(link) else {
            return false;
        };
        if !child.is_reserve() {
            return true;
        }
        let orphaned_by = child.parent();
        let path = self.path();
        if path.contains(&link.child) || self.standby.is_draining() {
            self.decline(link, RefuseReason::Cycle);
            return false;
        }
        if path.is_empty() {
            return false;
        }
        if self.children.taken() >= usize::from(self.config.slots) {
            // Two do not hear it, this node and its own child: it makes room.
            let silent = orphaned_by.and_then(|p| self.children.silent(now, p, CHILD_SUSPECT));
            // A slot that is borrowed is not lent on.
            let silent = silent.filter(|&silent| self.children.lender(silent).is_none());
            let Some(silent) = silent else {
                let links = self.children.links();
                let own = |of: NodeId| {
                    let has = |link: &LinkKey| link.child == of && self.children.takes(*link);
                    links.iter().any(has)
                };
                if !orphaned_by.is_some_and(own) {
                    self.decline(link, RefuseReason::Full);
                }
                return false;
            };
            // For as long as it is silent.
            if let Some(silent) = self.children.get_mut(silent) {
                silent.lend(Some(link));
            }
            self.outputs
                .push_back(PeerOutput::DeactivateChild { link: silent });
        }
        if let Some(child) = self.children.get_mut(link) {
            child.feed(true);
        }
        true
    }

    /// A child that this node stands by for hears that there is nothing for it here.
    fn decline(&mut self, link: LinkKey, reason: RefuseReason) {
        if let Some(epoch) = self.epoch() {
            self.send(link, PeerMessage::Refuse { epoch, reason });
        }
    }

    /// A child wants no media for now.
    pub(super) fn release_grant(&mut self, link: LinkKey) {
        if let Some(child) = self.children.get_mut(link) {
            child.feed(false);
        }
        self.return_slot(link);
    }

    /// A child whose slot was lent has it back, if there is one.
    pub(super) fn return_slot(&mut self, from: LinkKey) {
        let Some(link) = self.children.lender(from) else {
            return;
        };
        if let Some(lender) = self.children.get_mut(link) {
            lender.lend(None);
            self.outputs.push_back(PeerOutput::ResumeChild { link });
        }
    }

    /// A child spoke. If its slot was lent meanwhile, it gets it back.
    pub(super) fn child_is_back(&mut self, now: Instant, link: LinkKey) {
        let Some(child) = self.children.get_mut(link) else {
            return;
        };
        let Some(to) = child.lend(None) else {
            return;
        };
        if self.children.taken() > usize::from(self.config.slots) {
            self.send(to, PeerMessage::Bye);
            self.drop_child(now, to);
        }
        self.outputs.push_back(PeerOutput::ResumeChild { link });
    }
}
