//! Writes MP4: fragments while the recording runs, so that a file whose program was killed plays,
//! and at the end one index over all of them, so that a finished file can be sought in everywhere.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZeroU32;

use banyan::wire::announcement::{Codec, MediaKind};
use bytes::Bytes;
use shiguredo_mp4::bitstream::h264::{H264SampleEntryConfig, LengthSize, build_avc1_box};
use shiguredo_mp4::bitstream::opus::{ChannelCount, OpusSampleEntryConfig, build_opus_box};
use shiguredo_mp4::boxes::{Avc1Box, EdtsBox, ElstBox, ElstEntry, HdlrBox, MoovBox, SampleEntry};
use shiguredo_mp4::mux::{Fmp4SegmentMuxer, Mp4FileMuxer, Sample};
use shiguredo_mp4::{Encode, FixedPointNumber, TrackKind};

use super::{Container, Entry, TrackFormat};
use crate::source::bitstream::{NAL_LENGTH, join_nals, length_prefixed, nal, nal_type};

/// Sound alone, and pictures without key frames: a fragment at the latest after this long.
const FRAGMENT_TIME: i64 = 4_000_000_000;

/// Bytes of the `mdat` header that is left room for.
const MDAT_HEADER: usize = 16;

pub(super) struct Mp4 {
    file: File,
    tracks: Vec<Track>,
    fragments: Fmp4SegmentMuxer,
    whole: Mp4FileMuxer,
    position: u64,
    started: bool,
}

struct Track {
    kind: TrackKind,
    timescale: NonZeroU32,
    entry: SampleEntry,
    waiting: VecDeque<Waiting>,
    first_time: Option<i64>,
    last_duration: u32,
    /// When the next frame is to be decoded.
    decode: Option<i64>,
}

struct Waiting {
    ticks: i64,
    key: bool,
    /// Where the picture's description changed.
    entry: SampleEntry,
    data: Bytes,
}

