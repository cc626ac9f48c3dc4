//! One unbroken time line, picture and sound together.

use super::*;

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
