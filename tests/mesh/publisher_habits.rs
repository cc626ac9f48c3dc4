//! What publishers do: they pause, change their pictures, and count time as they like.
//!
//! Scenarios of one test run side by side, each with a root, a publisher and a native viewer of
//! their own: they wait most of the time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{scope, sleep};
use std::time::Duration;

use banyan_tests::foreign::clip::{Clip, Coding};
use banyan_tests::foreign::publisher::{Habits, Publisher, Sent};
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::page::LIP_SYNC_MS;
use banyan_tests::publisher::{Whip, can_publish, publish, waiting, waiting_args};
use banyan_tests::turn::{share_turn, skip};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, packet_log, secs, stats};
use rustix::process::Signal;

fn publishing_ffmpeg() -> Option<PathBuf> {
    let found = media::ffmpeg().filter(|ffmpeg| can_publish(ffmpeg));
    if found.is_none() {
        skip("there is no ffmpeg that publishes");
    }
    found
}

/// A root and a viewer that records.
struct Stage {
    root: Broadcast,
    whip: Whip,
    viewer: Node,
    recording: PathBuf,
    directory: TempDir,
}

impl Stage {
    fn new(coding: Coding) -> Self {
        let directory = TempDir::new();
        let (root, whip) = waiting(&directory, waiting_args(&directory));
        let recording = directory.join(match coding {
            Coding::Vp8 => "viewer.webm",
            Coding::H264 => "viewer.mp4",
        });
        let args =
            Node::args(&directory, "viewer", "watch", &root.link).with("--record", &recording);
        let viewer = Node::start(&directory, "viewer", args);
        Self {
            root,
            whip,
            viewer,
            recording,
            directory,
        }
    }

    /// Waits until the viewer gets pictures and sound.
    fn wait_for_media(&self) {
        self.viewer.wait_for_media(secs(20));
    }

    /// Ends the viewer. It has kept its parent, and has every packet that the root sent.
    fn end(&mut self) {
        let newest = self.viewer.newest_stats();
        assert_eq!((newest.heals, newest.lost()), (0, 0), "{newest:?}");
        assert_eq!(self.viewer.process.interrupt(), Some(0));
        let sent = self.root.packet_log();
        let got = self.viewer.packet_log();
        assert_eq!(packet_log::missing(&sent), []);
        assert_eq!(packet_log::missing(&got), []);
        assert!(packet_log::assert_identical(&sent, &got, "viewer") > 300);
    }

    /// How far each step of a track's timestamps goes, in seconds; none goes back.
    fn steps(&self, track: u8) -> Vec<f64> {
        let rate = [90_000.0, 48_000.0][usize::from(track)];
        let log = packet_log::of_track(&self.viewer.packet_log(), track);
        let times: Vec<u32> = log.values().map(|packet| packet.timestamp).collect();
        let steps = times.windows(2).map(|pair| {
            let step = pair[1].wrapping_sub(pair[0]).cast_signed();
            assert!(step >= 0, "time goes back by {step} in track {track}");
            f64::from(step) / rate
        });
        steps.collect()
    }

    /// The longest of them, of both tracks.
    fn longest_step(&self) -> f64 {
        let all = [0, 1].into_iter().flat_map(|track| self.steps(track));
        all.fold(0.0, f64::max)
    }

    /// Sound and picture of the recording belong together from the first to the last of at least
    /// `beeps`.
    fn assert_in_sync(&self, ffmpeg: &Path, beeps: usize) {
        let offsets = media::beep_after_flash(ffmpeg, &self.recording);
        assert!(offsets.len() >= beeps, "only {offsets:?}");
        assert!(
            offsets.iter().all(|offset| offset.abs() <= LIP_SYNC_MS),
            "beeps in ms after their flashes: {offsets:?}"
        );
    }

    /// The recording holds at least this many pictures, with this many breaks among them.
    fn assert_recorded(&self, ffmpeg: &Path, pictures: usize, breaks: usize) {
        let decoded = media::decode(ffmpeg, &self.recording);
        assert!(decoded.frames >= pictures, "{decoded:?}");
        assert_eq!(decoded.jumps, breaks, "{decoded:?}");
    }
}

/// Runs scenarios side by side.
fn together(scenarios: &[&(dyn Fn() + Sync)]) {
    scope(|scope| {
        for scenario in scenarios {
            scope.spawn(scenario);
        }
    });
}

#[test]
fn a_publisher_pauses() {
    let _turn = share_turn();
    let Some(ffmpeg) = publishing_ffmpeg() else {
        return;
    };
    let ffmpeg = ffmpeg.as_path();
    together(&[
        &|| pause_of_a_process(ffmpeg),
        &|| pause_of_a_connection(ffmpeg, false),
        &|| pause_of_a_connection(ffmpeg, true),
    ]);
}

/// Longer than any timer by which a node gives up a parent.
const PAUSE: Duration = secs(8);