impl Mp4 {
    pub(super) fn create(file: File, formats: &[TrackFormat]) -> io::Result<Self> {
        let tracks = (formats.iter())
            .map(Track::new)
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            file,
            tracks,
            fragments: Fmp4SegmentMuxer::new().map_err(io::Error::other)?,
            whole: Mp4FileMuxer::new().map_err(io::Error::other)?,
            position: 0,
            started: false,
        })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Writes what waits as a fragment; of each track the last frame, whose duration the next one
    /// tells, only with `all`.
    fn flush(&mut self, all: bool) -> io::Result<()> {
        let mut samples = Vec::new();
        let mut payloads = Vec::new();
        let mut offset = 0;
        for track in &mut self.tracks {
            let first = samples.len();
            while let Some(frame) = track.take(all) {
                let size = frame.1.len();
                let sample = Sample {
                    data_offset: offset,
                    ..frame.0
                };
                offset += size as u64;
                samples.push(sample);
                payloads.push(frame.1);
            }
            // All of a track's in a fragment have an offset, or none has.
            let own = samples.get_mut(first..).unwrap_or_default();
            if own.iter().all(|s| s.composition_time_offset == Some(0)) {
                own.iter_mut()
                    .for_each(|s| s.composition_time_offset = None);
            }
        }
        if samples.is_empty() {
            return Ok(());
        }
        let header = (self.fragments)
            .create_media_segment_metadata(&samples)
            .map_err(io::Error::other)?;
        if !self.started {
            self.start()?;
        }
        self.put(&header)?;
        let whole = &mut self.whole;
        whole
            .advance_position(header.len() as u64)
            .map_err(io::Error::other)?;
        let base = self.position;
        for sample in &mut samples {
            sample.data_offset += base;
            whole.append_sample(sample).map_err(io::Error::other)?;
        }
        for payload in payloads {
            self.put(&payload)?;
        }
        self.file.flush()
    }

    /// The beginning of the file: a place for the final `mdat` header that will hide the fragments'
    /// own boxes, and the description that makes the fragments playable until then.
    fn start(&mut self) -> io::Result<()> {
        self.started = true;
        let mut head = self.whole.initial_boxes_bytes().to_vec();
        head.truncate(head.len() - MDAT_HEADER);
        head.extend((MDAT_HEADER as u32).to_be_bytes());
        head.extend(b"free\0\0\0\0\0\0\0\0");
        self.put(&head)?;
        let init = (self.fragments.init_segment_bytes()).map_err(io::Error::other)?;
        // The file type box is there already.
        let skip = init.get(..4).map_or(0, |size| {
            size.iter().fold(0, |n, b| n << 8 | usize::from(*b))
        });
        let movie = init.get(skip..).unwrap_or_default();
        self.put(movie)?;
        self.whole
            .advance_position(movie.len() as u64)
            .map_err(io::Error::other)
    }

    /// Edit lists that put the tracks where they belong: the first frames of sound and picture
    /// are never at quite the same time.
    fn place_tracks(&self, movie: &mut MoovBox) {
        let timescale = i128::from(movie.mvhd_box.timescale.get());
        for trak in &mut movie.trak_boxes {
            let kind = trak.mdia_box.hdlr_box.handler_type;
            let video = kind == HdlrBox::HANDLER_TYPE_VIDE;
            let track = (self.tracks.iter()).find(|t| (t.kind == TrackKind::Video) == video);
            let Some((track, first)) = track.and_then(|t| Some((t, t.first_time?))) else {
                continue;
            };
            let in_movie = |nanos: i64| (i128::from(nanos) * timescale / 1_000_000_000) as i64;
            let rate = FixedPointNumber::new(1, 0);
            let mut entries = Vec::new();
            if first > 0 {
                entries.push(ElstEntry {
                    edit_duration: in_movie(first).unsigned_abs(),
                    media_time: -1,
                    media_rate: rate,
                });
            }
            let skipped = (-first).max(0);
            let own = i128::from(track.timescale.get());
            let shown = trak
                .tkhd_box
                .duration
                .saturating_sub(in_movie(skipped) as u64);
            entries.push(ElstEntry {
                edit_duration: shown,
                media_time: (i128::from(skipped) * own / 1_000_000_000) as i64,
                media_rate: rate,
            });
            trak.tkhd_box.duration = shown + in_movie(first.max(0)) as u64;
            trak.edts_box = Some(EdtsBox {
                elst_box: Some(ElstBox { entries }),
                unknown_boxes: Vec::new(),
            });
        }
        let longest = movie.trak_boxes.iter().map(|t| t.tkhd_box.duration).max();
        movie.mvhd_box.duration = longest.unwrap_or(movie.mvhd_box.duration);
    }
}

impl Container for Mp4 {
    fn write(&mut self, entry: Entry) -> io::Result<()> {
        let video = self.tracks.iter().any(|t| t.kind == TrackKind::Video);
        let track = &mut self.tracks[entry.track];
        let boundary = if track.kind == TrackKind::Video {
            entry.key
        } else {
            !video
        };
        let waits = track.waiting_time() > FRAGMENT_TIME;
        let sound_alone = !video && track.waiting.len() >= 50;
        track.push(entry)?;
        if (boundary && (video || sound_alone)) || waits {
            self.flush(false)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush(true)?;
        if !self.started {
            return Ok(());
        }
        let finalized = self.whole.finalize().map_err(io::Error::other)?;
        let mut movie = finalized.moov_box().clone();
        let mut parts: Vec<(u64, Vec<u8>)> = finalized
            .offset_and_bytes_pairs()
            .map(|(offset, bytes)| (offset, bytes.to_vec()))
            .collect();
        self.place_tracks(&mut movie);
        let movie = movie.encode_to_vec().map_err(io::Error::other)?;
        // The index first: until the `mdat` header hides the fragments, they are the file.
        let is_index = |bytes: &[u8]| bytes.get(4..8) == Some(b"moov");
        parts.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        for (offset, bytes) in &parts {
            let bytes = if is_index(bytes) { &movie } else { bytes };
            self.file.seek(SeekFrom::Start(*offset))?;
            self.file.write_all(bytes)?;
        }
        self.file.seek(SeekFrom::End(0))?;
        self.file.flush()
    }
}

impl Track {
    fn new(format: &TrackFormat) -> io::Result<Self> {
        let rate = NonZeroU32::new(format.codec.clock_rate()).unwrap_or(NonZeroU32::MIN);
        let (kind, entry, last_duration) = match format.codec.kind() {
            MediaKind::Video => {
                let entry = SampleEntry::Avc1(avc_entry(&format.first)?);
                (TrackKind::Video, entry, rate.get() / 30)
            }
            MediaKind::Audio => {
                let config = OpusSampleEntryConfig {
                    channel_count: if format.stereo {
                        ChannelCount::Stereo
                    } else {
                        ChannelCount::Mono
                    },
                    // The recording begins in the middle of the stream.
                    pre_skip: 0,
                    input_sample_rate: 48_000,
                    output_gain: 0,
                };
                let entry = SampleEntry::Opus(build_opus_box(&config));
                (TrackKind::Audio, entry, rate.get() / 50)
            }
        };
        Ok(Self {
            kind,
            timescale: rate,
            entry,
            waiting: VecDeque::new(),
            first_time: None,
            last_duration,
            decode: None,
        })
    }

    fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.first_time.get_or_insert(entry.time);
        let data = if self.kind == TrackKind::Video {
            let is_set = |unit: &[u8]| matches!(nal_type(unit), nal::SPS | nal::PPS);
            if entry.key
                && let Ok(avc) = avc_entry(&entry.data)
            {
                self.entry = SampleEntry::Avc1(avc);
            }
            let units = || length_prefixed(&entry.data, NAL_LENGTH);
            if units().any(is_set) {
                join_nals(units().filter(|unit| !is_set(unit)))
            } else {
                entry.data
            }
        } else {
            entry.data
        };
        self.waiting.push_back(Waiting {
            ticks: entry.ticks,
            key: entry.key,
            entry: self.entry.clone(),
            data,
        });
        Ok(())
    }

    /// Time that the waiting frames span, in nanoseconds.
    fn waiting_time(&self) -> i64 {
        let span = self.waiting.front().zip(self.waiting.back());
        let ticks = span.map_or(0, |(first, last)| last.ticks - first.ticks);
        ticks.saturating_mul(1_000_000_000) / i64::from(self.timescale.get())
    }

    fn take(&mut self, all: bool) -> Option<(Sample, Bytes)> {
        if self.waiting.len() < 2 && !all {
            return None;
        }
        let frame = self.waiting.pop_front()?;
        // Frames are decoded in the order they come in. A picture that is shown before the one
        // that came before it (a B-frame) is decoded a moment after that one, and shown as much
        // earlier as its timestamp says.
        let decode = self.decode.unwrap_or(frame.ticks);
        if let Some(next) = self.waiting.front() {
            self.last_duration = u32::try_from(next.ticks - decode).unwrap_or(1).max(1);
        }
        self.decode = Some(decode + i64::from(self.last_duration));
        let sample = Sample {
            track_kind: self.kind,
            sample_entry: Some(frame.entry),
            keyframe: frame.key,
            timescale: self.timescale,
            duration: self.last_duration,
            composition_time_offset: Some(frame.ticks - decode),
            data_offset: 0,
            data_size: frame.data.len(),
        };
        Some((sample, frame.data))
    }
}

/// The description of an H.264 track whose parameter sets are in this key frame.
pub(super) fn avc_entry(frame: &[u8]) -> io::Result<Avc1Box> {
    let sets = |kind: u8| -> Vec<Vec<u8>> {
        length_prefixed(frame, NAL_LENGTH)
            .filter(|unit| nal_type(unit) == kind)
            .map(<[u8]>::to_vec)
            .collect()
    };
    let config = H264SampleEntryConfig {
        length_size: LengthSize::FourBytes,
    };
    build_avc1_box(&sets(nal::SPS), &sets(nal::PPS), &config).map_err(io::Error::other)
}

/// Whether an MP4 file is written for a track of this codec.
pub(super) fn carries(codec: Codec) -> bool {
    matches!(codec, Codec::H264 | Codec::Opus)
}
