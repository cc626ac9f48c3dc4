//! One child: where it stands in each track, and what is on its way to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::health::{Health, Verdict};
use super::pace::Bucket;
use super::packet::{ExtSeq, Packet};
use super::sequence::unwrap_near;
use super::track::Track;
use crate::limits::{CATCH_UP_BURST, CATCH_UP_TIME_MAX, MAX_SKIP, REPAIR_BURST};
use crate::wire::announcement::MediaKind;

/// What a packet costs a child's path beside its payload: IPv6, UDP and RTP headers, SRTP tag.
const PACKET_OVERHEAD: usize = 40 + 8 + 12 + 16;

/// Packets that a child may be ahead of this node and still be sent what it has already: those of
/// two frames of a fast stream.
const DISORDER: ExtSeq = 128;

/// How a child follows one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    /// It gets nothing.
    Off,
    /// It gets the next key frame, or the first sound, and what follows.
    AwaitsStart,
    /// It gets the ring from `next` on, paced.
    Behind { next: ExtSeq, since: Instant },
    /// It has more than this node: it gets every packet on arrival, from `next` on.
    Ahead { next: ExtSeq },
    /// It gets every packet on arrival.
    Live,
}

/// What one SRTP session has carried of a track.
#[derive(Debug, Clone, Copy)]
struct Sent {
    first: ExtSeq,
    highest: ExtSeq,
}

#[derive(Debug)]
struct Lane {
    cursor: Cursor,
    sent: Option<Sent>,
    /// Packets below were left out on purpose and are not repaired.
    skipped_below: ExtSeq,
}

impl Lane {
    fn follow_from(&mut self, now: Instant, next: ExtSeq) {
        if self.sent.is_some_and(|sent| next > sent.highest + 1) {
            self.skipped_below = next;
        }
        self.cursor = Cursor::Behind { next, since: now };
    }
}

/// What was seen of a child's path since somebody asked.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) sent: u64,
    pub(super) asked: u64,
    pub(super) fraction_lost: Option<f32>,
    pub(super) rtt: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Child {
    lanes: Vec<Lane>,
    /// On its way to the child.
    pub(super) batch: Vec<Arc<Packet>>,
    /// Key frames the child waits for, one bit per track.
    wishes: u8,
    writable: bool,
    /// Times it was so slow that the ring had dropped what came next.
    pub(super) falls: u64,
    worn: bool,
    worn_is_told: bool,
    /// Whether the relay will hand out the batch without being told again.
    pub(super) is_queued: bool,
    health: Health,
    /// It may say nothing for long: a player may report as seldom as RFC 3550 lets it.
    may_be_silent: bool,
    rtt: Duration,
    /// Since they were taken last.
    figures: Figures,
    /// Whether the child was told that it gets no picture.
    held_is_told: bool,
    pace: Bucket,
    repairs: Bucket,
}

