//! MP4 and QuickTime files (ISO/IEC 14496-12), whole or in fragments.

mod coding;
mod index;

use std::io::{Read, Seek, SeekFrom};
use std::num::NonZeroU32;
use std::time::Duration;

use banyan::wire::announcement::MediaKind;
use bytes::Bytes;
use shiguredo_mp4::aux::SampleTableAccessor;
use shiguredo_mp4::boxes::{HdlrBox, StblBox};
use shiguredo_mp4::demux::{self, Fmp4FileDemuxer};

use super::SourceError;
use super::container::{Coding, Container, MAX_SAMPLE, Sample, Track};

use self::coding::{coding_of, mpeg4_audio};
use self::index::{MAX_INDEX, Movie, edit_shift, is_turned, read_index};

/// Largest fragment that is read in one piece. A minute at 8 Mbit/s is 60 MB.
const MAX_FRAGMENT: usize = 96 * 1024 * 1024;

const NANOS: i128 = 1_000_000_000;

/// A file, or what is as good as one.
pub(super) trait Input: Read + Seek + Send + 'static {}

impl<T: Read + Seek + Send + 'static> Input for T {}

/// An open MP4 file.
pub(super) struct Mp4 {
    file: Box<dyn Input>,
    length: u64,
    descriptions: Vec<Track>,
    tracks: Vec<TrackState>,
    fragments: Option<Fragments>,
    duration: Option<Duration>,
}

struct TrackState {
    id: u32,
    timescale: NonZeroU32,
    /// What the edit list adds to each time, in nanoseconds.
    shift: i64,
    table: Option<SampleTableAccessor<StblBox>>,
    next: u32,
}

struct Fragments {
    demuxer: Fmp4FileDemuxer,
    /// Whether the end was reached, by the last fragment or by one that is cut off.
    ended: bool,
}

