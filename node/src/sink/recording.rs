//! Records a stream to a file, on a thread of its own.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::{Codec, MediaKind, TrackInfo};

use super::depacketize::{Depacketizer, Frame};
use super::matroska::Matroska;
use super::mp4::{self, Mp4};
use super::sync::{Basis, TrackClock};
use super::{Container, Entry, TrackFormat};

/// Packets that wait for a slow disk: 15 s of a stream of 5 Mbit/s, at most 10 MB.
const MAX_WAITING: usize = 8_192;

/// Frames of a track that wait until the recording can start.
const MAX_EARLY: usize = 1_000;

/// Sound that begins this much before the first picture still belongs to the recording.
const EARLY_SOUND: i128 = 20_000_000;

/// Why nothing is, or was, recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The name of the file does not say what to write.
    #[error(
        "cannot record to {}: its name should end in .mp4 (H.264 and Opus), .webm (VP8, VP9 or \
         AV1, and Opus) or .mkv (everything)",
        path.display()
    )]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The container does not hold the codec.
    #[error("a .{extension} file cannot hold {}; record to a name that ends in .{instead}", codec.name())]
    Codec {
        /// The file's extension.
        extension: String,
        /// The stream's codec.
        codec: Codec,
        /// An extension that works.
        instead: &'static str,
    },
    /// The file could not be made.
    #[error("cannot write {}: {error}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Writing failed; what was written before is kept.
    #[error("recording to {} failed: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// No picture and no sound came.
    #[error("nothing was recorded to {}: no whole picture and no sound came", path.display())]
    Nothing {
        /// The file, which was removed.
        path: PathBuf,
    },
}

/// What was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Frames of each of the stream's tracks.
    pub frames: Vec<u64>,
    /// Packets that never came, of each track.
    pub lost: Vec<u64>,
    /// Packets that were left out because the disk was too slow.
    pub overflow: u64,
}

enum Command {
    Packet(Packet, Instant),
    Clock {
        track: TrackIndex,
        ntp: u64,
        rtp: u32,
    },
}

/// A running recording. Its methods never wait for the disk, but for [`finish`](Self::finish).
/// Dropped, it finishes the file too, and says in the log what went wrong.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<Result<Summary, RecordingError>>>,
    overflow: Arc<AtomicU64>,
}

impl Recording {
    /// Whether the file's name fits these tracks, or with none, anything at all.
    ///
    /// # Errors
    ///
    /// When it does not, naming one that does.
    pub fn check(path: &Path, tracks: &[TrackInfo]) -> Result<(), RecordingError> {
        Format::of(path, tracks).map(|_| ())
    }

    /// Makes the file, for a stream with these tracks. A file of this name is replaced.
    ///
    /// # Errors
    ///
    /// When the file's name does not fit what the stream holds, or it cannot be written.
    pub fn create(path: &Path, tracks: &[TrackInfo]) -> Result<Self, RecordingError> {
        let format = Format::of(path, tracks)?;
        let failed = |error| RecordingError::Create {
            path: path.to_owned(),
            error,
        };
        let file = File::create(path).map_err(failed)?;
        let (commands, received) = sync_channel(MAX_WAITING);
        let overflow = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            path: path.to_owned(),
            format,
            file: Some(file),
            tracks: tracks.iter().map(Track::new).collect(),
            started: None,
        };
        let counted = overflow.clone();
        let thread = std::thread::Builder::new()
            .name("recording".into())
            .spawn(move || writer.run(&received, &counted))
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            commands: Some(commands),
            thread: Some(thread),
            overflow,
        })
    }

    /// The next packet of its track, in order. A packet whose predecessor is missing says that the
    /// loss is final.
    pub fn push(&self, packet: Packet) {
        self.send(Command::Packet(packet, Instant::now()));
    }

    /// A sender report: `ntp` and `rtp` are the same moment as 64-bit NTP timestamp and in the
    /// track's timestamps (RFC 3550 section 6.4.1).
    pub fn set_clock(&self, track: TrackIndex, ntp: u64, rtp: u32) {
        self.send(Command::Clock { track, ntp, rtp });
    }

    fn send(&self, command: Command) {
        let Some(commands) = &self.commands else {
            return;
        };
        if let Err(TrySendError::Full(_)) = commands.try_send(command) {
            let before = self.overflow.fetch_add(1, Ordering::Relaxed);
            if before.is_multiple_of(1000) {
                tracing::warn!(
                    "the disk is too slow for the recording {}: {} packets left out",
                    self.path.display(),
                    before + 1
                );
            }
        }
    }

    /// Ends the recording and waits until the file is complete.
    ///
    /// # Errors
    ///
    /// When writing failed, or there was nothing to record.
    pub fn finish(mut self) -> Result<Summary, RecordingError> {
        self.end()
    }

    fn end(&mut self) -> Result<Summary, RecordingError> {
        self.commands = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            None => Ok(Summary::default()),
            Some(Err(_)) => Err(RecordingError::Write {
                path: self.path.clone(),
                error: io::Error::other("the writer stopped"),
            }),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(error) = self.end()
        {
            tracing::error!("{error}");
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Mp4,
    WebM,
    Matroska,
}

impl Format {
    fn of(path: &Path, tracks: &[TrackInfo]) -> Result<Self, RecordingError> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let extension = extension.to_ascii_lowercase();
        let fits =
            |format: Self, carries: fn(Codec) -> bool, instead: fn(Codec) -> &'static str| {
                match tracks.iter().map(|t| t.codec).find(|c| !carries(*c)) {
                    None => Ok(format),
                    Some(codec) => Err(RecordingError::Codec {
                        extension: extension.clone(),
                        codec,
                        instead: instead(codec),
                    }),
                }
            };
        match extension.as_str() {
            "mp4" | "m4v" | "m4a" => fits(Self::Mp4, mp4::carries, |_| "webm"),
            "webm" => fits(Self::WebM, |codec| codec != Codec::H264, |_| "mp4"),
            "mkv" | "mka" => Ok(Self::Matroska),
            _ => Err(RecordingError::Extension {
                path: path.to_owned(),
            }),
        }
    }
}

