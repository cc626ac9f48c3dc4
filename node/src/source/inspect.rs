//! Judges a file before it is played: which tracks, and whether WebRTC carries them as they are.

use std::path::Path;
use std::time::Duration;

use banyan::wire::announcement::{Codec, MediaKind};
use bytes::Bytes;
use shiguredo_mp4::bitstream::{av1, h264};
use symphonia::core::codecs::audio::AudioCodecParameters;

use super::bitstream::{
    NAL_LENGTH, annex_b, is_b_slice, join_nals, length_prefixed, nal, nal_type, obu, obus,
    vp9_frame,
};
use super::container::{Coding, Container, Sample, Track};
use super::transcode;
use super::{SourceError, SourceTrack};

/// How much of a file is read to judge it, by time, samples and bytes.
const AHEAD_TIME: i64 = 12_000_000_000;
const AHEAD_SAMPLES: usize = 2_000;
const AHEAD_BYTES: usize = 64 * 1024 * 1024;

/// Above this a stream asks much of the viewers who pass it on.
const HIGH_BITRATE: f64 = 2_500_000.0;

/// Why a file cannot pass through, and which of its tracks could.
#[derive(Debug, Clone)]
pub(super) struct Objection {
    pub(super) reason: String,
    pub(super) video_passes: bool,
}

impl Objection {
    pub(super) fn to_all(reason: String) -> Self {
        Self {
            reason,
            video_passes: false,
        }
    }
}

/// How the samples of a chosen track become frames.
#[derive(Debug, Clone)]
pub(super) enum Recipe {
    H264 {
        length_size: Option<usize>,
        parameter_sets: Vec<Bytes>,
    },
    Av1 {
        configuration: Bytes,
    },
    Unchanged,
    Encode(Box<AudioCodecParameters>),
}

impl Recipe {
    /// A coded sample as the frame that is sent. Sound that is encoded anew does not come here.
    pub(super) fn frame(&self, data: &Bytes) -> Bytes {
        match self {
            Self::H264 {
                length_size,
                parameter_sets,
            } => h264_frame(data, *length_size, parameter_sets),
            Self::Av1 { configuration } if lacks_sequence_header(data) => {
                [&configuration[..], data].concat().into()
            }
            Self::Av1 { .. } | Self::Unchanged | Self::Encode(_) => data.clone(),
        }
    }
}

fn h264_frame(data: &Bytes, length_size: Option<usize>, parameter_sets: &[Bytes]) -> Bytes {
    let units: Vec<&[u8]> = match length_size {
        Some(size) => length_prefixed(data, size).collect(),
        None => annex_b(data).collect(),
    };
    let has = |kind| units.iter().any(|unit| nal_type(unit) == kind);
    let sets = if has(nal::IDR) && !has(nal::SPS) {
        parameter_sets
    } else {
        &[]
    };
    if sets.is_empty() && length_size == Some(NAL_LENGTH) {
        return data.clone();
    }
    join_nals(sets.iter().map(|set| &set[..]).chain(units))
}

/// Whether this is a key frame that relies on the container for its sequence header.
fn lacks_sequence_header(data: &[u8]) -> bool {
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    let Some(units) = obus(data) else {
        return false;
    };
    for unit in units {
        match obu::kind(unit.header[0]) {
            obu::SEQUENCE_HEADER => return false,
            // show_existing_frame is clear and frame_type is KEY_FRAME (AV1 section 5.9.2).
            FRAME_HEADER | FRAME => return unit.payload.first().is_some_and(|b| b & 0xe0 == 0),
            _ => {}
        }
    }
    false
}

/// A track that will be played.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// Position among the container's tracks.
    pub(super) index: usize,
    pub(super) track: SourceTrack,
    pub(super) recipe: Recipe,
    /// Time of its first sample in nanoseconds, when it is known.
    pub(super) first_pts: Option<i64>,
}

/// The tracks that will be played.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub(super) chosen: Vec<Chosen>,
}

impl Selection {
    pub(super) fn tracks(&self) -> Vec<SourceTrack> {
        self.chosen.iter().map(|c| c.track.clone()).collect()
    }
}

