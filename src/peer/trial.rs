//! A parent is suspected, and the standby put on trial.
//!
//! A parent is heard all the time: media, or else a pulse. Once it is not, the standby is asked to
//! feed *beside* it, from the next packet on, and what comes twice is dropped. Then one of two
//! things happens. The parent sends media again: it stays, the standby is told to stop, and this
//! node is slower to suspect from then on. Or it stays silent, and the standby is the parent.

use std::time::{Duration, Instant};

use super::{Attempt, Peer, PeerEvent, PeerOutput};
use crate::id::LinkKey;
use crate::limits::{
    PARENT_SUSPECT, PARENT_SUSPECT_MAX, STANDBY_DELAY, STANDBY_REFRESH, STANDBY_TRIAL,
    SUSPECT_MEMORY, SWITCH_COMMIT,
};
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{ClientMessage, Lost, LostReason};

/// Time between two words to a standby that feeds unasked: a word takes a round trip to be heeded.
const HUSH_INTERVAL: Duration = Duration::from_millis(200);

/// What leads to a standby being asked to feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing was heard of the parent.
    Silent,
    /// The parent has packets and sends none.
    Starved,
    /// The parent has had no parent for long.
    Healing,
    /// The parent is about to leave.
    Leaving,
    /// The parent is gone; what the tracker is told of it.
    Gone(Option<Lost>),
}

/// A standby that was asked to feed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    pub(super) since: Instant,
    pub(super) why: Why,
}

