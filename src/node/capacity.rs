//! How many children a node can feed.

use std::time::{Duration, Instant};

use super::uplink::Uplink;
use crate::relay::ChildFigures;

/// Share of the upload given to children; the rest is for repairs and the line's own needs (rule
/// C1 of the placement rules).
const UPLOAD_SHARE: f64 = 0.8;

/// Bits per second assumed of a stream before it was measured: what a broadcaster is warned above.
const ASSUMED_RATE: f64 = 2_500_000.0;

/// Time over which the stream's rate is measured.
const WINDOW: Duration = Duration::from_secs(4);

/// Time between two looks at how the children fare.
const LOOK_INTERVAL: Duration = Duration::from_millis(900);

/// What a node can give.
#[derive(Debug)]
pub struct Capacity {
    declared: u16,
    max_upload: Option<u64>,
    /// Payload bytes and time at the start of the present window.
    window: Option<(Instant, u64)>,
    /// Bits per second of the whole stream.
    rate: Option<f64>,
    uplink: Uplink,
    looked: Option<Instant>,
}

impl Capacity {
    /// At most `declared` children, and at most `max_upload` bits per second if given.
    pub fn new(declared: u16, max_upload: Option<u64>) -> Self {
        Self {
            declared,
            max_upload,
            window: None,
            rate: None,
            uplink: Uplink::default(),
            looked: None,
        }
    }

    /// Takes note of the payload bytes received so far, and tells how many children fit.
    pub fn slots(&mut self, now: Instant, received_bytes: u64) -> u16 {
        match self.window {
            Some((since, bytes)) if received_bytes >= bytes => {
                let elapsed = now.saturating_duration_since(since);
                if elapsed >= WINDOW {
                    let bits = (received_bytes - bytes) as f64 * 8.0;
                    // A pause says nothing about the stream that will go on.
                    if bits > 0.0 {
                        self.rate = Some(bits / elapsed.as_secs_f64());
                    }
                    self.window = Some((now, received_bytes));
                }
            }
            _ => self.window = Some((now, received_bytes)),
        }
        self.fitting()
    }

    /// What is received now says nothing about the stream's rate.
    pub fn pause(&mut self) {
        self.window = None;
    }

    /// Whether the children are to be looked at: children report about once a second.
    pub fn look_due(&self, now: Instant) -> bool {
        self.looked.is_none_or(|at| now >= at + LOOK_INTERVAL)
    }

    /// Takes note of how the children fare: see [`Uplink::look`].
    pub fn look(&mut self, now: Instant, children: &[ChildFigures], lost_above: f32, players: u16) {
        self.looked = Some(now);
        self.uplink.look(now, children, lost_above, players);
    }

    /// How many children fit by what is known so far: by what was declared, by the operator's limit,
    /// and by what the uplink was seen to carry.
    pub fn fitting(&self) -> u16 {
        let allowed = self.allowed();
        self.uplink.room().map_or(allowed, |room| room.min(allowed))
    }

    fn allowed(&self) -> u16 {
        let Some(upload) = self.max_upload else {
            return self.declared;
        };
        let rate = self.rate.unwrap_or(ASSUMED_RATE);
        let fit = (UPLOAD_SHARE * upload as f64 / rate).floor();
        self.declared.min(fit as u16)
    }

    /// Most bytes per second to send, where the operator set a limit.
    pub fn max_upload_bytes(&self) -> Option<u64> {
        self.max_upload.map(|bits| bits / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_is_divided_by_the_streams_rate() {
        let t0 = crate::virtual_clock::start();
        let mut capacity = Capacity::new(40, Some(10_000_000));
        assert_eq!(
            capacity.slots(t0, 0),
            3,
            "before the rate is known, cautiously"
        );
        // 1 Mbit/s for four seconds.
        assert_eq!(capacity.slots(t0 + WINDOW, 500_000), 8);
        assert_eq!(
            capacity.slots(t0 + 2 * WINDOW, 500_000),
            8,
            "a pause changes nothing"
        );
        let mut few = Capacity::new(3, Some(10_000_000));
        few.slots(t0, 0);
        assert_eq!(
            few.slots(t0 + WINDOW, 500_000),
            3,
            "never more than declared"
        );
    }

    #[test]
    fn without_a_limit_it_is_what_was_declared() {
        let t0 = crate::virtual_clock::start();
        assert_eq!(Capacity::new(8, None).slots(t0, 123), 8);
        assert_eq!(Capacity::new(8, Some(0)).slots(t0, 123), 0);
    }
}
