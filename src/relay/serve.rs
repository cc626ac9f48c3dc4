//! What children ask of a relay: to begin, to stop, to repair.

use std::time::{Duration, Instant};

use super::child::Child;
use super::pace::Share;
use super::packet::{ExtSeq, TrackIndex};
use super::{ChildFigures, Relay, RelayOutput, gather};
use crate::id::LinkKey;
use crate::limits::CHILD_CHECK_INTERVAL;
use crate::wire::announcement::MediaKind;

/// Where a child's media begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFrom {
    /// With these packets, so that nothing is missing and nothing comes twice. Tracks not named
    /// begin as with [`KeyFrame`](Self::KeyFrame).
    Next(Vec<(TrackIndex, ExtSeq)>),
    /// With the newest key frame, and sound from the same moment.
    KeyFrame,
    /// With the newest key frame, and sound as it comes: a player catches up with pictures at
    /// once, but plays all the sound it is given, and would trail the picture for seconds.
    Player,
    /// With whatever comes next.
    Live,
}

/// Why a child's media did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// There is no such child.
    #[error("no child on this link")]
    UnknownLink,
    /// This node has nothing of what the child wants next, in any track.
    #[error("this node is not ahead of the child")]
    NotAhead,
    /// The link's SRTP session cannot carry so long a leap; it is to be replaced.
    #[error("this link has to be replaced")]
    ReplaceLink,
}

impl Relay {
    /// A link to a child stands. It gets nothing before [`activate`](Self::activate).
    pub fn add_child(&mut self, now: Instant, child: LinkKey) {
        let tracks = self.tracks.len();
        self.children
            .entry(child)
            .or_insert_with(|| Child::new(now, tracks));
    }

    /// The link is gone.
    pub fn remove_child(&mut self, child: LinkKey) {
        if let Some(gone) = self.children.remove(&child) {
            self.falls += gone.falls;
        }
        self.behind.remove(&child);
    }

    /// Children that get media.
    pub fn active_children(&self) -> usize {
        let active = self.children.values().filter(|child| child.is_active());
        active.count()
    }

    /// Begins a child's media. Repeated while it runs, it changes nothing.
    ///
    /// # Errors
    /// Any [`ActivateError`]; then nothing has changed, except that a link that has to be replaced
    /// carries nothing any more.
    pub fn activate(
        &mut self,
        now: Instant,
        key: LinkKey,
        from: &StartFrom,
    ) -> Result<(), ActivateError> {
        let burst = self.share(1).burst();
        let child = self.children.get_mut(&key);
        let child = child.ok_or(ActivateError::UnknownLink)?;
        if child.is_worn() {
            return Err(ActivateError::ReplaceLink);
        }
        if child.is_active() {
            return Ok(());
        }
        let next_of = |index: usize| match from {
            StartFrom::Next(next) => {
                let mut named = next.iter();
                let named = named.find(|&&(track, _)| usize::from(track) == index);
                named.map(|&(_, seq)| seq)
            }
            StartFrom::KeyFrame | StartFrom::Player | StartFrom::Live => None,
        };
        let wanted: Vec<Option<ExtSeq>> = (0..self.tracks.len()).map(next_of).collect();
        let is_ahead = self.tracks.iter().zip(&wanted).any(|(track, next)| {
            next.is_none_or(|next| track.ring.head().is_some_and(|head| head >= next))
        });
        if !is_ahead {
            return Err(ActivateError::NotAhead);
        }
        let far = |(index, next): (usize, &Option<ExtSeq>)| {
            next.is_some_and(|next| child.would_skip(index, next))
        };
        if wanted.iter().enumerate().any(far) {
            return Err(ActivateError::ReplaceLink);
        }

        child.awaken(now, burst);
        // How far the newest key frame lies back: sound begins as far back.
        let mut lag = Duration::ZERO;
        for (index, track) in self.tracks.iter().enumerate() {
            if track.kind != MediaKind::Video {
                continue;
            }
            match wanted[index] {
                Some(next) => child.start_at(now, index, track.resume_from(next), track),
                None if *from == StartFrom::Live => child.start_live(now, index, track),
                None => {
                    child.start_at_key_frame(now, index, track);
                    if let Some(start) = track.fast_start() {
                        lag = lag.max(track.ring.behind_head(start));
                    }
                }
            }
        }
        for (index, track) in self.tracks.iter().enumerate() {
            if track.kind != MediaKind::Audio {
                continue;
            }
            let with_picture = track.ring.at_lag(lag);
            match (wanted[index], with_picture) {
                (Some(next), _) => child.start_at(now, index, track.resume_from(next), track),
                (None, Some(seq)) if *from == StartFrom::KeyFrame => {
                    child.start_at(now, index, seq.max(child.unsent(index)), track);
                }
                (None, _) => child.start_live(now, index, track),
            }
        }
        self.next_check.get_or_insert(now + CHILD_CHECK_INTERVAL);
        self.attend(now, key);
        self.plan_turn(now);
        Ok(())
    }

    /// Goes on with a child's media where [`deactivate`](Self::deactivate) left it. False if there
    /// was none.
    pub fn resume(&mut self, now: Instant, key: LinkKey) -> bool {
        let burst = self.share(1).burst();
        let Some(child) = self.children.get_mut(&key) else {
            return false;
        };
        child.awaken(now, burst);
        let mut resumed = false;
        for (index, track) in self.tracks.iter().enumerate() {
            let next = child.unsent(index);
            match track.kind {
                _ if next > 0 && !child.would_skip(index, next) => {
                    child.start_at(now, index, next, track);
                    resumed = true;
                }
                MediaKind::Video => child.start_at_key_frame(now, index, track),
                MediaKind::Audio => child.start_live(now, index, track),
            }
        }
        self.next_check.get_or_insert(now + CHILD_CHECK_INTERVAL);
        self.attend(now, key);
        self.plan_turn(now);
        resumed
    }

