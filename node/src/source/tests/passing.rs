//! What passes through, bit for bit, and how it is cut.

use super::*;

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
        assert_two_beeps(&media(name));
    }
}

#[test]
fn sound_without_loss() {
    let Some(ffmpeg) = ffmpeg() else { return };
    for name in ["sound.wav", "sound-44100.wav", "sound.flac"] {
        let file = scratch(name, b"");
        let rate = if name.contains("44100") {
            "44100"
        } else {
            "48000"
        };
        let made = Command::new(&ffmpeg)
            .args(["-v", "error", "-y", "-i"])
            .arg(media("formats/mp3.mp3"))
            .args(["-ar", rate])
            .arg(&*file)
            .status()
            .unwrap();
        assert!(made.success(), "{name}");
        assert_two_beeps(&file);
    }
}

/// Two seconds of sound, each with its beep.
fn assert_two_beeps(file: &Path) {
    let name = file.display();
    let mut source = Source::open_with(file, Playback::Once, None)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(source.tracks().len(), 1);
    let frames = frames(&mut source);
    let count = frames.len();
    assert!((95..=106).contains(&count), "{name}: {count} frames");
    let sound: Vec<_> = frames.into_iter().map(|f| (f.timestamp, f.data)).collect();
    assert!(beeps(&sound).len() >= 2, "{name}: {:?}", beeps(&sound));
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
