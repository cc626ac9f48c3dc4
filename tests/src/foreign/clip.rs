//! The stamped clip as coded pictures and packets of sound, as it is or encoded another way.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use rtc::media::io::ivf_reader::IVFReader;
use rtc::media::io::ogg_reader::OggReader;

use crate::media;
use crate::workspace::TempDir;

/// How the pictures are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// VP8.
    Vp8,
    /// H.264 Constrained Baseline, with start codes.
    H264,
}

/// The clip, in one form.
#[derive(Debug, Clone)]
pub struct Clip {
    pub(super) coding: Coding,
    pub(super) frames: Vec<Bytes>,
    pub(super) sounds: Vec<Bytes>,
}

impl Clip {
    /// The clip as it lies in the repository: a key frame each second.
    ///
    /// # Panics
    /// When `ffmpeg` cannot take it apart.
    pub fn read(ffmpeg: &Path, coding: Coding) -> Self {
        Self::made(ffmpeg, coding, &["-c:v", "copy"])
    }

    /// The clip at another size, with key frames `group` pictures apart.
    ///
    /// # Panics
    /// When `ffmpeg` cannot encode it.
    pub fn encoded(ffmpeg: &Path, coding: Coding, size: (u32, u32), group: u32) -> Self {
        let encoder: &[&str] = match coding {
            Coding::Vp8 => &["libvpx", "-deadline", "realtime", "-cpu-used", "8"],
            Coding::H264 => &["libx264", "-preset", "ultrafast", "-profile:v", "baseline"],
        };
        let (size, group) = (format!("{}x{}", size.0, size.1), group.to_string());
        let mut how = vec!["-c:v"];
        how.extend(encoder);
        how.extend(["-s", &size, "-b:v", "800k", "-bf", "0"]);
        how.extend(["-g", &group, "-keyint_min", &group, "-sc_threshold", "0"]);
        Self::made(ffmpeg, coding, &how)
    }

    /// This clip with the pictures of `other` from its second `from` on to its second `to`.
    #[must_use]
    pub fn with_seconds_of(mut self, other: &Self, from: usize, to: usize) -> Self {
        let rate = media::FRAME_RATE as usize;
        let range = from * rate..to * rate;
        self.frames[range.clone()].clone_from_slice(&other.frames[range]);
        self
    }

    fn made(ffmpeg: &Path, coding: Coding, how: &[&str]) -> Self {
        let directory = TempDir::new();
        let (ogg, video) = (directory.join("clip.ogg"), directory.join("clip.video"));
        let (source, format): (_, &[&str]) = match coding {
            Coding::Vp8 => (media::clip_webm(), &["-f", "ivf"]),
            // A delimiter in front of each picture, to cut at.
            Coding::H264 => (
                media::clip_mp4(),
                &[
                    "-bsf:v",
                    "h264_mp4toannexb,h264_metadata=aud=insert",
                    "-f",
                    "h264",
                ],
            ),
        };
        let format: &[&str] = match (coding, how.contains(&"copy")) {
            (Coding::H264, false) => &["-bsf:v", "h264_metadata=aud=insert", "-f", "h264"],
            _ => format,
        };
        let taken_apart = Command::new(ffmpeg)
            .args(["-v", "error", "-i"])
            .arg(source)
            .args(["-map", "0:v"])
            .args(how)
            .args(format)
            .arg(&video)
            // The crate's reader takes a page for a packet.
            .args(["-map", "0:a", "-c", "copy", "-page_duration", "20000"])
            .arg(&ogg)
            .status();
        assert!(taken_apart.unwrap().success());
        let frames = match coding {
            Coding::Vp8 => ivf_frames(&video),
            Coding::H264 => delimited(&std::fs::read(&video).unwrap()),
        };
        assert_eq!(frames.len(), media::FRAMES as usize);
        let sounds = ogg_packets(&ogg);
        assert!(sounds.len() >= 499, "{} packets of sound", sounds.len());
        Self {
            coding,
            frames,
            sounds,
        }
    }
}

fn open(path: &Path) -> BufReader<File> {
    BufReader::new(File::open(path).unwrap())
}

fn ivf_frames(file: &Path) -> Vec<Bytes> {
    let (mut reader, _) = IVFReader::new(open(file)).unwrap();
    let mut frames = Vec::new();
    while let Ok((frame, _)) = reader.parse_next_frame() {
        frames.push(frame.freeze());
    }
    frames
}

/// Pictures of an H.264 byte stream, each behind its access unit delimiter, which is left out.
fn delimited(stream: &[u8]) -> Vec<Bytes> {
    const DELIMITER: [u8; 5] = [0, 0, 0, 1, 9];
    /// Behind it stands one byte: which kinds of slices follow.
    const LENGTH: usize = DELIMITER.len() + 1;
    let starts: Vec<usize> = (stream.windows(DELIMITER.len()).enumerate())
        .filter(|(_, bytes)| *bytes == DELIMITER)
        .map(|(at, _)| at)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    (starts.iter().zip(ends))
        .map(|(&start, end)| Bytes::copy_from_slice(&stream[start + LENGTH..end]))
        .collect()
}

fn ogg_packets(file: &Path) -> Vec<Bytes> {
    let (mut reader, _) = OggReader::new(open(file), true).unwrap();
    let mut sounds = Vec::new();
    while let Ok((page, header)) = reader.parse_next_page() {
        // The first page with a position is the first with sound.
        if header.granule_position > 0 {
            sounds.push(page.freeze());
        }
    }
    sounds
}
