//! The committed clips through the whole source, compared with what `ffmpeg` reads in them.

mod damage;
mod foreign;
mod passing;
mod timing;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use banyan::limits::MAX_PAYLOAD;
use banyan::wire::announcement::{Codec, MediaKind};
use tokio::sync::mpsc;

use super::bitstream::{NAL_LENGTH, is_b_slice, length_prefixed, nal, nal_type};
use super::ffmpeg::Ffmpeg;
use super::*;

pub(crate) fn media(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/media")
        .join(name)
}

/// `BANYAN_FFMPEG`, the one on `PATH`, or that of PyPI's `imageio-ffmpeg`. Tests that need it are
/// skipped where there is none, but never in CI.
pub(crate) fn ffmpeg() -> Option<PathBuf> {
    let works = |path: &Path| Command::new(path).arg("-version").output().is_ok();
    let named = std::env::var_os("BANYAN_FFMPEG").map(PathBuf::from);
    let on_path = Some(PathBuf::from("ffmpeg"));
    if let Some(found) = named.or(on_path).filter(|path| works(path)) {
        return Some(found);
    }
    let script = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())";
    let python = Command::new("python3").args(["-c", script]).output().ok();
    let path = python
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
        .filter(|path| works(path));
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs ffmpeg");
        eprintln!("skipped: no ffmpeg");
    }
    path
}

fn open(name: &str, playback: Playback) -> Source {
    Source::open_with(&media(name), playback, None).unwrap_or_else(|e| panic!("{name}: {e}"))
}

pub(crate) fn frames(source: &mut Source) -> Vec<SourceFrame> {
    std::iter::from_fn(|| source.next_frame().unwrap()).collect()
}

/// When each beep begins, in seconds of the source, in decoded Opus.
pub(crate) fn beeps(frames: &[(u64, Bytes)]) -> Vec<f64> {
    let mut decoder = ropus::Decoder::new(48_000, ropus::Channels::Mono).unwrap();
    let mut found: Vec<f64> = Vec::new();
    let mut quiet = true;
    for (timestamp, data) in frames {
        let mut sound = [0i16; 5760];
        let count = decoder
            .decode(data, &mut sound, ropus::DecodeMode::Normal)
            .unwrap();
        for (index, part) in sound[..count].chunks(96).enumerate() {
            let level = part.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
            if level > 3000 && quiet {
                found.push((*timestamp as f64 + index as f64 * 96.0) / 48_000.0);
            }
            if !(1000..=3000).contains(&level) {
                quiet = level < 1000;
            }
        }
    }
    found
}

/// A file of this test run's own, removed with this value.
pub(crate) struct Scratch(PathBuf);

impl std::ops::Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        // The last one takes the directory along.
        let _ = self.0.parent().map(std::fs::remove_dir);
    }
}

pub(crate) fn scratch(name: &str, content: &[u8]) -> Scratch {
    let directory = std::env::temp_dir().join(format!("banyan-media-{}", std::process::id()));
    let path = directory.join(name);
    // Another test may remove the empty directory in between.
    let written = (0..100).any(|_| {
        let _ = std::fs::create_dir_all(&directory);
        std::fs::write(&path, content).is_ok()
    });
    assert!(written, "{}", path.display());
    Scratch(path)
}
