//! The data plane: all tracks of one stream at one node, packets in, packets out to each child.
//!
//! A packet is `(epoch, track, extended sequence number)` everywhere in the tree and is passed on
//! bit for bit. One ring per track serves everything: live forwarding, fast start, resume and
//! repair. What holds at all times:
//!
//! 1. **Once each.** A packet is taken in once; duplicates and impossible numbers change nothing.
//! 2. **At once.** A live child gets every packet, repaired ones too, when it arrives here, in the
//!    order of arrival. Nothing waits for a gap; whoever misses a packet asks its own parent.
//! 3. **Never before the first.** A link never carries a sequence number below the first one it
//!    carried of that track: the SRTP rollover counter starts at zero with the session and is not
//!    on the wire, so an older packet would be counted into the wrong cycle.
//! 4. **No long leap.** A link that would skip more than [`MAX_SKIP`](crate::limits::MAX_SKIP)
//!    numbers of a track carries nothing any more and is reported as [`RelayOutput::ReplaceLink`].
//! 5. **Contiguous pictures.** What a child gets of a video track begins with a key frame or where
//!    it asked to resume, and breaks off only to go on with another key frame.
//! 6. **Bounded.** Rings, missing packets, repairs per child and requests upward have limits, and a
//!    child that is behind holds a position, not a queue.
//! 7. **Alone.** What one child does, asks or fails to do changes nothing for its siblings.

mod child;
pub mod clock;
mod delivery;
mod health;
pub mod keyframe;
mod pace;
pub mod packet;
mod repair;
mod request;
mod ring;
pub mod sequence;
mod serve;
mod shortfall;
mod track;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use serve::{ActivateError, StartFrom};
pub use track::{Inserted, TrackStats};

use crate::id::{Epoch, LinkKey};
use crate::limits::{CATCH_UP_INTERVAL, CHILD_CHECK_INTERVAL, MAX_PAYLOAD, UNNUMBERED_MAX};
use crate::wire::announcement::{MediaKind, TrackInfo};
use child::Child;
use delivery::Delivery;
use packet::{ExtSeq, Packet, TrackIndex};
use request::Upstream;
use track::Track;

/// What the relay wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayOutput {
    /// Send these to a child, in this order. Give the vector back with [`Relay::recycle`].
    Send {
        /// The child's link.
        child: LinkKey,
        /// Never empty.
        packets: Vec<Arc<Packet>>,
    },
    /// Ask the parent, or the publisher, for packets (generic NACK, RFC 4585 section 6.2.1).
    RequestPackets {
        /// Which track.
        track: TrackIndex,
        /// Ascending.
        seqs: Vec<ExtSeq>,
    },
    /// Ask the parent, or the publisher, for a key frame (PLI, RFC 4585 section 6.3.1).
    RequestKeyFrame {
        /// Which track.
        track: TrackIndex,
    },
    /// For the local sink, in the order of the track.
    Deliver(Arc<Packet>),
    /// The SRTP session of this link cannot carry what comes next; the link is to be replaced.
    ReplaceLink {
        /// The child's link.
        child: LinkKey,
    },
    /// A child's picture is held because its path does not carry it, or is sent again.
    Picture {
        /// The child's link.
        child: LinkKey,
        /// Whether it is held.
        held: bool,
    },
}

/// What was seen of the path to one child since it was asked last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChildFigures {
    /// The child's link.
    pub link: LinkKey,
    /// Packets sent for the first time.
    pub sent: u64,
    /// Packets it asked for again that were sent before.
    pub asked: u64,
    /// The largest share of packets it reported as lost, 0 to 1, if it reported.
    pub fraction_lost: Option<f32>,
    /// The newest round trip, if one was measured.
    pub rtt: Option<Duration>,
    /// Whether its picture is held because its path does not carry it.
    pub held: bool,
}

