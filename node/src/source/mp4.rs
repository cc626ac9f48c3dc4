//! MP4 and QuickTime files (ISO/IEC 14496-12), whole or in fragments.

use std::io::{Read, Seek, SeekFrom};
use std::num::NonZeroU32;
use std::time::Duration;

use banyan::wire::announcement::MediaKind;
use bytes::Bytes;
use shiguredo_mp4::aux::SampleTableAccessor;
use shiguredo_mp4::boxes::{EsdsBox, HdlrBox, MoovBox, MvhdBox, SampleEntry, StblBox, TrakBox};
use shiguredo_mp4::demux::{self, Fmp4FileDemuxer};
use shiguredo_mp4::{BaseBox, BoxHeader, BoxType, Decode};
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_FLAC, CODEC_ID_MP3};

use super::SourceError;
use super::container::{Coding, Container, MAX_SAMPLE, Sample, Track};

/// Largest index that is read. Ten hours of video and audio need about 25 MB.
const MAX_INDEX: u64 = 256 * 1024 * 1024;

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

/// The `moov` box, wherever it lies between the other boxes.
fn read_index(file: &mut dyn Input, length: u64) -> Result<Vec<u8>, SourceError> {
    let mut position = 0;
    while position < length {
        let mut header = Vec::new();
        file.seek(SeekFrom::Start(position))
            .map_err(SourceError::Read)?;
        (&mut *file)
            .take(BoxHeader::MAX_SIZE as u64)
            .read_to_end(&mut header)
            .map_err(SourceError::Read)?;
        let (parsed, header_size) = BoxHeader::decode(&header).map_err(malformed)?;
        let size = match parsed.box_size.get() {
            0 => length - position,
            size => size,
        };
        if size < header_size as u64 {
            return Err(malformed("a box shorter than its header"));
        }
        let end = position.saturating_add(size);
        if end > length {
            return Err(SourceError::Truncated {
                expected: end,
                found: length,
            });
        }
        if parsed.box_type == MoovBox::TYPE {
            if size > MAX_INDEX {
                return Err(malformed("an index of more than 256 MB"));
            }
            let mut moov = vec![0; (size - header_size as u64) as usize];
            file.seek(SeekFrom::Start(position + header_size as u64))
                .and_then(|_| file.read_exact(&mut moov))
                .map_err(SourceError::Read)?;
            return Ok(moov);
        }
        position = end;
    }
    Err(SourceError::NoIndex)
}

/// The parts of a `moov` box that matter. Each track is decoded by itself, so that one in an
/// unusual format (time codes, camera data) does not hide the others.
struct Movie {
    header: MvhdBox,
    /// With the decoder's description where it lies deeper, as in QuickTime.
    tracks: Vec<(TrakBox, Option<EsdsBox>)>,
    fragmented: bool,
}

impl Movie {
    fn parse(mut moov: &[u8]) -> Result<Self, SourceError> {
        let mut header = None;
        let mut tracks = Vec::new();
        let mut fragmented = false;
        while !moov.is_empty() {
            let Ok((parsed, _)) = BoxHeader::decode(moov) else {
                break;
            };
            let size = match parsed.box_size.get() {
                0 => moov.len(),
                size => usize::try_from(size).unwrap_or(usize::MAX),
            };
            let Some((this, rest)) = moov.split_at_checked(size) else {
                break;
            };
            if this.is_empty() {
                break;
            }
            moov = rest;
            match parsed.box_type {
                MvhdBox::TYPE => header = Some(MvhdBox::decode(this).map_err(malformed)?.0),
                TrakBox::TYPE => match decode_trak(this) {
                    Ok(track) => tracks.push(track),
                    // A track of the camera's own data is no loss, one of sound would be.
                    Err(error) if is_media(this) => return Err(malformed(error)),
                    Err(error) => tracing::debug!(%error, "a track is left out"),
                },
                BoxType::Normal(kind) if &kind == b"mvex" => fragmented = true,
                _ => {}
            }
        }
        let header = header.ok_or_else(|| malformed("no movie header"))?;
        Ok(Self {
            header,
            tracks,
            fragmented,
        })
    }
}

/// Decodes a track. QuickTime describes MPEG-4 sound one level deeper and after fields that MP4 has
/// not (QuickTime File Format, sound sample description version 1); such a description is taken
/// out, and the rest decoded without it.
fn decode_trak(trak: &[u8]) -> shiguredo_mp4::Result<(TrakBox, Option<EsdsBox>)> {
    let error = match TrakBox::decode(trak) {
        Ok((decoded, _)) => return Ok((decoded, None)),
        Err(error) => error,
    };
    let find = |name: &[u8; 4]| trak.windows(4).position(|window| window == name);
    let (Some(entry), Some(esds)) = (find(b"mp4a"), find(b"esds")) else {
        return Err(error);
    };
    let description = trak.get(esds.saturating_sub(4)..).unwrap_or_default();
    let (description, _) = EsdsBox::decode(description)?;
    let mut plain = trak.to_vec();
    // An entry of a name that means nothing is not looked into.
    plain[entry..entry + 4].copy_from_slice(b"qt4a");
    Ok((TrakBox::decode(&plain)?.0, Some(description)))
}