fn to_nanos(ticks: i64, timescale: NonZeroU32) -> i64 {
    let nanos = i128::from(ticks) * NANOS / i128::from(timescale.get());
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn malformed(what: impl std::fmt::Display) -> SourceError {
    SourceError::Foreign {
        reason: format!("this MP4 has a structure Banyan does not read ({what})"),
    }
}

impl Mp4 {
    /// Reads the index of a file.
    pub(super) fn open(mut file: impl Input) -> Result<Self, SourceError> {
        let length = file.seek(SeekFrom::End(0)).map_err(SourceError::Read)?;
        let moov = read_index(&mut file, length)?;
        let movie = Movie::parse(&moov)?;
        let mut descriptions = Vec::new();
        let mut tracks = Vec::new();
        for (trak, quicktime) in movie.tracks {
            let kind = match trak.mdia_box.hdlr_box.handler_type {
                HdlrBox::HANDLER_TYPE_VIDE => MediaKind::Video,
                HdlrBox::HANDLER_TYPE_SOUN => MediaKind::Audio,
                _ => continue,
            };
            let Some(entry) = trak.mdia_box.minf_box.stbl_box.stsd_box.entries.first() else {
                continue;
            };
            let coding = match (quicktime, entry) {
                (Some(esds), _) => mpeg4_audio(&esds, 0),
                (None, _) if is_turned(&trak) && kind == MediaKind::Video => {
                    Coding::Foreign("a picture that players turn, as phones record it".into())
                }
                (None, entry) => coding_of(entry),
            };
            let shift = edit_shift(&trak, &movie.header);
            let id = trak.tkhd_box.track_id;
            let timescale = trak.mdia_box.mdhd_box.timescale;
            let table = if movie.fragmented {
                None
            } else {
                let table = SampleTableAccessor::new(trak.mdia_box.minf_box.stbl_box)
                    .map_err(|error| malformed(format!("{error:?}")))?;
                // A still picture, such as the cover of an album, is not a video.
                let count = table.sample_count();
                if count == 0 || (kind == MediaKind::Video && count == 1) {
                    continue;
                }
                Some(table)
            };
            descriptions.push(Track { kind, coding });
            tracks.push(TrackState {
                id,
                timescale,
                shift,
                table,
                next: 1,
            });
        }
        let seconds = movie.header.duration as f64 / f64::from(movie.header.timescale.get());
        let mut opened = Self {
            file: Box::new(file),
            length,
            descriptions,
            tracks,
            fragments: None,
            duration: (movie.header.duration > 0)
                .then(|| Duration::try_from_secs_f64(seconds).ok())
                .flatten(),
        };
        if movie.fragmented {
            opened.rewind()?;
        }
        opened.check_length()?;
        Ok(opened)
    }

    /// The last sample of each track must lie within the file.
    fn check_length(&self) -> Result<(), SourceError> {
        let tables = self.tracks.iter().filter_map(|t| t.table.as_ref());
        let ends = tables.filter_map(|table| {
            let last = table.get_sample(NonZeroU32::new(table.sample_count())?)?;
            last.data_offset().checked_add(last.data_size().into())
        });
        match ends.max() {
            Some(end) if end > self.length => Err(SourceError::Truncated {
                expected: end,
                found: self.length,
            }),
            _ => Ok(()),
        }
    }

    fn read_at(&mut self, position: u64, size: usize) -> Result<Bytes, SourceError> {
        if size > MAX_SAMPLE {
            return Err(malformed(format!("a sample of {size} bytes")));
        }
        let mut data = vec![0; size];
        let read = self
            .file
            .seek(SeekFrom::Start(position))
            .and_then(|_| self.file.read_exact(&mut data));
        match read {
            Ok(()) => Ok(data.into()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(SourceError::Truncated {
                    expected: position + size as u64,
                    found: self.length,
                })
            }
            Err(error) => Err(SourceError::Read(error)),
        }
    }

    /// The track whose next sample is due first.
    fn next_from_tables(&mut self) -> Result<Option<Sample>, SourceError> {
        let mut earliest: Option<(i64, usize)> = None;
        for (index, track) in self.tracks.iter().enumerate() {
            let due = NonZeroU32::new(track.next)
                .zip(track.table.as_ref())
                .and_then(|(next, table)| table.get_sample(next))
                .map(|sample| {
                    to_nanos(sample.timestamp() as i64, track.timescale).saturating_add(track.shift)
                });
            if let Some(due) = due
                && earliest.is_none_or(|(best, _)| due < best)
            {
                earliest = Some((due, index));
            }
        }
        let Some((dts, index)) = earliest else {
            return Ok(None);
        };
        let track = &mut self.tracks[index];
        let Some(sample) = NonZeroU32::new(track.next)
            .zip(track.table.as_ref())
            .and_then(|(next, table)| table.get_sample(next))
        else {
            return Ok(None);
        };
        let offset = sample.composition_time_offset().unwrap_or(0);
        let pts = dts.saturating_add(to_nanos(offset, track.timescale));
        let duration = to_nanos(sample.duration().into(), track.timescale);
        let (position, size) = (sample.data_offset(), sample.data_size() as usize);
        track.next += 1;
        Ok(Some(Sample {
            track: index,
            pts,
            duration,
            trim: (0, 0),
            data: self.read_at(position, size)?,
        }))
    }

    fn next_from_fragments(&mut self) -> Result<Option<Sample>, SourceError> {
        loop {
            let Some(fragments) = &mut self.fragments else {
                return Ok(None);
            };
            if fragments.ended {
                return Ok(None);
            }
            if let Some(required) = fragments.demuxer.required_input() {
                let rest = self.length.saturating_sub(required.position);
                let size = required
                    .size
                    .map_or(rest, |size| rest.min(size as u64))
                    .min(MAX_INDEX) as usize;
                if size > MAX_FRAGMENT {
                    return Err(malformed("a fragment of more than 96 MB"));
                }
                let mut data = vec![0; size];
                self.file
                    .seek(SeekFrom::Start(required.position))
                    .and_then(|_| self.file.read_exact(&mut data))
                    .map_err(SourceError::Read)?;
                if let Some(wanted) = required.size
                    && size < wanted
                    && size > 0
                    && required.position > 0
                {
                    // A recording that was interrupted: all whole fragments are good.
                    let header = data.get(4..8);
                    if header == Some(b"moof") || header == Some(b"mdat") {
                        tracing::warn!("the last fragment of the file is cut off");
                        fragments.ended = true;
                        return Ok(None);
                    }
                }
                fragments.demuxer.handle_input(demux::Input {
                    position: required.position,
                    data: &data,
                });
                continue;
            }
            let sample = fragments.demuxer.next_sample().map_err(malformed)?;
            let Some(sample) = sample else {
                fragments.ended = fragments.demuxer.required_input().is_none();
                continue;
            };
            let Some(index) = (self.tracks.iter()).position(|t| t.id == sample.track.track_id)
            else {
                continue;
            };
            let track = &self.tracks[index];
            let offset = sample.composition_time_offset.unwrap_or(0);
            let ticks = (sample.timestamp as i64).saturating_add(offset);
            let pts = to_nanos(ticks, track.timescale).saturating_add(track.shift);
            let duration = to_nanos(sample.duration.into(), track.timescale);
            let (position, size) = (sample.data_offset, sample.data_size);
            return Ok(Some(Sample {
                track: index,
                pts,
                duration,
                trim: (0, 0),
                data: self.read_at(position, size)?,
            }));
        }
    }
}

impl Container for Mp4 {
    fn tracks(&self) -> &[Track] {
        &self.descriptions
    }

    fn next_sample(&mut self) -> Result<Option<Sample>, SourceError> {
        if self.fragments.is_some() {
            self.next_from_fragments()
        } else {
            self.next_from_tables()
        }
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        for track in &mut self.tracks {
            track.next = 1;
        }
        if self.tracks.iter().any(|track| track.table.is_none()) {
            self.fragments = Some(Fragments {
                demuxer: Fmp4FileDemuxer::new(),
                ended: false,
            });
        }
        Ok(())
    }

    fn duration(&self) -> Option<Duration> {
        self.duration
    }
}
