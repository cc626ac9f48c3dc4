//! A watch page in Chromium, and what its viewer sees and hears.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::chromium::{Chromium, Launch};
use crate::{media, secs, wait_for};

/// One stamped picture as it was shown.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Frame {
    /// The number stamped into it; none where the stamp is damaged.
    pub number: Option<u32>,
    /// When it was shown, in milliseconds since the page was opened.
    pub at: f64,
}

/// A browser that has opened a watch link.
#[derive(Debug)]
pub struct Page {
    /// The browser.
    pub browser: Chromium,
}

impl Page {
    /// Opens `link` in a new browser.
    pub fn open(link: &str, launch: Launch) -> Self {
        let page = Self::blank(launch);
        page.browser.open(link);
        page
    }

    /// An empty page in a new browser.
    pub fn blank(launch: Launch) -> Self {
        let browser = Chromium::start(launch);
        browser.install(include_str!("page/probe.js"));
        Self { browser }
    }

    /// Every picture shown so far.
    pub fn frames(&self) -> Vec<Frame> {
        let frames = self.browser.evaluate("probe.frames");
        serde_json::from_value(frames).unwrap()
    }

    /// Waits until `count` pictures were shown.
    pub fn wait_for_frames(&self, count: usize, timeout: Duration) -> Vec<Frame> {
        wait_for(&format!("{count} pictures"), timeout, || {
            let shown = self.browser.try_evaluate("probe.frames.length").ok()?;
            (shown.as_u64()? >= count as u64).then(|| self.frames())
        })
    }

    /// The page's state, from its root element.
    pub fn state(&self) -> String {
        let state = self
            .browser
            .evaluate("document.documentElement.dataset.state ?? ''");
        state.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page is in `state`.
    pub fn wait_for_state(&self, state: &str, timeout: Duration) {
        wait_for(&format!("state '{state}'"), timeout, || {
            (self
                .browser
                .try_evaluate("document.documentElement.dataset.state")
                .ok()?
                == state)
                .then_some(())
        });
    }

    /// Waits until the page knows that the stream is `state`: `waiting`, `live` or `offline`.
    pub fn wait_for_stream(&self, state: &str, timeout: Duration) {
        wait_for(&format!("stream '{state}'"), timeout, || {
            (self
                .browser
                .try_evaluate("document.documentElement.dataset.stream")
                .ok()?
                == state)
                .then_some(())
        });
    }

    /// What the page tells about itself (`window.banyan.stats()`).
    pub fn stats(&self) -> Value {
        self.browser.evaluate("window.banyan.stats()")
    }

    /// Listens for `time`; the loudest moment and when beeps began, in milliseconds since the
    /// page was opened.
    pub fn listen(&self, time: Duration) -> Sound {
        self.begin_listening();
        std::thread::sleep(time);
        self.heard()
    }

    /// Begins to listen.
    pub fn begin_listening(&self) {
        self.browser.evaluate("probe.listen()");
    }

    /// What was heard since then.
    pub fn heard(&self) -> Sound {
        serde_json::from_value(self.browser.evaluate("probe.sound")).unwrap()
    }

    /// ICE candidates the page gathered.
    pub fn candidates(&self) -> Vec<String> {
        serde_json::from_value(self.browser.evaluate("probe.candidates")).unwrap()
    }
}

/// What a page played.
#[derive(Debug, Clone, Deserialize)]
pub struct Sound {
    /// Largest sample, 1 being full scale.
    pub peak: f64,
    /// When each beep began.
    pub beeps: Vec<f64>,
}

/// Whether every picture is whole and the numbers go forward.
///
/// # Panics
/// On a damaged picture, or where the picture stood still or went back.
pub fn assert_advancing(frames: &[Frame]) {
    for pair in frames.windows(2) {
        let (Some(before), Some(after)) = (pair[0].number, pair[1].number) else {
            panic!("a damaged picture: {pair:?}");
        };
        let step = (after + media::FRAMES - before) % media::FRAMES;
        assert!(
            (1..media::FRAMES / 2).contains(&step),
            "no step forward: {pair:?}"
        );
    }
}

/// For each beep, how many milliseconds it began after its flash was shown (negative: before).
pub fn beep_after_flash(frames: &[Frame], sound: &Sound) -> Vec<f64> {
    let flashes: Vec<f64> = frames
        .windows(2)
        .filter(|pair| {
            // The flash's first picture, seen after the one before it.
            pair[1].number.is_some_and(|n| n % media::FRAME_RATE == 0)
        })
        .map(|pair| pair[1].at)
        .collect();
    sound
        .beeps
        .iter()
        .filter_map(|beep| {
            flashes
                .iter()
                .map(|flash| beep - flash)
                .min_by(|a, b| a.abs().total_cmp(&b.abs()))
        })
        .filter(|offset| offset.abs() < 500.0)
        .collect()
}

/// Largest distance of a flash and its beep in milliseconds; people notice from about 125 ms on when
/// the sound lags, and from 45 ms when it leads (ITU-R BT.1359).
pub const LIP_SYNC_MS: f64 = 80.0;

/// The page plays sound, in time with the picture.
///
/// # Panics
/// When it does not.
pub fn assert_in_sync(page: &Page) {
    let sound = page.listen(LISTENED);
    assert!(sound.peak > 0.1, "silence: {}", sound.peak);
    let offsets = beep_after_flash(&page.frames(), &sound);
    assert!(offsets.len() >= 4, "{sound:?}");
    let offset = median(&offsets);
    assert!(
        offset.abs() <= LIP_SYNC_MS,
        "beep {offset} ms after the flash: {offsets:?}"
    );
}

/// The middle one; half the pairs lie on either side.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// How long a page is listened to: Chromium brings sound and picture together in the seconds after a
/// join, and half of the beeps come later.
pub const LISTENED: Duration = secs(12);

/// Time a page has from the click on its link to the second picture.
pub const FIRST_PICTURE: Duration = secs(2);
