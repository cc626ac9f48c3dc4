//! A publisher's packets as the stream's: in order, on one unbroken time line, in payloads that
//! the tree carries, whoever publishes and however often it comes back.
//!
//! Every packet goes through four rooms: `reorder` waits for those that are missing, `parameters`
//! puts H.264 parameter sets in front of key frames, `timeline` moves timestamps to the time that
//! all tracks share (`common_time`), and `split` cuts what is too large. The node gives out the
//! sequence numbers. No I/O and no clock here: the media thread tells the time and carries out what
//! [`Ingest::poll_output`] says.

mod common_time;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod line;
mod parameters;
mod reorder;
mod split;
mod timeline;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use banyan::id::Epoch;
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::{Codec, MediaKind, StreamInfo, TrackInfo};
use rand::RngExt;
use rand::rngs::StdRng;

use self::common_time::{CommonTime, WallClock};
use self::line::Line;
use crate::rtc::{PublishedTrack, ReceivedPacket};

/// A publisher that sends nothing for this long has paused, and viewers are told so.
const IDLE: Duration = Duration::from_secs(1);

/// What an ingest wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngestOutput {
    /// The stream has these tracks from now on.
    Tracks(StreamInfo),
    /// The next packets of the stream, without sequence numbers.
    Packets(Vec<Packet>),
    /// Which time a track's timestamps stand for.
    Clock {
        /// Position in the list of tracks.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// The publisher pauses, or goes on.
    Idle(bool),
    /// Ask the publisher for packets again.
    RequestPackets {
        /// The publisher's track.
        track: TrackIndex,
        /// Low 16 bits of their numbers, rising.
        seqs: Vec<u16>,
    },
    /// Ask the publisher for a key frame.
    RequestKeyFrame {
        /// The publisher's track.
        track: TrackIndex,
    },
}

/// What comes in at the root, through all its publishers.
#[derive(Debug)]
pub struct Ingest {
    first_epoch: Epoch,
    /// What viewers were told.
    info: Option<StreamInfo>,
    /// What they are told with the first packet.
    coming: Option<StreamInfo>,
    lines: Vec<Line>,
    lost: u64,
    wall: WallClock,
    common: CommonTime,
    /// Somebody publishes.
    live: bool,
    idle: bool,
    last_media: Option<Instant>,
    rng: StdRng,
    outputs: VecDeque<IngestOutput>,
}

impl Ingest {
    /// Nobody has published yet. `epoch` will be that of the first tracks; `ntp` is the time at
    /// `now`.
    pub fn new(now: Instant, ntp: u64, epoch: Epoch, rng: StdRng) -> Self {
        Self {
            first_epoch: epoch,
            info: None,
            coming: None,
            lines: Vec::new(),
            lost: 0,
            wall: WallClock::new(now, ntp),
            common: CommonTime::default(),
            live: false,
            idle: false,
            last_media: None,
            rng,
            outputs: VecDeque::new(),
        }
    }

    /// A publisher with these tracks begins; one before it is forgotten. With the same tracks as
    /// before the stream goes on, with others a new epoch begins at the first packet, not before
    /// `epoch`.
    pub fn begin(&mut self, epoch: Epoch, tracks: &[PublishedTrack]) {
        let known = self.coming.as_ref().or(self.info.as_ref());
        let same = known.is_some_and(|info| {
            let pairs = || info.tracks.iter().zip(tracks);
            info.tracks.len() == tracks.len() && pairs().all(|(old, new)| continues(old, new))
        });
        if !same {
            let later = known.map(|info| Epoch(info.epoch.0 + 1).max(epoch));
            let epoch = later.unwrap_or(self.first_epoch);
            let codings = tracks.iter().map(|track| (track.codec, track.fmtp.clone()));
            let info = describe(epoch, codings, &mut self.rng);
            self.lines = (0..)
                .zip(&info.tracks)
                .map(|(track, info)| {
                    // Random, so that nothing is told about how long the stream runs (RFC 3550
                    // section 5.1).
                    Line::new(track, info.codec, self.rng.random())
                })
                .collect();
            self.common = CommonTime::default();
            self.coming = Some(info);
        }
        for (line, track) in self.lines.iter_mut().zip(tracks) {
            line.begin(track);
        }
        self.common.restart();
        self.live = true;
    }

    /// The publisher is gone.
    pub fn end(&mut self) {
        self.live = false;
        if self.info.is_some() {
            self.set_idle(true);
        }
    }

    /// Whether the publisher has sent nothing for `time`, or nobody publishes.
    pub fn silent_for(&self, now: Instant, time: Duration) -> bool {
        let heard = |at| now.saturating_duration_since(at) < time;
        !self.live || !self.last_media.is_some_and(heard)
    }

    /// A packet came from the publisher.
    pub fn packet(&mut self, now: Instant, packet: ReceivedPacket) {
        let Some(line) = self.lines.get_mut(usize::from(packet.track)) else {
            return;
        };
        self.last_media = Some(now);
        line.push(now, packet);
        self.set_idle(false);
        self.advance(now);
    }

