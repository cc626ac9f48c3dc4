//! What a root takes in: a file, played by the clock as RTP.
//!
//! A file goes through four rooms: a container is opened (`container`, `mp4`, `streams`), its
//! tracks are judged (`inspect`) and become frames on one unbroken time line (`timeline`,
//! `transcode`), and [`play()`] cuts them into packets and sends each when it is due. What WebRTC
//! cannot carry goes through an `ffmpeg` of the broadcaster's own (`ffmpeg`).

pub(crate) mod bitstream;
mod container;
pub(crate) mod descriptor;
mod ffmpeg;
pub mod ingest;
mod inspect;
mod mp4;
mod packetize;
mod play;
mod streams;
#[cfg(test)]
pub(crate) mod tests;
mod timeline;
mod transcode;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banyan::wire::announcement::Codec;
use bytes::Bytes;

pub use self::packetize::Packetizer;
pub use self::play::{MediaClock, PlayEvent, TrackPacket, play};

use self::container::Container;
use self::ffmpeg::Ffmpeg;
use self::timeline::Timeline;

/// Why a file cannot be played, in words that follow its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The operating system refused to open or read it.
    #[error("it cannot be opened: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Its first bytes are of no media format.
    #[error("it is not a media file (MP4, MOV, Matroska, WebM, Ogg, MP3, FLAC or WAV)")]
    NotMedia {
        /// The file.
        path: PathBuf,
    },
    /// It has neither picture nor sound.
    #[error("it has no picture and no sound to play")]
    NoPlayableTrack,
    /// It ends before its own index says it does.
    #[error("it is cut off: it should have at least {expected} bytes and has {found}")]
    Truncated {
        /// Bytes the file should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// An MP4 without index: its recording or its download never finished.
    #[error("it is cut off: it has no index (moov), as if its recording never finished")]
    NoIndex,
    /// Reading failed on the way.
    #[error("reading it failed: {0}")]
    Read(#[source] io::Error),
    /// It holds what WebRTC cannot carry.
    #[error("{reason}")]
    Foreign {
        /// What, in a sentence.
        reason: String,
    },
    /// It holds what WebRTC cannot carry, and there is no `ffmpeg` to convert it.
    #[error(
        "not as it is: {reason}. With ffmpeg installed it is converted while it plays; or convert \
         it once:\n  {command}"
    )]
    NeedsFfmpeg {
        /// What WebRTC cannot carry, in a sentence.
        reason: String,
        /// The command line that makes a file that can be played.
        command: String,
    },
    /// `ffmpeg` failed.
    #[error("ffmpeg could not convert it: {message}")]
    Ffmpeg {
        /// Its last words.
        message: String,
    },
}

/// How often a file is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playback {
    /// From its beginning to its end.
    Once,
    /// Again and again, without a gap.
    Looped,
}

/// A track of a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTrack {
    /// Its codec.
    pub codec: Codec,
    /// Its format parameters as in `a=fmtp`.
    pub fmtp: String,
}

/// One frame of a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFrame {
    /// Position in [`Source::tracks`].
    pub track: u8,
    /// Time since the start of the source in units of the track's clock rate, unbroken where a
    /// looped file starts again.
    pub timestamp: u64,
    /// Whether a decoder can start here.
    pub key: bool,
    /// The coded frame. H.264: NAL units, each after its length in four bytes, parameter sets in
    /// front of every IDR picture. AV1: a temporal unit in low-overhead format.
    pub data: Bytes,
    /// When it should be sent, since the start of the source.
    pub due: Duration,
}

/// An open file, as frames in the order in which they are due.
pub struct Source {
    tracks: Vec<SourceTrack>,
    timeline: Timeline,
    duration: Option<Duration>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("tracks", &self.tracks)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a file and reads its first seconds to judge it. Blocks on the disk.
    ///
    /// The `ffmpeg` for what WebRTC cannot carry is the one that the environment variable
    /// `BANYAN_FFMPEG` names, or the first on `PATH`.
    ///
    /// # Errors
    ///
    /// See [`SourceError`]; the message is meant for the broadcaster.
    pub fn open(path: &Path, playback: Playback) -> Result<Self, SourceError> {
        Self::open_with(path, playback, Ffmpeg::find().as_ref())
    }

    fn open_with(
        path: &Path,
        playback: Playback,
        ffmpeg: Option<&Ffmpeg>,
    ) -> Result<Self, SourceError> {
        let opened = container::open(path).and_then(|mut container| {
            let judged = inspect::judge(container.as_mut())?;
            Ok((container, judged))
        });
        let objection = match opened {
            Ok((container, Ok(selection))) => {
                let duration = container.duration();
                inspect::warn_about(path, duration);
                return Ok(Self {
                    tracks: selection.tracks(),
                    timeline: Timeline::new(container, selection, playback),
                    duration,
                });
            }
            Ok((_, Err(objection))) => objection,
            Err(SourceError::Foreign { reason }) => inspect::Objection::to_all(reason),
            Err(error) => return Err(error),
        };
        let Some(ffmpeg) = ffmpeg else {
            return Err(SourceError::NeedsFfmpeg {
                command: ffmpeg::command_line(path, &objection),
                reason: objection.reason,
            });
        };
        tracing::info!(
            file = %path.display(),
            reason = objection.reason,
            "playing through ffmpeg"
        );
        let container = ffmpeg.convert(path, playback, &objection)?;
        let selection = inspect::trust(&container)?;
        Ok(Self {
            tracks: selection.tracks(),
            duration: None,
            // ffmpeg itself loops the file.
            timeline: Timeline::new(Box::new(container), selection, Playback::Once),
        })
    }

    /// The banyan at dusk that comes with the program, in a loop.
    ///
    /// # Errors
    ///
    /// None in practice: it is tested.
    pub fn demo() -> Result<Self, SourceError> {
        let clip = include_bytes!("../../tests/media/clip.mp4").as_slice();
        let mut container = Box::new(mp4::Mp4::open(io::Cursor::new(clip))?);
        let duration = container.duration();
        let selection =
            inspect::judge(container.as_mut())?.map_err(|objection| SourceError::Foreign {
                reason: objection.reason,
            })?;
        Ok(Self {
            tracks: selection.tracks(),
            timeline: Timeline::new(container, selection, Playback::Looped),
            duration,
        })
    }

    /// Its tracks: at most one of video and one of audio, video first.
    pub fn tracks(&self) -> &[SourceTrack] {
        &self.tracks
    }

    /// Length of one pass, where the file says it.
    pub fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// The next frame, or `None` after the last one. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When reading fails, or the file turns out to be cut off or malformed.
    pub fn next_frame(&mut self) -> Result<Option<SourceFrame>, SourceError> {
        self.timeline.next_frame()
    }
}