struct Track {
    info: TrackInfo,
    depacketizer: Depacketizer,
    clock: TrackClock,
    /// Frames that came before the recording could start.
    early: VecDeque<(i64, Frame)>,
    frames: u64,
}

impl Track {
    fn new(info: &TrackInfo) -> Self {
        Self {
            info: info.clone(),
            depacketizer: Depacketizer::new(info.codec),
            clock: TrackClock::new(info.codec.clock_rate()),
            early: VecDeque::new(),
            frames: 0,
        }
    }

    fn format(&self) -> TrackFormat {
        let first = self.early.front().map(|(_, frame)| frame.data.clone());
        let first = first.unwrap_or_default();
        // The stereo flag of an Opus packet (RFC 6716 section 3.1) is certain, the offer's is not.
        let flag = first.first().is_some_and(|toc| toc & 4 != 0);
        TrackFormat {
            codec: self.info.codec,
            stereo: flag || self.info.fmtp.contains("stereo=1"),
            first,
        }
    }
}

/// A recording that began.
struct Started {
    container: Box<dyn Container>,
    basis: Basis,
    /// The common time of its beginning.
    zero: i128,
    /// For each of the stream's tracks its place in the file, if it has one, and the common time
    /// of its timestamp 0, once that is known: a later sender report moves nothing.
    places: Vec<(Option<usize>, Option<i128>)>,
}

struct Writer {
    path: PathBuf,
    format: Format,
    file: Option<File>,
    tracks: Vec<Track>,
    started: Option<Started>,
}

impl Writer {
    fn run(
        mut self,
        commands: &Receiver<Command>,
        overflow: &AtomicU64,
    ) -> Result<Summary, RecordingError> {
        let result = self.record(commands);
        if let Err(error) = &result {
            tracing::error!("recording to {} failed: {error}", self.path.display());
        }
        let finished = match &mut self.started {
            Some(started) => started.container.finish(),
            None => Ok(()),
        };
        if let Err(error) = result.and(finished) {
            return Err(RecordingError::Write {
                path: self.path,
                error,
            });
        }
        let summary = Summary {
            frames: self.tracks.iter().map(|t| t.frames).collect(),
            lost: self.tracks.iter().map(|t| t.depacketizer.lost).collect(),
            overflow: overflow.load(Ordering::Relaxed),
        };
        if summary.frames.iter().all(|frames| *frames == 0) {
            drop(self.started);
            let _ = std::fs::remove_file(&self.path);
            return Err(RecordingError::Nothing { path: self.path });
        }
        Ok(summary)
    }

