//! Other tracks on links that stand: a later epoch of the stream.
//!
//! Every parent tells its children of it, root first. A child offers anew over the link it has, the
//! parent answers, and connections stay as they are. Where that does not work in time, the link is
//! let go and another is asked for; nobody is blamed.

use std::time::Instant;

use super::{MediaView, Peer, PeerEvent, PeerOutput, Role, Stage};
use crate::id::{Epoch, LinkKey};
use crate::limits::{RENEGOTIATION, RENEGOTIATION_WAIT, STANDBY_DELAY};
use crate::wire::announcement::{SignedStreamInfo, StreamInfo};
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{ClientMessage, LostReason, PeerClass, RefuseReason};

/// A link to a parent that is being described anew.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// How far it is.
    step: Step,
    /// When it is given up.
    by: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The parent has not said yet that it has the new tracks.
    Awaiting,
    /// Our offer is being made.
    Offering,
    /// It is sent.
    Offered,
}

impl Renewal {
    /// One that begins.
    pub fn new(now: Instant) -> Self {
        Self {
            step: Step::Awaiting,
            by: now + RENEGOTIATION,
        }
    }

    /// When it is given up.
    pub fn deadline(&self) -> Instant {
        self.by
    }

    /// This node itself was held up until `now`.
    pub fn excuse(&mut self, now: Instant) {
        self.by = now + RENEGOTIATION;
    }
}

