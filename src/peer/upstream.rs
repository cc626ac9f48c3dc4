//! The link to the parent: asking for one, connecting, activating, noticing its end.
//!
//! Three links exist as a rule: `feeding`, whose packets play, `coming`, which replaces it, and
//! `standby`, which is there in case it fails. The old one is closed only when the new one has
//! delivered media, so a planned move loses nothing. While nobody feeds this node there may be some to
//! parents that are asked without the tracker.

use std::time::{Duration, Instant};

use super::detour::Detour;
use super::liveness::Liveness;
use super::renewal::Renewal;
use crate::id::{Epoch, Generation, LinkKey, NodeId};
use crate::limits::{
    CONNECT_TIMEOUT, HEALING_PATIENCE, HEARTBEAT_INTERVAL, PARENT_SILENCE, PARENT_STARVES,
    STANDBY_HEARTBEAT, STANDBY_SILENCE,
};
use crate::wire::tracker::{Lost, LostReason};

/// Time between two repetitions of `Activate` while no media arrives.
const ACTIVATE_INTERVAL: Duration = Duration::from_millis(20);

/// After this long `Activate` is repeated with each heartbeat only: the publisher pauses.
const ACTIVATE_BURST: Duration = Duration::from_secs(1);

/// Pause between repetitions of `Activate` after the burst.
const ACTIVATE_SLOW: Duration = Duration::from_millis(250);

/// A tracker that says nothing about a request for this long has lost it.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected parent that has packets and sends none for this long is of no use.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);

/// How far a link to a parent has come.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Our offer is being made.
    Offering,
    /// The tracker has our offer and looks for a parent.
    Asking {
        /// When it was asked.
        since: Instant,
        /// Whether it has said to wait: then for as long as it takes.
        heard: bool,
    },
    /// A parent was named.
    Connecting {
        /// When it was.
        since: Instant,
    },
    /// The connection stands.
    Connected {
        /// Since when.
        since: Instant,
        /// When `Activate` is sent next, until media arrives.
        activate_at: Option<Instant>,
        /// Heartbeats.
        liveness: Box<Liveness>,
    },
}

/// One link to a parent.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its name.
    pub link: LinkKey,
    /// How far it is.
    pub stage: Stage,
    /// The parent, once named.
    pub parent: Option<NodeId>,
    /// Of the order that named it.
    pub generation: Generation,
    /// Whether the parent's answer was taken: an offer is answered once.
    pub answered: bool,
    /// The epoch whose tracks the answer is about.
    pub described: Option<Epoch>,
    /// It stands, and is being described for a later epoch.
    pub renewal: Option<Renewal>,
    /// Whether media of its epoch has come over it.
    pub delivering: bool,
    /// Whether any media ever has.
    delivered: bool,
    /// Whether it leads to a standby, which sends nothing before it is asked to.
    pub standby: bool,
    /// Since when the parent holds the picture back, because the path to here does not carry it.
    pub picture_held_since: Option<Instant>,
    /// How its ends speak before it stands, where they do not by the tracker.
    pub detour: Option<Box<Detour>>,
    /// Since when the other end has packets this node lacks, and no media has come.
    ahead_since: Option<Instant>,
    /// Since when the other end has no parent that feeds it.
    healing_since: Option<Instant>,
}

impl Attempt {
    /// A link that begins.
    pub fn new(link: LinkKey) -> Self {
        Self {
            link,
            stage: Stage::Offering,
            parent: None,
            generation: Generation::default(),
            answered: false,
            described: None,
            renewal: None,
            delivering: false,
            delivered: false,
            standby: false,
            picture_held_since: None,
            detour: None,
            ahead_since: None,
            healing_since: None,
        }
    }

    /// A link to a parent that was not named by the tracker now, that begins.
    pub fn to_cold(now: Instant, link: LinkKey, parent: NodeId, detour: Detour) -> Self {
        Self {
            stage: Stage::Connecting { since: now },
            parent: Some(parent),
            detour: Some(Box::new(detour)),
            ..Self::new(link)
        }
    }

    /// A link to a standby that begins.
    pub fn to_standby(link: LinkKey) -> Self {
        Self {
            standby: true,
            ..Self::new(link)
        }
    }

    /// The heartbeats of a standing link.
    pub fn liveness(&self) -> Option<&Liveness> {
        match &self.stage {
            Stage::Connected { liveness, .. } => Some(liveness),
            _ => None,
        }
    }

    /// The heartbeats of a standing link.
    pub fn liveness_mut(&mut self) -> Option<&mut Liveness> {
        match &mut self.stage {
            Stage::Connected { liveness, .. } => Some(liveness),
            _ => None,
        }
    }

