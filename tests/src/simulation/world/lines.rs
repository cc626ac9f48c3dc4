//! Access lines: what a node can send or receive in a second, with a queue before it.

use std::time::{Duration, Instant};

use banyan::id::{LinkKey, NodeId};
use banyan::node::Input;
use banyan::relay::packet::{ExtSeq, TrackIndex};
use banyan::relay::sequence::unwrap_near;

use super::World;

/// Longest time a packet waits before a line; more are dropped.
const QUEUE: Duration = Duration::from_millis(300);

/// Bytes of IPv4, UDP, RTP and SRTP around a payload.
const OVERHEAD: usize = 20 + 8 + 12 + 16;

/// Bytes of a datagram that is no media.
const SMALL: usize = 120;

/// One direction of an access line.
pub(super) struct Line {
    bits_per_second: f64,
    free_at: Instant,
}

impl Line {
    /// Time until a datagram is through, or none if the queue is full.
    fn pass(&mut self, now: Instant, bytes: usize) -> Option<Duration> {
        let wait = self.free_at.saturating_duration_since(now);
        if wait > QUEUE {
            return None;
        }
        let time = Duration::from_secs_f64(bytes as f64 * 8.0 / self.bits_per_second);
        self.free_at = self.free_at.max(now) + time;
        Some(wait + time)
    }

    fn wait(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }
}

/// Media over one link since its child's last report, as RFC 3550 counts it: what is sent again counts where
/// it arrives.
#[derive(Default, Clone, Copy)]
pub(super) struct Traffic {
    highest: [ExtSeq; 2],
    expected: u32,
    received: u32,
}

impl Traffic {
    /// A packet went over the link.
    pub(super) fn count(&mut self, track: TrackIndex, seq: ExtSeq, arrived: bool) {
        let highest = &mut self.highest[usize::from(track)];
        let seq = unwrap_near(seq as u16, (*highest).max(0x1_0000));
        if seq > *highest {
            self.expected += if *highest == 0 {
                1
            } else {
                (seq - *highest) as u32
            };
            *highest = seq;
        }
        self.received += u32::from(arrived);
    }
}

impl World {
    /// A node sends no more than this from now on. The stream takes about 0.33 Mbit/s.
    pub fn limit_uplink(&mut self, id: NodeId, bits_per_second: f64) {
        let free_at = self.now;
        let line = Line {
            bits_per_second,
            free_at,
        };
        self.uplinks.insert(id, line);
    }

    /// A node receives no more than this from now on.
    pub fn limit_downlink(&mut self, id: NodeId, bits_per_second: f64) {
        let free_at = self.now;
        let line = Line {
            bits_per_second,
            free_at,
        };
        self.downlinks.insert(id, line);
    }

    /// How much longer a datagram takes for the lines on its way; none if a queue is full.
    pub(super) fn through_lines(
        &mut self,
        from: NodeId,
        to: NodeId,
        input: &Input,
    ) -> Option<Duration> {
        let bytes = match input {
            Input::Packet { packet, .. } => packet.payload.len() + OVERHEAD,
            _ => SMALL,
        };
        let now = self.now;
        let mut time = Duration::ZERO;
        let lines = [self.uplinks.get_mut(&from), self.downlinks.get_mut(&to)];
        for line in lines.into_iter().flatten() {
            time += line.pass(now, bytes)?;
        }
        Some(time)
    }

    /// What a child reports over its link: the share of media lost since its last report, and the round trip.
    pub(super) fn feedback_of(&mut self, link: LinkKey, parent: NodeId) -> Input {
        let traffic = self.traffic.entry(link).or_default();
        let lost = traffic.expected.saturating_sub(traffic.received);
        let fraction_lost = lost as f32 / traffic.expected.max(1) as f32;
        (traffic.expected, traffic.received) = (0, 0);
        let lines = [self.uplinks.get(&parent), self.downlinks.get(&link.child)];
        let queues: Duration = lines
            .into_iter()
            .flatten()
            .map(|line| line.wait(self.now))
            .sum();
        Input::ReceiverReport {
            link,
            fraction_lost,
            rtt: Some(self.distance(link.child, parent) * 2 + queues),
        }
    }
}
