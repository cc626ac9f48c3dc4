//! The standby: a second parent, connected and silent, in case the first one fails.
//!
//! Here it is asked for, kept, checked and let go; `trial` is about when it is needed.

use std::time::{Duration, Instant};

use super::trial::{Trial, Why};
use super::{Attempt, Peer, PeerOutput, Stage};
use crate::id::{LinkKey, NodeId};
use crate::limits::{PARENT_SUSPECT, STANDBY_DELAY, STANDBY_RETRY};
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{ClientMessage, Lost, LostReason};

/// What this node knows of standbys beside the link to one.
#[derive(Debug)]
pub struct Standby {
    /// When one is asked for.
    ask_at: Option<Instant>,
    /// The one before, which did not do.
    lost: Option<Lost>,
    pub(super) trial: Option<Trial>,
    /// When the link, which carried media once, is replaced.
    pub(super) refresh_at: Option<Instant>,
    /// How long the parent may be silent.
    pub(super) patience: Duration,
    /// When it was silent that long and came back.
    pub(super) false_alarm: Option<Instant>,
    /// When a standby that fed unasked was told to stop.
    pub(super) hushed: Option<Instant>,
    /// Until when this node, which leaves, feeds its children.
    pub(super) draining: Option<Instant>,
}

impl Default for Standby {
    fn default() -> Self {
        Self {
            ask_at: None,
            lost: None,
            trial: None,
            refresh_at: None,
            patience: PARENT_SUSPECT,
            false_alarm: None,
            hushed: None,
            draining: None,
        }
    }
}

impl Standby {
    /// Whether the standby is asked to feed.
    pub fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether it is asked to because the parent gives nothing: one that is about to leave does.
    pub fn replaces_parent(&self) -> bool {
        self.trial
            .as_ref()
            .is_some_and(|trial| trial.why != Why::Leaving)
    }

    /// Whether this node is about to leave.
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }
}

impl Peer {
    /// The node that takes over when the parent fails.
    pub fn standby(&self) -> Option<NodeId> {
        self.ready_standby().and_then(|attempt| attempt.parent)
    }

    pub(super) fn ready_standby(&self) -> Option<&Attempt> {
        let epoch = self.epoch();
        let standby = self.upstream.standby.as_ref();
        standby.filter(|attempt| {
            attempt.described == epoch
                && attempt
                    .liveness()
                    .is_some_and(|liveness| !liveness.remote.healing)
        })
    }

    /// A parent below the root feeds this node: what if it fails?
    pub(super) fn want_standby(&mut self, at: Instant) {
        if !self.is_root() {
            self.standby.ask_at = Some(at);
        }
    }

    fn wants_standby(&self) -> bool {
        let deep = self.depth().is_some_and(|depth| depth >= 2);
        let fed = self.upstream.feeding.as_ref().is_some_and(|f| f.delivering);
        deep && fed
            && !self.away
            && self.session.is_ready()
            && self.upstream.standby.is_none()
            && self.upstream.coming.is_none()
            && !self.standby.is_draining()
    }

    /// When the standby's affairs are looked at again.
    pub(super) fn standby_deadline(&self) -> Option<Instant> {
        let ask = self.standby.ask_at.filter(|_| self.wants_standby());
        let refresh = self
            .standby
            .refresh_at
            .filter(|_| self.may_refresh() && self.upstream.standby.is_some());
        let watch = match &self.standby.trial {
            None if self.ready_standby().is_some() => self.suspicion().map(|(at, _)| at),
            None => None,
            Some(trial) => Some(self.verdict_at(trial)),
        };
        [ask, refresh, watch, self.standby.draining]
            .into_iter()
            .flatten()
            .min()
    }

