//! Publishers x players: whatever sends the stream, every kind of player gets all of it, in order
//! and in time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;

use banyan_tests::binaries::binary;
use banyan_tests::chromium::Launch;
use banyan_tests::foreign::publisher::Publisher;
use banyan_tests::mesh::{Args, Broadcast, Node};
use banyan_tests::page::{LIP_SYNC_MS, Page, assert_advancing, beep_after_flash, median};
use banyan_tests::process::Process;
use banyan_tests::publisher::{
    can_publish, ffmpeg_8, publish, publish_with_8, waiting, waiting_args,
};
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs, wait_for};

use crate::browser_is_there;
use crate::studio::Studio;
use crate::whep::foreign_site;

/// Fewest beeps by which a player is judged.
const BEEPS: usize = 5;

/// How long everybody plays, in seconds.
const PLAYED: u32 = 12;

/// Which pictures of the clip a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pictures {
    All,
    /// Those that its encoder had time for.
    Kept,
}

impl Pictures {
    /// Fewest of them in a second.
    fn rate(self) -> u32 {
        match self {
            Self::All => media::FRAME_RATE,
            Self::Kept => media::FRAME_RATE / 2,
        }
    }
}

/// Plays a broadcast in all four players at once, and judges each.
fn assert_plays_everywhere(
    directory: &TempDir,
    root: &Broadcast,
    pictures: Pictures,
    extension: &str,
    ffmpeg: &Path,
) {
    let own = directory.join(format!("own.{extension}"));
    let args = Node::args(directory, "own", "watch", &root.link).with("--record", &own);
    let mut recorder = Node::start(directory, "own", args);

    let foreign = directory.join(format!("foreign.{extension}"));
    let args = Args::of(["load", &root.link])
        .with("--viewers", "1")
        .with("--duration", PLAYED.to_string())
        .with("--record", &foreign);
    let mut load = Process::start("load", binary("banyan"), args);

    let page = Page::open(&root.link, Launch::default());
    let endpoint = format!("{}/whep/{}", root.tracker, root.stream);
    let site = format!("{}?endpoint={endpoint}", foreign_site());
    let whep = Page::open(&site, Launch::default());

    let pages = [("page", page), ("WHEP in Chromium", whep)];
    for (_, page) in &pages {
        // Picture and sound of a fast start need a moment to find each other.
        page.wait_for_frames(60, secs(15));
        page.begin_listening();
    }
    sleep(secs(u64::from(PLAYED)));
    for (name, page) in &pages {
        let frames = page.frames();
        let fewest = (PLAYED * pictures.rate() * 4 / 5) as usize;
        assert!(frames.len() > fewest, "{name}: {} pictures", frames.len());
        assert_advancing(&frames);
        assert_in_sync(name, &beep_after_flash(&frames, &page.heard()));
    }
    assert_eq!(recorder.process.interrupt(), Some(0));
    assert_eq!(load.wait(secs(20)), Some(0), "{}", load.stderr());
    let fewest = ((PLAYED - 1) * pictures.rate()) as usize;
    for (name, file) in [("recording", &own), ("WHEP on another stack", &foreign)] {
        let decoded = media::decode(ffmpeg, file);
        if pictures == Pictures::All {
            assert_eq!(decoded.jumps, 0, "{name}: {decoded:?}");
        }
        assert!(decoded.frames > fewest, "{name}: {decoded:?}");
        assert_in_sync(name, &media::beep_after_flash(ffmpeg, file));
    }
    let [own, foreign] = [own, foreign].map(|file| media::stamps(ffmpeg, &file));
    assert!(
        overlap(&own, &foreign, fewest),
        "the recordings hold different pictures: {own:?}, {foreign:?}"
    );
}

/// Whether one goes on where the other began, and both are the same for `fewest` pictures.
fn overlap(one: &[u32], other: &[u32], fewest: usize) -> bool {
    let begins_within = |late: &[u32], early: &[u32]| {
        (0..early.len()).any(|skipped| {
            let common = late.len().min(early.len() - skipped);
            common >= fewest && early[skipped..][..common] == late[..common]
        })
    };
    begins_within(one, other) || begins_within(other, one)
}

