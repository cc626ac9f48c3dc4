//! Broadcasts without a file, and the ffmpeg that publishes to them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mesh::{Args, Broadcast, START};
use crate::process::Process;
use crate::workspace::{TempDir, repository};

/// Where a broadcast takes its publisher.
#[derive(Debug, Clone)]
pub struct Whip {
    /// The endpoint.
    pub url: String,
    /// The bearer token.
    pub token: String,
}

/// The usual arguments of a broadcast that waits for a publisher, on free ports of 127.0.0.1.
pub fn waiting_args(directory: &TempDir) -> Args {
    Args::of(["broadcast"])
        .with("--udp", "127.0.0.1:0")
        .with("--listen", "127.0.0.1:0")
        .with("--tracker-listen", "127.0.0.1:0")
        .with("--tracker-stun", "127.0.0.1:0")
        .with("--key", directory.join("stream.key"))
        .with("--stats", directory.join("root.stats"))
        .with("--packet-log", directory.join("root.packets"))
}

/// Starts a broadcast that waits for a publisher.
pub fn waiting(directory: &TempDir, args: Args) -> (Broadcast, Whip) {
    let mut root = Broadcast::start(directory, args);
    let url = root.process.line("whip: ", START);
    let token = root.process.line("token: ", START);
    (root, Whip { url, token })
}

/// Whether this ffmpeg publishes (version 8 and later).
pub fn can_publish(ffmpeg: &Path) -> bool {
    let listed = Command::new(ffmpeg)
        .args(["-hide_banner", "-muxers"])
        .output();
    listed.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(" whip "))
}

/// Publishes an MP4 file of H.264 and Opus as it is, again and again.
pub fn publish(ffmpeg: &Path, whip: &Whip, file: &Path) -> Process {
    let args = Args::of(["-hide_banner", "-loglevel", "verbose", "-re"])
        .with("-stream_loop", "-1")
        .with("-i", file)
        .with("-c", "copy")
        .with("-f", "whip")
        .with("-authorization", &whip.token)
        .flag(&whip.url);
    Process::start("publisher", ffmpeg, args)
}

/// A Python with the libraries of ffmpeg 8, as `BANYAN_TEST_FFMPEG_8` names it.
pub fn ffmpeg_8() -> Option<PathBuf> {
    std::env::var_os("BANYAN_TEST_FFMPEG_8").map(PathBuf::from)
}

/// Publishes an MP4 file of H.264 and Opus as it is, again and again, with ffmpeg 8.
pub fn publish_with_8(python: &Path, whip: &Whip, file: &Path) -> Process {
    let script = repository("tests/src/ffmpeg_8.py").into_os_string();
    let args = Args::of([
        script,
        file.into(),
        (&whip.url).into(),
        (&whip.token).into(),
    ]);
    Process::start("publisher", python, args)
}