/// The whole program stops, and answers nothing. Afterwards it sends what it missed at once.
fn pause_of_a_process(ffmpeg: &Path) {
    let mut stage = Stage::new(Coding::H264);
    let publisher = publish(ffmpeg, &stage.whip, &media::clip_mp4());
    stage.wait_for_media();
    sleep(secs(3));
    publisher.signal(Signal::STOP);
    sleep(PAUSE);
    let before = stage.viewer.newest_stats().packets();
    publisher.signal(Signal::CONT);
    stats::wait_until(&stage.viewer.stats, "media again", secs(5), |s| {
        s.packets() > before + 100
    });
    sleep(secs(4));
    stage.end();
    assert!(stage.longest_step() < PAUSE.as_secs_f64() + 0.5);
    stage.assert_in_sync(ffmpeg, 7);
}

/// The connection stands, but nothing is sent.
fn pause_of_a_connection(ffmpeg: &Path, clock_stops: bool) {
    let mut stage = Stage::new(Coding::Vp8);
    let habits = Habits {
        clock_stops,
        ..Habits::default()
    };
    let clip = Clip::read(ffmpeg, Coding::Vp8);
    let publisher = Publisher::with_habits(clip, &stage.whip, habits);
    stage.wait_for_media();
    sleep(secs(3));
    publisher.pause(true);
    sleep(PAUSE);
    publisher.pause(false);
    sleep(secs(5));
    stage.end();
    assert!(stage.longest_step() < PAUSE.as_secs_f64() + 0.5);
    stage.assert_in_sync(ffmpeg, 7);
    stage.assert_recorded(ffmpeg, 220, 0);
}

#[test]
fn timestamps_wrap_and_jump() {
    let _turn = share_turn();
    let Some(ffmpeg) = media::ffmpeg() else {
        return skip("there is no ffmpeg to judge recordings");
    };
    let ffmpeg = ffmpeg.as_path();
    let both = [Sent::Video, Sent::Audio];
    together(&[
        &|| timestamps_that_wrap(ffmpeg),
        &|| timestamps_that_jump(ffmpeg, &both),
        &|| timestamps_that_jump(ffmpeg, &both[..1]),
        &|| timestamps_that_jump(ffmpeg, &both[1..]),
    ]);
}

fn timestamps_that_wrap(ffmpeg: &Path) {
    let mut stage = Stage::new(Coding::Vp8);
    let habits = Habits {
        video: (0_u32.wrapping_sub(2 * 90_000), 65_500),
        audio: (0_u32.wrapping_sub(4 * 48_000), 65_400),
        ..Habits::default()
    };
    let clip = Clip::read(ffmpeg, Coding::Vp8);
    let _publisher = Publisher::with_habits(clip, &stage.whip, habits);
    stage.wait_for_media();
    sleep(secs(7));
    stage.end();
    assert!(stage.longest_step() < 0.1);
    stage.assert_in_sync(ffmpeg, 6);
    stage.assert_recorded(ffmpeg, 190, 0);
}

/// Forward by two minutes, then back by five; not by whole seconds, at which beeps would meet
/// other flashes.
fn timestamps_that_jump(ffmpeg: &Path, tracks: &[Sent]) {
    let mut stage = Stage::new(Coding::Vp8);
    let clip = Clip::read(ffmpeg, Coding::Vp8);
    let publisher = Publisher::with_habits(clip, &stage.whip, Habits::default());
    stage.wait_for_media();
    for seconds in [120.4, -300.7] {
        sleep(secs(4));
        for track in tracks {
            publisher.jump(*track, seconds);
        }
    }
    sleep(secs(4));
    stage.end();
    assert!(stage.longest_step() < 0.5);
    stage.assert_in_sync(ffmpeg, 10);
    stage.assert_recorded(ffmpeg, 330, 0);
}

#[test]
fn pictures_change() {
    let _turn = share_turn();
    let Some(ffmpeg) = publishing_ffmpeg() else {
        return;
    };
    let ffmpeg = ffmpeg.as_path();
    together(&[
        &|| another_size(ffmpeg, Coding::H264),
        &|| another_size(ffmpeg, Coding::Vp8),
        &|| another_codec(ffmpeg),
        &|| rare_key_frames_of_a_deaf_publisher(ffmpeg),
        &|| rare_key_frames_of_one_that_listens(ffmpeg),
    ]);
}

/// Sizes of all pictures of a recording, each once, in the order they come.
fn sizes(ffmpeg: &Path, recording: &Path) -> Vec<String> {
    let output = Command::new(ffmpeg)
        .args(["-v", "info", "-i"])
        .arg(recording)
        .args(["-map", "0:v", "-vf", "showinfo", "-f", "null", "-"])
        .output();
    let text = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    let mut sizes: Vec<String> = (text.lines())
        .filter(|line| line.contains("showinfo"))
        .filter_map(|line| line.split(" s:").nth(1)?.split(' ').next())
        .map(str::to_owned)
        .collect();
    sizes.dedup();
    sizes
}

