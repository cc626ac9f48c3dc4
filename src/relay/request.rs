//! Asking upward for key frames: all wishes become one request at a time.

use std::time::{Duration, Instant};

use crate::limits::{
    KEY_FRAME_IDLE, KEY_FRAME_REQUEST_INTERVAL, KEY_FRAME_TRIES, PUBLISHER_KEY_FRAME_INTERVAL,
};

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    /// To the parent, which coalesces them again.
    Parent,
    /// To the publisher, whose encoder pays for every one.
    Publisher,
}

/// The wish for a key frame of one video track.
#[derive(Debug)]
pub(super) struct KeyFrameRequests {
    upstream: Upstream,
    /// Requests sent for the present wish.
    wanted: Option<u8>,
    last_request: Option<Instant>,
    last_key_frame: Option<Instant>,
    last_packet: Option<Instant>,
}

impl KeyFrameRequests {
    pub(super) fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            wanted: None,
            last_request: None,
            last_key_frame: None,
            last_packet: None,
        }
    }

    fn interval(&self) -> Duration {
        match self.upstream {
            Upstream::Parent => KEY_FRAME_REQUEST_INTERVAL,
            Upstream::Publisher => PUBLISHER_KEY_FRAME_INTERVAL,
        }
    }

    /// A packet came, which may be the beginning of a key frame.
    pub(super) fn on_packet(&mut self, now: Instant, key_frame: bool) {
        // Until one came, the time without one counts from the first packet.
        if key_frame || self.last_key_frame.is_none() {
            self.last_key_frame = Some(now);
        }
        if key_frame {
            self.wanted = None;
        }
        self.last_packet = Some(now);
    }

    /// When the newest key frame came.
    pub(super) fn last_key_frame(&self) -> Option<Instant> {
        self.last_key_frame
    }

    /// Somebody needs a key frame.
    pub(super) fn want(&mut self) {
        self.wanted.get_or_insert(0);
    }

    /// Whether to send a request now.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        if self.idle_since().is_some_and(|due| due <= now) {
            self.want();
        }
        let Some(tries) = self.wanted else {
            return false;
        };
        if self.allowed_at().is_some_and(|at| now < at) {
            return false;
        }
        self.last_request = Some(now);
        self.wanted = Some(tries + 1).filter(|&tries| tries < KEY_FRAME_TRIES);
        true
    }

    fn allowed_at(&self) -> Option<Instant> {
        self.last_request.map(|last| last + self.interval())
    }

    /// When a publisher that sends, but no key frame, is due to be asked.
    fn idle_since(&self) -> Option<Instant> {
        if self.upstream == Upstream::Parent {
            return None;
        }
        let overdue = self.last_key_frame? + KEY_FRAME_IDLE;
        let due = self.allowed_at().map_or(overdue, |at| at.max(overdue));
        let sends = self.last_packet? + KEY_FRAME_IDLE > due;
        sends.then_some(due)
    }

    /// When to call [`poll`](Self::poll).
    pub(super) fn deadline(&self) -> Option<Instant> {
        let retry = self.wanted.and_then(|_| self.allowed_at());
        [retry, self.idle_since()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::tests::beginning;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_hundred_wishes_are_one_request_at_a_time() {
        let start = beginning();
        let mut requests = KeyFrameRequests::new(Upstream::Parent);
        let sent = (0..1000).filter(|&i| {
            requests.want();
            requests.poll(start + ms(i))
        });
        assert_eq!(sent.count(), 4, "at 0, 300, 600 and 900 ms");
    }

    #[test]
    fn a_wish_is_repeated_until_it_comes_true_or_is_hopeless() {
        let start = beginning();
        let mut requests = KeyFrameRequests::new(Upstream::Parent);
        requests.want();
        let mut sent = u8::from(requests.poll(start));
        while let Some(due) = requests.deadline() {
            sent += u8::from(requests.poll(due));
        }
        assert_eq!(sent, KEY_FRAME_TRIES);
        requests.want();
        assert!(requests.poll(start + ms(60_000)));
        requests.on_packet(start + ms(60_100), true);
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn a_publisher_is_asked_when_none_came_for_two_seconds() {
        let start = beginning();
        let mut requests = KeyFrameRequests::new(Upstream::Publisher);
        let mut sent = Vec::new();
        for i in 0..6000 {
            let now = start + ms(i);
            // Packets for 4.5 s, key frames at 0 and 500 ms.
            if i < 4500 {
                requests.on_packet(now, i % 500 == 0 && i < 1000);
            }
            if requests.deadline().is_some_and(|due| due <= now) && requests.poll(now) {
                sent.push(i);
            }
        }
        assert_eq!(sent, [2500, 3500, 4500, 5500]);
    }
}