    /// The connection stands.
    pub fn connected(&mut self, now: Instant, origin: Instant) {
        let mut liveness = Liveness::new(now, origin);
        if self.standby {
            liveness.set_interval(STANDBY_HEARTBEAT);
        }
        self.stage = Stage::Connected {
            since: now,
            activate_at: (!self.standby).then_some(now),
            liveness: Box::new(liveness),
        };
    }

    /// A standby no more: it feeds from now on.
    pub fn promote(&mut self) {
        self.standby = false;
        self.ahead_since = None;
        self.healing_since = None;
        if let Some(liveness) = self.liveness_mut() {
            liveness.set_interval(HEARTBEAT_INTERVAL);
        }
    }

    /// A standby that is to feed beside the parent: it is asked as a parent is over a new link.
    pub fn wake(&mut self, now: Instant) {
        if let Stage::Connected {
            since,
            activate_at,
            liveness,
        } = &mut self.stage
        {
            *since = now;
            *activate_at = Some(now);
            liveness.set_interval(HEARTBEAT_INTERVAL);
        }
    }

    /// A standby that is to send nothing any more.
    pub fn quiet(&mut self) {
        if let Stage::Connected {
            activate_at,
            liveness,
            ..
        } = &mut self.stage
        {
            *activate_at = None;
            liveness.set_interval(STANDBY_HEARTBEAT);
        }
        self.delivering = false;
    }

    /// Draws conclusions from what the other end just said of itself. `heads`: what this node has.
    pub fn compare(&mut self, now: Instant, heads: &[u64]) {
        let Some(liveness) = self.liveness() else {
            return;
        };
        let remote = &liveness.remote;
        let healing = remote.healing;
        let ahead = (remote.heads.iter().zip(heads)).any(|(theirs, own)| theirs > own);
        if !ahead {
            self.ahead_since = None;
        } else if self.ahead_since.is_none() {
            self.ahead_since = Some(now);
        }
        if !healing {
            // It has a parent again, and may take its time to pass something on.
            if self.healing_since.take().is_some()
                && let Stage::Connected { since, .. } = &mut self.stage
            {
                *since = now;
            }
        } else if self.healing_since.is_none() {
            self.healing_since = Some(now);
        }
    }

    /// When it is to be thought that this parent, which lives, has nothing for its children.
    pub fn starves_at(&self) -> Option<Instant> {
        let starved = self.ahead_since.map(|since| since + PARENT_STARVES);
        starved.filter(|_| self.delivering && self.healing_since.is_none())
    }

    /// When this parent has looked for a parent of its own for too long.
    pub fn healing_at(&self) -> Option<Instant> {
        let since = self.healing_since.filter(|_| self.delivering);
        since.map(|since| since + HEALING_PATIENCE)
    }

    /// It is given time again for what it was suspected of.
    pub fn acquit(&mut self) {
        self.ahead_since = None;
        self.healing_since = None;
    }

    /// It stands, and does not carry the stream's tracks any more, or not yet.
    pub fn renew(&mut self, now: Instant) {
        if let Stage::Connected { activate_at, .. } = &mut self.stage {
            *activate_at = None;
        }
        self.delivering = false;
        self.acquit();
        self.renewal = Some(Renewal::new(now));
    }

    /// The parent has the stream's tracks from now on, which are asked for as over a new link.
    pub fn begin_again(&mut self, now: Instant) {
        if let Stage::Connected {
            since, activate_at, ..
        } = &mut self.stage
        {
            *since = now;
            // A standby is asked for nothing before it is needed.
            *activate_at = (!self.standby).then_some(now);
        }
    }

    /// Whether `Activate` is to be sent now; plans the next one.
    pub fn activation_due(&mut self, now: Instant) -> bool {
        let Stage::Connected {
            since, activate_at, ..
        } = &mut self.stage
        else {
            return false;
        };
        if !activate_at.is_some_and(|at| at <= now) {
            return false;
        }
        let burst = now.saturating_duration_since(*since) < ACTIVATE_BURST;
        *activate_at = Some(
            now + if burst {
                ACTIVATE_INTERVAL
            } else {
                ACTIVATE_SLOW
            },
        );
        true
    }

    /// Media came. True the first time in the life of this link.
    pub fn media(&mut self, now: Instant) -> bool {
        if let Stage::Connected {
            activate_at,
            liveness,
            ..
        } = &mut self.stage
        {
            *activate_at = None;
            liveness.heard(now);
        }
        self.delivering = true;
        self.ahead_since = None;
        !std::mem::replace(&mut self.delivered, true)
    }

    /// Something came that is no media of the present tracks.
    pub fn heard(&mut self, now: Instant) {
        if let Some(liveness) = self.liveness_mut() {
            liveness.heard(now);
        }
    }

