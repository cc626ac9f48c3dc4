//! Writes Matroska and WebM (RFC 9559): clusters as they come, the index at the end. A file whose
//! program was killed plays up to its last whole cluster.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use banyan::wire::announcement::{Codec, MediaKind};
use bytes::{BufMut, Bytes};
use shiguredo_mp4::Encode;
use shiguredo_mp4::bitstream::av1;

use super::{Container, Entry, TrackFormat, mp4};
use crate::source::bitstream::{
    self, NAL_LENGTH, join_nals, length_prefixed, nal, nal_type, obu, obus,
};

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114d_9b74;
const INFO: u32 = 0x1549_a966;
const TRACKS: u32 = 0x1654_ae6b;
const CLUSTER: u32 = 0x1f43_b675;
const CUES: u32 = 0x1c53_bb6b;
const VOID: u32 = 0xec;

/// Bytes kept for the table of where the parts of the file are, which is written at the end.
const SEEK_HEAD_SPACE: usize = 96;

/// A cluster ends at a key frame, or at the latest after this long or this many bytes.
const CLUSTER_TIME: i64 = 4_000_000_000;
const CLUSTER_BYTES: usize = 8 * 1024 * 1024;

/// Sound alone: a cluster each second.
const SOUND_CLUSTER_TIME: i64 = 1_000_000_000;

/// What an Opus decoder must hear before a place to play from there (RFC 7845 section 4.6).
const OPUS_PRE_ROLL: u64 = 80_000_000;

const MILLISECOND: i64 = 1_000_000;

pub(super) struct Matroska {
    file: File,
    tracks: Vec<Track>,
    has_video: bool,
    /// Waiting for the end of their cluster.
    entries: Vec<Entry>,
    bytes: usize,
    /// Position in the segment of each cluster that begins with a key frame, and its time in ms.
    cues: Vec<(u64, u64, u64)>,
    /// What is added to all times, so that none is below zero.
    shift: Option<i64>,
    end: i64,
    segment: u64,
    info: u64,
    duration: u64,
    tracks_at: u64,
}

struct Track {
    codec: Codec,
    /// Parameter sets that stand in the track's description.
    sets: Vec<Bytes>,
    last: Option<i64>,
    step: i64,
}

fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 12);
    put_id(&mut out, id);
    // The shortest size; all ones would mean that it is not known (RFC 8794 section 6.2).
    let size = content.len() as u64;
    let width = (1..8).find(|n| size < (1 << (7 * n)) - 1).unwrap_or(8);
    let marked = 1 << (7 * width) | size;
    out.put_slice(&marked.to_be_bytes()[8 - width as usize..]);
    out.put_slice(content);
    out
}

fn put_id(out: &mut Vec<u8>, id: u32) {
    let bytes = id.to_be_bytes();
    let skip = bytes.iter().take_while(|b| **b == 0).count();
    out.put_slice(&bytes[skip..]);
}

fn unsigned(id: u32, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skip = bytes.iter().take(7).take_while(|b| **b == 0).count();
    element(id, &bytes[skip..])
}

