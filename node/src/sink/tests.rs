//! Clips that are packetised, recorded, and compared with themselves.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use banyan::limits::MAX_PAYLOAD;
use banyan::relay::packet::Packet;
use banyan::wire::announcement::{Codec, MediaKind, TrackInfo};
use bytes::Bytes;

use super::depacketize::Depacketizer;
use super::*;
use crate::source::bitstream::put_leb128;
use crate::source::tests::{Scratch, beeps, ffmpeg, frames, media, scratch};
use crate::source::{Packetizer, Playback, Source, SourceFrame};

/// RTP timestamps of the source's time zero; the first one rolls over on the way.
const BASES: [u32; 2] = [u32::MAX - 100_000, 77_777];

/// The packets of a clip in the order in which they are due, and its tracks.
fn packets(name: &str) -> (Vec<TrackInfo>, Vec<Packet>, Vec<SourceFrame>) {
    let mut source = Source::open(&media(name), Playback::Once).unwrap();
    let tracks: Vec<_> = (source.tracks().iter().enumerate())
        .map(|(index, track)| TrackInfo {
            codec: track.codec,
            fmtp: track.fmtp.clone(),
            ssrc: index as u32 + 1,
            first_seq: 65_536 + 65_500,
        })
        .collect();
    let frames = frames(&mut source);
    let mut cutters: Vec<_> = tracks.iter().map(|t| Packetizer::new(t.codec)).collect();
    let mut next: Vec<_> = tracks.iter().map(|t| t.first_seq).collect();
    let mut packets = Vec::new();
    for frame in &frames {
        let place = usize::from(frame.track);
        let payloads = cutters[place].packetize(&frame.data, frame.key);
        let last = payloads.len() - 1;
        for (index, payload) in payloads.into_iter().enumerate() {
            packets.push(Packet {
                track: frame.track,
                seq: next[place],
                timestamp: BASES[place].wrapping_add(frame.timestamp as u32),
                marker: tracks[place].codec.kind() == MediaKind::Video && index == last,
                extensions: Vec::new(),
                payload,
            });
            next[place] += 1;
        }
    }
    (tracks, packets, frames)
}

fn set_clocks(recording: &Recording) {
    for (track, base) in BASES.into_iter().enumerate() {
        // Reports are of different moments: two seconds apart.
        let rate = [90_000, 48_000][track];
        let later = 1 + 2 * track as u64;
        let rtp = base.wrapping_add(rate * later as u32);
        recording.set_clock(track as u8, (1_000_000 + later) << 32, rtp);
    }
}

fn target(name: &str) -> Scratch {
    scratch(name, b"")
}

fn record(path: &Path, tracks: &[TrackInfo], packets: &[Packet]) -> Summary {
    let recording = Recording::create(path, tracks).unwrap();
    set_clocks(&recording);
    for packet in packets {
        recording.push(packet.clone());
    }
    recording.finish().unwrap()
}

/// What ffmpeg complains about, and how many frames of each track it decodes.
fn decode(ffmpeg: &Path, file: &Path, seek: &str) -> (String, usize, usize) {
    let count = |kind: &str| {
        let output = Command::new(ffmpeg)
            .args(["-v", "error", "-ss", seek, "-i"])
            .arg(file)
            .args([
                "-map",
                kind,
                "-fps_mode",
                "passthrough",
                "-f",
                "framecrc",
                "-",
            ])
            .output()
            .unwrap();
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let frames = lines.lines().filter(|line| !line.starts_with('#')).count();
        (String::from_utf8_lossy(&output.stderr).into_owned(), frames)
    };
    let (video_errors, video) = count("0:v");
    let (audio_errors, audio) = count("0:a");
    (video_errors + &audio_errors, video, audio)
}

/// As ffmpeg states it, in seconds.
fn duration(ffmpeg: &Path, file: &Path) -> f64 {
    let output = Command::new(ffmpeg).arg("-i").arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let stated = text.split("Duration: ").nth(1).unwrap();
    let fields: Vec<f64> = (stated.split(',').next().unwrap().split(':'))
        .map(|field| field.parse().unwrap())
        .collect();
    fields[0] * 3600.0 + fields[1] * 60.0 + fields[2]
}