fn another_size(ffmpeg: &Path, coding: Coding) {
    let mut stage = Stage::new(coding);
    let small = Clip::encoded(ffmpeg, coding, (320, 180), 30);
    let clip = Clip::read(ffmpeg, coding).with_seconds_of(&small, 4, 7);
    let _publisher = Publisher::with_habits(clip, &stage.whip, Habits::default());
    stage.wait_for_media();
    sleep(secs(10));
    stage.end();
    assert_eq!(
        sizes(ffmpeg, &stage.recording),
        ["640x360", "320x180", "640x360"]
    );
    stage.assert_recorded(ffmpeg, 270, 0);
    stage.assert_in_sync(ffmpeg, 9);
}

/// A publisher of H.264 dies and comes back with VP8.
fn another_codec(ffmpeg: &Path) {
    let stage = Stage::new(Coding::H264);
    let mut first = publish(ffmpeg, &stage.whip, &media::clip_mp4());
    stage.wait_for_media();
    sleep(secs(3));
    first.kill();
    sleep(secs(3));
    let clip = Clip::read(ffmpeg, Coding::Vp8);
    let _second = Publisher::with_habits(clip, &stage.whip, Habits::default());
    let viewer = &stage.viewer;
    stats::wait_until(&viewer.stats, "media in VP8", secs(10), |s| {
        s.parent.is_some() && s.tracks.iter().all(|t| (30..1000).contains(&t.packets))
    });
    sleep(secs(4));
    let Stage {
        mut viewer,
        recording,
        directory,
        ..
    } = stage;
    assert_eq!(viewer.process.interrupt(), Some(0));
    let got = viewer.packet_log();
    let epochs: BTreeSet<u64> = got.keys().map(|key| key.0).collect();
    assert_eq!(epochs.len(), 2, "another codec is another epoch");
    assert_eq!(packet_log::missing(&got), []);
    // An MP4 file holds no VP8, so the second part is of another kind.
    for (part, fewest) in [(recording, 60), (directory.join("viewer-2.mkv"), 90)] {
        let decoded = media::decode(ffmpeg, &part);
        assert!(decoded.frames >= fewest, "{decoded:?}");
        assert_eq!(decoded.jumps, 0, "{decoded:?}");
    }
}

/// Comes 4 s after a key frame, and 6 s before the next.
fn late_viewer(stage: &Stage, extension: &str) -> (Node, PathBuf) {
    sleep(secs(4));
    let recording = stage.directory.join(format!("late.{extension}"));
    let args = Node::args(&stage.directory, "late", "watch", &stage.root.link)
        .with("--record", &recording);
    let late = Node::start(&stage.directory, "late", args);
    late.wait_for_media(secs(2));
    (late, recording)
}

/// ffmpeg answers no request: the ring still holds the group, and a viewer begins at its key frame.
fn rare_key_frames_of_a_deaf_publisher(ffmpeg: &Path) {
    let stage = Stage::new(Coding::H264);
    let file = stage.directory.join("rare.mp4");
    let encoded = Command::new(ffmpeg)
        .args(["-v", "error", "-i"])
        .arg(media::clip_mp4())
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-bf",
            "0",
            "-g",
            "300",
        ])
        .args(["-sc_threshold", "0", "-c:a", "copy"])
        .arg(&file)
        .status();
    assert!(encoded.unwrap().success());
    let _publisher = publish(ffmpeg, &stage.whip, &file);
    stage.wait_for_media();
    let (mut late, recording) = late_viewer(&stage, "mp4");
    sleep(secs(3));
    assert_eq!(late.process.interrupt(), Some(0));
    assert_eq!(packet_log::missing(&late.packet_log()), []);
    let decoded = media::decode(ffmpeg, &recording);
    assert_eq!(decoded.jumps, 0, "{decoded:?}");
    // The 4 s before it came, and the 3 s since.
    assert!(decoded.frames > 180, "{decoded:?}");
}

/// A publisher that sends key frames only when it is asked is asked every two seconds.
fn rare_key_frames_of_one_that_listens(ffmpeg: &Path) {
    let stage = Stage::new(Coding::Vp8);
    let habits = Habits {
        obeys: true,
        ..Habits::default()
    };
    let clip = Clip::encoded(ffmpeg, Coding::Vp8, (640, 360), 300);
    let publisher = Publisher::with_habits(clip, &stage.whip, habits);
    stage.wait_for_media();
    let (mut late, recording) = late_viewer(&stage, "webm");
    let asked = publisher.key_frame_requests();
    assert!((1..=4).contains(&asked), "asked {asked} times in 4 s");
    sleep(secs(3));
    assert_eq!(late.process.interrupt(), Some(0));
    assert_eq!(packet_log::missing(&late.packet_log()), []);
    let decoded = media::decode(ffmpeg, &recording);
    assert!(decoded.frames > 80, "{decoded:?}");
}