    /// A child that may say nothing for long gets its picture all the same: whether it lives shows
    /// elsewhere.
    pub fn excuse_silence(&mut self, key: LinkKey) {
        if let Some(child) = self.children.get_mut(&key) {
            child.excuse_silence();
        }
    }

    /// Ends a child's media and keeps the link.
    pub fn deactivate(&mut self, key: LinkKey) {
        if let Some(child) = self.children.get_mut(&key) {
            child.deactivate();
        }
        self.behind.remove(&key);
    }

    /// The link takes packets, or does not for now (no selected candidate pair, a full socket).
    /// Meanwhile the child's position stands still.
    pub fn set_writable(&mut self, now: Instant, key: LinkKey, writable: bool) {
        if let Some(child) = self.children.get_mut(&key) {
            child.set_writable(now, writable, &self.tracks);
        }
        self.attend(now, key);
        self.plan_turn(now);
    }

    /// A child misses packets (generic NACK). What the ring has goes out within the child's
    /// budget; what it lacks follows when it arrives here.
    pub fn nack(&mut self, now: Instant, key: LinkKey, track: TrackIndex, seqs: &[u16]) {
        let rate = self.stream_rate();
        let index = usize::from(track);
        if let (Some(child), Some(track)) = (self.children.get_mut(&key), self.tracks.get(index)) {
            child.heard(now, &self.tracks);
            child.nack(now, index, seqs, track, rate);
        }
        self.attend(now, key);
        self.plan_turn(now);
    }

    /// A child cannot go on without a key frame (PLI or FIR). Answered from the ring where one
    /// lies ahead of the child; otherwise one request for all goes upward.
    pub fn key_frame_request(&mut self, now: Instant, key: LinkKey, track: TrackIndex) {
        let index = usize::from(track);
        let (Some(child), Some(at)) = (self.children.get_mut(&key), self.tracks.get(index)) else {
            return;
        };
        child.heard(now, &self.tracks);
        if at.kind == MediaKind::Video && child.wants_key_frame(now, index, at) {
            self.want_key_frame(now, track);
        }
        self.attend(now, key);
        self.plan_turn(now);
    }

    /// A child's receiver report (RFC 3550 section 6.4.2): the largest share of packets it lost of
    /// any track, 0 to 1, and the round-trip time if it is known.
    pub fn feedback(
        &mut self,
        now: Instant,
        key: LinkKey,
        fraction_lost: f32,
        rtt: Option<Duration>,
    ) {
        let own = (fraction_lost - self.shortfall(now)).max(0.0);
        if let Some(child) = self.children.get_mut(&key) {
            child.heard(now, &self.tracks);
            child.feedback(now, own, fraction_lost, rtt, &self.tracks);
        }
        self.attend(now, key);
        self.plan_turn(now);
    }

    /// The largest share of packets that this node itself lacks of any track, of late, 0 to 1: its children
    /// report them as lost, too, and their paths are not to blame.
    pub fn shortfall(&mut self, now: Instant) -> f32 {
        let shares = self.tracks.iter_mut().map(|track| track.shortfall(now));
        shares.fold(0.0, f32::max)
    }

    /// What was seen of the path to each child that gets media, since this was asked last.
    pub fn take_figures(&mut self) -> Vec<ChildFigures> {
        let active = self.children.iter_mut().filter(|(_, c)| c.is_active());
        let figures = active.map(|(&link, child)| {
            let held = child.is_held();
            let seen = child.take_figures();
            ChildFigures {
                link,
                sent: seen.sent,
                asked: seen.asked,
                fraction_lost: seen.fraction_lost,
                rtt: seen.rtt,
                held,
            }
        });
        figures.collect()
    }

    /// How children that are behind share the uplink, with `more` of them about to come.
    pub(super) fn share(&self, more: usize) -> Share {
        let stream_rate = self.stream_rate();
        let live = self.children.len().saturating_sub(self.behind.len()) as u64;
        let left = |max: u64| max.saturating_sub(live.saturating_mul(stream_rate));
        Share {
            stream_rate,
            behind: self.behind.len() + more,
            spare: self.max_upload.map(left),
        }
    }

    /// A child gave another sign of life, a heartbeat say.
    pub fn heard(&mut self, now: Instant, key: LinkKey) {
        if let Some(child) = self.children.get_mut(&key) {
            child.heard(now, &self.tracks);
        }
        self.attend(now, key);
        self.plan_turn(now);
    }

    /// Gives a child what its pace allows and passes on what it wants.
    pub(super) fn attend(&mut self, now: Instant, key: LinkKey) {
        let rate = self.share(0).rate();
        let Some(child) = self.children.get_mut(&key) else {
            return;
        };
        if child.is_behind() {
            child.catch_up(now, &self.tracks, rate);
        }
        if child.is_behind() {
            self.behind.insert(key);
        } else {
            self.behind.remove(&key);
        }
        gather(key, child, &mut self.dirty, &mut self.outputs);
        if let Some(held) = child.take_held() {
            let child = key;
            self.outputs.push_back(RelayOutput::Picture { child, held });
        }
        let wishes = child.take_wishes();
        for track in (0..8).filter(|track| wishes & (1 << track) != 0) {
            self.want_key_frame(now, track);
        }
    }

    fn want_key_frame(&mut self, now: Instant, track: TrackIndex) {
        let Some(at) = self.tracks.get_mut(usize::from(track)) else {
            return;
        };
        at.requests.want();
        if at.requests.poll(now) {
            self.outputs
                .push_back(RelayOutput::RequestKeyFrame { track });
        }
    }
}
