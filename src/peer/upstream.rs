//! The link to the parent: asking for one, connecting, activating, noticing its end.
//!
//! At most two links exist: `feeding`, whose packets play, and `coming`, which replaces it. The
//! old one is closed only when the new one has delivered media, so a planned move loses nothing.

use std::time::{Duration, Instant};

use super::liveness::Liveness;
use super::renewal::Renewal;
use crate::id::{Epoch, Generation, LinkKey, NodeId};
use crate::limits::{CONNECT_TIMEOUT, PARENT_SILENCE};
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
        self.stage = Stage::Connected {
            since: now,
            activate_at: Some(now),
            liveness: Box::new(Liveness::new(now, origin)),
        };
    }

    /// It stands, and does not carry the stream's tracks any more, or not yet.
    pub fn renew(&mut self, now: Instant) {
        if let Stage::Connected { activate_at, .. } = &mut self.stage {
            *activate_at = None;
        }
        self.delivering = false;
        self.renewal = Some(Renewal::new(now));
    }

    /// The parent has the stream's tracks from now on, which are asked for as over a new link.
    pub fn begin_again(&mut self, now: Instant) {
        if let Stage::Connected {
            since, activate_at, ..
        } = &mut self.stage
        {
            *since = now;
            *activate_at = Some(now);
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
            Stage::Connected {
                since, liveness, ..
            } => {
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
                let mut at = liveness
                    .next_beat()
                    .min(liveness.last_heard() + PARENT_SILENCE);
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

/// The links to present and coming parents.
#[derive(Debug, Default)]
pub struct Upstream {
    /// The link whose packets play.
    pub feeding: Option<Attempt>,
    /// The link that is to replace it.
    pub coming: Option<Attempt>,
    /// What to tell the tracker with the next request.
    pub lost: Option<Lost>,
}

impl Upstream {
    /// The link of that name.
    pub fn get_mut(&mut self, link: LinkKey) -> Option<&mut Attempt> {
        [self.feeding.as_mut(), self.coming.as_mut()]
            .into_iter()
            .flatten()
            .find(|attempt| attempt.link == link)
    }

    /// Both links.
    pub fn attempts_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.feeding.iter_mut().chain(self.coming.iter_mut())
    }

    /// Both links.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.feeding.iter().chain(self.coming.iter())
    }

    /// Forgets a link and returns it.
    pub fn take(&mut self, link: LinkKey) -> Option<Attempt> {
        for slot in [&mut self.feeding, &mut self.coming] {
            if slot.as_ref().is_some_and(|attempt| attempt.link == link) {
                return slot.take();
            }
        }
        None
    }
}