impl Child {
    pub(super) fn new(now: Instant, tracks: usize) -> Self {
        let lane = || Lane {
            cursor: Cursor::Off,
            sent: None,
            skipped_below: 0,
        };
        Self {
            lanes: std::iter::repeat_with(lane).take(tracks).collect(),
            batch: Vec::new(),
            wishes: 0,
            writable: true,
            falls: 0,
            worn: false,
            worn_is_told: false,
            is_queued: false,
            health: Health::new(now),
            may_be_silent: false,
            rtt: Duration::ZERO,
            figures: Figures::default(),
            held_is_told: false,
            pace: Bucket::full(now, CATCH_UP_BURST),
            repairs: Bucket::full(now, REPAIR_BURST),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.lanes.iter().any(|lane| lane.cursor != Cursor::Off)
    }

    /// Whether pacing has something to do for it.
    pub(super) fn is_behind(&self) -> bool {
        let behind = |lane: &Lane| matches!(lane.cursor, Cursor::Behind { .. });
        self.writable && self.lanes.iter().any(behind)
    }

    /// Whether the link has to be replaced before it can carry more.
    pub(super) fn is_worn(&self) -> bool {
        self.worn
    }

    /// Whether the link has become worn since the last time.
    pub(super) fn take_worn(&mut self) -> bool {
        self.worn && !std::mem::replace(&mut self.worn_is_told, true)
    }

    /// What was seen of its path since this was asked last.
    pub(super) fn take_figures(&mut self) -> Figures {
        std::mem::take(&mut self.figures)
    }

    /// Whether its picture is held because its path does not carry it.
    pub(super) fn is_held(&self) -> bool {
        self.health.is_lossy() && self.is_active()
    }

    /// Whether it is held now, if that has changed since the last time.
    pub(super) fn take_held(&mut self) -> Option<bool> {
        let held = self.is_held();
        (std::mem::replace(&mut self.held_is_told, held) != held).then_some(held)
    }

    /// Takes out the tracks whose key frames the child waits for.
    pub(super) fn take_wishes(&mut self) -> u8 {
        std::mem::take(&mut self.wishes)
    }

    /// Media begins anew with `burst` bytes at once: what held it back before says nothing about
    /// now.
    pub(super) fn awaken(&mut self, now: Instant, burst: usize) {
        self.health = Health::new(now);
        self.pace = Bucket::full(now, burst);
    }

    pub(super) fn deactivate(&mut self) {
        for lane in &mut self.lanes {
            lane.cursor = Cursor::Off;
        }
    }

    /// Whether packets from `next` on are too far from those the link carried.
    pub(super) fn would_skip(&self, index: usize, next: ExtSeq) -> bool {
        self.lanes[index]
            .sent
            .is_some_and(|sent| next.abs_diff(sent.highest) > MAX_SKIP)
    }

    /// Follows the track from `next` on; from the first packet of this session if that is later.
    pub(super) fn start_at(&mut self, now: Instant, index: usize, next: ExtSeq, track: &Track) {
        let lane = &mut self.lanes[index];
        let next = lane.sent.map_or(next, |sent| next.max(sent.first));
        match track.ring.head() {
            Some(head) if next <= head => lane.follow_from(now, next),
            // What comes next may come in disorder, and a session carries nothing older than its
            // first packet: so that one is the newest there is, which the child has already.
            Some(head) if lane.sent.is_none() && next - head <= DISORDER => {
                lane.follow_from(now, head);
            }
            _ => lane.cursor = Cursor::Ahead { next },
        }
    }

    /// The first packet this session has not carried.
    pub(super) fn unsent(&self, index: usize) -> ExtSeq {
        self.lanes[index].sent.map_or(0, |sent| sent.highest + 1)
    }

    /// Follows the track from its next packet on.
    pub(super) fn start_live(&mut self, now: Instant, index: usize, track: &Track) {
        match track.ring.head() {
            Some(head) => self.lanes[index].follow_from(now, head + 1),
            None => self.lanes[index].cursor = Cursor::AwaitsStart,
        }
    }

    /// Follows a video track from its newest key frame on, or without a break if the link has
    /// carried that key frame already, or from the next one.
    pub(super) fn start_at_key_frame(&mut self, now: Instant, index: usize, track: &Track) {
        let lane = &mut self.lanes[index];
        let start = track.fast_start().filter(|_| !self.health.is_held());
        match (start, lane.sent) {
            (Some(start), Some(sent)) if start <= sent.highest => {
                lane.follow_from(now, sent.highest + 1);
            }
            (Some(start), _) => lane.follow_from(now, start),
            (None, _) => {
                lane.cursor = Cursor::AwaitsStart;
                if !self.health.is_held() {
                    self.wishes |= 1 << index;
                }
            }
        }
    }

    /// A packet arrived that may be passed on at once.
    pub(super) fn offer(&mut self, now: Instant, packet: &Arc<Packet>) {
        let index = usize::from(packet.track);
        let lane = &mut self.lanes[index];
        let pass = match lane.cursor {
            Cursor::Live => true,
            Cursor::Ahead { next } if packet.seq >= next => {
                if self.writable {
                    lane.cursor = Cursor::Live;
                } else {
                    lane.follow_from(now, packet.seq);
                }
                self.writable
            }
            // A repair of what was passed over; what lies ahead comes in its turn.
            Cursor::Behind { next, .. } => {
                let passed = |sent: Sent| packet.seq < next.min(sent.highest);
                self.writable && lane.sent.is_some_and(passed)
            }
            Cursor::Off | Cursor::AwaitsStart | Cursor::Ahead { .. } => false,
        };
        if pass && packet.seq >= lane.skipped_below {
            self.push(index, packet);
        }
    }

    /// A key frame, or the track's sound, begins at `start`. Whether the child was waiting for it.
    pub(super) fn on_start(&mut self, now: Instant, index: usize, start: ExtSeq) -> bool {
        let lane = &mut self.lanes[index];
        let is_news = lane.sent.is_none_or(|sent| start > sent.highest);
        let waits = lane.cursor == Cursor::AwaitsStart && !self.health.is_held() && is_news;
        if waits {
            lane.follow_from(now, start);
        }
        waits
    }

    /// Hands a packet to the link, unless the session began after it; a leap the session cannot
    /// follow ends it.
    fn push(&mut self, index: usize, packet: &Arc<Packet>) {
        match &mut self.lanes[index].sent {
            None => {
                self.lanes[index].sent = Some(Sent {
                    first: packet.seq,
                    highest: packet.seq,
                });
            }
            Some(sent) if packet.seq < sent.first => return,
            Some(sent) if packet.seq > sent.highest + MAX_SKIP => {
                self.worn = true;
                self.deactivate();
                return;
            }
            Some(sent) => sent.highest = sent.highest.max(packet.seq),
        }
        self.health.on_sent();
        self.figures.sent += 1;
        self.batch.push(Arc::clone(packet));
    }

    /// Sends what pacing at `rate` bytes per second allows of what the child is behind, sound
    /// first.
    pub(super) fn catch_up(&mut self, now: Instant, tracks: &[Track], rate: u64) {
        self.pace.fill(now, rate);
        for kind in [MediaKind::Audio, MediaKind::Video] {
            for (index, track) in tracks.iter().enumerate() {
                if track.kind == kind && self.writable {
                    self.catch_up_track(now, index, track);
                }
            }
        }
    }

    fn catch_up_track(&mut self, now: Instant, index: usize, track: &Track) {
        let ring = &track.ring;
        let (Some(oldest), Some(head)) = (ring.oldest(), ring.head()) else {
            return;
        };
        while let Cursor::Behind { next, since } = self.lanes[index].cursor {
            if next > head {
                if next == head + 1 {
                    self.lanes[index].cursor = Cursor::Live;
                }
                return;
            }
            if next < oldest {
                self.fell_off(now, index, track, oldest);
                continue;
            }
            if now.saturating_duration_since(since) > CATCH_UP_TIME_MAX
                && let Some(start) = track.fast_start().filter(|&start| start > next)
            {
                self.lanes[index].follow_from(now, start);
                continue;
            }
            let Some(packet) = ring.next_present(next).filter(|_| self.pace.has_tokens()) else {
                return;
            };
            self.pace.take(packet.payload.len() + PACKET_OVERHEAD);
            let next = packet.seq + 1;
            self.lanes[index].cursor = Cursor::Behind { next, since };
            self.push(index, packet);
        }
    }

    /// The ring no longer has what comes next: sound goes on with what there is, the picture with
    /// a key frame.
    fn fell_off(&mut self, now: Instant, index: usize, track: &Track, oldest: ExtSeq) {
        self.falls += 1;
        let start = match track.kind {
            MediaKind::Audio => Some(oldest),
            MediaKind::Video => track.ring.key_frame_from(oldest),
        };
        match start {
            Some(start) => self.lanes[index].follow_from(now, start),
            None => {
                self.lanes[index].cursor = Cursor::AwaitsStart;
                self.wishes |= 1 << index;
            }
        }
    }

    /// The link takes packets, or does not for now.
    pub(super) fn set_writable(&mut self, now: Instant, writable: bool, tracks: &[Track]) {
        if self.writable == writable {
            return;
        }
        self.writable = writable;
        for (lane, track) in self.lanes.iter_mut().zip(tracks) {
            match (lane.cursor, track.ring.head()) {
                (Cursor::Live, Some(head)) => lane.follow_from(now, head + 1),
                (Cursor::Behind { next, .. }, _) => lane.follow_from(now, next),
                _ => {}
            }
        }
    }

    /// Sends again what the child asks for, within its budget of `rate` bytes per second. What
    /// the ring lacks is passed on when it comes; what the session did not carry is none of its
    /// business.
    pub(super) fn nack(
        &mut self,
        now: Instant,
        index: usize,
        seqs: &[u16],
        track: &Track,
        rate: u64,
    ) {
        let lane = &self.lanes[index];
        let serves = !matches!(lane.cursor, Cursor::Off | Cursor::AwaitsStart);
        let Some(sent) = lane.sent.filter(|_| serves && self.writable) else {
            return;
        };
        let lowest = sent
            .first
            .max(lane.skipped_below)
            .max(sent.highest.saturating_sub(MAX_SKIP));
        self.repairs.fill(now, rate);
        for &seq in seqs {
            let seq = unwrap_near(seq, sent.highest);
            if seq < lowest || seq > sent.highest {
                continue;
            }
            let (Some(packet), Some(arrived)) = (track.ring.get(seq), track.ring.arrived(seq))
            else {
                continue;
            };
            // The child asked before it could see the packet that was just passed on.
            if now.saturating_duration_since(arrived) < self.rtt / 2 {
                continue;
            }
            self.figures.asked += 1;
            if !self.repairs.has_tokens() {
                return;
            }
            self.repairs.take(packet.payload.len() + PACKET_OVERHEAD);
            self.batch.push(Arc::clone(packet));
        }
    }

    /// Answers a wish for a key frame from the ring if one lies ahead of the child. Otherwise
    /// whether one is worth asking for: not while one is on its way to the child.
    pub(super) fn wants_key_frame(&mut self, now: Instant, index: usize, track: &Track) -> bool {
        let lane = &mut self.lanes[index];
        match lane.cursor {
            Cursor::Off => return false,
            Cursor::AwaitsStart => return !self.health.is_held(),
            Cursor::Behind { next, .. } => {
                if let Some(start) = track.fast_start().filter(|&start| start >= next) {
                    lane.follow_from(now, start);
                    return false;
                }
            }
            Cursor::Ahead { .. } | Cursor::Live => {}
        }
        track
            .requests
            .last_key_frame()
            .is_none_or(|at| now.saturating_duration_since(at) > self.rtt)
    }

    /// The child said something.
    pub(super) fn heard(&mut self, now: Instant, tracks: &[Track]) {
        let verdict = self.health.on_heard(now);
        self.act_on(verdict, now, tracks);
    }

    /// The child reported what share of packets it lost, and how far away it is.
    pub(super) fn feedback(
        &mut self,
        now: Instant,
        lost_on_path: f32,
        fraction_lost: f32,
        rtt: Option<Duration>,
        tracks: &[Track],
    ) {
        self.rtt = rtt.unwrap_or(self.rtt);
        self.figures.rtt = rtt.or(self.figures.rtt);
        let worst = self.figures.fraction_lost.unwrap_or(0.0);
        self.figures.fraction_lost = Some(worst.max(fraction_lost));
        let verdict = self.health.on_report(now, lost_on_path);
        self.act_on(verdict, now, tracks);
    }

    /// Its silence means nothing.
    pub(super) fn excuse_silence(&mut self) {
        self.may_be_silent = true;
    }

    /// Holds the picture of a child that went silent, and tries again where a hold is over.
    pub(super) fn check_health(&mut self, now: Instant, tracks: &[Track]) {
        if self.may_be_silent {
            self.heard(now, tracks);
        }
        let verdict = self.health.check(now);
        self.act_on(verdict, now, tracks);
    }

    fn act_on(&mut self, verdict: Option<Verdict>, now: Instant, tracks: &[Track]) {
        let Some(verdict) = verdict else {
            return;
        };
        for (index, track) in tracks.iter().enumerate() {
            if track.kind != MediaKind::Video {
                continue;
            }
            match (verdict, self.lanes[index].cursor) {
                (_, Cursor::Off) => {}
                (Verdict::Hold, _) => self.lanes[index].cursor = Cursor::AwaitsStart,
                (Verdict::Release, Cursor::AwaitsStart) => {
                    self.start_at_key_frame(now, index, track);
                }
                (Verdict::Release, _) => {}
            }
        }
    }
}
