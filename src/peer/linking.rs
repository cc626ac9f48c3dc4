//! What happens on links: they stand, they speak, they end.

use std::time::{Duration, Instant};

use super::{Attempt, Peer, PeerEvent, PeerOutput, RETRY_JOIN, Stage};
use crate::id::LinkKey;
use crate::limits::{RENEGOTIATION_WAIT, STANDBY_DELAY};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::peer::{PeerHello, PeerMessage};
use crate::wire::tracker::{ClientMessage, Lost, LostReason, PeerClass, RefuseReason};

impl Peer {
    pub(super) fn link_connected(&mut self, now: Instant, link: LinkKey) {
        let origin = self.origin;
        let epoch = self.epoch();
        if let Some(child) = self.children.get_mut(link) {
            child.connected(now, origin);
            let class = child.class;
            // Its answer was about the tracks before.
            let mut lacks = None;
            if child.described != epoch && class != PeerClass::Player {
                child.renew(now + RENEGOTIATION_WAIT);
                lacks = self.signed.clone();
            }
            self.outputs.push_back(PeerOutput::AddChild { link, class });
            self.event(PeerEvent::ChildUp { link });
            match class {
                PeerClass::Player => self.begin_to_play(now, link),
                PeerClass::Native | PeerClass::Browser => self.hello(link),
            }
            if let Some(signed) = lacks {
                self.send(link, PeerMessage::Info(signed));
            }
            if self.standby.is_draining() {
                self.send(link, PeerMessage::Drain);
            }
            return;
        }
        let Some(attempt) = self.upstream.get_mut(link) else {
            self.outputs.push_back(PeerOutput::Close { link });
            return;
        };
        attempt.connected(now, origin);
        if attempt.described != epoch {
            attempt.renew(now);
        }
        let generation = attempt.generation;
        let standby = attempt.standby;
        let cold = attempt.detour.is_some();
        self.hello(link);
        if cold {
            // It is the parent when it feeds.
            return;
        }
        if standby {
            return self.tell_tracker(ClientMessage::Attached { link, generation });
        }
        if self.upstream.feeding.is_none() {
            self.upstream.lost = None;
            self.dismiss(now);
            // Nothing plays, so nothing is lost by taking this one in already now.
            self.upstream.feeding = self.upstream.coming.take();
            self.outputs
                .push_back(PeerOutput::Feeding { link: Some(link) });
            self.tell_tracker(ClientMessage::Attached { link, generation });
        }
    }

    fn hello(&mut self, link: LinkKey) {
        let child = self.children.get(link);
        let other_tracks = child.is_some_and(|child| child.described != self.epoch());
        let heads = if other_tracks {
            Vec::new()
        } else {
            self.media.heads.clone()
        };
        let hello = PeerHello {
            version: PROTOCOL_VERSION,
            node: self.node(),
            path: self.path(),
            info: self.signed.clone(),
            heads,
        };
        self.send(link, PeerMessage::Hello(hello));
    }

    /// The first media over a link: it feeds from now on, and a former parent is let go.
    pub(super) fn first_media(&mut self, now: Instant, link: LinkKey) {
        if self.cold_feeds(now, link) {
            return;
        }
        self.end_cold(now);
        self.dismiss(now);
        self.want_standby(now + STANDBY_DELAY);
        let comes = self.upstream.coming.as_ref();
        let moved = comes.is_some_and(|attempt| attempt.link == link);
        if moved {
            let generation = self.upstream.coming.as_ref().map(|a| a.generation);
            let former = std::mem::replace(&mut self.upstream.feeding, self.upstream.coming.take());
            self.outputs
                .push_back(PeerOutput::Feeding { link: Some(link) });
            if let Some(generation) = generation {
                self.tell_tracker(ClientMessage::Attached { link, generation });
            }
            if let Some(former) = former {
                self.send(former.link, PeerMessage::Bye);
                self.outputs
                    .push_back(PeerOutput::Close { link: former.link });
            }
        }
        let parent = self.parent();
        // Who is fed until the next parent delivers has lost nothing.
        let healed = std::mem::replace(&mut self.ever_attached, true) && !moved;
        if healed {
            self.heals += 1;
        }
        if let Some(parent) = parent {
            self.event(PeerEvent::Attached { parent, healed });
        }
    }

    pub(super) fn peer_message(&mut self, now: Instant, link: LinkKey, message: PeerMessage) {
        if let Err(error) = message.check() {
            self.event(PeerEvent::Refused(format!("a message of a peer: {error}")));
            self.close_link(now, link);
            return;
        }
        if self.children.contains(link) {
            self.child_message(now, link, message);
        } else if self.upstream.get_mut(link).is_some() {
            self.parent_message(now, link, message);
        }
    }