/// All tracks of one epoch of a stream at one node.
#[derive(Debug)]
pub struct Relay {
    epoch: Epoch,
    tracks: Vec<Track>,
    children: BTreeMap<LinkKey, Child>,
    /// Falls of children that are gone.
    falls: u64,
    /// Children with packets to hand out.
    dirty: VecDeque<LinkKey>,
    /// Children that catch up.
    behind: BTreeSet<LinkKey>,
    next_turn: Option<Instant>,
    next_check: Option<Instant>,
    delivery: Option<Delivery>,
    /// Packets whose rollovers cannot be told yet.
    unnumbered: Vec<Packet>,
    /// Bytes per second.
    max_upload: Option<u64>,
    outputs: VecDeque<RelayOutput>,
    /// Empty vectors for batches.
    spare: Vec<Vec<Arc<Packet>>>,
}

/// Notes that a child has something to hand out, or that its link is worn.
fn gather(
    key: LinkKey,
    child: &mut Child,
    dirty: &mut VecDeque<LinkKey>,
    outputs: &mut VecDeque<RelayOutput>,
) {
    if !child.batch.is_empty() && !child.is_queued {
        child.is_queued = true;
        dirty.push_back(key);
    }
    if child.take_worn() {
        outputs.push_back(RelayOutput::ReplaceLink { child: key });
    }
}

/// Empty vectors kept for reuse.
const SPARE_BATCHES: usize = 64;

impl Relay {
    /// A relay below a parent, for the tracks of the stream's signed description.
    pub fn new(tracks: &[TrackInfo], epoch: Epoch) -> Self {
        Self::below(Upstream::Parent, tracks, epoch)
    }

    /// A relay at the root: its packets come from the publisher, who is asked for a key frame when
    /// none came for [`KEY_FRAME_IDLE`](crate::limits::KEY_FRAME_IDLE).
    pub fn at_root(tracks: &[TrackInfo], epoch: Epoch) -> Self {
        Self::below(Upstream::Publisher, tracks, epoch)
    }

