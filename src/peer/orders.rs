//! What the tracker orders about links: who is to be whose parent, as a child and as a parent.

use std::time::Instant;

use super::{Attempt, Peer, PeerOutput, Stage};
use crate::id::{Generation, LinkKey, NodeId};
use crate::limits::STANDBY_DELAY;
use crate::wire::announcement::SignedStreamInfo;
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{ClientMessage, Join, LostReason, PeerClass, RefuseReason};

impl Peer {
    pub(super) fn offer_ready(&mut self, now: Instant, link: LinkKey, sdp: String) {
        if self.send_offer_anew(link, &sdp) || self.cold_offer_ready(now, link, &sdp) {
            return;
        }
        let lost = self.upstream.lost;
        let stream = self.stream;
        let ready = self.session.is_ready();
        let Some(attempt) = self.upstream.get_mut(link) else {
            return;
        };
        if !matches!(attempt.stage, Stage::Offering) {
            return;
        }
        if attempt.standby {
            if !ready {
                return self.lose_standby(now, LostReason::Closed);
            }
            attempt.stage = Stage::Asking {
                since: now,
                heard: false,
            };
            let lost = self.take_lost_standby();
            let link = link.link;
            return self.tell_tracker(ClientMessage::StandBy(Join {
                stream,
                link,
                offer: sdp,
                lost,
            }));
        }
        attempt.stage = Stage::Asking {
            since: now,
            heard: false,
        };
        if !self.session.is_ready() {
            // The tracker went away meanwhile; a new offer follows when it is back.
            self.upstream.coming = None;
            self.outputs.push_back(PeerOutput::Close { link });
            return;
        }
        self.upstream.lost = None;
        self.tell_tracker(ClientMessage::Join(Join {
            stream,
            link: link.link,
            offer: sdp,
            lost,
        }));
    }

    pub(super) fn assigned(
        &mut self,
        now: Instant,
        link: LinkKey,
        parent: NodeId,
        generation: Generation,
        info: SignedStreamInfo,
    ) {
        self.session.obey(generation);
        let Some(attempt) = self.upstream.get_mut(link) else {
            return;
        };
        let renewed = attempt.parent.is_none() || generation > attempt.generation;
        match attempt.stage {
            Stage::Connected { .. } if attempt.parent == Some(parent) && renewed => {
                // The tracker or the parent was away meanwhile; the link stands all the same.
                attempt.generation = generation;
                self.tell_tracker(ClientMessage::Attached { link, generation });
                return;
            }
            Stage::Asking { .. } | Stage::Connecting { .. } if renewed => {}
            _ => return,
        }
        if attempt.answered && attempt.standby {
            return self.lose_standby(now, LostReason::Closed);
        }
        if attempt.answered {
            // One offer cannot be answered twice: another is made, and nobody is to blame.
            self.upstream.take(link);
            self.outputs.push_back(PeerOutput::Close { link });
            self.begin_join();
            return;
        }
        let cold = self.upstream.cold.iter().find(|a| a.parent == Some(parent));
        if let Some((cold, stands)) = cold.map(|a| (a.link, a.liveness().is_some())) {
            if stands {
                // Two nodes have one connection, and this one is made.
                self.upstream.take(link);
                self.outputs.push_back(PeerOutput::Close { link });
                return;
            }
            self.lose_cold(now, cold, LostReason::Closed);
        }
        let Some(attempt) = self.upstream.get_mut(link) else {
            return;
        };
        attempt.parent = Some(parent);
        attempt.generation = generation;
        attempt.stage = Stage::Connecting { since: now };
        self.unpair(now, link, parent);
        self.learn_tracks(now, link, info);
    }

    /// The tracker has a better place for this node: it asks for that, and its parent goes on feeding
    /// it until the next one does.
    pub(super) fn move_away(&mut self, generation: Generation) {
        if self.session.obey(generation)
            && self.upstream.feeding.is_some()
            && self.upstream.coming.is_none()
        {
            self.begin_join();
        }
    }

    /// The tracker found that a connection we are making cannot come to be: another one is asked
    /// for.
    pub(super) fn released(&mut self, now: Instant, link: LinkKey) {
        let connecting = |attempt: &mut Attempt| {
            attempt.link == link && matches!(attempt.stage, Stage::Connecting { .. })
        };
        if self.upstream.coming.take_if(connecting).is_some() {
            self.outputs.push_back(PeerOutput::Close { link });
            self.join_at = None;
        } else {
            self.lose_parent(now, link, LostReason::Closed);
        }
    }

    pub(super) fn expect(&mut self, now: Instant, link: LinkKey, class: PeerClass, offer: String) {
        if self.children.contains(link) {
            if self.children.is_connected(link) {
                return;
            }
            // What was answered before did not reach the child.
            self.drop_child(now, link);
        }
        let came = self.children.unannounced(link.child);
        if let Some(cold) = came.filter(|cold| !self.children.is_connected(*cold)) {
            self.drop_child(now, cold);
        }
        let refuse = if link.child == self.node() || self.path().contains(&link.child) {
            Some(RefuseReason::Cycle)
        } else if self.info.is_none() {
            Some(RefuseReason::NoMedia)
        } else if self.standby.is_draining()
            || came.is_some_and(|cold| self.children.is_connected(cold))
        {
            Some(RefuseReason::Full)
        } else if self.children.taken() >= usize::from(self.config.slots) {
            // A child that comes back before its old link was noticed dead takes its own place.
            let own = self
                .children
                .links()
                .into_iter()
                .find(|old| old.child == link.child && self.children.takes(*old));
            match own {
                Some(old) => {
                    self.drop_child(now, old);
                    None
                }
                None => Some(RefuseReason::Full),
            }
        } else {
            None
        };
        if let Some(reason) = refuse {
            self.tell_tracker(ClientMessage::Refuse { link, reason });
            return;
        }
        self.unpair(now, link, link.child);
        self.admit(now, link, class, offer);
    }

    /// Two nodes have one connection: one that stands by between this node and `other` gives way
    /// to a link that feeds.
    pub(super) fn unpair(&mut self, now: Instant, link: LinkKey, other: NodeId) {
        let standby = self.upstream.standby.as_ref();
        if standby.is_some_and(|s| s.parent == Some(other) && s.link != link) {
            self.drop_standby(None);
            self.want_standby(now + STANDBY_DELAY);
        }
        let aside = self.upstream.aside.as_ref();
        if aside.is_some_and(|aside| aside.parent == Some(other)) {
            self.end_aside();
        }
        for reserve in self.children.links() {
            let stands_by = super::children::Child::is_reserve;
            if reserve.child == other
                && reserve != link
                && self.children.get(reserve).is_some_and(stands_by)
            {
                self.send(reserve, PeerMessage::Bye);
                self.drop_child(now, reserve);
            }
        }
    }

    pub(super) fn admit(&mut self, now: Instant, link: LinkKey, class: PeerClass, offer: String) {
        let described = self.epoch();
        self.children.insert(now, link, class, false, described);
        let ice_servers = self.session.ice_servers().to_vec();
        self.outputs.push_back(PeerOutput::Accept {
            link,
            offer,
            class,
            ice_servers,
        });
    }
}
