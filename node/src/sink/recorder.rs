//! `--record FILE` as a sink of the media thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::{StreamInfo, TrackInfo};
use tokio::sync::oneshot;

use super::recording::{Recording, RecordingError, Summary};
use crate::driver::Sink;

/// Records a stream. A later epoch has other tracks and does not fit into the same file, so it goes
/// into one of its own: `NAME-2.EXT` and so on.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    /// Which file this is, from 1.
    part: u32,
    state: State,
    outcome: Option<oneshot::Sender<Result<Summary, RecordingError>>>,
}

#[derive(Debug)]
enum State {
    Waiting,
    Recording(Recording),
    Closed,
}

/// How a recording ends.
#[derive(Debug)]
pub struct Outcome(oneshot::Receiver<Result<Summary, RecordingError>>);

impl Recorder {
    /// Prepares a recording of these tracks, or of tracks that are not yet known.
    ///
    /// # Errors
    /// When the file's name does not fit.
    pub fn new(path: &Path, tracks: &[TrackInfo]) -> Result<(Self, Outcome), RecordingError> {
        Recording::check(path, tracks)?;
        let (sender, receiver) = oneshot::channel();
        let recorder = Self {
            path: path.to_owned(),
            part: 1,
            state: State::Waiting,
            outcome: Some(sender),
        };
        Ok((recorder, Outcome(receiver)))
    }

    fn close(&mut self) {
        let result = match std::mem::replace(&mut self.state, State::Closed) {
            State::Recording(recording) => recording.finish(),
            State::Waiting => Err(RecordingError::Nothing {
                path: self.path.clone(),
            }),
            State::Closed => return,
        };
        self.tell(result);
    }

    /// Ends one part and begins the next. The end waits for the disk on a thread of its own.
    fn next_part(&mut self, info: &StreamInfo) {
        let State::Recording(recording) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        let finish = move || match recording.finish() {
            Ok(summary) => summary.log(),
            Err(error) => tracing::error!("a part of the recording: {error}"),
        };
        let thread = std::thread::Builder::new().name("recording-end".into());
        if let Err(error) = thread.spawn(finish) {
            tracing::error!("a part of the recording could not be ended: {error}");
        }
        self.part += 1;
        let mut path = part_path(&self.path, self.part);
        // Matroska takes every codec.
        if Recording::check(&path, &info.tracks).is_err() {
            path.set_extension("mkv");
        }
        tracing::warn!(
            "the stream has other tracks now; the recording goes on in {}",
            path.display()
        );
        self.begin(&path, info);
    }

    fn begin(&mut self, path: &Path, info: &StreamInfo) {
        match Recording::create(path, &info.tracks) {
            Ok(recording) => self.state = State::Recording(recording),
            Err(error) => {
                self.state = State::Closed;
                self.tell(Err(error));
            }
        }
    }

    fn tell(&mut self, result: Result<Summary, RecordingError>) {
        if let Some(outcome) = self.outcome.take() {
            // Nobody waits any more when the command was ended in a hurry.
            let _ = outcome.send(result);
        }
    }
}

impl Sink for Recorder {
    fn tracks(&mut self, info: &StreamInfo) {
        match self.state {
            State::Waiting => {
                let path = self.path.clone();
                self.begin(&path, info);
            }
            State::Recording(_) => self.next_part(info),
            State::Closed => {}
        }
    }

    fn packet(&mut self, packet: &Arc<Packet>) {
        if let State::Recording(recording) = &self.state {
            recording.push(Packet::clone(packet));
        }
    }

    fn clock(&mut self, track: TrackIndex, ntp: u64, rtp: u32) {
        if let State::Recording(recording) = &self.state {
            recording.set_clock(track, ntp, rtp);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

impl Outcome {
    /// Waits until the file is whole, and says in the log what is in it.
    ///
    /// # Errors
    /// When it could not be written, or there was nothing to write.
    pub async fn finished(self) -> anyhow::Result<()> {
        let summary = self
            .0
            .await
            .context("the recording ended without a word")??;
        summary.log();
        Ok(())
    }
}

impl Summary {
    fn log(&self) {
        tracing::info!(
            "recorded {} frames, {} packets lost",
            self.frames.iter().sum::<u64>(),
            self.lost.iter().sum::<u64>() + self.overflow
        );
    }
}

/// `show.mp4` as `show-2.mp4`.
fn part_path(path: &Path, part: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{part}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Waits for the early end of a recording; for ever where there is none.
pub async fn failed(outcome: Option<&mut Outcome>) -> anyhow::Error {
    match outcome {
        Some(Outcome(receiver)) => match receiver.await {
            Ok(Err(error)) => error.into(),
            // It ends when the program does.
            Ok(Ok(_)) => std::future::pending().await,
            Err(_) => anyhow::anyhow!("the recording ended without a word"),
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_before_the_extension() {
        assert_eq!(
            part_path(Path::new("/a/x.y.mp4"), 2),
            Path::new("/a/x.y-2.mp4")
        );
        assert_eq!(part_path(Path::new("show"), 3), Path::new("show-3"));
    }
}
