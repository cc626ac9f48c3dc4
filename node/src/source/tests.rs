//! The committed clips through the whole source, compared with what `ffmpeg` reads in them.

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

fn adler32(data: &[u8]) -> u32 {
    let (mut a, mut b) = (0u32, 0u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

/// Time in milliseconds, size and checksum of each packet of a file, as ffmpeg reads it.
fn packets(ffmpeg: &Path, file: &Path, kind: &str) -> Vec<(f64, usize, u32)> {
    let output = Command::new(ffmpeg)
        .args(["-v", "error", "-copyts", "-i"])
        .arg(file)
        .args(["-map", kind, "-c", "copy", "-f", "framecrc", "-"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let time_base = text.lines().find_map(|line| line.strip_prefix("#tb 0: "));
    let (numerator, denominator) = time_base.unwrap().split_once('/').unwrap();
    let tick = numerator.parse::<f64>().unwrap() / denominator.parse::<f64>().unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<_> = line.split(',').map(str::trim).collect();
            let pts = fields[2].parse::<f64>().unwrap() * tick * 1000.0;
            let crc = u32::from_str_radix(&fields[5][2..], 16).unwrap();
            (pts, fields[4].parse().unwrap(), crc)
        })
        .collect()
}

#[test]
fn every_packet_of_what_passes_through() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let files = [
        ("clip.mp4", Codec::H264, true),
        ("clip.webm", Codec::Vp8, true),
        ("formats/h264-main-opus.mp4", Codec::H264, true),
        ("formats/h264-high-opus.mp4", Codec::H264, true),
        ("formats/h264-opus.mkv", Codec::H264, true),
        ("formats/h264-fragmented-opus.mp4", Codec::H264, true),
        ("formats/h264-baseline-aac.mp4", Codec::H264, false),
        ("formats/vp8-vorbis.webm", Codec::Vp8, false),
        ("formats/vp9-opus.webm", Codec::Vp9, true),
        ("formats/vp9-opus.mp4", Codec::Vp9, true),
        ("formats/av1-opus.webm", Codec::Av1, true),
        ("formats/av1-opus.mp4", Codec::Av1, true),
    ];
    for (name, codec, opus_passes) in files {
        let mut source = open(name, Playback::Once);
        let codecs: Vec<_> = source.tracks().iter().map(|t| t.codec).collect();
        assert_eq!(codecs, [codec, Codec::Opus], "{name}");
        let frames = frames(&mut source);
        assert!(frames.windows(2).all(|w| w[0].due <= w[1].due), "{name}");
        let video: Vec<_> = frames.iter().filter(|f| f.track == 0).collect();
        let audio: Vec<_> = frames.iter().filter(|f| f.track == 1).collect();

        let expected = packets(&ffmpeg, &media(name), "0:v");
        assert_eq!(video.len(), expected.len(), "{name}");
        let first = video[0].timestamp;
        for (frame, (pts, _, crc)) in video.iter().zip(&expected) {
            let sent = (frame.timestamp - first) as f64 / 90.0;
            assert!((sent - (pts - expected[0].0)).abs() < 0.6, "{name} {sent}");
            let data = without_parameter_sets(codec, &frame.data);
            assert_eq!(adler32(&data), *crc, "{name} at {pts}");
        }
        assert!(video[0].key && !video[1].key, "{name}");
        let keys = video.iter().filter(|f| f.key).count();
        assert!((2..=11).contains(&keys), "{name}: {keys} key frames");

        if opus_passes {
            let expected = packets(&ffmpeg, &media(name), "0:a");
            assert_eq!(audio.len(), expected.len(), "{name}");
            for (frame, (_, size, crc)) in audio.iter().zip(&expected) {
                assert_eq!((frame.data.len(), adler32(&frame.data)), (*size, *crc));
            }
            // Sound and picture keep their distance, but for Matroska's milliseconds.
            let ours = audio[0].timestamp as f64 / 48.0 - first as f64 / 90.0;
            let theirs = expected[0].0 - packets(&ffmpeg, &media(name), "0:v")[0].0;
            assert!((ours - theirs).abs() < 1.1, "{name}: {ours} {theirs}");
        }
        let steps = audio.windows(2).map(|w| w[1].timestamp - w[0].timestamp);
        assert!(steps.clone().all(|step| step == 960), "{name}");
    }
}

fn without_parameter_sets(codec: Codec, frame: &Bytes) -> Bytes {
    if codec != Codec::H264 {
        return frame.clone();
    }
    let units = length_prefixed(frame, NAL_LENGTH);
    bitstream::join_nals(units.filter(|u| !matches!(nal_type(u), nal::SPS | nal::PPS)))
}

#[test]
fn format_parameters() {
    let fmtp = |name: &str, track: usize| open(name, Playback::Once).tracks()[track].fmtp.clone();
    let h264 = |id| format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={id}");
    assert_eq!(fmtp("clip.mp4", 0), h264("42c01e"));
    assert!(fmtp("formats/h264-main-opus.mp4", 0).contains("=4d40"));
    assert!(fmtp("formats/h264-high-opus.mp4", 0).contains("=6400"));
    let stereo = "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1";
    assert_eq!(fmtp("clip.webm", 1), stereo);
    assert_eq!(fmtp("formats/opus.ogg", 0), stereo);
    assert_eq!(fmtp("formats/mp3.mp3", 0), stereo);
    assert_eq!(fmtp("formats/vp9-opus.webm", 0), "profile-id=0");
    assert!(fmtp("formats/av1-opus.webm", 0).contains("profile=0"));
}

#[test]
fn parameter_sets_in_front_of_every_idr_picture() {
    for name in ["clip.mp4", "formats/h264-opus.mkv"] {
        for frame in frames(&mut open(name, Playback::Once)) {
            let units = length_prefixed(&frame.data, NAL_LENGTH).map(nal_type);
            let kinds: Vec<_> = if frame.track == 0 {
                units.collect()
            } else {
                continue;
            };
            let complete = kinds.starts_with(&[nal::SPS, nal::PPS]) && kinds.contains(&nal::IDR);
            assert_eq!(frame.key, complete, "{kinds:?}");
        }
    }
}

#[test]
fn a_loop_has_no_seam() {
    for name in ["clip.mp4", "clip.webm"] {
        let mut source = open(name, Playback::Looped);
        let (mut video, mut audio) = (Vec::new(), Vec::new());
        while video.len() < 950 {
            let frame = source.next_frame().unwrap().unwrap();
            let line = if frame.track == 0 {
                &mut video
            } else {
                &mut audio
            };
            line.push(frame.timestamp);
        }
        // Matroska rounds to milliseconds, which are 90 ticks.
        let exact = if name == "clip.mp4" { 0 } else { 90 };
        for step in video.windows(2).map(|w| w[1] - w[0]) {
            assert!(step.abs_diff(3000) <= exact, "{name}: {step}");
        }
        assert!(audio.windows(2).all(|w| w[1] - w[0] == 960), "{name}");
        assert_eq!(video[600] - video[0], 1_800_000, "{name}");
    }
}

#[test]
fn picture_and_sound_stay_together_for_1000_loops() {
    // Encoding anew is slower, and has a clock of its own to prove over fewer loops.
    let files = [
        ("formats/h264-opus.mkv", 1000),
        ("formats/h264-main-opus.mp4", 1000),
        ("formats/h264-aac-44100.mp4", 60),
    ];
    for (name, loops) in files {
        let mut source = open(name, Playback::Looped);
        let (mut sound, mut pictures) = (0, 0);
        let mut distances: Vec<f64> = Vec::new();
        while pictures < loops * 60 {
            let frame = source.next_frame().unwrap().unwrap();
            if frame.track == 1 {
                assert!(sound == 0 || frame.timestamp >= sound + 960, "{name}");
                sound = frame.timestamp;
                continue;
            }
            // The first picture of each pass, against the newest sound.
            if pictures % 60 == 0 && pictures > 0 {
                let picture = frame.timestamp as f64 / 90_000.0;
                distances.push(picture - sound as f64 / 48_000.0);
            }
            pictures += 1;
        }
        let worst = distances.iter().map(|d| d.abs()).fold(0.0, f64::max);
        assert!(worst < 0.06, "{name}: {worst} s apart");
    }
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

#[test]
fn sound_that_is_encoded_anew_keeps_its_time() {
    let names = [
        "formats/h264-baseline-aac.mp4",
        "formats/h264-aac-44100.mp4",
        "formats/vp8-vorbis.webm",
    ];
    for name in names {
        let mut source = open(name, Playback::Looped);
        let (mut sound, mut flashes) = (Vec::new(), Vec::new());
        let mut pictures = 0;
        while pictures < 240 {
            let frame = source.next_frame().unwrap().unwrap();
            if frame.track == 1 {
                sound.push((frame.timestamp, frame.data));
                continue;
            }
            if pictures % 30 == 0 {
                flashes.push(frame.timestamp as f64 / 90_000.0);
            }
            pictures += 1;
        }
        let beeps = beeps(&sound);
        assert!(beeps.len() >= 7, "{name}: {beeps:?}");
        for beep in &beeps {
            let nearest = flashes.iter().map(|f| (f - beep).abs()).fold(9.0, f64::min);
            assert!(
                nearest < 0.04,
                "{name}: beep at {beep}, flashes at {flashes:?}"
            );
        }
    }
}

#[test]
fn the_demo_loops() {
    let mut source = Source::demo().unwrap();
    assert_eq!(source.duration(), Some(Duration::from_secs(10)));
    let codecs: Vec<_> = source.tracks().iter().map(|t| t.codec).collect();
    assert_eq!(codecs, [Codec::H264, Codec::Opus]);
    let last = (0..1600)
        .map(|_| source.next_frame().unwrap().unwrap())
        .last();
    assert!(last.unwrap().due > Duration::from_secs(15));
}

#[test]
fn quicktime() {
    let mut source = open("formats/h264-aac.mov", Playback::Once);
    let codecs: Vec<_> = source.tracks().iter().map(|t| t.codec).collect();
    assert_eq!(codecs, [Codec::H264, Codec::Opus]);
    let audio = frames(&mut source).into_iter().filter(|f| f.track == 1);
    let sound: Vec<_> = audio.map(|f| (f.timestamp, f.data)).collect();
    assert!(beeps(&sound).len() >= 2);
}

#[test]
fn files_of_sound_alone() {
    for name in ["formats/opus.ogg", "formats/mp3.mp3"] {
        let mut source = open(name, Playback::Once);
        assert_eq!(source.tracks().len(), 1);
        let frames = frames(&mut source);
        assert!(
            (95..=106).contains(&frames.len()),
            "{name}: {}",
            frames.len()
        );
        let sound: Vec<_> = frames.into_iter().map(|f| (f.timestamp, f.data)).collect();
        assert!(beeps(&sound).len() >= 2, "{name}: {:?}", beeps(&sound));
    }
}

fn error(name: &str, playback: Playback) -> String {
    let opened = Source::open_with(&media(name), playback, None);
    opened
        .err()
        .unwrap_or_else(|| panic!("{name} opens"))
        .to_string()
}

#[test]
fn what_webrtc_cannot_carry_names_the_reason_and_the_remedy() {
    let once = Playback::Once;
    let message = error("formats/h264-bframes-aac.mp4", once);
    assert!(message.contains("B-frames"), "{message}");
    assert!(message.contains("ffmpeg -i "), "{message}");
    assert!(
        message.contains("-c:v libx264 -profile:v baseline"),
        "{message}"
    );
    assert!(
        message.ends_with("h264-bframes-aac-webrtc.mp4"),
        "{message}"
    );
    assert!(error("formats/h264-bframes-opus.mkv", once).contains("B-frames"));
    assert!(error("formats/hevc-aac.mp4", once).contains("HEVC"));
    assert!(error("formats/mpeg4-mp3.avi", once).contains("AVI"));
    assert!(error("formats/h264-turned-aac.mp4", once).contains("players turn"));
    let sound_only = error("formats/h264-pcm.mov", once);
    assert!(sound_only.contains("-c:v copy"), "{sound_only}");
}

#[test]
fn through_ffmpeg() {
    let Some(path) = ffmpeg() else { return };
    let ffmpeg = Ffmpeg::at(path);
    let names = [
        "formats/h264-bframes-aac.mp4",
        "formats/h264-bframes-opus.mkv",
        "formats/hevc-aac.mp4",
        "formats/mpeg4-mp3.avi",
        "formats/h264-pcm.mov",
    ];
    for name in names {
        let mut source = Source::open_with(&media(name), Playback::Once, Some(&ffmpeg)).unwrap();
        let codecs: Vec<_> = source.tracks().iter().map(|t| t.codec).collect();
        assert_eq!(codecs, [Codec::H264, Codec::Opus], "{name}");
        let frames = frames(&mut source);
        let video: Vec<_> = frames.iter().filter(|f| f.track == 0).collect();
        assert!((58..=62).contains(&video.len()), "{name}: {}", video.len());
        assert!(
            video[0].key && video.iter().filter(|f| f.key).count() >= 2,
            "{name}"
        );
        for frame in &video {
            assert!(
                !length_prefixed(&frame.data, NAL_LENGTH).any(is_b_slice),
                "{name}"
            );
        }
        assert!(
            video.windows(2).all(|w| w[0].timestamp < w[1].timestamp),
            "{name}"
        );
        let audio = frames.iter().filter(|f| f.track == 1);
        let sound: Vec<_> = audio.map(|f| (f.timestamp, f.data.clone())).collect();
        let start = video[0].timestamp as f64 / 90_000.0;
        for (second, beep) in beeps(&sound).iter().enumerate() {
            assert!(
                (beep - start - second as f64).abs() < 0.04,
                "{name}: {beep}"
            );
        }
    }
}

#[test]
fn through_ffmpeg_in_a_loop() {
    let Some(path) = ffmpeg() else { return };
    let name = media("formats/h264-bframes-aac.mp4");
    let mut source = Source::open_with(&name, Playback::Looped, Some(&Ffmpeg::at(path))).unwrap();
    let mut last = 0;
    for _ in 0..700 {
        let frame = source.next_frame().unwrap().unwrap();
        if frame.track == 0 {
            assert!(frame.timestamp > last || last == 0);
            last = frame.timestamp;
        }
    }
    assert!(last > 3 * 90_000, "more than one pass of two seconds");
}

#[test]
fn an_ffmpeg_that_fails_is_quoted() {
    let Some(path) = ffmpeg() else { return };
    let broken = scratch("broken.avi", b"RIFF\x10\0\0\0AVI nothing of the kind");
    let error = Source::open_with(&broken, Playback::Once, Some(&Ffmpeg::at(path))).unwrap_err();
    assert!(matches!(error, SourceError::Ffmpeg { .. }), "{error}");
    let nowhere = Ffmpeg::at("/nonexistent/ffmpeg");
    let error = Source::open_with(&broken, Playback::Once, Some(&nowhere)).unwrap_err();
    assert!(error.to_string().contains("does not start"), "{error}");
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

#[test]
fn bad_files() {
    let open = |path: &Path| Source::open_with(path, Playback::Once, None).unwrap_err();
    let missing = open(&media("no-such-file.mp4"));
    assert!(
        missing
            .to_string()
            .contains("no-such-file.mp4: No such file"),
        "{missing}"
    );
    assert!(matches!(
        open(&media("formats")),
        SourceError::Unreadable { .. }
    ));
    assert!(matches!(
        open(&media("README.md")),
        SourceError::NotMedia { .. }
    ));
    assert!(matches!(
        open(&scratch("empty.mp4", b"")),
        SourceError::NotMedia { .. }
    ));

    let clip = std::fs::read(media("clip.mp4")).unwrap();
    let cut = scratch("cut.mp4", &clip[..clip.len() / 2]);
    assert!(matches!(open(&cut), SourceError::Truncated { .. }));
    // Here the index is at the end.
    let whole = std::fs::read(media("formats/h264-main-opus.mp4")).unwrap();
    let cut = scratch("cut-index.mp4", &whole[..whole.len() - 100]);
    assert!(matches!(open(&cut), SourceError::Truncated { .. }));
    let cut = scratch("no-index.mp4", &whole[..32]);
    assert!(matches!(open(&cut), SourceError::NoIndex), "{}", open(&cut));
    let webm = std::fs::read(media("clip.webm")).unwrap();
    let cut = scratch("cut.webm", &webm[..webm.len() / 2]);
    assert!(matches!(open(&cut), SourceError::Truncated { .. }));

    let noise: Vec<u8> = (0..5000u32).map(|n| (n * n / 7) as u8).collect();
    let mut odd = b"\0\0\0\x18ftypisom\0\0\0\0isomavc1".to_vec();
    odd.extend(&noise);
    let error = open(&scratch("noise.mp4", &odd));
    assert!(!error.to_string().is_empty());
    let mut odd = webm[..200].to_vec();
    odd.extend(&noise);
    let _ = Source::open_with(&scratch("noise.webm", &odd), Playback::Once, None);
}

#[test]
fn damaged_files_never_panic() {
    for name in [
        "formats/h264-main-opus.mp4",
        "formats/av1-opus.webm",
        "formats/vp9-opus.webm",
    ] {
        let whole = std::fs::read(media(name)).unwrap();
        for seed in 0..40usize {
            let mut damaged = whole.clone();
            for step in 0..12 {
                let at = (seed * 7919 + step * 104_729) % damaged.len();
                damaged[at] ^= (seed * 31 + step * 17) as u8 | 1;
            }
            let path = scratch("damaged", &damaged);
            let Ok(mut source) = Source::open_with(&path, Playback::Once, None) else {
                continue;
            };
            let mut cut = Packetizer::new(source.tracks()[0].codec);
            for _ in 0..400 {
                match source.next_frame() {
                    Ok(Some(frame)) => {
                        let _ = cut.packetize(&frame.data, frame.key);
                    }
                    _ => break,
                }
            }
        }
    }
}

#[test]
fn packets_fit_and_end_with_a_marker() {
    for name in [
        "clip.mp4",
        "clip.webm",
        "formats/vp9-opus.webm",
        "formats/av1-opus.webm",
    ] {
        let mut source = open(name, Playback::Once);
        let codec = source.tracks()[0].codec;
        let mut packetizer = Packetizer::new(codec);
        for frame in frames(&mut source).iter().filter(|f| f.track == 0) {
            let payloads = packetizer.packetize(&frame.data, frame.key);
            assert!(!payloads.is_empty(), "{name}");
            assert!(payloads.iter().all(|p| p.len() <= MAX_PAYLOAD), "{name}");
            match codec {
                // AV1 RTP section 4.4: N marks a new coded video sequence. Z and Y mark fragments:
                // without a dependency descriptor, receivers find the frame's bounds by them.
                Codec::Av1 => {
                    for (index, payload) in payloads.iter().enumerate() {
                        let first = index == 0;
                        let last = index + 1 == payloads.len();
                        assert_eq!(payload[0] & 0x08 != 0, first && frame.key);
                        assert_eq!(payload[0] & 0x80 == 0, first);
                        assert_eq!(payload[0] & 0x40 == 0, last);
                    }
                }
                Codec::Vp9 => {
                    assert!(payloads[0][0] & 0x08 != 0);
                    assert!(payloads.last().unwrap()[0] & 0x04 != 0);
                    assert!(payloads.iter().all(|p| (p[0] & 0x40 == 0) == frame.key));
                }
                Codec::Vp8 => {
                    let starts: Vec<_> = payloads.iter().map(|p| p[0] & 0x10 != 0).collect();
                    assert!(starts[0] && !starts[1..].contains(&true));
                }
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plays_by_the_clock() {
    let source = open("formats/h264-main-opus.mp4", Playback::Once);
    let (events, mut received) = mpsc::channel(16);
    tokio::spawn(play(source, vec![u32::MAX - 10, 5], events));
    let Some(PlayEvent::Clock(clock)) = received.recv().await else {
        panic!("the clock comes first");
    };
    let mut count = [0; 2];
    let mut worst = Duration::ZERO;
    let end = loop {
        match received.recv().await.unwrap() {
            PlayEvent::Clock(_) => {}
            PlayEvent::Ended(end) => break end,
            PlayEvent::Frame(packets) => {
                let first = &packets[0];
                let (base, rate) = [(u32::MAX - 10, 90_000), (5, 48_000)][usize::from(first.track)];
                let due = f64::from(first.timestamp.wrapping_sub(base)) / f64::from(rate);
                let due = clock.zero + Duration::from_secs_f64(due);
                let now = Instant::now();
                assert!(now + Duration::from_millis(1) >= due, "a frame came early");
                worst = worst.max(now.saturating_duration_since(due));
                count[usize::from(first.track)] += 1;
                let video = MediaKind::Video
                    == [MediaKind::Video, MediaKind::Audio][usize::from(first.track)];
                assert_eq!(packets.last().unwrap().marker, video);
                assert!(packets.iter().all(|p| p.timestamp == first.timestamp));
                assert!(packets[1..].iter().all(|p| !p.key_frame_start));
            }
        }
    };
    assert!(end.is_ok());
    assert_eq!(count[0], 60);
    assert!(count[1] >= 100);
    // Other tests share the machine.
    assert!(worst < Duration::from_millis(400), "{worst:?}");
}
