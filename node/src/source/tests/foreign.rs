//! What WebRTC cannot carry.

use super::*;

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
