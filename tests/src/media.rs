//! The clip every test broadcasts, and a judge of recordings.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::repository;

/// Pictures per second in the clip.
pub const FRAME_RATE: u32 = 30;

/// Pictures in the clip; the stamped number runs from 0 to one less.
pub const FRAMES: u32 = 300;

/// H.264 and Opus; described in `tests/media/README.md`.
pub fn clip_mp4() -> PathBuf {
    repository("tests/media/clip.mp4")
}

/// VP8 and Opus, the same pictures and sound.
pub fn clip_webm() -> PathBuf {
    repository("tests/media/clip.webm")
}

/// The `ffmpeg` for judging recordings: `BANYAN_TEST_FFMPEG`, or the one on `PATH`.
pub fn ffmpeg() -> Option<PathBuf> {
    let named = std::env::var_os("BANYAN_TEST_FFMPEG").map(PathBuf::from);
    named.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|directory| directory.join("ffmpeg"))
            .find(|file| file.is_file())
    })
}

/// What a whole recording holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoded {
    /// Stamped numbers of its pictures that follow on the one before.
    pub frames: usize,
    /// Pictures whose number does not follow on the one before.
    pub jumps: usize,
    /// Sound in seconds.
    pub audio_seconds: f64,
}

/// Decodes all pictures and sound of `file`, and reads the number stamped into each picture.
///
/// # Panics
/// On anything `ffmpeg` calls an error, and on a picture with a broken stamp.
pub fn decode(ffmpeg: &Path, file: &Path) -> Decoded {
    // The stamp alone: 20 blocks in one row, each averaged into a single grey pixel.
    let stamps = convert(
        ffmpeg,
        file,
        &[
            "-map",
            "0:v",
            "-fps_mode",
            "passthrough",
            "-vf",
            "crop=640:8:0:348,scale=20:1:flags=area,format=gray",
            "-f",
            "rawvideo",
        ],
    );
    let numbers: Vec<u32> = stamps
        .chunks_exact(20)
        .enumerate()
        .map(|(index, blocks)| {
            stamped_number(blocks).unwrap_or_else(|| {
                panic!(
                    "picture {index} of {} is damaged: {blocks:?}",
                    file.display()
                )
            })
        })
        .collect();
    let jumps = numbers
        .windows(2)
        .filter(|pair| pair[1] != (pair[0] + 1) % FRAMES)
        .count();
    let sound = convert(
        ffmpeg,
        file,
        &["-map", "0:a", "-ar", "48000", "-ac", "1", "-f", "s16le"],
    );
    Decoded {
        frames: numbers.len(),
        jumps,
        audio_seconds: sound.len() as f64 / 2.0 / 48_000.0,
    }
}

fn convert(ffmpeg: &Path, file: &Path, how: &[&str]) -> Vec<u8> {
    let output = Command::new(ffmpeg)
        .args(["-v", "error", "-xerror", "-i"])
        .arg(file)
        .args(how)
        .arg("-")
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", ffmpeg.display()));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.trim().is_empty(),
        "ffmpeg finds errors in {}: {complaints}",
        file.display()
    );
    output.stdout
}

/// The number in a stamp of 20 blocks, or none where marks or parity are wrong.
fn stamped_number(blocks: &[u8]) -> Option<u32> {
    let bits: Vec<u32> = blocks.iter().map(|&luma| u32::from(luma > 128)).collect();
    let number = bits[2..18].iter().fold(0, |number, bit| number * 2 + bit);
    let marks = bits[0] == 1 && bits[1] == 0 && bits[19] == 0;
    (marks && number.count_ones() % 2 == bits[18]).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clips_decode_whole() {
        let Some(ffmpeg) = ffmpeg() else {
            return crate::turn::skip("there is no ffmpeg");
        };
        for clip in [clip_mp4(), clip_webm()] {
            let decoded = decode(&ffmpeg, &clip);
            assert_eq!((decoded.frames, decoded.jumps), (FRAMES as usize, 0));
            assert!((decoded.audio_seconds - 10.0).abs() < 0.1, "{decoded:?}");
        }
    }
}
