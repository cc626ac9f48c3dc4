//! Chromium as a publisher: WHIP with nothing but `fetch` and `RTCPeerConnection`.

use banyan_tests::chromium::{Chromium, Launch};
use banyan_tests::publisher::Whip;

/// A browser whose page publishes the test clip's stamp and beep, drawn and played by itself.
pub(crate) struct Studio {
    chromium: Chromium,
    whip: Whip,
}

impl Studio {
    /// Opens it; nothing is published yet.
    pub(crate) fn open(whip: &Whip) -> Self {
        let chromium = Chromium::start(Launch::default());
        // Any page without a policy of its own; a broadcast's health is one.
        chromium.open(&whip.url.replace("/whip", "/healthz"));
        chromium.evaluate(include_str!("studio.js"));
        Self {
            chromium,
            whip: whip.clone(),
        }
    }

    /// Publishes in `codec`, and returns when it is connected.
    pub(crate) fn publish(&self, codec: &str) {
        let Whip { url, token } = &self.whip;
        let call = format!("studio.publish('{url}', '{token}', '{codec}')");
        assert_eq!(self.chromium.evaluate(&call), "connected");
    }

    /// Publishes in `codec` without sound.
    pub(crate) fn publish_mute(&self, codec: &str) {
        let Whip { url, token } = &self.whip;
        let call = format!("studio.publish('{url}', '{token}', '{codec}', undefined, true)");
        assert_eq!(self.chromium.evaluate(&call), "connected");
    }

    /// Publishes three layers of the picture (simulcast), the largest or the smallest first.
    pub(crate) fn publish_layers(&self, codec: &str, largest_first: bool) {
        let Whip { url, token } = &self.whip;
        let layers = if largest_first {
            "[['f', 1], ['h', 2], ['q', 4]]"
        } else {
            "[['q', 4], ['h', 2], ['f', 1]]"
        };
        let call = format!("studio.publish('{url}', '{token}', '{codec}', {layers})");
        assert_eq!(self.chromium.evaluate(&call), "connected");
    }

    /// Ends its session.
    pub(crate) fn stop(&self) {
        assert_eq!(self.chromium.evaluate("studio.stop()"), 200);
    }

    /// Restarts ICE, and returns what came of it once its packets take the new path.
    pub(crate) fn restart(&self) -> serde_json::Value {
        self.chromium.evaluate("studio.restart()")
    }

    /// What its congestion control believes it may send, in bits per second.
    pub(crate) fn estimate(&self) -> f64 {
        let estimate = self.chromium.evaluate("studio.estimate()");
        estimate.as_f64().unwrap_or_default()
    }
}
