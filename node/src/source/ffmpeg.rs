//! The broadcaster's own `ffmpeg`, for what WebRTC cannot carry.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::container::{Container, Sample, Track};
use super::inspect::Objection;
use super::streams::Streams;
use super::{Playback, SourceError};

/// Longest part of ffmpeg's complaints that is kept, in bytes.
const MAX_COMPLAINT: u64 = 16 * 1024;

/// An `ffmpeg` executable.
#[derive(Debug, Clone)]
pub(super) struct Ffmpeg(PathBuf);

impl Ffmpeg {
    /// The one that `BANYAN_FFMPEG` names, or the first on `PATH`.
    pub(super) fn find() -> Option<Self> {
        if let Some(named) = std::env::var_os("BANYAN_FFMPEG").filter(|name| !name.is_empty()) {
            return Some(Self(named.into()));
        }
        let name = format!("ffmpeg{}", std::env::consts::EXE_SUFFIX);
        std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|directory| directory.join(&name))
            .find(|path| path.is_file())
            .map(Self)
    }

    #[cfg(test)]
    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Starts converting a file, in step with whoever reads the result.
    pub(super) fn convert(
        &self,
        path: &Path,
        playback: Playback,
        objection: &Objection,
    ) -> Result<Converted, SourceError> {
        let failed = |message: String| SourceError::Ffmpeg { message };
        let mut command = Command::new(&self.0);
        command.args(["-hide_banner", "-nostdin", "-loglevel", "error"]);
        if playback == Playback::Looped {
            command.args(["-stream_loop", "-1"]);
        }
        // The prefix keeps a name with a colon from being taken for a protocol.
        let mut input = std::ffi::OsString::from("file:");
        input.push(path);
        command.arg("-i").arg(input);
        command.args(["-map", "0:V:0?", "-map", "0:a:0?", "-sn", "-dn"]);
        if objection.video_passes {
            command.args(["-c:v", "copy"]);
        } else {
            command.args(["-c:v", "libx264", "-preset", "veryfast"]);
            command.args(["-tune", "zerolatency", "-profile:v", "baseline"]);
            command.args(["-pix_fmt", "yuv420p", "-bf", "0", "-sc_threshold", "0"]);
            command.args(["-force_key_frames", "expr:gte(t,n_forced)"]);
            command.args(["-crf", "23", "-maxrate", "2300k", "-bufsize", "2300k"]);
            // WebRTC's baseline has even sides; larger pictures cost viewers more than they gain.
            command.args(["-vf", "scale='trunc(min(1280,iw)/2)*2':-2"]);
        }
        command.args([
            "-c:a", "libopus", "-b:a", "112k", "-ar", "48000", "-ac", "2",
        ]);
        command.args(["-f", "matroska", "-live", "1"]);
        command.args(["-cluster_time_limit", "500", "pipe:1"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("{} does not start: {error}", self.0.display())))?;
        let (Some(output), Some(complaints)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed("its output could not be read".into()));
        };
        let mut process = Process {
            child,
            complaint: Arc::default(),
            listener: None,
        };
        process.listen(complaints);
        match Streams::pipe(output) {
            Ok(streams) => Ok(Converted { streams, process }),
            // What ffmpeg says explains more than the end of its output does.
            Err(error) => Err(process.failure().unwrap_or(error)),
        }
    }
}

/// A running `ffmpeg`, ended with this value.
struct Process {
    child: Child,
    complaint: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

impl Process {
    /// Collects what ffmpeg complains about, so that it never waits for a reader.
    fn listen(&mut self, mut complaints: impl Read + Send + 'static) {
        let complaint = self.complaint.clone();
        let listen = move || {
            let mut text = Vec::new();
            let _ = Read::by_ref(&mut complaints)
                .take(MAX_COMPLAINT)
                .read_to_end(&mut text);
            if let Ok(mut complaint) = complaint.lock() {
                *complaint = String::from_utf8_lossy(&text).trim().to_owned();
            }
            let _ = std::io::copy(&mut complaints, &mut std::io::sink());
        };
        self.listener = std::thread::Builder::new()
            .name("ffmpeg errors".into())
            .spawn(listen)
            .ok();
    }

    /// After the end of ffmpeg's output: why it failed, if it did.
    fn failure(&mut self) -> Option<SourceError> {
        let status = self.child.wait().ok()?;
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        if status.success() {
            return None;
        }
        let complaint = self.complaint.lock().ok()?;
        let last = complaint.lines().next_back().unwrap_or_default();
        let message = match last {
            "" => format!("it ended with {status}"),
            last => last.to_owned(),
        };
        Some(SourceError::Ffmpeg { message })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a running `ffmpeg` makes of a file.
pub(super) struct Converted {
    streams: Streams,
    process: Process,
}

impl Container for Converted {
    fn tracks(&self) -> &[Track] {
        self.streams.tracks()
    }

    fn next_sample(&mut self) -> Result<Option<Sample>, SourceError> {
        match self.streams.next_sample()? {
            Some(sample) => Ok(Some(sample)),
            None => self.process.failure().map_or(Ok(None), Err),
        }
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        self.streams.rewind()
    }

    fn duration(&self) -> Option<Duration> {
        None
    }
}

/// The command line that makes a file WebRTC can carry.
pub(super) fn command_line(path: &Path, objection: &Objection) -> String {
    let video = if objection.video_passes {
        "-c:v copy"
    } else {
        "-c:v libx264 -profile:v baseline -pix_fmt yuv420p -bf 0 -g 60"
    };
    let mut name = path.file_stem().unwrap_or(OsStr::new("out")).to_owned();
    name.push("-webrtc.mp4");
    format!(
        "ffmpeg -i {} {video} -c:a libopus {}",
        quoted(path.as_os_str()),
        quoted(&name)
    )
}

/// A word for a POSIX shell.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
