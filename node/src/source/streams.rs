//! Matroska and WebM (RFC 9559), and files of plain sound: Ogg, MP3, FLAC, WAV.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use banyan::wire::announcement::MediaKind;
use bytes::Bytes;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AC3, CODEC_ID_ALAC, CODEC_ID_DCA, CODEC_ID_EAC3, CODEC_ID_OPUS, CODEC_ID_TRUEHD,
};
use symphonia::core::codecs::video::well_known::{
    CODEC_ID_AV1, CODEC_ID_H264, CODEC_ID_HEVC, CODEC_ID_MJPEG, CODEC_ID_MPEG2, CODEC_ID_MPEG4,
    CODEC_ID_THEORA, CODEC_ID_VP8, CODEC_ID_VP9,
};
use symphonia::core::codecs::video::{VideoCodecId, VideoCodecParameters};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackFlags};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::{self, TimeBase, Timestamp};

use super::SourceError;
use super::container::{Coding, Container, MAX_SAMPLE, Sample, Track};

/// An open file or pipe.
pub(super) struct Streams {
    /// `None` for a pipe, which has no way back.
    path: Option<PathBuf>,
    reader: Box<dyn FormatReader>,
    descriptions: Vec<Track>,
    tracks: Vec<TrackState>,
}

struct TrackState {
    id: u32,
    time_base: TimeBase,
}

fn nanos(time_base: TimeBase, ticks: i64) -> i64 {
    let time = time_base.calc_time_saturating(Timestamp::new(ticks));
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn not_read(error: Error) -> SourceError {
    match error {
        Error::IoError(error) if error.kind() != ErrorKind::UnexpectedEof => {
            SourceError::Read(error)
        }
        error => SourceError::Foreign {
            reason: format!("this file has a structure Banyan does not read ({error})"),
        },
    }
}

impl Streams {
    /// Opens a file.
    pub(super) fn open(path: &Path, mut file: File) -> Result<Self, SourceError> {
        let length = file.metadata().map_err(SourceError::Read)?.len();
        if let Some(expected) = matroska_length(&mut file)?
            && expected > length
        {
            return Err(SourceError::Truncated {
                expected,
                found: length,
            });
        }
        Self::over(Box::new(file), Some(path.to_owned()))
    }

    /// Reads from a pipe.
    pub(super) fn pipe(read: impl Read + Send + Sync + 'static) -> Result<Self, SourceError> {
        Self::over(Box::new(ReadOnlySource::new(read)), None)
    }

    fn over(source: Box<dyn MediaSource>, path: Option<PathBuf>) -> Result<Self, SourceError> {
        let stream = MediaSourceStream::new(source, Default::default());
        let reader = symphonia::default::get_probe()
            .probe(
                &Hint::new(),
                stream,
                FormatOptions::default(),
                MetadataOptions::default(),
            )
            .map_err(not_read)?;
        let mut found: Vec<_> = reader
            .tracks()
            .iter()
            .filter_map(|track| {
                let (kind, coding) = match track.codec_params.as_ref()? {
                    CodecParameters::Video(video) => (MediaKind::Video, video_coding(video)),
                    CodecParameters::Audio(audio) => (MediaKind::Audio, audio_coding(audio)),
                    _ => return None,
                };
                let state = TrackState {
                    id: track.id,
                    time_base: track.time_base?,
                };
                let rank = !track.flags.contains(TrackFlags::DEFAULT);
                Some((rank, Track { kind, coding }, state))
            })
            .collect();
        // Of several tracks of a kind the default one is played.
        found.sort_by_key(|(rank, ..)| *rank);
        let (descriptions, tracks) = found.into_iter().map(|(_, t, s)| (t, s)).unzip();
        Ok(Self {
            path,
            reader,
            descriptions,
            tracks,
        })
    }
}

impl Container for Streams {
    fn tracks(&self) -> &[Track] {
        &self.descriptions
    }

    fn next_sample(&mut self) -> Result<Option<Sample>, SourceError> {
        loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(None),
                Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(None);
                }
                Err(error) => return Err(not_read(error)),
            };
            let Some(index) = self.tracks.iter().position(|t| t.id == packet.track_id) else {
                continue;
            };
            if packet.data.len() > MAX_SAMPLE {
                return Err(SourceError::Foreign {
                    reason: format!("a coded frame has {} bytes", packet.data.len()),
                });
            }
            let time_base = self.tracks[index].time_base;
            let duration = i64::try_from(packet.dur.get()).unwrap_or(0);
            return Ok(Some(Sample {
                track: index,
                pts: nanos(time_base, packet.pts.get()),
                duration: nanos(time_base, duration),
                trim: (packet.trim_start.get(), packet.trim_end.get()),
                data: Bytes::from(packet.data),
            }));
        }
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        let Some(path) = &self.path else {
            return Err(SourceError::Foreign {
                reason: "a pipe cannot be played twice".into(),
            });
        };
        let file = File::open(path).map_err(SourceError::Read)?;
        *self = Self::over(Box::new(file), Some(path.clone()))?;
        Ok(())
    }

    fn duration(&self) -> Option<Duration> {
        let whole = self.reader.media_info();
        let of_media = whole.time_base.zip(whole.duration);
        let of_track = |t: &symphonia::core::formats::Track| t.time_base.zip(t.duration);
        let (time_base, duration) =
            of_media.or_else(|| self.reader.tracks().iter().find_map(of_track))?;
        let time = time_base.calc_duration_saturating(units::Duration::new(duration.get()));
        u64::try_from(time.as_nanos())
            .ok()
            .map(Duration::from_nanos)
    }
}

