//! `--record FILE` as a sink of the media thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::{StreamInfo, TrackInfo};
use tokio::sync::oneshot;

use super::recording::{Recording, RecordingError, Summary};
use crate::driver::Sink;

/// Records the first epoch it sees: a later one has other tracks or another numbering and does not
/// fit into the same file.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
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

    /// Ends the recording on a thread of its own: the media thread does not wait for a disk.
    fn close_aside(&mut self) {
        let State::Recording(recording) = std::mem::replace(&mut self.state, State::Closed) else {
            return;
        };
        let outcome = self.outcome.take();
        let finish = move || {
            let result = recording.finish();
            if let Some(outcome) = outcome {
                // As in `tell`.
                let _ = outcome.send(result);
            }
        };
        let thread = std::thread::Builder::new().name("recording-end".into());
        if let Err(error) = thread.spawn(finish) {
            tracing::error!("the recording could not be ended: {error}");
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
            State::Waiting => match Recording::create(&self.path, &info.tracks) {
                Ok(recording) => self.state = State::Recording(recording),
                Err(error) => {
                    self.state = State::Closed;
                    self.tell(Err(error));
                }
            },
            State::Recording(_) => {
                tracing::warn!(
                    "the broadcast began anew; the recording {} ends with its first part",
                    self.path.display()
                );
                self.close_aside();
            }
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
        tracing::info!(
            "recorded {} frames, {} packets lost",
            summary.frames.iter().sum::<u64>(),
            summary.lost.iter().sum::<u64>() + summary.overflow
        );
        Ok(())
    }
}

/// Waits for the early end of a recording; for ever where there is none.
pub async fn failed(outcome: Option<&mut Outcome>) -> anyhow::Error {
    match outcome {
        Some(Outcome(receiver)) => match receiver.await {
            Ok(Err(error)) => error.into(),
            Ok(Ok(_)) => {
                anyhow::anyhow!("the recording has ended because the broadcast began anew")
            }
            Err(_) => anyhow::anyhow!("the recording ended without a word"),
        },
        None => std::future::pending().await,
    }
}