/// When each picture is shown, in the order they are decoded in, on a clock of 90 kHz.
fn shown(ffmpeg: &Path, file: &Path) -> Vec<i64> {
    let output = Command::new(ffmpeg)
        .args(["-v", "error", "-copyts", "-i"])
        .arg(file)
        .args(["-map", "0:v", "-c", "copy", "-f", "framecrc", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let unit = text
        .lines()
        .find_map(|line| line.strip_prefix("#tb 0: 1/"))
        .unwrap();
    let unit: i64 = unit.parse().unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(',').nth(2).unwrap().trim().parse::<i64>())
        .map(|time| time.unwrap() * 90_000 / unit)
        .collect()
}

#[test]
fn pictures_in_another_order_than_they_are_shown_in_keep_their_times() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let (tracks, mut packets, _) = packets("clip.mp4");
    // As with two B-frames: the fourth picture is sent second, and so on in each second.
    let order = |number: u32| match number % 30 {
        0 | 28 | 29 => number,
        n if n % 3 == 1 => number + 2,
        _ => number - 1,
    };
    for packet in packets.iter_mut().filter(|p| p.track == 0) {
        let number = packet.timestamp.wrapping_sub(BASES[0]) / 3_000;
        packet.timestamp = BASES[0].wrapping_add(order(number) * 3_000);
    }
    let path = target("b-frames.mp4");
    let summary = record(&path, &tracks, &packets);
    assert_eq!(summary.lost, [0, 0]);
    let shown = shown(&ffmpeg, &path);
    assert_eq!(shown.len(), 300);
    for (number, time) in (0..).zip(&shown) {
        let due = i64::from(order(number)) * 3_000;
        assert_eq!(time - shown[0], due, "picture {number}");
    }
    assert!((duration(&ffmpeg, &path) - 10.0).abs() < 0.1);
}

const COMBINATIONS: [(&str, &str, f64); 9] = [
    ("clip.mp4", "mp4", 10.0),
    ("clip.mp4", "mkv", 10.0),
    ("clip.webm", "webm", 10.0),
    ("clip.webm", "mkv", 10.0),
    ("formats/h264-high-opus.mp4", "mp4", 2.0),
    ("formats/h264-aac-44100.mp4", "mp4", 2.0),
    ("formats/vp9-opus.webm", "webm", 2.0),
    ("formats/av1-opus.webm", "webm", 2.0),
    ("formats/av1-opus.mp4", "mkv", 2.0),
];

#[test]
fn a_recording_is_the_same_frames() {
    for (index, (name, extension, length)) in COMBINATIONS.into_iter().enumerate() {
        let (tracks, packets, sent) = packets(name);
        let path = target(&format!("same-{index}.{extension}"));
        let summary = record(&path, &tracks, &packets);
        assert_eq!(summary.lost, [0, 0]);
        assert_eq!(
            summary.frames.iter().sum::<u64>(),
            sent.len() as u64,
            "{name}"
        );

        let mut again = Source::open(&path, Playback::Once).unwrap();
        let codecs: Vec<_> = again
            .tracks()
            .iter()
            .map(|t| (t.codec, t.fmtp.clone()))
            .collect();
        let before: Vec<_> = tracks.iter().map(|t| (t.codec, t.fmtp.clone())).collect();
        assert_eq!(codecs, before, "{name} {extension}");
        let recorded = frames(&mut again);
        for track in 0..2 {
            let of = |frames: &[SourceFrame]| -> Vec<(u64, bool, Bytes)> {
                let own = frames.iter().filter(|f| f.track == track);
                own.map(|f| (f.timestamp, f.key, f.data.clone())).collect()
            };
            let (sent, recorded) = (of(&sent), of(&recorded));
            assert_eq!(sent.len(), recorded.len(), "{name} {extension}");
            let millisecond = [90, 48][usize::from(track)] + 1;
            for (a, b) in sent.iter().zip(&recorded) {
                assert!(
                    (&a.1, &a.2) == (&b.1, &b.2),
                    "{name} {extension}: another frame"
                );
                let (at, was) = (b.0 - recorded[0].0, a.0 - sent[0].0);
                assert!(at.abs_diff(was) <= millisecond, "{name}: {at} was {was}");
            }
        }
        let Some(ffmpeg) = ffmpeg() else { continue };
        let pictures = sent.iter().filter(|f| f.track == 0).count();
        let sounds = sent.len() - pictures;
        let (errors, video, audio) = decode(&ffmpeg, &path, "0");
        assert_eq!(errors, "", "{name} {extension}");
        assert_eq!(video, pictures, "{name} {extension}");
        assert!(
            audio.abs_diff(sounds) <= 1,
            "{name} {extension}: {audio} of {sounds}"
        );
        let stated = duration(&ffmpeg, &path);
        assert!(
            (stated - length).abs() < 0.06,
            "{name} {extension}: {stated} s"
        );
        // From the middle: the second half is there, and nothing is wrong with it.
        let (errors, video, _) = decode(&ffmpeg, &path, &format!("{}", length / 2.0));
        assert_eq!(errors, "", "{name} {extension}");
        assert!(
            video.abs_diff(pictures / 2) <= 2,
            "{name} {extension}: {video}"
        );
    }
}