    fn record(&mut self, commands: &Receiver<Command>) -> io::Result<()> {
        while let Ok(command) = commands.recv() {
            match command {
                Command::Packet(packet, at) => self.packet(&packet, at)?,
                Command::Clock { track, ntp, rtp } => {
                    if let Some(track) = self.tracks.get_mut(usize::from(track)) {
                        track.clock.report(ntp, rtp);
                    }
                }
            }
        }
        // A stream that ended before its tracks could be placed is placed as well as possible.
        if self.started.is_none() {
            self.start(Instant::now() + Duration::from_secs(60), true)?;
        }
        Ok(())
    }

    fn packet(&mut self, packet: &Packet, at: Instant) -> io::Result<()> {
        let place = usize::from(packet.track);
        let Some(track) = self.tracks.get_mut(place) else {
            return Ok(());
        };
        let ticks = track.clock.unwrapped.next(packet.timestamp);
        track.clock.arrived(at, ticks);
        let Some(frame) = track.depacketizer.push(packet) else {
            return Ok(());
        };
        let ticks = track.clock.unwrapped.near(frame.timestamp);
        if self.started.is_some() {
            return self.write(place, ticks, frame);
        }
        track.early.push_back((ticks, frame));
        if track.early.len() > MAX_EARLY {
            track.early.pop_front();
        }
        self.start(at, false)
    }

    /// Begins to write, at the first key frame, once it is known how the tracks belong together.
    fn start(&mut self, now: Instant, at_once: bool) -> io::Result<()> {
        let of_kind = |kind| move |track: &&Track| track.info.codec.kind() == kind;
        let video = self.tracks.iter().find(of_kind(MediaKind::Video));
        let leader = match video {
            Some(video) if video.early.is_empty() && !at_once => return Ok(()),
            Some(video) if !video.early.is_empty() => video,
            _ => match self.tracks.iter().find(|t| !t.early.is_empty()) {
                Some(track) => track,
                None => return Ok(()),
            },
        };
        let clocks: Vec<_> = self.tracks.iter().map(|track| &track.clock).collect();
        let Some(basis) = Basis::of(&clocks, now) else {
            return Ok(());
        };
        let first = leader.early.front().map(|(ticks, _)| *ticks);
        let Some((first, origin)) = first.zip(basis.zero(&leader.clock)) else {
            return Ok(());
        };
        let zero = origin + leader.clock.nanos(first);
        for track in &mut self.tracks {
            let Some(origin) = basis.zero(&track.clock) else {
                continue;
            };
            let clock = &track.clock;
            let belongs = |ticks: i64| origin + clock.nanos(ticks) > zero - EARLY_SOUND;
            while track.early.front().is_some_and(|(t, _)| !belongs(*t)) {
                track.early.pop_front();
            }
        }
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let mut formats = Vec::new();
        let mut places = Vec::new();
        for track in &self.tracks {
            // A picture that never came cannot be described.
            let known = !track.early.is_empty() || track.info.codec.kind() == MediaKind::Audio;
            places.push((known.then_some(formats.len()), basis.zero(&track.clock)));
            if known {
                formats.push(track.format());
            }
        }
        let container: Box<dyn Container> = match self.format {
            Format::Mp4 => Box::new(Mp4::create(file, &formats)?),
            Format::WebM => Box::new(Matroska::create(file, "webm", &formats)?),
            Format::Matroska => Box::new(Matroska::create(file, "matroska", &formats)?),
        };
        self.started = Some(Started {
            container,
            basis,
            zero,
            places,
        });
        let mut early = Vec::new();
        for (place, track) in self.tracks.iter_mut().enumerate() {
            let frames = std::mem::take(&mut track.early);
            early.extend(
                frames
                    .into_iter()
                    .map(|(ticks, frame)| (place, ticks, frame)),
            );
        }
        for (place, ticks, frame) in early {
            self.write(place, ticks, frame)?;
        }
        Ok(())
    }

    fn write(&mut self, track: usize, ticks: i64, frame: Frame) -> io::Result<()> {
        let Some(started) = &mut self.started else {
            return Ok(());
        };
        let clock = &self.tracks[track].clock;
        let (place, origin) = &mut started.places[track];
        if origin.is_none() {
            *origin = started.basis.zero(clock);
        }
        let Some((place, origin)) = place.zip(*origin) else {
            return Ok(());
        };
        let time = origin + clock.nanos(ticks) - started.zero;
        if time <= -EARLY_SOUND {
            return Ok(());
        }
        self.tracks[track].frames += 1;
        started.container.write(Entry {
            track: place,
            time: i64::try_from(time).unwrap_or(i64::MAX),
            ticks,
            key: frame.key,
            data: frame.data,
        })
    }
}