impl Peer {
    /// When the parent is to be suspected if nothing happens, and of what.
    pub(super) fn suspicion(&self) -> Option<(Instant, Why)> {
        let feeding = self.upstream.feeding.as_ref().filter(|f| f.delivering)?;
        let heard = feeding.liveness()?.last_heard();
        let healing = feeding.healing_at().filter(|_| !self.away);
        [
            Some((heard + self.standby.patience, Why::Silent)),
            feeding.starves_at().map(|at| (at, Why::Starved)),
            healing.map(|at| (at, Why::Healing)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|&(at, _)| at)
    }

    /// Asks the standby to feed.
    pub(super) fn try_standby(&mut self, now: Instant, why: Why) {
        self.standby.trial = Some(Trial { since: now, why });
        if let Some(standby) = &mut self.upstream.standby {
            standby.wake(now);
        }
        if why == Why::Silent || matches!(why, Why::Gone(_)) {
            // Those below hold on meanwhile.
            self.children.pulse_now();
        }
    }

    /// The parent is lost. Whether a standby can take its place.
    pub(super) fn take_over(&mut self, now: Instant, lost: Option<Lost>) -> bool {
        if self.ready_standby().is_none() {
            self.standby.trial = None;
            return false;
        }
        let delivers = self
            .upstream
            .standby
            .as_ref()
            .is_some_and(|standby| standby.delivering);
        if self.standby.trial.is_some() && delivers {
            self.promote(now, lost);
            return true;
        }
        match &mut self.standby.trial {
            Some(trial) => trial.why = Why::Gone(lost),
            None => self.try_standby(now, Why::Gone(lost)),
        }
        true
    }

    /// When the standby that feeds takes the parent's place for good; none while it does not feed.
    fn commit_at(&self, trial: &Trial) -> Option<Instant> {
        let standby = self.upstream.standby.as_ref();
        standby.filter(|standby| standby.delivering)?;
        let heard = self.feeding_liveness().map(super::Liveness::last_heard);
        match (trial.why, heard) {
            (Why::Silent, Some(heard)) => {
                // A parent that pulses and sends nothing is no parent either.
                Some((heard + SWITCH_COMMIT).min(trial.since + 4 * SWITCH_COMMIT))
            }
            _ => Some(trial.since),
        }
    }

    /// When the trial is decided, if nothing happens before.
    pub(super) fn verdict_at(&self, trial: &Trial) -> Instant {
        let commit = self.commit_at(trial);
        commit.unwrap_or(trial.since + STANDBY_TRIAL)
    }

    pub(super) fn judge(&mut self, now: Instant, trial: Trial) {
        if let Some(at) = self.commit_at(&trial) {
            if at <= now {
                let lost = self.blame(trial.why);
                self.promote(now, lost);
            }
            return;
        }
        if now < trial.since + STANDBY_TRIAL {
            return;
        }
        let alive = |attempt: Option<&Attempt>| {
            let liveness = attempt.and_then(Attempt::liveness);
            liveness.is_some_and(|l| l.last_heard() > trial.since && !l.remote.healing)
        };
        let idle = self
            .upstream
            .standby
            .as_ref()
            .and_then(Attempt::liveness)
            .is_some_and(|liveness| {
                let mut pairs = liveness.remote.heads.iter().zip(&self.media.heads);
                !liveness.remote.path.is_empty() && pairs.all(|(theirs, own)| theirs <= own)
            });
        match trial.why {
            // Nobody has anything to send.
            Why::Silent if alive(self.upstream.feeding.as_ref()) => self.acquit(now),
            Why::Silent | Why::Gone(_) | Why::Leaving
                if idle && alive(self.upstream.standby.as_ref()) =>
            {
                let lost = self.blame(trial.why);
                self.promote(now, lost);
            }
            _ => {
                // Where the whole tree heals, it is not to blame.
                let reason = (trial.why != Why::Healing).then_some(LostReason::Starved);
                self.set_standby_aside(now, reason);
                self.want_standby(now + STANDBY_DELAY);
                self.standby_failed(now, trial.why);
            }
        }
    }

    /// What to say of the parent that is replaced.
    fn blame(&self, why: Why) -> Option<Lost> {
        let reason = match why {
            Why::Gone(lost) => return lost,
            Why::Silent => LostReason::Silent,
            Why::Starved | Why::Healing => LostReason::Starved,
            Why::Leaving => LostReason::Leaving,
        };
        let parent = self.parent()?;
        Some(Lost { parent, reason })
    }

    /// There is no standby after all.
    pub(super) fn standby_failed(&mut self, now: Instant, why: Why) {
        self.standby.trial = None;
        match why {
            Why::Silent => {
                let link = self.upstream.feeding.as_ref().map(|feeding| feeding.link);
                if let Some(link) = link {
                    self.lose_parent(now, link, LostReason::Silent);
                }
            }
            Why::Gone(lost) => {
                self.upstream.lost = lost;
                self.join_at = Some(now);
            }
            Why::Leaving => self.seek_other(),
            Why::Starved | Why::Healing => {
                if let Some(feeding) = &mut self.upstream.feeding {
                    feeding.acquit();
                }
            }
        }
    }

    /// Asks for another parent while the present one goes on.
    fn seek_other(&mut self) {
        if self.upstream.coming.is_none() && self.session.is_ready() {
            self.begin_join();
        }
    }

    /// The parent feeds again: it was a false alarm.
    pub(super) fn parent_speaks(&mut self, now: Instant) {
        let kept = |trial: &Trial| matches!(trial.why, Why::Leaving | Why::Gone(_));
        if self
            .standby
            .trial
            .as_ref()
            .is_some_and(|trial| !kept(trial))
        {
            self.acquit(now);
        }
    }

    fn acquit(&mut self, now: Instant) {
        self.dismiss(now);
        if let Some(feeding) = &mut self.upstream.feeding {
            feeding.acquit();
        }
        self.standby.false_alarm = Some(now);
        self.standby.patience = (self.standby.patience * 3 / 2).min(PARENT_SUSPECT_MAX);
    }

    /// The standby is not needed after all, and goes on standing by.
    pub(super) fn dismiss(&mut self, now: Instant) {
        if self.standby.trial.take().is_none() {
            return;
        }
        let Some(standby) = &mut self.upstream.standby else {
            return;
        };
        let (link, fed) = (standby.link, standby.delivering);
        standby.quiet();
        self.send(link, PeerMessage::Deactivate);
        if fed {
            self.standby.refresh_at = Some(now + STANDBY_REFRESH);
            let link = self.upstream.feeding.as_ref().map(|feeding| feeding.link);
            self.outputs.push_back(PeerOutput::Feeding { link });
        }
    }

    /// Media came over the standby's link. `first`: since it was asked for.
    pub(super) fn standby_feeds(&mut self, now: Instant, first: bool) {
        let Some(trial) = self.standby.trial else {
            // It has not heard yet that it should stop, or heard it before the last request.
            if let Some(standby) = &mut self.upstream.standby {
                standby.quiet();
                let link = standby.link;
                if self
                    .standby
                    .hushed
                    .is_none_or(|at| at + HUSH_INTERVAL <= now)
                {
                    self.standby.hushed = Some(now);
                    self.send(link, PeerMessage::Deactivate);
                }
                self.standby.refresh_at.get_or_insert(now + STANDBY_REFRESH);
            }
            return;
        };
        if !first {
            return;
        }
        let link = self.upstream.standby.as_ref().map(|standby| standby.link);
        self.outputs.push_back(PeerOutput::Feeding { link });
        self.children.pulse_now();
        if self.commit_at(&trial).is_some_and(|at| at <= now) {
            let lost = self.blame(trial.why);
            self.promote(now, lost);
        }
    }

    /// The standby is the parent from now on.
    fn promote(&mut self, now: Instant, lost: Option<Lost>) {
        let Some(mut standby) = self.upstream.standby.take() else {
            return;
        };
        self.standby.trial = None;
        self.standby.refresh_at = None;
        standby.promote();
        let (link, parent) = (standby.link, standby.parent);
        let moved = self.upstream.feeding.replace(standby);
        if let Some(coming) = self.upstream.coming.take() {
            self.outputs
                .push_back(PeerOutput::Close { link: coming.link });
        }
        self.outputs
            .push_back(PeerOutput::Feeding { link: Some(link) });
        self.end_cold(now);
        self.upstream.lost = None;
        self.join_at = None;
        if let Some(parent) = parent {
            self.tell_tracker(ClientMessage::Switched { link, parent, lost });
        }
        if let Some(former) = moved {
            self.send(former.link, PeerMessage::Bye);
            self.outputs
                .push_back(PeerOutput::Close { link: former.link });
            if let Some(Lost { parent, reason }) = lost {
                self.event(PeerEvent::ParentLost { parent, reason });
            }
        }
        self.heals += 1;
        if let Some(parent) = parent {
            let healed = true;
            self.event(PeerEvent::Attached { parent, healed });
        }
        self.want_standby(now + STANDBY_DELAY);
    }

    /// Time heals the distrust in a parent's silence.
    pub(super) fn grow_patient(&mut self, now: Instant) {
        if self.standby.patience > PARENT_SUSPECT
            && (self.standby.false_alarm).is_none_or(|at| at + SUSPECT_MEMORY <= now)
        {
            self.standby.false_alarm = Some(now);
            self.standby.patience = (self.standby.patience * 2 / 3).max(PARENT_SUSPECT);
        }
    }

    /// The parent is about to leave.
    pub(super) fn parent_leaves(&mut self, now: Instant, link: LinkKey) {
        let feeds = |attempt: &Attempt| attempt.link == link;
        if self.upstream.standby.as_ref().is_some_and(feeds) {
            self.lose_standby(now, LostReason::Leaving);
        } else if self.upstream.feeding.as_ref().is_some_and(feeds) {
            if self.ready_standby().is_some() {
                match &mut self.standby.trial {
                    Some(trial) => trial.why = Why::Leaving,
                    None => self.try_standby(now, Why::Leaving),
                }
            } else {
                self.seek_other();
            }
        }
    }

    /// A standby that was asked to feed has said that it cannot. Whether it was one.
    pub(super) fn declined(&mut self, now: Instant, link: LinkKey) -> bool {
        let standby = self.upstream.standby.as_ref();
        let asked = standby.is_some_and(|s| s.link == link && !s.delivering);
        let Some(trial) = self.standby.trial.filter(|_| asked) else {
            return false;
        };
        self.set_standby_aside(now, Some(LostReason::Starved));
        self.want_standby(now + STANDBY_DELAY);
        self.standby_failed(now, trial.why);
        true
    }
}