fn assert_in_sync(player: &str, offsets: &[f64]) {
    assert!(offsets.len() >= BEEPS, "{player}: only {offsets:?}");
    let offset = median(offsets);
    assert!(
        offset.abs() <= LIP_SYNC_MS,
        "{player}: beep {offset} ms after the flash: {offsets:?}"
    );
}

/// The tools of every test here, or why it is skipped.
fn tools() -> Option<PathBuf> {
    if !browser_is_there() {
        return None;
    }
    let ffmpeg = media::ffmpeg();
    if ffmpeg.is_none() {
        skip("there is no ffmpeg to judge recordings");
    }
    ffmpeg
}

fn file(directory: &TempDir, file: &Path) -> Broadcast {
    let args = Broadcast::args_on(directory, "127.0.0.1:0".parse().unwrap(), file);
    Broadcast::start(directory, args)
}

/// Standard players are turned away before there is anything to play.
fn wait_for_show(root: &Broadcast) {
    wait_for("the publisher's first packets", secs(20), || {
        (!root.packet_log().is_empty()).then_some(())
    });
}

#[test]
fn an_h264_file_plays_everywhere() {
    let _turn = take_turn();
    let Some(ffmpeg) = tools() else { return };
    let directory = TempDir::new();
    let root = file(&directory, &media::clip_mp4());
    assert_plays_everywhere(&directory, &root, Pictures::All, "mp4", &ffmpeg);
}

#[test]
fn a_vp8_file_plays_everywhere() {
    let _turn = take_turn();
    let Some(ffmpeg) = tools() else { return };
    let directory = TempDir::new();
    let root = file(&directory, &media::clip_webm());
    assert_plays_everywhere(&directory, &root, Pictures::All, "webm", &ffmpeg);
}

#[test]
fn an_aac_file_plays_everywhere() {
    let _turn = take_turn();
    let Some(ffmpeg) = tools() else { return };
    let directory = TempDir::new();
    let aac = directory.join("aac.mp4");
    let converted = Command::new(&ffmpeg)
        .args(["-v", "error", "-i"])
        .arg(media::clip_mp4())
        .args(["-c:v", "copy", "-c:a", "aac"])
        .arg(&aac)
        .status();
    assert!(converted.unwrap().success());
    let root = file(&directory, &aac);
    assert_plays_everywhere(&directory, &root, Pictures::All, "mp4", &ffmpeg);
}

#[test]
fn what_ffmpeg_publishes_plays_everywhere() {
    let _turn = take_turn();
    let Some(ffmpeg) = tools() else { return };
    if !can_publish(&ffmpeg) {
        return skip("this ffmpeg does not publish through WHIP");
    }
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let _publisher = publish(&ffmpeg, &whip, &media::clip_mp4());
    wait_for_show(&root);
    assert_plays_everywhere(&directory, &root, Pictures::All, "mp4", &ffmpeg);
}

#[test]
fn what_ffmpeg_8_publishes_plays_everywhere() {
    let _turn = take_turn();
    let Some(ffmpeg) = tools() else { return };
    let Some(python) = ffmpeg_8() else {
        return skip("there are no libraries of ffmpeg 8");
    };
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let _publisher = publish_with_8(&python, &whip, &media::clip_mp4());
    wait_for_show(&root);
    assert_plays_everywhere(&directory, &root, Pictures::All, "mp4", &ffmpeg);
}

#[test]
fn what_another_stack_publishes_plays_everywhere() {
    let _turn = take_turn();
    let Some(ffmpeg) = tools() else { return };
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let _publisher = Publisher::start(&ffmpeg, &whip);
    wait_for_show(&root);
    assert_plays_everywhere(&directory, &root, Pictures::All, "webm", &ffmpeg);
}

#[test]
fn what_chromium_publishes_plays_everywhere() {
    let _turn = take_turn();
    let Some(ffmpeg) = tools() else { return };
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let studio = Studio::open(&whip);
    studio.publish("VP8");
    wait_for_show(&root);
    assert_plays_everywhere(&directory, &root, Pictures::Kept, "webm", &ffmpeg);
}
