//! The samples of a file as frames on one unbroken time line, however often the file is played.

use std::collections::VecDeque;
use std::time::Duration;

use banyan::wire::announcement::{Codec, MediaKind};

use super::bitstream::{is_key, opus_samples};
use super::container::{Container, Sample};
use super::inspect::{Chosen, Recipe, Selection};
use super::transcode::Transcoder;
use super::{Playback, SourceError, SourceFrame};

/// How far one track is read before the others, at most, in nanoseconds: files that are
/// interleaved worse than this are sent as they come.
const INTERLEAVE: i64 = 3_000_000_000;

/// Most frames that wait for another track.
const MAX_WAITING: usize = 2_000;

/// Where a pipe's time begins, in nanoseconds: earlier than any first sample (an Opus encoder
/// needs 6.5 ms in front of the first sound).
const PIPE_ORIGIN: i64 = -100_000_000;

/// Times of Opus packets are counted from their lengths unless the file says otherwise by this
/// much: Matroska rounds to milliseconds.
const ROUNDING: i64 = 5_000_000;

/// Reads a container and puts its frames in the order in which they are due.
pub(super) struct Timeline {
    container: Box<dyn Container>,
    tracks: Vec<TrackLine>,
    playback: Playback,
    /// The container's time of the first sample.
    origin: i64,
    /// Length of all passes before this one.
    base: i64,
    ended: bool,
}

struct TrackLine {
    chosen: Chosen,
    transcoder: Option<Transcoder>,
    waiting: VecDeque<SourceFrame>,
    /// First and last time of this pass, as the container counts.
    span: Option<(i64, i64)>,
    last_delta: i64,
    last_pts: i64,
    /// Where the next Opus packet should begin.
    expected: Option<i64>,
    last_timestamp: Option<u64>,
}

impl Timeline {
    pub(super) fn new(
        container: Box<dyn Container>,
        selection: Selection,
        playback: Playback,
    ) -> Self {
        let mut origin = None;
        let tracks: Vec<_> = selection.chosen.into_iter().map(TrackLine::new).collect();
        for track in &tracks {
            let first = track.chosen.first_pts.map(|pts| match track.transcoder {
                Some(_) => pts.max(0) - Transcoder::lookahead(),
                None => pts,
            });
            origin = match (origin, first) {
                (Some(a), Some(b)) => Some(i64::min(a, b)),
                (a, b) => a.or(b),
            };
        }
        Self {
            container,
            tracks,
            playback,
            origin: origin.unwrap_or(PIPE_ORIGIN),
            base: 0,
            ended: false,
        }
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<SourceFrame>, SourceError> {
        loop {
            if let Some(frame) = self.pop() {
                return Ok(Some(frame));
            }
            if self.ended {
                return Ok(None);
            }
            match self.container.next_sample()? {
                Some(sample) => self.take(&sample),
                None => self.end_pass()?,
            }
        }
    }

    /// The frame that is due first, once it is certain which that is.
    fn pop(&mut self) -> Option<SourceFrame> {
        let complete = self.tracks.iter().all(|track| !track.waiting.is_empty());
        let far = self.tracks.iter().any(TrackLine::is_far_ahead);
        if !(complete || far || self.ended) {
            return None;
        }
        let first = (self.tracks.iter_mut())
            .filter(|track| !track.waiting.is_empty())
            .min_by_key(|track| track.waiting[0].due)?;
        first.waiting.pop_front()
    }

    fn take(&mut self, sample: &Sample) {
        let place = (self.tracks.iter()).position(|t| t.chosen.index == sample.track);
        let Some(place) = place else {
            return;
        };
        let offset = self.base - self.origin;
        self.tracks[place].take(place as u8, sample, offset);
    }

    fn end_pass(&mut self) -> Result<(), SourceError> {
        // The longest track is the length of a pass; the others pause until it ends.
        let spans = self.tracks.iter().filter_map(|t| t.span);
        let length = spans.map(|(first, last)| last - first).max().unwrap_or(0);
        if self.playback == Playback::Once || length <= 0 {
            for (place, track) in self.tracks.iter_mut().enumerate() {
                track.finish(place as u8);
            }
            self.ended = true;
            return Ok(());
        }
        self.base += length;
        self.container.rewind()?;
        for track in &mut self.tracks {
            track.span = None;
            if let Some(transcoder) = &mut track.transcoder {
                transcoder.restart();
            }
        }
        Ok(())
    }
}

impl TrackLine {
    fn new(chosen: Chosen) -> Self {
        let transcoder = match &chosen.recipe {
            Recipe::Encode(parameters) => Transcoder::new(parameters).ok(),
            _ => None,
        };
        Self {
            chosen,
            transcoder,
            waiting: VecDeque::new(),
            span: None,
            last_delta: 33_333_333,
            last_pts: 0,
            expected: None,
            last_timestamp: None,
        }
    }

