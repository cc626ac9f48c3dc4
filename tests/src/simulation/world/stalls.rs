//! How long nothing new came to a node.

use std::time::{Duration, Instant};

use banyan::id::NodeId;
use banyan::relay::packet::TrackIndex;

use super::World;

/// Pauses shorter than this are none: a lost packet is asked for and repaired in that time.
const SHORTEST: Duration = Duration::from_millis(150);

/// When something new came to a node.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    heads: [Option<u16>; 2],
    /// When it came first.
    pub since: Option<Instant>,
    /// When it came last.
    pub last: Option<Instant>,
    /// When pauses ended, and how long they were.
    pub pauses: Vec<(Instant, Duration)>,
}

impl Progress {
    /// A packet came.
    pub(super) fn arrived(&mut self, now: Instant, track: TrackIndex, seq: u16) {
        let Some(head) = self.heads.get_mut(usize::from(track)) else {
            return;
        };
        let new = head.is_none_or(|head| (seq.wrapping_sub(head) as i16) > 0);
        if !new {
            return;
        }
        *head = Some(seq);
        self.since.get_or_insert(now);
        if let Some(last) = self.last.replace(now) {
            let pause = now - last;
            if pause >= SHORTEST {
                self.pauses.push((now, pause));
            }
        }
    }

    /// Time since something new came.
    pub fn quiet(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::MAX, |last| now - last)
    }

    /// The longest pause that was not over at `since`.
    pub fn longest(&self, since: Instant, now: Instant) -> Duration {
        let ended = self.pauses.iter().filter(|(at, _)| *at >= since);
        let longest = ended.map(|&(_, pause)| pause).max().unwrap_or_default();
        longest.max(self.last.map_or(Duration::ZERO, |last| now - last))
    }
}

impl World {
    /// Looks whether anybody feeds more than it has slots for or hangs below itself.
    pub fn inspect(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let Some(place) = self.nodes.get(&id) else {
                continue;
            };
            self.exceeded += usize::from(place.node.taken() > usize::from(place.slots));
            let mut above = self.parent(id);
            let mut hops = 0;
            while let Some(next) = above.filter(|_| hops <= 64) {
                if next == id {
                    self.cycles += 1;
                    break;
                }
                hops += 1;
                above = self.parent(next);
            }
        }
    }
}