    fn child_message(&mut self, now: Instant, link: LinkKey, message: PeerMessage) {
        let epoch = self.epoch();
        let Some(child) = self.children.get_mut(link) else {
            return;
        };
        let current = child.described == epoch;
        let Some(liveness) = child.liveness_mut() else {
            return;
        };
        liveness.heard(now);
        if message != PeerMessage::Bye {
            self.child_is_back(now, link);
        }
        let Some(child) = self.children.get_mut(link) else {
            return;
        };
        let Some(liveness) = child.liveness_mut() else {
            return;
        };
        match message {
            PeerMessage::Heartbeat(heartbeat) => {
                liveness.receive(now, heartbeat);
                let path = std::mem::take(&mut liveness.remote.path);
                child.set_path(&path);
                self.outputs.push_back(PeerOutput::ChildHeard { link });
            }
            PeerMessage::Activate { from } if current => {
                if self.grant(now, link) {
                    self.outputs
                        .push_back(PeerOutput::ActivateChild { link, from });
                }
            }
            PeerMessage::Deactivate => {
                self.release_grant(link);
                self.outputs.push_back(PeerOutput::DeactivateChild { link });
            }
            PeerMessage::KeyFrame { track } => {
                self.outputs
                    .push_back(PeerOutput::ChildKeyFrame { link, track });
            }
            PeerMessage::Bye => self.drop_child(now, link),
            PeerMessage::Hello(hello) => {
                if hello.version != PROTOCOL_VERSION {
                    self.drop_child(now, link);
                }
            }
            PeerMessage::Offer { epoch, sdp } => self.child_offers(link, epoch, sdp),
            PeerMessage::Signal(signal) => self.signal_came(now, link, signal),
            // What it asks for is of the tracks before; only a parent describes the stream.
            PeerMessage::Activate { .. }
            | PeerMessage::Info(_)
            | PeerMessage::Answer { .. }
            | PeerMessage::Pulse(_)
            | PeerMessage::Drain
            | PeerMessage::Picture { .. }
            | PeerMessage::Refuse { .. } => {}
        }
    }

    fn parent_message(&mut self, now: Instant, link: LinkKey, message: PeerMessage) {
        let node = self.node();
        let epoch = self.epoch();
        let Some(attempt) = self.upstream.get_mut(link) else {
            return;
        };
        let current = attempt.described == epoch;
        let Some(liveness) = attempt.liveness_mut() else {
            return;
        };
        liveness.heard(now);
        match message {
            PeerMessage::Heartbeat(heartbeat) => {
                let looped = heartbeat.path.contains(&node);
                let heads = heartbeat.heads.clone();
                let had_packets = liveness.remote.has_packets();
                if liveness.receive(now, heartbeat) && current {
                    let begins = !had_packets && liveness.remote.has_packets();
                    let standby = attempt.standby;
                    if begins && !attempt.delivering && !standby {
                        attempt.begin_again(now);
                    }
                    attempt.compare(now, &self.media.heads);
                    if !standby {
                        self.learn_heads(now, heads);
                    }
                }
                self.revalidate(now);
                if looped {
                    // Its word may be old, so the pair is not given up for good.
                    self.lose_parent(now, link, LostReason::Closed);
                }
            }
            PeerMessage::Hello(hello) => {
                let named = attempt.parent;
                if hello.version != PROTOCOL_VERSION
                    || named != Some(hello.node)
                    || hello.path.contains(&node)
                {
                    self.lose_parent(now, link, LostReason::Unusable);
                    return;
                }
                if let Some(liveness) = attempt.liveness_mut() {
                    liveness.remote.path = hello.path;
                    liveness.remote.heads.clone_from(&hello.heads);
                }
                if let Some(signed) = hello.info {
                    self.learn_tracks(now, link, signed);
                }
                let epoch = self.epoch();
                let attempt = self.upstream.get_mut(link);
                if attempt.is_some_and(|attempt| attempt.described == epoch) {
                    self.learn_heads(now, hello.heads);
                }
            }
            PeerMessage::Pulse(pulse) => {
                liveness.pulsed(now, pulse);
                if current {
                    attempt.compare(now, &self.media.heads);
                }
            }
            PeerMessage::Drain => self.parent_leaves(now, link),
            PeerMessage::Picture { held } => {
                let since = attempt.picture_held_since.unwrap_or(now);
                attempt.picture_held_since = held.then_some(since);
                let feeding = self.upstream.feeding.as_ref();
                if feeding.is_some_and(|feeding| feeding.link == link) {
                    self.event(PeerEvent::Picture { held });
                }
            }
            PeerMessage::Info(signed) => self.learn_tracks(now, link, signed),
            PeerMessage::Bye => self.lose_parent(now, link, LostReason::Closed),
            PeerMessage::Answer { epoch, sdp, heads } => {
                self.answered_anew(now, link, epoch, sdp, heads);
            }
            PeerMessage::Refuse { epoch, .. } => self.refused_anew(now, link, epoch),
            PeerMessage::Signal(signal) => self.signal_came(now, link, signal),
            // Only a child asks for media.
            PeerMessage::Activate { .. }
            | PeerMessage::Offer { .. }
            | PeerMessage::Deactivate
            | PeerMessage::KeyFrame { .. } => {}
        }
    }