    fn below(upstream: Upstream, tracks: &[TrackInfo], epoch: Epoch) -> Self {
        let tracks = tracks.iter().map(|info| Track::new(info, upstream));
        Self {
            epoch,
            tracks: tracks.collect(),
            children: BTreeMap::new(),
            falls: 0,
            dirty: VecDeque::new(),
            behind: BTreeSet::new(),
            next_turn: None,
            next_check: None,
            delivery: None,
            unnumbered: Vec::new(),
            max_upload: None,
            outputs: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// The epoch whose packets these are.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes in a packet from the parent or the publisher. Outputs of several packets are gathered
    /// until [`poll_output`](Self::poll_output): insert all packets of one receive batch first.
    pub fn insert(&mut self, now: Instant, packet: Packet) -> Inserted {
        let index = usize::from(packet.track);
        let Some(track) = self.tracks.get_mut(index) else {
            return Inserted::Implausible;
        };
        let packet = Arc::new(packet);
        let (inserted, start) = track.insert(now, &packet);
        if inserted != Inserted::New {
            return inserted;
        }
        for (&key, child) in &mut self.children {
            child.offer(now, &packet);
            gather(key, child, &mut self.dirty, &mut self.outputs);
        }
        if let Some(start) = start {
            self.start_waiting_children(now, index, start);
        }
        self.deliver(now);
        Inserted::New
    }

    fn start_waiting_children(&mut self, now: Instant, index: usize, start: ExtSeq) {
        let rate = self.stream_rate();
        for (&key, child) in &mut self.children {
            if child.on_start(now, index, start) {
                child.catch_up(now, &self.tracks, rate);
                self.behind.insert(key);
                gather(key, child, &mut self.dirty, &mut self.outputs);
            }
        }
        self.plan_turn(now);
    }

    /// Takes in a packet from the wire, of whose number only the low 16 bits are known: those of
    /// `packet.seq`. It gets the number nearest to what this node has, or to the parent's head
    /// where that is far ahead. Before either is known it waits for
    /// [`set_head_hint`](Self::set_head_hint).
    pub fn receive(&mut self, now: Instant, mut packet: Packet) -> Inserted {
        let Some(track) = self.tracks.get(usize::from(packet.track)) else {
            return Inserted::Implausible;
        };
        if let Some(seq) = track.unwrap_seq(sequence::wire(packet.seq)) {
            packet.seq = seq;
            return self.insert(now, packet);
        }
        if packet.payload.len() > MAX_PAYLOAD {
            return Inserted::Implausible;
        }
        // The newest are dropped: a key frame stands at the beginning.
        if self.unnumbered.len() < UNNUMBERED_MAX {
            self.unnumbered.push(packet);
        }
        Inserted::Unnumbered
    }

    /// The full number of a packet that came with these 16 bits, by the rule of
    /// [`receive`](Self::receive). `None` while that cannot be told, or for an unknown track.
    pub fn unwrap_seq(&self, track: TrackIndex, seq: u16) -> Option<ExtSeq> {
        self.tracks.get(usize::from(track))?.unwrap_seq(seq)
    }

    /// The parent's head as it tells it, in its hello and every heartbeat: it decides the
    /// rollovers of a track this node knows nothing of, or fell far behind in. A number below the
    /// track's first says nothing and changes nothing.
    pub fn set_head_hint(&mut self, now: Instant, track: TrackIndex, head: ExtSeq) {
        let Some(at) = self.tracks.get_mut(usize::from(track)) else {
            return;
        };
        at.set_head_hint(head);
        if !self.unnumbered.is_empty() && at.unwrap_seq(0).is_some() {
            for packet in std::mem::take(&mut self.unnumbered) {
                self.receive(now, packet);
            }
        }
    }

    /// What to tell children as head of each track, in the order of the tracks: the own head;
    /// before there is one, the parent's; before the first packet of all, the number before it.
    /// 0 where nothing is known.
    pub fn known_heads(&self) -> Vec<ExtSeq> {
        let known = |track: &Track| track.known_head().unwrap_or(0);
        self.tracks.iter().map(known).collect()
    }

    /// Newest packet of a track.
    pub fn head(&self, track: TrackIndex) -> Option<ExtSeq> {
        self.tracks.get(usize::from(track))?.ring.head()
    }

    /// Newest packet of every track that has one.
    pub fn heads(&self) -> Vec<(TrackIndex, ExtSeq)> {
        self.each_track(|track| track.ring.head())
    }

    /// What to resume from at another parent, for every track that has begun: the lowest packet
    /// that was missed recently, or the one after the head.
    pub fn next_wanted(&self, now: Instant) -> Vec<(TrackIndex, ExtSeq)> {
        self.each_track(|track| track.next_wanted(now))
    }

    fn each_track<T>(&self, what: impl Fn(&Track) -> Option<T>) -> Vec<(TrackIndex, T)> {
        let indexed = (0..).zip(&self.tracks);
        indexed
            .filter_map(|(index, track)| Some((index, what(track)?)))
            .collect()
    }

    /// Another parent sends from now on, with this round-trip time to it if known.
    pub fn upstream_changed(&mut self, now: Instant, rtt: Option<Duration>) {
        for track in &mut self.tracks {
            track.repair.restart(now);
        }
        if let Some(rtt) = rtt {
            self.set_upstream_rtt(rtt);
        }
    }

    /// Round-trip time to the parent or publisher.
    pub fn set_upstream_rtt(&mut self, rtt: Duration) {
        for track in &mut self.tracks {
            track.repair.set_rtt(rtt);
        }
    }

    /// The uplink's limit in bytes per second, for the pacing of children that catch up.
    pub fn set_max_upload(&mut self, max_upload: Option<u64>) {
        self.max_upload = max_upload;
    }

    /// Delivers every track in order to a local sink from now on: video from a key frame, with at
    /// most `wait` for a missing packet. `None` ends it.
    pub fn set_sink(&mut self, now: Instant, wait: Option<Duration>) {
        self.delivery = wait.map(|wait| Delivery::new(wait, self.tracks.len()));
        self.deliver(now);
    }

    fn deliver(&mut self, now: Instant) {
        if let Some(delivery) = &mut self.delivery {
            delivery.advance(now, &self.tracks, |packet| {
                self.outputs.push_back(RelayOutput::Deliver(packet));
            });
        }
    }

    /// What each track has seen, in the order of the tracks.
    pub fn stats(&self) -> Vec<(MediaKind, TrackStats)> {
        let stats = |track: &Track| (track.kind, track.stats);
        self.tracks.iter().map(stats).collect()
    }

    /// Times a child was so slow that packets meant for it were dropped.
    pub fn falls(&self) -> u64 {
        let here = self.children.values().map(|child| child.falls);
        self.falls + here.sum::<u64>()
    }

    /// Measures [`TrackStats::largest_gap`] afresh.
    pub fn reset_gaps(&mut self) {
        for track in &mut self.tracks {
            track.stats.largest_gap = Duration::ZERO;
        }
    }

    /// Bytes of payload in all rings.
    pub fn ring_bytes(&self) -> usize {
        self.tracks.iter().map(|track| track.ring.bytes()).sum()
    }

    /// Bytes of payload per second of all tracks together.
    fn stream_rate(&self) -> u64 {
        self.tracks.iter().map(|track| track.ring.rate()).sum()
    }

    /// Time passed. Call at [`deadline`](Self::deadline); at other times it does no harm.
    pub fn handle_tick(&mut self, now: Instant) {
        for (index, track) in (0..).zip(&mut self.tracks) {
            let mut seqs = Vec::new();
            track.stats.lost += track.repair.poll(now, &mut seqs);
            if !seqs.is_empty() {
                let request = RelayOutput::RequestPackets { track: index, seqs };
                self.outputs.push_back(request);
            }
            if track.kind == MediaKind::Video && track.requests.poll(now) {
                let request = RelayOutput::RequestKeyFrame { track: index };
                self.outputs.push_back(request);
            }
        }
        self.deliver(now);
        if self.next_turn.is_some_and(|at| at <= now) {
            self.next_turn = None;
            let behind: Vec<LinkKey> = self.behind.iter().copied().collect();
            for key in behind {
                self.attend(now, key);
            }
            self.plan_turn(now);
        }
        if self.next_check.is_some_and(|at| at <= now) {
            self.next_check = None;
            self.check_children(now);
        }
    }

    fn check_children(&mut self, now: Instant) {
        let active = |(key, child): (&LinkKey, &Child)| child.is_active().then_some(*key);
        let active: Vec<LinkKey> = self.children.iter().filter_map(active).collect();
        for key in active {
            if let Some(child) = self.children.get_mut(&key) {
                child.check_health(now, &self.tracks);
            }
            self.attend(now, key);
            self.next_check = Some(now + CHILD_CHECK_INTERVAL);
        }
        self.plan_turn(now);
    }

    fn plan_turn(&mut self, now: Instant) {
        if !self.behind.is_empty() {
            self.next_turn.get_or_insert(now + CATCH_UP_INTERVAL);
        }
    }

    /// When to call [`handle_tick`](Self::handle_tick). May lie in the past.
    pub fn deadline(&self) -> Option<Instant> {
        let tracks = self.tracks.iter().flat_map(|track| {
            let requests = track.requests.deadline();
            let requests = requests.filter(|_| track.kind == MediaKind::Video);
            [track.repair.deadline(), requests]
        });
        let delivery = self.delivery.as_ref().and_then(Delivery::deadline);
        tracks
            .chain([self.next_turn, self.next_check, delivery])
            .flatten()
            .min()
    }

    /// The next thing to do. Drain it after every call that takes `now`.
    pub fn poll_output(&mut self) -> Option<RelayOutput> {
        while let Some(key) = self.dirty.pop_front() {
            let Some(child) = self.children.get_mut(&key) else {
                continue;
            };
            child.is_queued = false;
            if child.batch.is_empty() {
                continue;
            }
            let empty = self.spare.pop().unwrap_or_default();
            let packets = std::mem::replace(&mut child.batch, empty);
            return Some(RelayOutput::Send {
                child: key,
                packets,
            });
        }
        self.outputs.pop_front()
    }

    /// Takes back the vector of a [`RelayOutput::Send`] that was sent.
    pub fn recycle(&mut self, mut packets: Vec<Arc<Packet>>) {
        if self.spare.len() < SPARE_BATCHES {
            packets.clear();
            self.spare.push(packets);
        }
    }
}

#[cfg(test)]
mod tests;