/// The first playable track of each kind, or else the first of that kind.
fn candidates(tracks: &[Track]) -> Vec<(usize, &Track)> {
    [MediaKind::Video, MediaKind::Audio]
        .into_iter()
        .filter_map(|kind| {
            let of_kind = || {
                tracks
                    .iter()
                    .enumerate()
                    .filter(move |(_, t)| t.kind == kind)
            };
            of_kind()
                .find(|(_, t)| !matches!(t.coding, Coding::Foreign(_)))
                .or_else(|| of_kind().next())
        })
        .collect()
}

/// Judges a file. The outer error says that it cannot be read, the inner one that WebRTC cannot
/// carry it as it is. The container is back at its beginning afterwards.
pub(super) fn judge(
    container: &mut dyn Container,
) -> Result<Result<Selection, Objection>, SourceError> {
    let tracks = container.tracks().to_vec();
    let candidates = candidates(&tracks);
    if candidates.is_empty() {
        return Err(SourceError::NoPlayableTrack);
    }
    let ahead = read_ahead(container, &candidates)?;
    container.rewind()?;
    if ahead.iter().all(|seen| seen.samples.is_empty()) {
        return Err(SourceError::NoPlayableTrack);
    }
    let mut chosen = Vec::new();
    let mut reasons = Vec::new();
    let mut video_passes = true;
    for ((index, track), seen) in candidates.iter().zip(&ahead) {
        if seen.samples.is_empty() {
            continue;
        }
        match choose(*index, &track.coding, seen) {
            Ok(choice) => chosen.push(choice),
            Err(reason) => {
                video_passes &= track.kind != MediaKind::Video;
                reasons.push(reason);
            }
        }
    }
    if reasons.is_empty() {
        return Ok(Ok(Selection { chosen }));
    }
    Ok(Err(Objection {
        reason: reasons.join(", and "),
        video_passes,
    }))
}