    /// This node itself was held up until `now`: what it did not hear is nobody's fault.
    pub fn excuse(&mut self, now: Instant) {
        if let Some(renewal) = &mut self.renewal {
            renewal.excuse(now);
        }
        self.acquit();
        match &mut self.stage {
            Stage::Offering => {}
            Stage::Asking { since, .. } | Stage::Connecting { since } => *since = now,
            Stage::Connected {
                since, liveness, ..
            } => {
                *since = now;
                liveness.heard(now);
            }
        }
    }

    /// Why this link is to be given up by now, if it is.
    pub fn expired(&self, now: Instant) -> Option<LostReason> {
        match &self.stage {
            Stage::Offering => None,
            Stage::Asking { since, heard } => {
                (!heard && now >= *since + ASK_TIMEOUT).then_some(LostReason::Silent)
            }
            Stage::Connecting { since } => {
                // Without an answer nothing was tried, so the way between the two may be good.
                let reason = if self.answered {
                    LostReason::Unreachable
                } else {
                    LostReason::Silent
                };
                (now >= *since + CONNECT_TIMEOUT).then_some(reason)
            }
            Stage::Connected { liveness, .. } if self.standby => {
                let silent = now >= liveness.last_heard() + STANDBY_SILENCE;
                silent.then_some(LostReason::Silent)
            }
            Stage::Connected {
                since, liveness, ..
            } => {
                let starved = self.ahead_since.filter(|_| self.delivering);
                if starved.is_some_and(|since| now >= since + DELIVERY_TIMEOUT)
                    && !liveness.remote.healing
                {
                    return Some(LostReason::Starved);
                }
                let withheld = !self.delivering
                    && self.renewal.is_none()
                    && liveness.remote.has_packets()
                    && !liveness.remote.source_idle
                    && !liveness.remote.healing
                    && now >= *since + DELIVERY_TIMEOUT;
                let silent = now >= liveness.last_heard() + PARENT_SILENCE;
                (silent || withheld).then_some(LostReason::Silent)
            }
        }
    }

    /// When this link wants to be looked at again.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Offering => None,
            Stage::Asking { since, heard } => (!heard).then(|| *since + ASK_TIMEOUT),
            Stage::Connecting { since } => Some(*since + CONNECT_TIMEOUT),
            Stage::Connected {
                activate_at,
                liveness,
                ..
            } => {
                let silence = if self.standby {
                    STANDBY_SILENCE
                } else {
                    PARENT_SILENCE
                };
                let mut at = liveness.next_beat().min(liveness.last_heard() + silence);
                if let Some(activate) = activate_at {
                    at = at.min(*activate);
                }
                if let Some(renewal) = &self.renewal {
                    at = at.min(renewal.deadline());
                }
                Some(at)
            }
        }
    }
}

/// The links to present and coming parents, and to the standby.
#[derive(Debug, Default)]
pub struct Upstream {
    /// The link whose packets play.
    pub feeding: Option<Attempt>,
    /// The link that is to replace it.
    pub coming: Option<Attempt>,
    /// The link that is there in case it fails.
    pub standby: Option<Attempt>,
    /// The link to a standby that does not feed, kept as long as nobody does.
    pub aside: Option<Attempt>,
    /// The links to parents that are asked without the tracker.
    pub cold: Vec<Attempt>,
    /// What to tell the tracker with the next request.
    pub lost: Option<Lost>,
}

impl Upstream {
    /// The link of that name.
    pub fn get_mut(&mut self, link: LinkKey) -> Option<&mut Attempt> {
        self.attempts_mut().find(|attempt| attempt.link == link)
    }

    /// All links.
    pub fn attempts_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        let others = self.coming.iter_mut().chain(self.standby.iter_mut());
        let last = self.aside.iter_mut().chain(self.cold.iter_mut());
        self.feeding.iter_mut().chain(others).chain(last)
    }

    /// All links.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        let others = self.coming.iter().chain(self.standby.iter());
        let last = self.aside.iter().chain(self.cold.iter());
        self.feeding.iter().chain(others).chain(last)
    }

    /// Forgets a link and returns it.
    pub fn take(&mut self, link: LinkKey) -> Option<Attempt> {
        let slots = [
            &mut self.feeding,
            &mut self.coming,
            &mut self.standby,
            &mut self.aside,
        ];
        for slot in slots {
            if slot.as_ref().is_some_and(|attempt| attempt.link == link) {
                return slot.take();
            }
        }
        let at = self.cold.iter().position(|attempt| attempt.link == link)?;
        Some(self.cold.remove(at))
    }
}