    fn is_far_ahead(&self) -> bool {
        match (self.waiting.front(), self.waiting.back()) {
            (Some(front), Some(back)) => {
                let ahead = back.due.saturating_sub(front.due);
                ahead.as_nanos() > INTERLEAVE as u128 || self.waiting.len() >= MAX_WAITING
            }
            _ => false,
        }
    }

    fn take(&mut self, place: u8, sample: &Sample, offset: i64) {
        let codec = self.chosen.track.codec;
        if self.span.is_some() && sample.pts > self.last_pts {
            self.last_delta = sample.pts - self.last_pts;
        }
        self.last_pts = sample.pts;
        let opus = match self.transcoder {
            None if codec == Codec::Opus => i64::from(opus_samples(&sample.data)) * 62_500 / 3,
            _ => 0,
        };
        let duration = [opus, sample.duration, self.last_delta]
            .into_iter()
            .find(|d| *d > 0)
            .unwrap_or(0);
        if let Some(transcoder) = &mut self.transcoder {
            // Sound before the file's zero is the encoder's own and is not heard.
            let skip = (-sample.pts).max(0);
            let packets = transcoder.push(sample, sample.pts.saturating_add(offset), skip);
            self.cover(sample.pts.saturating_add(skip), sample.pts, duration);
            for packet in packets {
                self.emit(place, packet.pts, true, packet.data);
            }
            return;
        }
        let mut pts = sample.pts.saturating_add(offset);
        if codec == Codec::Opus {
            let counted = self.expected.filter(|e| (e - pts).abs() < ROUNDING);
            pts = counted.unwrap_or(pts);
            self.expected = Some(pts + opus);
        }
        self.cover(pts - offset, pts - offset, duration);
        let data = self.chosen.recipe.frame(&sample.data);
        let key = is_key(codec, &data);
        self.emit(place, pts, key, data);
    }

    /// Notes that this pass reaches from `begin` to `duration` after `pts`.
    fn cover(&mut self, begin: i64, pts: i64, duration: i64) {
        let end = pts.saturating_add(duration);
        let (first, last) = self.span.unwrap_or((begin, end));
        self.span = Some((first.min(begin), last.max(end)));
    }

    fn emit(&mut self, track: u8, pts: i64, key: bool, data: bytes::Bytes) {
        let pts = u64::try_from(pts).unwrap_or(0);
        let rate = u128::from(self.chosen.track.codec.clock_rate());
        let ticks = (u128::from(pts) * rate + 500_000_000) / 1_000_000_000;
        let mut timestamp = u64::try_from(ticks).unwrap_or(u64::MAX);
        // Two pictures never share a time, whatever a damaged file says.
        if let Some(last) = self.last_timestamp
            && timestamp <= last
            && self.chosen.track.codec.kind() == MediaKind::Video
        {
            timestamp = last + 1;
        }
        self.last_timestamp = Some(timestamp);
        self.waiting.push_back(SourceFrame {
            track,
            timestamp,
            key,
            data,
            due: Duration::from_nanos(pts),
        });
    }

    fn finish(&mut self, place: u8) {
        let rest = self.transcoder.as_mut().map(Transcoder::finish);
        for packet in rest.into_iter().flatten() {
            self.emit(place, packet.pts, true, packet.data);
        }
    }
}
