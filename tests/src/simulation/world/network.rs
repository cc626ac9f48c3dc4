//! The virtual network: how long packets take, which are lost, and who reaches whom.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use banyan::id::NodeId;
use banyan::reachability::{Reach, Reachability};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};

use super::{FEEDBACK_INTERVAL, Happening, World};

/// What the network does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// One-way delay, at least; where `spread` is not 0, that of the median pair.
    pub delay: Duration,
    /// Of the logarithm of the delays of all pairs.
    pub spread: f64,
    /// Most that is added to it at random.
    pub jitter: Duration,
    /// Share of datagrams that are lost, 0 to 1.
    pub loss: f64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            spread: 0.0,
            jitter: Duration::from_millis(2),
            loss: 0.0,
        }
    }
}

impl World {
    /// One-way delay between two nodes, the same each time and in both directions.
    pub(super) fn distance(&self, a: NodeId, b: NodeId) -> Duration {
        let Network { delay, spread, .. } = self.network;
        if spread <= 0.0 {
            return delay;
        }
        let mut hasher = DefaultHasher::new();
        (self.way, a.min(b), a.max(b)).hash(&mut hasher);
        let mut rng = StdRng::seed_from_u64(hasher.finish());
        let factors = LogNormal::new(0.0, spread).unwrap();
        // Nobody watches from farther than a satellite.
        delay.mul_f64(factors.sample(&mut rng).min(10.0))
    }

    /// Time a datagram takes.
    pub(super) fn travel_time(&mut self, from: NodeId, to: NodeId) -> Duration {
        let late = self.rng.random_range(0.0..1.0);
        self.distance(from, to) + self.network.jitter.mul_f64(late)
    }

    /// What is sent in order over SCTP takes the longest time a datagram takes.
    pub(super) fn stream_time(&self, from: NodeId, to: NodeId) -> Duration {
        self.distance(from, to) + self.network.jitter
    }

    /// Time between a node and the tracker, over TCP.
    pub(super) fn tracker_time(&self, id: NodeId) -> Duration {
        self.stream_time(id, NodeId::from_bytes([0; 16]))
    }

    /// Whether the packets of two nodes find their way to each other.
    pub(super) fn meet(&self, child: NodeId, parent: NodeId) -> bool {
        use Reach::{Blocked, Open, Symmetric};
        let reach = |id: NodeId| self.nodes.get(&id).map(|place| place.reach);
        let routers = match (reach(child), reach(parent)) {
            (Some(Blocked), _) | (_, Some(Blocked)) | (None, _) | (_, None) => false,
            (Some(Open), _) | (_, Some(Open)) => true,
            (Some(Symmetric), _) | (_, Some(Symmetric)) => false,
            _ => true,
        };
        routers && !self.unreachable.contains(&(child, parent))
    }

    /// What a node hears of its own reach when it asks.
    pub(super) fn reachability(&self, id: NodeId) -> Option<Reachability> {
        let reach = self.nodes.get(&id)?.reach;
        Some(Reachability {
            v4: Some(reach),
            v6: None,
        })
    }

    /// Receivers tell their parents how much arrives.
    pub(super) fn report_reception(&mut self) {
        let connected = self.links.iter().filter(|(_, ends)| ends.connected);
        let connected = connected.filter_map(|(link, ends)| Some((*link, ends.parent?)));
        for (link, parent) in connected.collect::<Vec<_>>() {
            let child = self.nodes.get(&link.child);
            if child.is_some_and(|place| !place.frozen) {
                let report = self.feedback_of(link, parent);
                let delay = self.distance(link.child, parent);
                self.schedule(delay, Happening::ToNode(parent, report));
            }
        }
        self.schedule(FEEDBACK_INTERVAL, Happening::Feedback);
    }
}