    pub(super) fn link_closed(&mut self, now: Instant, link: LinkKey, reached: bool) {
        if self.children.contains(link) {
            self.drop_child(now, link);
            return;
        }
        let reason = if reached {
            LostReason::Closed
        } else {
            LostReason::Unreachable
        };
        self.lose_parent(now, link, reason);
    }

    pub(super) fn rejected(&mut self, now: Instant, link: LinkKey, reason: RefuseReason) {
        if self.renewal_rejected(now, link, reason) {
            return;
        }
        if let Some(child) = self.children.remove(link) {
            self.tell_refused(&child, link, reason);
        } else {
            self.lose_parent(now, link, LostReason::Unusable);
        }
    }

    /// A child hears that its picture is held because its path does not carry it, or that it is sent
    /// again. Players have no ear for that.
    pub fn tell_picture(&mut self, link: LinkKey, held: bool) {
        if self.children.is_connected(link) && !self.children.is_player(link) {
            self.send(link, PeerMessage::Picture { held });
        }
    }

    /// Ends a link for something its other end did.
    fn close_link(&mut self, now: Instant, link: LinkKey) {
        if self.children.contains(link) {
            self.send(link, PeerMessage::Bye);
            self.drop_child(now, link);
        } else {
            self.lose_parent(now, link, LostReason::Unusable);
        }
    }

    pub(super) fn drop_child(&mut self, now: Instant, link: LinkKey) {
        let Some(child) = self.children.remove(link) else {
            return;
        };
        self.return_slot(link);
        self.outputs.push_back(PeerOutput::RemoveChild { link });
        self.outputs.push_back(PeerOutput::Close { link });
        if child.is_connected() {
            self.event(PeerEvent::ChildDown { link });
        }
        self.tell_ended(now, &child, link);
    }

    /// A link to a parent is of no use any more; another is asked for.
    pub(super) fn lose_parent(&mut self, now: Instant, link: LinkKey, reason: LostReason) {
        let is = |attempt: &Option<Attempt>| attempt.as_ref().is_some_and(|a| a.link == link);
        if is(&self.upstream.standby) {
            return self.lose_standby(now, reason);
        }
        if is(&self.upstream.aside) {
            return self.end_aside();
        }
        if self
            .upstream
            .cold
            .iter()
            .any(|attempt| attempt.link == link)
        {
            return self.lose_cold(now, link, reason);
        }
        let fed = is(&self.upstream.feeding);
        let Some(attempt) = self.upstream.take(link) else {
            return;
        };
        if matches!(attempt.stage, Stage::Connected { .. }) {
            self.send(link, PeerMessage::Bye);
        }
        self.outputs.push_back(PeerOutput::Close { link });
        if let Some(parent) = attempt.parent {
            // The tracker takes a lost parent as word that nobody feeds this node.
            if self.upstream.feeding.is_none() {
                self.upstream.lost = Some(Lost { parent, reason });
            }
            self.event(PeerEvent::ParentLost { parent, reason });
        }
        if fed {
            self.outputs.push_back(PeerOutput::Feeding { link: None });
            self.drop_request();
            let lost = attempt.parent.map(|parent| Lost { parent, reason });
            if self.take_over(now, lost) {
                return;
            }
        }
        if self.upstream.feeding.is_none() && self.upstream.coming.is_none() {
            // A standby is no use any more: its node may be the parent that is found.
            self.set_standby_aside(now, None);
            // An attempt that ended before a parent was named would only end again.
            let pause = match attempt.parent {
                Some(_) => Duration::ZERO,
                None => RETRY_JOIN,
            };
            self.join_at = Some(now + pause);
        }
    }

    /// Takes back a request for which no parent is named yet: it was made by a node that was fed,
    /// and the tracker must hear that this one is not.
    pub(super) fn drop_request(&mut self) {
        let unplaced = |attempt: &mut Attempt| attempt.parent.is_none();
        if let Some(attempt) = self.upstream.coming.take_if(unplaced) {
            let link = attempt.link;
            self.outputs.push_back(PeerOutput::Close { link });
        }
    }
}
