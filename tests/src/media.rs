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
    let numbers = stamps(ffmpeg, file);
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

/// The number stamped into each picture.
///
/// # Panics
/// As [`decode`].
pub fn stamps(ffmpeg: &Path, file: &Path) -> Vec<u32> {
    // The stamp alone, at the clip's size whatever the picture's: 20 blocks in one row, each
    // averaged into a single grey pixel.
    let stamps = convert(
        ffmpeg,
        file,
        &[
            "-map",
            "0:v",
            "-fps_mode",
            "passthrough",
            "-vf",
            "scale=640:360,crop=640:8:0:348,scale=20:1:flags=area,format=gray",
            "-f",
            "rawvideo",
        ],
    );
    stamps
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
        .collect()
}

/// For each beep of a recording, how many milliseconds it begins after its flash (negative:
/// before).
///
/// # Panics
/// As [`decode`].
pub fn beep_after_flash(ffmpeg: &Path, file: &Path) -> Vec<f64> {
    let numbers = stamps(ffmpeg, file);
    let times = picture_times(ffmpeg, file);
    assert_eq!(numbers.len(), times.len());
    let flashes: Vec<f64> = numbers
        .iter()
        .zip(times)
        .filter(|(number, _)| *number % FRAME_RATE == 0)
        .map(|(_, time)| time)
        .collect();
    beeps(ffmpeg, file)
        .into_iter()
        .filter_map(|beep| {
            let offsets = flashes.iter().map(|flash| beep - flash);
            offsets.min_by(|a, b| a.abs().total_cmp(&b.abs()))
        })
        .filter(|offset| offset.abs() < 500.0)
        .collect()
}

/// When each picture is shown, in milliseconds.
fn picture_times(ffmpeg: &Path, file: &Path) -> Vec<f64> {
    let how = ["-map", "0:v", "-fps_mode", "passthrough", "-f", "framecrc"];
    let text = String::from_utf8(convert(ffmpeg, file, &how)).unwrap();
    let unit = text
        .lines()
        .find_map(|line| line.strip_prefix("#tb 0: 1/"))
        .unwrap_or_else(|| panic!("no time base: {text}"));
    let unit: f64 = unit.parse().unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let time = line.split(',').nth(2).unwrap();
            time.trim().parse::<f64>().unwrap() / unit * 1000.0
        })
        .collect()
}

/// When each beep begins, in milliseconds on the clock of [`picture_times`].
fn beeps(ffmpeg: &Path, file: &Path) -> Vec<f64> {
    const RATE: usize = 48_000;
    /// A twentieth of full scale.
    const LOUD: u16 = 1638;
    let how = [
        "-map",
        "0:a",
        "-af",
        "aresample=48000:async=1:first_pts=0",
        "-ac",
        "1",
        "-f",
        "s16le",
    ];
    let sound = convert(ffmpeg, file, &how);
    let mut quiet = 0;
    let mut found = Vec::new();
    for (at, sample) in sound.chunks_exact(2).enumerate() {
        if i16::from_le_bytes([sample[0], sample[1]]).unsigned_abs() > LOUD {
            if quiet >= RATE / 50 {
                found.push(at as f64 * 1000.0 / RATE as f64);
            }
            quiet = 0;
        } else {
            quiet += 1;
        }
    }
    found
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
            let offsets = beep_after_flash(&ffmpeg, &clip);
            assert!(offsets.len() >= 9, "{offsets:?}");
            assert!(offsets.iter().all(|ms| ms.abs() < 20.0), "{offsets:?}");
        }
    }
}