    /// Looks after the parent and the standby.
    pub(super) fn watch_parent(&mut self, now: Instant) {
        if self.is_root() {
            return;
        }
        match (self.standby.trial, self.suspicion()) {
            (Some(trial), _) => self.judge(now, trial),
            (None, Some((at, why))) if at <= now && self.ready_standby().is_some() => {
                self.try_standby(now, why);
            }
            _ => {}
        }
        if self.may_refresh() && self.standby.refresh_at.is_some_and(|at| at <= now) {
            self.standby.refresh_at = None;
            self.drop_standby(None);
            self.want_standby(now);
        }
        if self.wants_standby() && self.standby.ask_at.is_some_and(|at| at <= now) {
            self.standby.ask_at = None;
            self.next_link = self.next_link.next();
            let link = LinkKey {
                child: self.node(),
                link: self.next_link,
            };
            self.upstream.standby = Some(Attempt::to_standby(link));
            let ice_servers = self.session.ice_servers().to_vec();
            self.outputs
                .push_back(PeerOutput::Connect { link, ice_servers });
        }
    }

    /// Whether a worn standby can be let go: there is a tracker to ask for another.
    fn may_refresh(&self) -> bool {
        self.standby.trial.is_none() && self.session.is_ready()
    }

    /// Lets the standby go, if there is one. `reason`: what the tracker is told of it.
    pub(super) fn drop_standby(&mut self, reason: Option<LostReason>) {
        let Some(standby) = self.upstream.standby.take() else {
            return;
        };
        let link = standby.link;
        if matches!(standby.stage, Stage::Connected { .. }) {
            self.send(link, PeerMessage::Bye);
        }
        self.outputs.push_back(PeerOutput::Close { link });
        self.forget_standby(standby.parent, reason);
    }

    /// There is no standby any more. `reason`: what the tracker is told of that one.
    pub(super) fn forget_standby(&mut self, host: Option<NodeId>, reason: Option<LostReason>) {
        self.standby.refresh_at = None;
        let lost = host.zip(reason);
        self.standby.lost = lost.map(|(parent, reason)| Lost { parent, reason });
    }

    /// The link to the standby is of no use any more.
    pub(super) fn lose_standby(&mut self, now: Instant, reason: LostReason) {
        self.drop_standby(Some(reason));
        self.want_standby(now + STANDBY_RETRY);
        if let Some(trial) = self.standby.trial {
            self.standby_failed(now, trial.why);
        }
    }

    /// The tracker has none for this node, or finds that the one it has does not do any more.
    pub(super) fn no_standby(&mut self, now: Instant, link: LinkKey) {
        let Some(standby) = self.upstream.standby.as_ref().filter(|s| s.link == link) else {
            return;
        };
        let stood = standby.liveness().is_some();
        if stood && self.standby.trial.is_some() {
            // It may do all the same.
            return;
        }
        self.lose_standby(now, LostReason::Closed);
        if stood {
            self.standby.lost = None;
            self.want_standby(now);
        }
    }

    /// A tracker that has taken this node back may not know its standby.
    pub(super) fn tell_standby(&mut self) {
        if let Some(standby) = self.upstream.standby.as_ref()
            && let Some(host) = standby.parent
            && standby.liveness().is_some()
        {
            let link = standby.link;
            self.tell_tracker(ClientMessage::Standing { link, host });
        }
    }

    /// What is told of the standby that this node had before.
    pub(super) fn take_lost_standby(&mut self) -> Option<Lost> {
        self.standby.lost.take()
    }

    /// A standby that hangs below the parent, or below this node, would fail with it.
    pub(super) fn revalidate(&mut self, now: Instant) {
        let parent = self.parent();
        let node = self.node();
        let standby = self.upstream.standby.as_ref().and_then(Attempt::liveness);
        let useless = standby.is_some_and(|liveness| {
            let path = &liveness.remote.path;
            path.contains(&node) || parent.is_some_and(|parent| path.contains(&parent))
        });
        if useless && self.standby.trial.is_none() {
            self.drop_standby(Some(LostReason::Closed));
            self.want_standby(now + STANDBY_DELAY);
        }
    }
}
