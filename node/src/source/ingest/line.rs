//! One track of a publisher.

use std::time::{Duration, Instant};

use banyan::limits::{MAX_PAYLOAD, PUBLISHER_KEY_FRAME_INTERVAL};
use banyan::relay::keyframe::{Mark, mark};
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::Codec;

use super::common_time::CommonTime;
use super::is_video;
use super::parameters::ParameterSets;
use super::reorder::{Next, Reorder};
use super::split::split;
use super::timeline::Timeline;
use crate::rtc::{PublishedTrack, ReceivedPacket};

/// Key frames further apart than this make joining slow and losses last, and are warned about.
const LONG_GROUP: Duration = Duration::from_secs(5);

/// Time between two such warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Line {
    track: TrackIndex,
    codec: Codec,
    reorder: Reorder,
    pub(super) timeline: Timeline,
    sets: ParameterSets,
    /// Nothing goes out before a key frame: it is the first, or something before it is lost.
    closed: bool,
    /// A key frame is wanted.
    wanted: bool,
    asked: Option<Instant>,
    key_frame: Option<Instant>,
    warned: Option<Instant>,
    /// It was told that the present publisher sends them.
    b_frames: bool,
}

impl Line {
    /// `base` is the first timestamp.
    pub(super) fn new(track: TrackIndex, codec: Codec, base: u32) -> Self {
        Self {
            track,
            codec,
            reorder: Reorder::new(false),
            timeline: Timeline::new(codec.clock_rate(), base, !is_video(codec)),
            sets: ParameterSets::default(),
            closed: is_video(codec),
            wanted: false,
            asked: None,
            key_frame: None,
            warned: None,
            b_frames: false,
        }
    }

    /// A publisher begins to send this track.
    pub(super) fn begin(&mut self, track: &PublishedTrack) {
        self.reorder = Reorder::new(track.repairs);
        self.timeline.restart();
        self.sets = ParameterSets::new(&track.parameter_sets);
        self.closed = is_video(self.codec);
        self.wanted = false;
        self.asked = None;
        self.key_frame = None;
        self.b_frames = false;
    }

    pub(super) fn push(&mut self, now: Instant, packet: ReceivedPacket) {
        if self.reorder.push(now, packet) {
            self.close();
        }
    }

    /// Packets given up since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.reorder.lost)
    }

    /// Pictures refer to what is lost: none goes out before the next key frame.
    fn close(&mut self) {
        if is_video(self.codec) {
            self.closed = true;
            self.wanted = true;
        }
    }

    /// What the next packet in order makes; empty while it is passed over.
    pub(super) fn pop(&mut self, now: Instant, common: &mut CommonTime) -> Option<Vec<Packet>> {
        let packet = match self.reorder.pop(now)? {
            Next::Packet(packet) => packet,
            Next::Lost => {
                tracing::debug!(track = self.track, "packets of the publisher are lost");
                self.close();
                return Some(Vec::new());
            }
        };
        // Padding, with which publishers probe for bandwidth.
        if packet.payload.is_empty() {
            return Some(Vec::new());
        }
        let sets = if self.codec == Codec::H264 {
            self.sets.before(packet.timestamp, &packet.payload)
        } else {
            Vec::new()
        };
        let starts = match mark(self.codec, &packet.payload) {
            Some(Mark::Start) => true,
            Some(Mark::Inside) => self.sets.known(),
            None => false,
        };
        if starts {
            self.on_key_frame(now);
        } else if self.closed {
            return Some(Vec::new());
        }
        let timestamp = self.timeline.map(now, packet.timestamp, common);
        if self.timeline.reordered && !self.b_frames {
            self.b_frames = true;
            tracing::warn!(
                "the publisher sends B-frames: browsers show little more than its key frames; set \
                 its B-frames to 0"
            );
        }
        let track = self.track;
        let whole = |payload| Packet {
            track,
            seq: 0,
            timestamp,
            marker: false,
            extensions: Vec::new(),
            payload,
        };
        let mut packets: Vec<Packet> = sets.into_iter().map(whole).collect();
        if packet.payload.len() <= MAX_PAYLOAD {
            packets.push(Packet {
                extensions: packet.extensions,
                ..whole(packet.payload)
            });
        } else {
            let parts = split(self.codec, &packet.payload, packet.extensions);
            if parts.is_empty() {
                tracing::debug!(
                    track = self.track,
                    "a payload that cannot be cut is left out"
                );
                self.close();
            }
            packets.extend(parts.into_iter().map(|(payload, extensions)| Packet {
                extensions,
                ..whole(payload)
            }));
        }
        if let Some(last) = packets.last_mut() {
            last.marker = packet.marker;
        }
        Some(packets)
    }

    fn on_key_frame(&mut self, now: Instant) {
        self.closed = false;
        self.wanted = false;
        let Some(before) = self.key_frame.replace(now) else {
            return;
        };
        let group = now.saturating_duration_since(before);
        let quiet = |warned| now.saturating_duration_since(warned) > WARNING_INTERVAL;
        if group > LONG_GROUP && self.warned.is_none_or(quiet) {
            self.warned = Some(now);
            tracing::warn!(
                "the publisher's key frames come {} s apart: viewers that join, or lose packets, \
                 wait for the next; set its key-frame interval to 2 s or less",
                group.as_secs()
            );
        }
    }

    pub(super) const fn want_key_frame(&mut self) {
        self.wanted = true;
    }

    /// Whether to ask for a key frame now.
    pub(super) fn key_frame_request_due(&mut self, now: Instant) -> bool {
        let due = self.key_frame_request_at().is_none_or(|at| at <= now);
        if self.wanted && due {
            self.asked = Some(now);
        }
        self.wanted && due
    }

    fn key_frame_request_at(&self) -> Option<Instant> {
        self.asked.map(|at| at + PUBLISHER_KEY_FRAME_INTERVAL)
    }

    /// Packets to ask for now.
    pub(super) fn requests(&mut self, now: Instant) -> Vec<u16> {
        self.reorder.requests(now)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let ask = self.key_frame_request_at().filter(|_| self.wanted);
        [self.reorder.deadline(), ask].into_iter().flatten().min()
    }
}