#[test]
fn joined_in_the_middle_sound_and_picture_stay_together() {
    for (name, extension) in [
        ("clip.mp4", "mp4"),
        ("clip.mp4", "mkv"),
        ("clip.webm", "webm"),
    ] {
        let (tracks, packets, _) = packets(name);
        let path = target(&format!("joined-{extension}-{}.{extension}", &name[5..]));
        // In the middle of a group of pictures, and of a frame.
        let rest = &packets[packets.len() / 4 + 1..];
        record(&path, &tracks, rest);
        let mut source = Source::open(&path, Playback::Once).unwrap();
        let recorded = frames(&mut source);
        let sound: Vec<_> = (recorded.iter().filter(|f| f.track == 1))
            .map(|f| (f.timestamp, f.data.clone()))
            .collect();
        let flashes: Vec<_> = (recorded.iter().filter(|f| f.track == 0 && f.key))
            .map(|f| f.timestamp as f64 / 90_000.0)
            .collect();
        let beeps = beeps(&sound);
        assert!(beeps.len() >= 6, "{name} {extension}: {beeps:?}");
        for beep in &beeps[1..] {
            let nearest = flashes.iter().map(|f| (f - beep).abs()).fold(9.0, f64::min);
            assert!(
                nearest < 0.02,
                "{extension}: beep at {beep}, flashes at {flashes:?}"
            );
        }
    }
}

#[test]
fn final_loss_leaves_a_clean_file() {
    let Some(ffmpeg) = ffmpeg() else { return };
    for (name, extension) in [
        ("clip.mp4", "mp4"),
        ("clip.webm", "webm"),
        ("formats/vp9-opus.webm", "webm"),
        ("formats/av1-opus.webm", "webm"),
    ] {
        let (tracks, packets, sent) = packets(name);
        let path = target(&format!("loss-{}.{extension}", tracks[0].codec.name()));
        let half = packets.len() / 2;
        let lossy: Vec<_> = (packets.iter().enumerate())
            .filter(|(at, _)| !(half..half + 3).contains(at))
            .map(|(_, packet)| packet.clone())
            .collect();
        let summary = record(&path, &tracks, &lossy);
        assert_eq!(summary.lost.iter().sum::<u64>(), 3, "{name}");
        let (errors, video, _) = decode(&ffmpeg, &path, "0");
        assert_eq!(errors, "", "{name}");
        let pictures = sent.iter().filter(|f| f.track == 0).count();
        assert!(
            video < pictures && video >= pictures - 32,
            "{name}: {video} of {pictures}"
        );
    }
}

#[test]
fn a_killed_program_leaves_a_playable_file() {
    let Some(ffmpeg) = ffmpeg() else { return };
    for (name, extension) in [
        ("clip.mp4", "mp4"),
        ("clip.mp4", "mkv"),
        ("clip.webm", "webm"),
    ] {
        let (tracks, packets, _) = packets(name);
        let path = target(&format!("killed-{}.{extension}", &name[5..]));
        let recording = Recording::create(&path, &tracks).unwrap();
        set_clocks(&recording);
        for packet in &packets {
            recording.push(packet.clone());
        }
        // All but the last second is on its way to the disk.
        let start = Instant::now();
        let mut written = Vec::new();
        while written.len() < 700_000 && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
            written = std::fs::read(&*path).unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
        let left = scratch(
            &format!("left.{extension}"),
            &std::fs::read(&*path).unwrap(),
        );
        let (errors, video, audio) = decode(&ffmpeg, &left, "0");
        assert!(
            video >= 240,
            "{name} {extension}: {video} pictures, {errors}"
        );
        assert!(audio >= 380, "{name} {extension}: {audio} sounds, {errors}");
        drop(recording);
        let (errors, video, _) = decode(&ffmpeg, &path, "0");
        assert_eq!(
            (errors.as_str(), video),
            ("", 300),
            "a dropped recording is finished"
        );
    }
}

fn track(codec: Codec) -> TrackInfo {
    TrackInfo {
        codec,
        fmtp: String::new(),
        ssrc: 1,
        first_seq: 70_000,
    }
}

