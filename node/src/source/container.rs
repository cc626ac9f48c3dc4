//! What a container gives: its tracks and their coded samples, whatever the format of the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use banyan::wire::announcement::MediaKind;
use bytes::Bytes;
use symphonia::core::codecs::audio::AudioCodecParameters;

use super::{SourceError, mp4, streams};

/// Largest coded sample that is believed. A frame of 1080p at 50 Mbit/s stays below 1 MB.
pub(super) const MAX_SAMPLE: usize = 16 * 1024 * 1024;

/// How a track is coded.
#[derive(Debug, Clone)]
pub(super) enum Coding {
    /// H.264. NAL units are preceded by their length in `length_size` bytes, or by start codes.
    H264 {
        length_size: Option<usize>,
        parameter_sets: Vec<Bytes>,
    },
    Vp8,
    Vp9,
    /// AV1, with the units every decoder must have seen first.
    Av1 {
        configuration: Bytes,
    },
    Opus {
        channels: u8,
    },
    /// Sound that is decoded in this process.
    Decodable(Box<AudioCodecParameters>),
    /// Anything else, by the name people know it.
    Foreign(String),
}

/// A track as its container describes it.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) kind: MediaKind,
    pub(super) coding: Coding,
}

/// One coded sample. Times are in nanoseconds from the container's zero; the first may be below it.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Position in [`Container::tracks`].
    pub(super) track: usize,
    pub(super) pts: i64,
    /// 0 when the container does not say.
    pub(super) duration: i64,
    /// Decoded audio frames to drop at the start and the end.
    pub(super) trim: (u64, u64),
    pub(super) data: Bytes,
}

/// An open file, read from its beginning to its end, roughly in the order of time.
pub(super) trait Container: Send {
    fn tracks(&self) -> &[Track];

    /// The next sample of any track, or `None` after the last one.
    fn next_sample(&mut self) -> Result<Option<Sample>, SourceError>;

    /// Returns to the first sample.
    fn rewind(&mut self) -> Result<(), SourceError>;

    /// Length of the media, where it is known.
    fn duration(&self) -> Option<Duration>;
}

/// Opens a file by what its first bytes say, not by its name.
pub(super) fn open(path: &Path) -> Result<Box<dyn Container>, SourceError> {
    let unreadable = |error: io::Error| SourceError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let mut start = Vec::new();
    Read::by_ref(&mut file)
        .take(64)
        .read_to_end(&mut start)
        .map_err(unreadable)?;
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    match format_of(&start) {
        Format::Mp4 => Ok(Box::new(mp4::Mp4::open(file)?)),
        Format::Streams => Ok(Box::new(streams::Streams::open(path, file)?)),
        Format::Foreign(name) => Err(SourceError::Foreign {
            reason: format!("{name} is not a container Banyan reads"),
        }),
        Format::Unknown => Err(SourceError::NotMedia {
            path: path.to_owned(),
        }),
    }
}

#[derive(Debug, PartialEq)]
enum Format {
    Mp4,
    /// Matroska, WebM, and plain sound.
    Streams,
    Foreign(&'static str),
    Unknown,
}

fn format_of(start: &[u8]) -> Format {
    let at = |offset: usize, magic: &[u8]| {
        start
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    let box_types: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];
    if box_types.iter().any(|kind| at(4, kind)) {
        return Format::Mp4;
    }
    let plain_sound: [&[u8]; 4] = [b"\x1a\x45\xdf\xa3", b"OggS", b"fLaC", b"ID3"];
    let mpeg_audio = matches!(start, [0xff, second, ..] if second & 0xe6 == 0xe2);
    if plain_sound.iter().any(|magic| at(0, magic))
        || mpeg_audio
        || (at(0, b"RIFF") && at(8, b"WAVE"))
    {
        return Format::Streams;
    }
    let foreign: [(usize, &[u8], &str); 7] = [
        (8, b"AVI ", "AVI"),
        (0, b"FLV", "Flash video"),
        (0, b"\x30\x26\xb2\x75", "Windows Media"),
        (0, b"\x00\x00\x01\xba", "an MPEG program stream"),
        (0, b"\x00\x00\x01\xb3", "an MPEG video stream"),
        (0, b".RMF", "RealMedia"),
        (0, b"FORM", "AIFF"),
    ];
    for (offset, magic, name) in foreign {
        if at(offset, magic) {
            return Format::Foreign(name);
        }
    }
    // Packets of an MPEG transport stream are 188 bytes; the first one has no payload error flag.
    if matches!(start, [0x47, second, ..] if second & 0x80 == 0) {
        return Format::Foreign("an MPEG transport stream");
    }
    Format::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_by_their_first_bytes() {
        assert_eq!(format_of(b"\0\0\0\x20ftypisom"), Format::Mp4);
        assert_eq!(format_of(b"\x1a\x45\xdf\xa3\x01"), Format::Streams);
        assert_eq!(format_of(b"\xff\xfb\x90\x64"), Format::Streams);
        assert_eq!(format_of(b"RIFF\0\0\0\0WAVE"), Format::Streams);
        assert_eq!(format_of(b"RIFF\0\0\0\0AVI "), Format::Foreign("AVI"));
        assert_eq!(format_of(b"Dear diary"), Format::Unknown);
        assert_eq!(format_of(b""), Format::Unknown);
    }
}