/// Where a Matroska file says it ends: the end of its Segment element (RFC 9559 section 5.1), if
/// its size is known. The file stays at its beginning.
fn matroska_length(file: &mut File) -> Result<Option<u64>, SourceError> {
    use std::io::{Seek, SeekFrom};
    let mut start = Vec::new();
    Read::by_ref(file)
        .take(4096)
        .read_to_end(&mut start)
        .map_err(SourceError::Read)?;
    file.seek(SeekFrom::Start(0)).map_err(SourceError::Read)?;
    let element = |at: usize, id: &[u8]| -> Option<(u64, usize)> {
        let rest = start.get(at..)?.strip_prefix(id)?;
        let width = rest.first()?.leading_zeros() as usize + 1;
        let bytes = rest.get(..width)?;
        let value = bytes.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
        let mask = (1u64 << (7 * width)) - 1;
        // All ones: the size is not known, as in a live recording.
        (value & mask != mask).then_some((value & mask, at + id.len() + width))
    };
    Ok(element(0, b"\x1a\x45\xdf\xa3")
        .and_then(|(size, at)| element(at + usize::try_from(size).ok()?, b"\x18\x53\x80\x67"))
        .map(|(size, at)| size + at as u64))
}

fn video_coding(video: &VideoCodecParameters) -> Coding {
    let private = video.extra_data.first().map(|extra| &*extra.data);
    match video.codec {
        CODEC_ID_H264 => h264_coding(private),
        CODEC_ID_VP8 => Coding::Vp8,
        CODEC_ID_VP9 => Coding::Vp9,
        CODEC_ID_AV1 => Coding::Av1 {
            // AV1 in ISO base media section 2.3.3: four bytes, then the units.
            configuration: private
                .and_then(|private| private.get(4..))
                .map(Bytes::copy_from_slice)
                .unwrap_or_default(),
        },
        other => Coding::Foreign(video_name(other).into()),
    }
}

fn video_name(codec: VideoCodecId) -> &'static str {
    match codec {
        CODEC_ID_HEVC => "HEVC (H.265)",
        CODEC_ID_MPEG2 => "MPEG-2 video",
        CODEC_ID_MPEG4 => "MPEG-4 part 2 video",
        CODEC_ID_MJPEG => "Motion JPEG",
        CODEC_ID_THEORA => "Theora",
        _ => "an unusual video format",
    }
}

/// H.264 as an AVCDecoderConfigurationRecord describes it (ISO/IEC 14496-15 section 5.3.3.1), or
/// with start codes where there is none.
fn h264_coding(record: Option<&[u8]>) -> Coding {
    let parse = |record: &[u8]| {
        let length_size = usize::from(record.get(4)? & 3) + 1;
        let mut sets = Vec::new();
        let mut rest = record.get(5..)?;
        for mask in [0x1f, 0xff] {
            let (count, after) = rest.split_first()?;
            rest = after;
            for _ in 0..count & mask {
                let (length, after) = rest.split_at_checked(2)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let (set, after) = after.split_at_checked(length)?;
                sets.push(Bytes::copy_from_slice(set));
                rest = after;
            }
        }
        Some((length_size, sets))
    };
    match record.filter(|r| r.first() == Some(&1)).and_then(parse) {
        Some((length_size, parameter_sets)) => Coding::H264 {
            length_size: Some(length_size),
            parameter_sets,
        },
        None => Coding::H264 {
            length_size: None,
            parameter_sets: Vec::new(),
        },
    }
}

fn audio_coding(audio: &AudioCodecParameters) -> Coding {
    let foreign = |name: &str| Coding::Foreign(name.to_owned());
    match audio.codec {
        CODEC_ID_OPUS => Coding::Opus {
            // RFC 7845 section 5.1: the channel count follows the magic and the version.
            channels: audio
                .extra_data
                .as_deref()
                .and_then(|head| head.strip_prefix(b"OpusHead"))
                .and_then(|head| head.get(1).copied())
                .unwrap_or(2),
        },
        CODEC_ID_AC3 | CODEC_ID_EAC3 => foreign("Dolby Digital"),
        CODEC_ID_TRUEHD => foreign("Dolby TrueHD"),
        CODEC_ID_DCA => foreign("DTS"),
        CODEC_ID_ALAC => foreign("Apple Lossless"),
        _ => Coding::Decodable(Box::new(audio.clone())),
    }
}