#[test]
fn names_that_do_not_fit() {
    let error = |name: &str, codec| {
        let path = std::env::temp_dir().join(name);
        let recording = Recording::create(&path, &[track(codec), track(Codec::Opus)]);
        recording.unwrap_err().to_string()
    };
    let message = error("x.webm", Codec::H264);
    assert_eq!(
        message,
        "a .webm file cannot hold H264; record to a name that ends in .mp4"
    );
    assert!(error("x.mp4", Codec::Vp8).contains("ends in .webm"));
    assert!(error("x.avi", Codec::Vp8).contains(".mkv (everything)"));
    assert!(error("x", Codec::Vp8).contains(".mkv (everything)"));
    assert!(error("no/such/directory/x.mkv", Codec::Vp8).contains("cannot write"));
}

#[test]
fn nothing_and_no_room() {
    let path = target("nothing.mkv");
    let recording = Recording::create(&path, &[track(Codec::Vp8)]).unwrap();
    let error = recording.finish().unwrap_err();
    assert!(matches!(error, RecordingError::Nothing { .. }), "{error}");
    assert!(!path.exists());

    #[cfg(target_os = "linux")]
    {
        let full = target("full.webm");
        std::fs::remove_file(&*full).unwrap();
        std::os::unix::fs::symlink("/dev/full", &*full).unwrap();
        let (tracks, packets, _) = packets("formats/vp9-opus.webm");
        let recording = Recording::create(&full, &tracks).unwrap();
        set_clocks(&recording);
        for packet in packets {
            recording.push(packet);
        }
        let error = recording.finish().unwrap_err();
        assert!(matches!(error, RecordingError::Write { .. }), "{error}");
    }
}

/// Temporal units of several coded frames whose bounds fall on every place around a packet's end.
#[test]
fn av1_is_cut_inside_units_only() {
    /// A unit as it comes from a file: of this type, with `size` bytes after its header.
    fn unit(kind: u8, extension: bool, size: usize) -> Vec<u8> {
        let mut unit = vec![kind << 3 | 0x02 | if extension { 0x04 } else { 0 }];
        unit.extend(extension.then_some(0x20));
        put_leb128(&mut unit, size);
        unit.extend((0..size).map(|at| (at * 7 + size) as u8));
        unit
    }
    let (sequence, delimiter, frame, tiles, padding) = (1, 2, 6, 8, 15);
    let mut packetizer = Packetizer::new(Codec::Av1);
    let mut depacketizer = Depacketizer::new(Codec::Av1);
    let mut seq = 70_000;
    for size in (1..40).chain(MAX_PAYLOAD - 40..MAX_PAYLOAD + 10) {
        for sizes in [
            &[size][..],
            &[size, 1],
            &[size, 2, 500],
            &[3 * MAX_PAYLOAD, size, 1, 1, 2],
            &[5, 6, 7, size, 2 * MAX_PAYLOAD, 1],
        ] {
            let extension = size % 2 == 1;
            let mut sent = unit(sequence, false, 10);
            for size in sizes {
                sent.extend(unit(frame, extension, *size));
            }
            let rest = &sent[unit(sequence, false, 10).len()..];
            let file = [
                &unit(delimiter, false, 0)[..],
                &unit(sequence, false, 10),
                &unit(padding, false, 30),
                rest,
                &unit(tiles, false, 9),
            ]
            .concat();
            let payloads = packetizer.packetize(&file.into(), true);
            let count = payloads.len();
            let timestamp = seq as u32;
            let mut whole = None;
            for (index, payload) in payloads.into_iter().enumerate() {
                assert!(payload.len() <= MAX_PAYLOAD);
                let flags = payload[0] & 0xc8;
                assert_eq!(flags & 0x88, if index == 0 { 0x08 } else { 0x80 });
                assert_eq!(flags & 0x40 == 0, index + 1 == count);
                assert!(whole.is_none());
                whole = depacketizer.push(&Packet {
                    track: 0,
                    seq,
                    timestamp,
                    marker: index + 1 == count,
                    extensions: Vec::new(),
                    payload,
                });
                seq += 1;
            }
            assert_eq!(whole.unwrap().data, sent, "{sizes:?}");
        }
    }
}

#[test]
fn malformed_packets_never_panic() {
    for codec in [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::Opus] {
        let mut depacketizer = Depacketizer::new(codec);
        let mut seq = 70_000;
        for seed in 0..4_000u32 {
            seq += u64::from(seed % 7 == 3) + 1;
            let length = seed as usize * 7 % 23;
            let bytes: Vec<u8> = (0..length)
                .map(|at| (seed.wrapping_mul(2_654_435_761) >> (at % 24)) as u8)
                .collect();
            depacketizer.push(&Packet {
                track: 0,
                seq,
                timestamp: seed / 3,
                marker: seed % 3 == 2,
                extensions: Vec::new(),
                payload: bytes.into(),
            });
        }
    }
}