/// Whether the handler of an undecodable track is that of picture or sound.
fn is_media(trak: &[u8]) -> bool {
    let handler = trak.windows(4).position(|window| window == b"hdlr");
    let kind = handler.and_then(|at| trak.get(at + 12..at + 16));
    matches!(kind, Some(b"vide" | b"soun"))
}

/// Whether the display matrix turns the picture (ISO/IEC 14496-12 section 6.2.2).
fn is_turned(trak: &TrakBox) -> bool {
    let [a, b, _, c, d, ..] = trak.tkhd_box.matrix;
    !(a > 0 && d > 0 && b == 0 && c == 0)
}

/// What the first edits of a track add to its times: a pause before it, and media left out at its
/// beginning (such as the silence an audio encoder needs first).
fn edit_shift(trak: &TrakBox, movie: &MvhdBox) -> i64 {
    let edits = trak.edts_box.as_ref().and_then(|e| e.elst_box.as_ref());
    let mut shift = 0i64;
    for entry in edits.iter().flat_map(|list| &list.entries) {
        if entry.media_time >= 0 {
            let skipped = to_nanos(entry.media_time, trak.mdia_box.mdhd_box.timescale);
            return shift.saturating_sub(skipped);
        }
        let pause = i64::try_from(entry.edit_duration).unwrap_or(0);
        shift = shift.saturating_add(to_nanos(pause, movie.timescale));
    }
    shift
}

fn coding_of(entry: &SampleEntry) -> Coding {
    let foreign = |name: &str| Coding::Foreign(name.to_owned());
    match entry {
        SampleEntry::Avc1(avc) => {
            let config = &avc.avcc_box;
            let sets = config.sps_list.iter().chain(&config.pps_list);
            Coding::H264 {
                length_size: Some(usize::from(config.length_size_minus_one.get()) + 1),
                parameter_sets: sets.map(|set| Bytes::copy_from_slice(set)).collect(),
            }
        }
        SampleEntry::Hev1(_) | SampleEntry::Hvc1(_) => foreign("HEVC (H.265)"),
        SampleEntry::Vp08(_) => Coding::Vp8,
        SampleEntry::Vp09(_) => Coding::Vp9,
        SampleEntry::Av01(av1) => Coding::Av1 {
            configuration: Bytes::copy_from_slice(&av1.av1c_box.config_obus),
        },
        SampleEntry::Opus(opus) => Coding::Opus {
            channels: opus.dops_box.output_channel_count,
        },
        SampleEntry::Mp4a(audio) => {
            mpeg4_audio(&audio.esds_box, audio.audio.samplerate.integer.into())
        }
        SampleEntry::Flac(flac) => match flac.dfla_box.metadata_blocks.first() {
            Some(stream_info) => {
                let mut parameters = AudioCodecParameters::new();
                parameters
                    .for_codec(CODEC_ID_FLAC)
                    .with_extra_data(stream_info.block_data.clone().into());
                Coding::Decodable(Box::new(parameters))
            }
            None => foreign("FLAC without its header"),
        },
        other => Coding::Foreign(foreign_name(other.box_type())),
    }
}

fn mpeg4_audio(description: &EsdsBox, rate: u32) -> Coding {
    let config = &description.es.dec_config_descr;
    let mut parameters = AudioCodecParameters::new();
    match (config.object_type_indication, &config.dec_specific_info) {
        // ISO/IEC 14496-1 table 5: MPEG-4 audio and the MPEG-2 AAC profiles.
        (0x40 | 0x66..=0x68, Some(info)) => {
            parameters
                .for_codec(CODEC_ID_AAC)
                .with_extra_data(info.payload.clone().into());
        }
        (0x69 | 0x6b, _) => {
            parameters.for_codec(CODEC_ID_MP3);
        }
        _ => return Coding::Foreign("MPEG-4 audio of an unusual kind".into()),
    }
    if rate > 0 {
        parameters.with_sample_rate(rate);
    }
    Coding::Decodable(Box::new(parameters))
}

fn foreign_name(kind: BoxType) -> String {
    let BoxType::Normal(code) = kind else {
        return "an unknown format".into();
    };
    match &code {
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes".into(),
        b"ac-3" | b"ec-3" => "Dolby Digital".into(),
        b"mp4v" => "MPEG-4 part 2 video".into(),
        b"dvh1" | b"dvhe" => "Dolby Vision".into(),
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG".into(),
        b"sowt" | b"twos" | b"lpcm" | b"in24" | b"fl32" | b"ipcm" => "PCM in MP4".into(),
        b"alac" => "Apple Lossless".into(),
        _ => format!("the format {}", code.escape_ascii()),
    }
}