fn float(id: u32, value: f64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

fn master(id: u32, children: &[Vec<u8>]) -> Vec<u8> {
    element(id, &children.concat())
}

impl Matroska {
    pub(super) fn create(
        mut file: File,
        doc_type: &str,
        formats: &[TrackFormat],
    ) -> io::Result<Self> {
        let header = master(
            EBML,
            &[
                unsigned(0x4286, 1),
                unsigned(0x42f7, 1),
                unsigned(0x42f2, 4),
                unsigned(0x42f3, 8),
                element(0x4282, doc_type.as_bytes()),
                unsigned(0x4287, 4),
                unsigned(0x4285, 2),
            ],
        );
        let mut start = header;
        put_id(&mut start, SEGMENT);
        // The size is not known while the file is written.
        start.put_u64(0x01ff_ffff_ffff_ffff);
        let segment = start.len() as u64;
        start.extend(element(VOID, &[0; SEEK_HEAD_SPACE - 2]));
        let info = start.len() as u64;
        let name = concat!("Banyan ", env!("CARGO_PKG_VERSION")).as_bytes();
        let about = [
            unsigned(0x2a_d7b1, 1_000_000),
            element(0x4d80, name),
            element(0x5741, name),
            float(0x4489, 0.0),
        ];
        start.extend(master(INFO, &about));
        let duration = start.len() as u64 - 8;
        let tracks_at = start.len() as u64;
        let mut tracks = Vec::new();
        let mut entries = Vec::new();
        for (index, format) in formats.iter().enumerate() {
            let (entry, sets) = track_entry(index as u64 + 1, format)?;
            entries.push(entry);
            tracks.push(Track {
                codec: format.codec,
                sets,
                last: None,
                step: 0,
            });
        }
        start.extend(master(TRACKS, &entries));
        file.write_all(&start)?;
        Ok(Self {
            file,
            has_video: formats.iter().any(|f| f.codec.kind() == MediaKind::Video),
            tracks,
            entries: Vec::new(),
            bytes: 0,
            cues: Vec::new(),
            shift: None,
            end: 0,
            segment,
            info,
            duration,
            tracks_at,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        entries.sort_by_key(|entry| entry.time);
        // The first cluster holds the earliest sound, which may begin before the first picture.
        let first = entries[0].time;
        let shift = *self.shift.get_or_insert((-first).max(0));
        let milliseconds = |time: i64| ((time + shift).max(0) + MILLISECOND / 2) / MILLISECOND;
        let start = milliseconds(first);
        let mut content = unsigned(0xe7, start as u64);
        let mut key = None;
        for entry in &entries {
            let at = milliseconds(entry.time);
            let video = self.tracks[entry.track].codec.kind() == MediaKind::Video;
            if entry.key && (video || !self.has_video) {
                key.get_or_insert((entry.track as u64 + 1, at as u64));
            }
            let data = self.stored(entry);
            let mut block = Vec::with_capacity(data.len() + 4);
            block.put_u8(0x80 | (entry.track as u8 + 1));
            block.put_i16(i16::try_from(at - start).unwrap_or(i16::MAX));
            block.put_u8(if entry.key { 0x80 } else { 0 });
            block.put_slice(&data);
            content.extend(element(0xa3, &block));
        }
        let position = self.file.stream_position()? - self.segment;
        if let Some((track, at)) = key {
            self.cues.push((at, track, position));
        }
        self.file.write_all(&element(CLUSTER, &content))
    }

    /// A frame as it stands in a block: without parameter sets that the track's description has.
    fn stored(&self, entry: &Entry) -> Bytes {
        let sets = &self.tracks[entry.track].sets;
        let known = |unit: &[u8]| sets.iter().any(|set| set == unit);
        let units = || length_prefixed(&entry.data, NAL_LENGTH);
        if sets.is_empty() || !units().any(known) {
            return entry.data.clone();
        }
        // Other sets under the same names come with all that belong to them.
        let is_set = |unit: &[u8]| matches!(nal_type(unit), nal::SPS | nal::PPS);
        if units().any(|unit| is_set(unit) && !known(unit)) {
            return entry.data.clone();
        }
        join_nals(units().filter(|unit| !is_set(unit)))
    }
}

impl Container for Matroska {
    fn write(&mut self, entry: Entry) -> io::Result<()> {
        let track = &mut self.tracks[entry.track];
        let video = track.codec.kind() == MediaKind::Video;
        if let Some(last) = track.last {
            track.step = entry.time - last;
        }
        track.last = Some(entry.time);
        self.end = self.end.max(entry.time + track.step);
        let ends = self.entries.first().is_some_and(|first| {
            let age = entry.time - first.time;
            let enough = if self.has_video {
                CLUSTER_TIME
            } else {
                SOUND_CLUSTER_TIME
            };
            (video && entry.key) || age > enough || self.bytes > CLUSTER_BYTES
        });
        if ends {
            self.flush()?;
        }
        self.bytes += entry.data.len();
        self.entries.push(entry);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        let cues_at = self.file.stream_position()?;
        let points: Vec<_> = (self.cues.iter())
            .map(|(at, track, position)| {
                let place = master(0xb7, &[unsigned(0xf7, *track), unsigned(0xf1, *position)]);
                master(0xbb, &[unsigned(0xb3, *at), place])
            })
            .collect();
        self.file.write_all(&master(CUES, &points))?;
        let end = self.file.stream_position()?;

        let milliseconds = (self.end + self.shift.unwrap_or(0)) as f64 / MILLISECOND as f64;
        self.file.seek(SeekFrom::Start(self.duration))?;
        self.file.write_all(&milliseconds.to_be_bytes())?;
        let seeks: Vec<_> = [(INFO, self.info), (TRACKS, self.tracks_at), (CUES, cues_at)]
            .into_iter()
            .map(|(id, at)| {
                let id = element(0x53ab, &id.to_be_bytes());
                master(0x4dbb, &[id, unsigned(0x53ac, at - self.segment)])
            })
            .collect();
        let mut head = master(SEEK_HEAD, &seeks);
        let rest = SEEK_HEAD_SPACE.saturating_sub(head.len() + 2);
        head.extend(element(VOID, &vec![0; rest]));
        self.file.seek(SeekFrom::Start(self.segment))?;
        self.file.write_all(&head)?;
        self.file.seek(SeekFrom::Start(self.segment - 8))?;
        let size = 1 << 56 | (end - self.segment);
        self.file.write_all(&u64::to_be_bytes(size))?;
        self.file.seek(SeekFrom::Start(end))?;
        self.file.flush()
    }
}

/// A track's description, and the parameter sets in it.
fn track_entry(number: u64, format: &TrackFormat) -> io::Result<(Vec<u8>, Vec<Bytes>)> {
    let mut sets = Vec::new();
    let video = format.codec.kind() == MediaKind::Video;
    let name: &[u8] = match format.codec {
        Codec::Opus => b"A_OPUS",
        Codec::H264 => b"V_MPEG4/ISO/AVC",
        Codec::Vp8 => b"V_VP8",
        Codec::Vp9 => b"V_VP9",
        Codec::Av1 => b"V_AV1",
    };
    let mut children = vec![
        unsigned(0xd7, number),
        unsigned(0x73c5, number),
        unsigned(0x83, if video { 1 } else { 2 }),
        unsigned(0x9c, 0),
        element(0x86, name),
    ];
    let private = match format.codec {
        Codec::H264 => {
            let avc = mp4::avc_entry(&format.first)?;
            let lists = avc.avcc_box.sps_list.iter().chain(&avc.avcc_box.pps_list);
            sets = lists.map(|set| Bytes::copy_from_slice(set)).collect();
            // The box without its header.
            let boxed = avc.avcc_box.encode_to_vec().map_err(io::Error::other)?;
            boxed.get(8..).map(<[u8]>::to_vec)
        }
        Codec::Av1 => av1_private(&format.first),
        Codec::Opus => {
            // RFC 7845 section 5.1, without pre-skip: the recording begins in the middle.
            let mut head = b"OpusHead\x01".to_vec();
            head.put_u8(if format.stereo { 2 } else { 1 });
            head.put_u16_le(0);
            head.put_u32_le(48_000);
            head.put_u16_le(0);
            head.put_u8(0);
            Some(head)
        }
        Codec::Vp8 | Codec::Vp9 => None,
    };
    children.extend(private.map(|private| element(0x63a2, &private)));
    if video {
        let (width, height) = size(format)
            .ok_or_else(|| io::Error::other("the first key frame does not say how large it is"))?;
        let size = [unsigned(0xb0, width.into()), unsigned(0xba, height.into())];
        children.push(master(0xe0, &size));
    } else {
        children.push(unsigned(0x56bb, OPUS_PRE_ROLL));
        let channels = unsigned(0x9f, if format.stereo { 2 } else { 1 });
        children.push(master(0xe1, &[float(0xb5, 48_000.0), channels]));
    }
    Ok((master(0xae, &children), sets))
}

fn sequence_header(frame: &[u8]) -> Option<(Vec<u8>, av1::Av1SequenceHeader)> {
    let units = obus(frame)?;
    let unit = (units.iter()).find(|u| obu::kind(u.header[0]) == obu::SEQUENCE_HEADER)?;
    let mut whole = vec![unit.header[0] | obu::HAS_SIZE];
    whole.extend_from_slice(&unit.header[1..]);
    bitstream::put_leb128(&mut whole, unit.payload.len());
    whole.extend_from_slice(unit.payload);
    Some((whole, av1::parse_sequence_header(unit.payload).ok()?))
}

/// AV1CodecConfigurationRecord (AV1 in ISO base media section 2.3.3).
fn av1_private(frame: &[u8]) -> Option<Vec<u8>> {
    let (unit, header) = sequence_header(frame)?;
    let config = av1::Av1SampleEntryConfig {
        initial_presentation_delay_minus_one: None,
    };
    let entry = av1::build_av01_box(&header, &unit, &config).ok()?;
    Some(entry.av1c_box.encode_to_vec().ok()?.get(8..)?.to_vec())
}

fn size(format: &TrackFormat) -> Option<(u16, u16)> {
    match format.codec {
        Codec::Opus => None,
        Codec::H264 => {
            let visual = mp4::avc_entry(&format.first).ok()?.visual;
            Some((visual.width, visual.height))
        }
        Codec::Vp8 => bitstream::vp8_size(&format.first),
        Codec::Vp9 => bitstream::vp9_size(&format.first),
        Codec::Av1 => {
            let (_, header) = sequence_header(&format.first)?;
            let side = |pixels: u32| u16::try_from(pixels).ok();
            Some((
                side(header.max_frame_width)?,
                side(header.max_frame_height)?,
            ))
        }
    }
}
