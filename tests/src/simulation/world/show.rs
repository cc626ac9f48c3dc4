//! The virtual publisher.

use std::time::Duration;

use banyan::node::Input;
use banyan::relay::packet::Packet;
use bytes::Bytes;
use rand::Rng;

use super::{Happening, World};

/// Samples of Opus in a millisecond.
const OPUS_KHZ: u64 = 48;

/// Ticks of a video clock in a millisecond.
const VIDEO_KHZ: u64 = 90;

/// What the publisher gives.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    /// Time between two pictures.
    pub frame: Duration,
    /// Pictures between two key frames.
    pub key_interval: u64,
    /// RTP packets of a picture.
    pub packets: u64,
    /// Bytes in each.
    pub payload: usize,
    /// Time between two packets of sound, if there is any.
    pub sound: Option<Duration>,
}

impl Default for Show {
    /// Thirty pictures a second in four packets each, and sound.
    fn default() -> Self {
        Self {
            frame: Duration::from_millis(33),
            key_interval: 30,
            packets: 4,
            payload: 200,
            sound: Some(Duration::from_millis(20)),
        }
    }
}

impl Show {
    /// As few packets as a parent is heard by without a pulse: what a large world has time for.
    pub fn sparse() -> Self {
        Self {
            frame: Duration::from_millis(40),
            key_interval: 25,
            packets: 1,
            payload: 24,
            sound: None,
        }
    }
}

impl World {
    pub(super) fn video_frame(&mut self, frame: u64) {
        let show = self.show;
        let key = frame.is_multiple_of(show.key_interval);
        let ticks = show.frame.as_millis() as u64 * VIDEO_KHZ;
        let packets = (0..show.packets).map(|part| {
            let mut payload = vec![0; show.payload];
            self.rng.fill_bytes(&mut payload);
            // VP8 payload descriptor (RFC 7741): S bit on the first packet; then the frame
            // header, whose lowest bit is 0 for a key frame.
            payload[0] = if part == 0 { 0x10 } else { 0x00 };
            payload[1] = if key { payload[1] & !1 } else { payload[1] | 1 };
            Packet {
                track: 0,
                seq: 0,
                timestamp: (frame * ticks) as u32,
                marker: part + 1 == show.packets,
                extensions: Vec::new(),
                payload: Bytes::from(payload),
            }
        });
        let packets = packets.collect();
        let root = self.root;
        if !self.paused {
            self.feed(root, Input::Source(packets));
        }
        self.schedule(show.frame, Happening::VideoFrame(frame + 1));
    }

    pub(super) fn audio_frame(&mut self, frame: u64) {
        let Some(interval) = self.show.sound else {
            return;
        };
        let mut payload = vec![0; 80];
        self.rng.fill_bytes(&mut payload);
        let packet = Packet {
            track: 1,
            seq: 0,
            timestamp: (frame * interval.as_millis() as u64 * OPUS_KHZ) as u32,
            marker: false,
            extensions: Vec::new(),
            payload: Bytes::from(payload),
        };
        let root = self.root;
        if !self.paused {
            self.feed(root, Input::Source(vec![packet]));
        }
        self.schedule(interval, Happening::AudioFrame(frame + 1));
    }
}
