//! Whether the other end of a link lives, how far away it is, and what it last said of itself.

use std::time::{Duration, Instant};

use super::signal::Budget;
use crate::id::NodeId;
use crate::limits::HEARTBEAT_INTERVAL;
use crate::wire::peer::{Heartbeat, Pulse};

/// Weight of a new round-trip sample, from RFC 6298 section 2 (alpha = 1/8).
const RTT_GAIN: u32 = 8;

/// The state of one link's heartbeats.
#[derive(Debug, Clone)]
pub struct Liveness {
    origin: Instant,
    heard: Instant,
    next_beat: Instant,
    interval: Duration,
    /// When anything was sent to the other end.
    spoke: Instant,
    newest_theirs: Option<(u64, Instant)>,
    rtt: Option<Duration>,
    /// What the other end may have passed on.
    pub signals: Budget,
    /// What the other end said of its upstream in its newest heartbeat.
    pub remote: Remote,
}

/// The newest word of the other end about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remote {
    /// From the root to the other end, both included.
    pub path: Vec<NodeId>,
    /// Newest extended sequence numbers it has.
    pub heads: Vec<u64>,
    /// Its delay from the root in microseconds.
    pub delay_us: u64,
    /// Whether the publisher pauses.
    pub source_idle: bool,
    /// Whether it changes its own parent.
    pub healing: bool,
}

impl Remote {
    /// Whether it has packets of any track, as far as it has said.
    pub fn has_packets(&self) -> bool {
        self.heads.iter().any(|head| *head > 0)
    }
}

impl Liveness {
    /// A link that stands since `now`. `origin` is any fixed instant of this node's clock.
    pub fn new(now: Instant, origin: Instant) -> Self {
        Self {
            origin,
            heard: now,
            next_beat: now,
            interval: HEARTBEAT_INTERVAL,
            spoke: now,
            newest_theirs: None,
            rtt: None,
            signals: Budget::default(),
            remote: Remote::default(),
        }
    }

    /// Something arrived from the other end: media or a message.
    pub fn heard(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
    }

    /// When the other end was last heard.
    pub fn last_heard(&self) -> Instant {
        self.heard
    }

    /// Heartbeats are sent this far apart from now on.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        self.next_beat = self.next_beat.min(self.spoke + interval);
    }

    /// Something was sent to the other end.
    pub fn spoke(&mut self, now: Instant) {
        self.spoke = self.spoke.max(now);
    }

    /// When anything was sent to the other end last.
    pub fn last_spoke(&self) -> Instant {
        self.spoke
    }

    /// Takes in a short sign of life of the other end.
    pub fn pulsed(&mut self, now: Instant, pulse: Pulse) {
        self.heard(now);
        self.remote.heads = pulse.heads;
        self.remote.source_idle = pulse.source_idle;
        self.remote.healing = pulse.healing;
    }

    /// The next heartbeat is due at `at` if it is not sooner.
    pub fn beat_by(&mut self, at: Instant) {
        self.next_beat = self.next_beat.min(at);
    }

    /// When the next heartbeat is due.
    pub fn next_beat(&self) -> Instant {
        self.next_beat
    }

    /// Smoothed round trip, once one was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Takes in a heartbeat of the other end. False if it says nothing new.
    pub fn receive(&mut self, now: Instant, heartbeat: Heartbeat) -> bool {
        self.heard(now);
        // Unordered delivery: an older heartbeat says nothing new.
        if self
            .newest_theirs
            .is_some_and(|(sent, _)| sent >= heartbeat.sent_us)
        {
            return false;
        }
        self.newest_theirs = Some((heartbeat.sent_us, now));
        if heartbeat.echo_us > 0 {
            let elapsed = self.clock_us(now).checked_sub(heartbeat.echo_us);
            if let Some(rtt) = elapsed.and_then(|us| us.checked_sub(heartbeat.held_us)) {
                self.sample(Duration::from_micros(rtt));
            }
        }
        self.remote = Remote {
            path: heartbeat.path,
            heads: heartbeat.heads,
            delay_us: heartbeat.delay_us,
            source_idle: heartbeat.source_idle,
            healing: heartbeat.healing,
        };
        true
    }

    /// Fills in the clock fields of a heartbeat that is sent now, and plans the next.
    pub fn beat(&mut self, now: Instant, state: Remote) -> Heartbeat {
        self.next_beat = now + self.interval;
        self.spoke(now);
        let (echo_us, held_us) = self.newest_theirs.map_or((0, 0), |(sent, at)| {
            (sent, now.saturating_duration_since(at).as_micros() as u64)
        });
        Heartbeat {
            sent_us: self.clock_us(now),
            echo_us,
            held_us,
            heads: state.heads,
            path: state.path,
            delay_us: state.delay_us,
            source_idle: state.source_idle,
            healing: state.healing,
        }
    }

    /// This node's clock as heartbeats carry it; never 0, which means none.
    fn clock_us(&self, now: Instant) -> u64 {
        1 + now.saturating_duration_since(self.origin).as_micros() as u64
    }

    fn sample(&mut self, rtt: Duration) {
        // A heartbeat that waited in a stopped process is no measure of the network.
        if rtt > Duration::from_secs(10) {
            return;
        }
        self.rtt = Some(match self.rtt {
            None => rtt,
            Some(old) => (old * (RTT_GAIN - 1) + rtt) / RTT_GAIN,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_leaves_out_the_time_held() {
        let t0 = crate::virtual_clock::start();
        let ms = Duration::from_millis;
        let mut a = Liveness::new(t0, t0);
        let mut b = Liveness::new(t0, t0 - ms(500));
        let from_a = a.beat(t0 + ms(1), Remote::default());
        b.receive(t0 + ms(11), from_a);
        let from_b = b.beat(t0 + ms(211), Remote::default());
        a.receive(t0 + ms(221), from_b);
        assert_eq!(a.rtt(), Some(ms(20)));
        assert_eq!(b.rtt(), None);
    }

    #[test]
    fn an_older_heartbeat_changes_nothing() {
        let t0 = crate::virtual_clock::start();
        let mut link = Liveness::new(t0, t0);
        let beat = |sent_us, delay_us| Heartbeat {
            sent_us,
            delay_us,
            ..Heartbeat::default()
        };
        link.receive(t0, beat(20, 7));
        link.receive(t0, beat(10, 9));
        assert_eq!(link.remote.delay_us, 7);
    }
}