    /// A sender report came from the publisher.
    pub fn sender_report(&mut self, track: TrackIndex, ntp: u64, rtp: u32) {
        let Some(line) = self.lines.get_mut(usize::from(track)) else {
            return;
        };
        line.timeline.report(ntp, rtp);
        let [picture, sound] = &mut self.lines[..] else {
            return;
        };
        let (picture, sound) = (&mut picture.timeline, &mut sound.timeline);
        let reported = picture.reported().zip(sound.reported());
        if let Some((at_picture, at_sound)) = reported
            && let Some(nanos) = self.common.picture_off(at_picture, at_sound)
        {
            tracing::debug!(ms = nanos / 1_000_000, "picture is moved towards the sound");
            picture.correct(nanos);
        }
    }

    /// Somebody needs a key frame.
    pub fn want_key_frame(&mut self, now: Instant, track: TrackIndex) {
        if let Some(line) = self.lines.get_mut(usize::from(track)) {
            line.want_key_frame();
        }
        self.ask(now);
    }

    /// Time passed.
    pub fn handle_tick(&mut self, now: Instant) {
        self.advance(now);
        if self.idle_at().is_some_and(|at| at <= now) {
            tracing::warn!("the publisher sends nothing at the moment");
            self.set_idle(true);
        }
    }

    /// When to call [`handle_tick`](Self::handle_tick).
    pub fn deadline(&self) -> Option<Instant> {
        if !self.live {
            return None;
        }
        let lines = self.lines.iter().filter_map(Line::deadline).min();
        [lines, self.idle_at()].into_iter().flatten().min()
    }

    /// Packets of publishers that never came.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<IngestOutput> {
        self.outputs.pop_front()
    }

    fn idle_at(&self) -> Option<Instant> {
        let last = self.last_media.filter(|_| self.live && !self.idle)?;
        Some(last + IDLE)
    }

    fn set_idle(&mut self, idle: bool) {
        if self.idle != idle {
            self.idle = idle;
            self.outputs.push_back(IngestOutput::Idle(idle));
        }
    }

    fn advance(&mut self, now: Instant) {
        for index in 0..self.lines.len() {
            let mut packets = Vec::new();
            while let Some(ready) = self.lines[index].pop(now, &mut self.common) {
                packets.extend(ready);
            }
            self.lost += self.lines[index].take_lost();
            if !packets.is_empty() {
                self.announce();
                self.tell_time(now);
                self.outputs.push_back(IngestOutput::Packets(packets));
            }
        }
        self.ask(now);
    }

    /// Of all tracks at once, so that they stay together whoever hears of it.
    fn tell_time(&mut self, now: Instant) {
        let Some(time) = self.common.tell(now) else {
            return;
        };
        let ntp = self.wall.at(now);
        for (track, line) in (0..).zip(&self.lines) {
            let rtp = line.timeline.at(time);
            self.outputs
                .push_back(IngestOutput::Clock { track, ntp, rtp });
        }
    }

    /// The stream begins with its first packet, so that nobody connects for nothing.
    fn announce(&mut self) {
        if let Some(info) = self.coming.take() {
            self.info = Some(info.clone());
            self.outputs.push_back(IngestOutput::Tracks(info));
        }
    }

    fn ask(&mut self, now: Instant) {
        if !self.live {
            return;
        }
        for (track, line) in (0..).zip(&mut self.lines) {
            let seqs = line.requests(now);
            if !seqs.is_empty() {
                self.outputs
                    .push_back(IngestOutput::RequestPackets { track, seqs });
            }
            if line.key_frame_request_due(now) {
                self.outputs
                    .push_back(IngestOutput::RequestKeyFrame { track });
            }
        }
    }
}

/// A source's tracks, by codec and format parameters, as the whole tree will know them.
pub fn describe(
    epoch: Epoch,
    codings: impl Iterator<Item = (Codec, String)>,
    rng: &mut impl rand::Rng,
) -> StreamInfo {
    let tracks = codings.map(|(codec, fmtp)| TrackInfo {
        codec,
        fmtp,
        ssrc: rng.random_range(1..u32::MAX),
        first_seq: first_seq(rng),
    });
    StreamInfo {
        epoch,
        tracks: tracks.collect(),
        cname: CNAME.to_owned(),
    }
}

/// RTCP canonical name of every stream (RFC 3550 section 6.5.1): it tells nothing of its root.
const CNAME: &str = "banyan";

/// A track's first sequence number: random 16 bits as RFC 3550 section 5.1 asks, with one rollover
/// behind them, so that no repair ever reaches below zero.
fn first_seq(rng: &mut impl rand::Rng) -> u64 {
    (1 << 16) + u64::from(rng.random::<u16>() >> 1)
}

/// Whether viewers of the old track can play the new one without being told anything.
fn continues(old: &TrackInfo, new: &PublishedTrack) -> bool {
    let profile = |fmtp: &str| {
        let name = match old.codec {
            Codec::H264 => "profile-level-id=",
            Codec::Vp9 => "profile-id=",
            Codec::Av1 => "profile=",
            Codec::Vp8 | Codec::Opus => return None,
        };
        let value = fmtp.split(';').find_map(|p| p.trim().strip_prefix(name))?;
        // Of H.264 the level is left out, which decoders in browsers pass over.
        let length = if old.codec == Codec::H264 { 4 } else { 2 };
        let value = value.get(..length).unwrap_or(value);
        Some(value.to_ascii_lowercase())
    };
    old.codec == new.codec && profile(&old.fmtp) == profile(&new.fmtp)
}

/// Whether a track has pictures.
fn is_video(codec: Codec) -> bool {
    codec.kind() == MediaKind::Video
}

#[cfg(test)]
mod tests;