/// Takes what `ffmpeg` was told to make, of which nothing can be read ahead.
pub(super) fn trust(container: &dyn Container) -> Result<Selection, SourceError> {
    let tracks = container.tracks().to_vec();
    let chosen = candidates(&tracks)
        .into_iter()
        .map(|(index, track)| choose(index, &track.coding, &Seen::default()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|message| SourceError::Ffmpeg { message })?;
    if chosen.is_empty() {
        return Err(SourceError::NoPlayableTrack);
    }
    Ok(Selection { chosen })
}

/// The first samples of one track.
#[derive(Default)]
struct Seen {
    samples: Vec<Sample>,
}

fn read_ahead(
    container: &mut dyn Container,
    candidates: &[(usize, &Track)],
) -> Result<Vec<Seen>, SourceError> {
    let mut seen: Vec<Seen> = candidates.iter().map(|_| Seen::default()).collect();
    let mut bytes = 0;
    for _ in 0..AHEAD_SAMPLES {
        let Some(sample) = container.next_sample()? else {
            break;
        };
        let Some(place) = candidates.iter().position(|(i, _)| *i == sample.track) else {
            continue;
        };
        bytes += sample.data.len();
        let first = seen[place].samples.first().map_or(sample.pts, |s| s.pts);
        let enough = sample.pts - first > AHEAD_TIME || bytes > AHEAD_BYTES;
        seen[place].samples.push(sample);
        if enough {
            break;
        }
    }
    Ok(seen)
}

/// How a track is played, or the reason why it cannot pass through.
fn choose(index: usize, coding: &Coding, seen: &Seen) -> Result<Chosen, String> {
    let first_pts = seen.samples.first().map(|s| s.pts);
    let (codec, fmtp, recipe) = match coding {
        Coding::H264 {
            length_size,
            parameter_sets,
        } => {
            let recipe = Recipe::H264 {
                length_size: *length_size,
                parameter_sets: parameter_sets.clone(),
            };
            let fmtp = judge_h264(&recipe, parameter_sets, seen)?;
            (Codec::H264, fmtp, recipe)
        }
        Coding::Vp8 => (Codec::Vp8, String::new(), Recipe::Unchanged),
        Coding::Vp9 => {
            let profile = seen.samples.first().and_then(|s| vp9_frame(&s.data));
            match profile {
                Some((0, _)) | None => {}
                Some((profile, _)) => {
                    return Err(format!(
                        "its video is VP9 in profile {profile} (more than 8 bits or 4:2:0)"
                    ));
                }
            }
            (Codec::Vp9, "profile-id=0".into(), Recipe::Unchanged)
        }
        Coding::Av1 { configuration } => {
            let recipe = Recipe::Av1 {
                configuration: configuration.clone(),
            };
            let fmtp = judge_av1(configuration, seen)?;
            (Codec::Av1, fmtp, recipe)
        }
        Coding::Opus { channels: 1 } => (Codec::Opus, opus_fmtp(1), Recipe::Unchanged),
        Coding::Opus { channels: 2 } => (Codec::Opus, opus_fmtp(2), Recipe::Unchanged),
        Coding::Opus { channels } => {
            return Err(format!("its sound is Opus with {channels} channels"));
        }
        Coding::Decodable(parameters) => {
            let first = seen.samples.first();
            let channels = transcode::channels(parameters, first)
                .map_err(|reason| format!("its sound {reason}"))?;
            let recipe = Recipe::Encode(parameters.clone());
            (Codec::Opus, opus_fmtp(channels), recipe)
        }
        Coding::Foreign(name) => return Err(format!("it holds {name}")),
    };
    Ok(Chosen {
        index,
        track: SourceTrack { codec, fmtp },
        recipe,
        first_pts,
    })
}

fn opus_fmtp(channels: usize) -> String {
    let stereo = if channels > 1 {
        ";stereo=1;sprop-stereo=1"
    } else {
        ""
    };
    format!("minptime=10;useinbandfec=1{stereo}")
}

fn judge_h264(recipe: &Recipe, parameter_sets: &[Bytes], seen: &Seen) -> Result<String, String> {
    let frames: Vec<Bytes> = seen.samples.iter().map(|s| recipe.frame(&s.data)).collect();
    let in_band = frames
        .iter()
        .flat_map(|frame| length_prefixed(frame, NAL_LENGTH));
    let sps = (parameter_sets.iter().map(|set| &set[..]))
        .chain(in_band)
        .find(|unit| nal_type(unit) == nal::SPS)
        .ok_or("its H.264 has no sequence parameter set")?;
    let parsed =
        h264::parse_sps(sps).map_err(|_| "its H.264 sequence parameter set is malformed")?;
    if parsed.chroma_format_idc != 1
        || parsed.bit_depth_luma_minus8 != 0
        || parsed.bit_depth_chroma_minus8 != 0
    {
        return Err("its video is H.264 with more than 8 bits or 4:2:0".into());
    }
    let id = parsed.profile_level_id;
    if !matches!(id.profile_idc, 66 | 77 | 100) {
        return Err(format!(
            "its video is H.264 in the unusual profile {}",
            id.profile_idc
        ));
    }
    let reordered = seen.samples.windows(2).any(|w| w[1].pts < w[0].pts);
    let b_slices = (frames.iter())
        .flat_map(|frame| length_prefixed(frame, NAL_LENGTH))
        .any(is_b_slice);
    if reordered || b_slices {
        return Err("its video has B-frames, which WebRTC does not reorder".into());
    }
    Ok(format!(
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={:02x}{:02x}{:02x}",
        id.profile_idc, id.profile_iop, id.level_idc
    ))
}

fn judge_av1(configuration: &Bytes, seen: &Seen) -> Result<String, String> {
    let in_band = seen.samples.first().map(|s| &s.data[..]);
    let header = std::iter::once(&configuration[..])
        .chain(in_band)
        .filter_map(obus)
        .flatten()
        .find(|unit| obu::kind(unit.header[0]) == obu::SEQUENCE_HEADER)
        .and_then(|unit| av1::parse_sequence_header(unit.payload).ok());
    match header {
        Some(header) if header.seq_profile != 0 => Err(format!(
            "its video is AV1 in profile {} (more than 4:2:0)",
            header.seq_profile
        )),
        Some(header) => Ok(format!(
            "level-idx={};profile=0;tier={}",
            header.seq_level_idx_0, header.seq_tier_0
        )),
        None => Ok("level-idx=5;profile=0;tier=0".into()),
    }
}

/// Warns about a rate that not everybody can pass on.
pub(super) fn warn_about(path: &Path, duration: Option<Duration>) {
    let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
    if let Some(seconds) = duration.map(|d| d.as_secs_f64()).filter(|s| *s > 0.0) {
        let rate = bytes as f64 * 8.0 / seconds;
        if rate > HIGH_BITRATE {
            tracing::warn!(
                "the file has {:.1} Mbit/s on average; above 2.5 Mbit/s many viewers cannot pass \
                 the stream on",
                rate / 1e6
            );
        }
    }
}
