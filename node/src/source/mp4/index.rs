//! The index of an MP4 file: its `moov` box and what its tracks say of themselves.

use std::io::{Read, SeekFrom};

use shiguredo_mp4::boxes::{EsdsBox, MoovBox, MvhdBox, TrakBox};
use shiguredo_mp4::{BoxHeader, BoxType, Decode};

use super::{Input, malformed, to_nanos};
use crate::source::SourceError;

/// Largest index that is read. Ten hours of video and audio need about 25 MB.
pub(super) const MAX_INDEX: u64 = 256 * 1024 * 1024;

/// The `moov` box, wherever it lies between the other boxes.
pub(super) fn read_index(file: &mut dyn Input, length: u64) -> Result<Vec<u8>, SourceError> {
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
pub(super) struct Movie {
    pub(super) header: MvhdBox,
    /// With the decoder's description where it lies deeper, as in QuickTime.
    pub(super) tracks: Vec<(TrakBox, Option<EsdsBox>)>,
    pub(super) fragmented: bool,
}

impl Movie {
    pub(super) fn parse(mut moov: &[u8]) -> Result<Self, SourceError> {
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
pub(super) fn is_turned(trak: &TrakBox) -> bool {
    let [a, b, _, c, d, ..] = trak.tkhd_box.matrix;
    !(a > 0 && d > 0 && b == 0 && c == 0)
}

/// What the first edits of a track add to its times: a pause before it, and media left out at its
/// beginning (such as the silence an audio encoder needs first).
pub(super) fn edit_shift(trak: &TrakBox, movie: &MvhdBox) -> i64 {
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