impl Peer {
    /// The epoch whose tracks this node has.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.info.as_ref().map(|info| info.epoch)
    }

    /// A root's tracks: signed, and told to the tracker.
    pub(super) fn set_tracks(&mut self, now: Instant, info: StreamInfo) {
        let Role::Root { key, epoch, .. } = &mut self.config.role else {
            return;
        };
        *epoch = info.epoch;
        match SignedStreamInfo::sign(&info, key) {
            Ok(signed) => {
                // First of all, so that nobody is sent here with a description of the old tracks.
                if self.session.is_ready() {
                    self.tell_tracker(ClientMessage::Info(signed.clone()));
                }
                self.begin_epoch(now, signed, info);
            }
            Err(error) => self.event(PeerEvent::Failed(error.to_string())),
        }
    }

    /// The tracks as the stream's key describes them; from the tracker or from a parent.
    pub(super) fn learn_tracks(&mut self, now: Instant, link: LinkKey, signed: SignedStreamInfo) {
        if self.is_root() {
            return;
        }
        if self.signed.as_ref() != Some(&signed) {
            match signed.verify(&self.stream) {
                Ok(info) if self.epoch().is_none_or(|known| info.epoch > known) => {
                    self.begin_epoch(now, signed, info);
                }
                Ok(_) => return,
                Err(error) => {
                    self.event(PeerEvent::Refused(format!(
                        "a description of the stream: {error}"
                    )));
                    self.lose_parent(now, link, LostReason::Unusable);
                    return;
                }
            }
        }
        self.offer_anew(link);
    }

    fn begin_epoch(&mut self, now: Instant, signed: SignedStreamInfo, info: StreamInfo) {
        self.signed = Some(signed);
        self.info = Some(info.clone());
        self.media = MediaView::default();
        self.outputs.push_back(PeerOutput::Tracks(info));
        for attempt in self.upstream.attempts_mut() {
            if matches!(attempt.stage, Stage::Connected { .. }) {
                attempt.renew(now);
            }
        }
        self.renew_children(now);
    }

    /// Links that stand carry the tracks of the epoch before. Players know no other way than a
    /// new session.
    fn renew_children(&mut self, now: Instant) {
        let epoch = self.epoch();
        let Some(signed) = self.signed.clone() else {
            return;
        };
        for link in self.children.links() {
            let Some(child) = self.children.get_mut(link) else {
                continue;
            };
            if child.described == epoch {
                continue;
            }
            if child.class == PeerClass::Player {
                self.drop_child(now, link);
            } else if child.is_connected() {
                child.renew(now + RENEGOTIATION_WAIT);
                self.send(link, PeerMessage::Info(signed.clone()));
            }
        }
    }

    /// The parent has the tracks that this link lacks: they are agreed on.
    fn offer_anew(&mut self, link: LinkKey) {
        let epoch = self.epoch();
        if let Some(attempt) = self.upstream.get_mut(link)
            && attempt.described != epoch
            && let Some(renewal) = &mut attempt.renewal
            && renewal.step == Step::Awaiting
        {
            renewal.step = Step::Offering;
            self.outputs.push_back(PeerOutput::Renew { link });
        }
    }

    /// The offer of a link that stands is ready. False if none was asked for.
    pub(super) fn send_offer_anew(&mut self, link: LinkKey, sdp: &str) -> bool {
        let epoch = self.epoch();
        let Some(attempt) = self.upstream.get_mut(link) else {
            return false;
        };
        if let Some(renewal) = &mut attempt.renewal
            && renewal.step == Step::Offering
            && let Some(epoch) = epoch
        {
            renewal.step = Step::Offered;
            let sdp = sdp.to_owned();
            self.send(link, PeerMessage::Offer { epoch, sdp });
            return true;
        }
        false
    }

    /// A parent has answered the offer over the link itself.
    pub(super) fn answered_anew(
        &mut self,
        now: Instant,
        link: LinkKey,
        epoch: Epoch,
        sdp: String,
        heads: Vec<u64>,
    ) {
        let current = self.epoch();
        let feeds = self.feeds(link);
        let Some(attempt) = self.upstream.get_mut(link) else {
            return;
        };
        let asked = |renewal: &mut Renewal| renewal.step == Step::Offered;
        if current != Some(epoch) || attempt.renewal.take_if(asked).is_none() {
            // Of an offer that another has replaced, or of none.
            return;
        }
        attempt.described = current;
        attempt.begin_again(now);
        if let Some(liveness) = attempt.liveness_mut() {
            liveness.remote.heads.clone_from(&heads);
        }
        self.outputs.push_back(PeerOutput::SetRenewal { link, sdp });
        if feeds {
            self.outputs
                .push_back(PeerOutput::Feeding { link: Some(link) });
        }
        self.learn_heads(now, heads);
    }

    /// Where a parent's numbers are. Children that know nothing of them yet hear it at once: they
    /// cannot number what they get before.
    pub(super) fn learn_heads(&mut self, now: Instant, heads: Vec<u64>) {
        let known = |heads: &[u64]| heads.iter().any(|head| *head > 0);
        if known(&heads) && !known(&self.media.heads) {
            self.media.heads.clone_from(&heads);
            self.children.beat_now(now);
        }
        self.outputs.push_back(PeerOutput::Heads { heads });
    }

    /// A parent does not carry the new tracks over this link.
    pub(super) fn refused_anew(&mut self, now: Instant, link: LinkKey, epoch: Epoch) {
        let current = self.epoch();
        if current == Some(epoch) && self.declined(now, link) {
            return;
        }
        let offered = |renewal: &Renewal| renewal.step == Step::Offered;
        if current == Some(epoch)
            && let Some(attempt) = self.upstream.get_mut(link)
            && attempt.renewal.as_ref().is_some_and(offered)
        {
            self.replace_link(now, link);
        }
    }

    /// Links that were not described anew in time.
    pub(super) fn overdue(&self, now: Instant) -> Vec<LinkKey> {
        let overdue = |renewal: &Renewal| renewal.by <= now;
        self.upstream
            .attempts()
            .filter(|attempt| attempt.renewal.as_ref().is_some_and(overdue))
            .map(|attempt| attempt.link)
            .collect()
    }

    /// Lets go of a link that cannot carry the new tracks: another is asked for, and nobody is to
    /// blame.
    pub(super) fn replace_link(&mut self, now: Instant, link: LinkKey) {
        let fed = self.feeds(link);
        if self.upstream.take(link).is_none() {
            return;
        }
        let text = "the link to the parent did not take the stream's new tracks; another is made";
        self.event(PeerEvent::Refused(text.to_owned()));
        self.send(link, PeerMessage::Bye);
        self.outputs.push_back(PeerOutput::Close { link });
        if fed {
            self.outputs.push_back(PeerOutput::Feeding { link: None });
            self.drop_request();
            if self.take_over(now, None) {
                return;
            }
        }
        if self.upstream.standby.is_none() {
            self.want_standby(now + STANDBY_DELAY);
        }
        if self.upstream.feeding.is_none() && self.upstream.coming.is_none() {
            self.drop_standby(None);
            self.join_at = Some(now);
        }
    }

    /// A child offers anew. One offer is answered in each epoch, so that a flood of them costs
    /// nothing.
    pub(super) fn child_offers(&mut self, link: LinkKey, epoch: Epoch, sdp: String) {
        let current = self.epoch();
        let Some(child) = self.children.get_mut(link) else {
            return;
        };
        if current != Some(epoch) || !child.take_offer() {
            return;
        }
        let class = child.class;
        self.outputs.push_back(PeerOutput::AcceptRenewal {
            link,
            offer: sdp,
            class,
        });
    }

    /// The answer to a child that offered anew is ready. False if it is none of those.
    pub(super) fn send_answer_anew(&mut self, link: LinkKey, sdp: &str) -> bool {
        let current = self.epoch();
        let Some(child) = self.children.get_mut(link) else {
            return false;
        };
        if !child.is_connected() {
            return false;
        }
        if child.renewed(current)
            && let Some(epoch) = current
        {
            let (sdp, heads) = (sdp.to_owned(), self.media.heads.clone());
            self.send(link, PeerMessage::Answer { epoch, sdp, heads });
        }
        true
    }

    /// The offer of a child, or the answer of a parent, does not do on a link that stands. False
    /// if the link does not.
    pub(super) fn renewal_rejected(
        &mut self,
        now: Instant,
        link: LinkKey,
        reason: RefuseReason,
    ) -> bool {
        let current = self.epoch();
        if let Some(child) = self.children.get_mut(link) {
            if !child.is_connected() {
                return false;
            }
            if child.answering()
                && let Some(epoch) = current
            {
                self.send(link, PeerMessage::Refuse { epoch, reason });
            }
            return true;
        }
        let stands = |attempt: &mut super::Attempt| attempt.liveness().is_some();
        if self.upstream.get_mut(link).is_some_and(stands) {
            self.replace_link(now, link);
            return true;
        }
        false
    }

    /// Whether this link's packets play.
    fn feeds(&self, link: LinkKey) -> bool {
        let feeding = self.upstream.feeding.as_ref();
        feeding.is_some_and(|attempt| attempt.link == link)
    }
}

#[cfg(test)]
mod tests;
