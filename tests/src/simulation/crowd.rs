//! An audience of real cores that get real packets, and what it sees when nodes die.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use banyan::id::NodeId;
use banyan::reachability::Reach;
use banyan::tree::Class;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp};

use super::churn::{Audience, Viewer};
use super::world::{Network, Newcomer, Show, World};
use crate::secs;

/// Children of the root.
const ROOT_SLOTS: u16 = 8;

/// How often the tree is looked at as a whole.
const INSPECTION: Duration = Duration::from_secs(1);

/// Nothing new for so long is a stall.
const STALL: Duration = Duration::from_millis(300);

/// Who got something new within this time is live.
const LIVE: Duration = Duration::from_millis(250);

/// A node that left on purpose is gone after this time.
const GONE: Duration = Duration::from_secs(3);

/// Slots that a liar promises.
const PROMISE: u16 = 8;

/// How an audience behaves, and on what network.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// Share of native nodes that say goodbye.
    pub natives_leave: f64,
    /// Share of the others that do.
    pub pages_leave: f64,
    /// Share of those with slots that promise them and pass nothing on.
    pub liars: f64,
    /// Whether homes have routers that not everybody gets through.
    pub routers: bool,
    /// The network.
    pub network: Network,
    /// The publisher.
    pub show: Show,
}

impl Default for Conditions {
    /// All crash, nobody lies, round trips of 40 ms as the median, one packet in a hundred is lost.
    fn default() -> Self {
        Self {
            natives_leave: 0.0,
            pages_leave: 0.0,
            liars: 0.0,
            routers: false,
            network: Network {
                delay: Duration::from_millis(20),
                spread: 0.5,
                jitter: Duration::from_millis(4),
                loss: 0.01,
            },
            show: Show::sparse(),
        }
    }
}

impl Conditions {
    /// Four natives in five and three pages in five say goodbye.
    #[must_use]
    pub fn mixed(self) -> Self {
        Self {
            natives_leave: 0.8,
            pages_leave: 0.6,
            ..self
        }
    }
}

/// What an audience saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Viewers at the end, and those of them that were live.
    pub viewers: usize,
    /// Those that got something new lately.
    pub live: usize,
    /// Hours that all viewers together watched.
    pub hours: f64,
    /// Stalls over 300 ms per viewer-hour.
    pub stalls: f64,
    /// Stalls over 500 ms per viewer-hour.
    pub long_stalls: f64,
    /// The longest pause in milliseconds.
    pub longest: f64,
    /// Packets that never came, per million.
    pub lost: f64,
    /// Parents lost, per viewer-hour.
    pub heals: f64,
    /// Times a node fed more than it has slots for.
    pub exceeded: usize,
    /// Times somebody hung below itself.
    pub cycles: usize,
}

/// What becomes of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Departure(NodeId, bool),
    Gone(NodeId),
}

/// One stream and its audience on a virtual clock.
pub struct Crowd {
    /// The cores and the network between them.
    pub world: World,
    audience: Audience,
    conditions: Conditions,
    rng: StdRng,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    scheduled: u64,
    comes: bool,
    past: Past,
    /// Said goodbye and are still here for a moment: what they saw is counted.
    leaving: BTreeSet<NodeId>,
}

/// Of those who are not here any more.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    since: Option<Instant>,
    watched: Duration,
    stalls: usize,
    long_stalls: usize,
    longest: Duration,
    heals: u64,
}

impl Crowd {
    /// A root, and nobody on the way.
    pub fn new(audience: Audience, conditions: Conditions, seed: u64) -> Self {
        let mut world = World::showing(seed, ROOT_SLOTS, true, conditions.show);
        world.network = conditions.network;
        world.sinks = false;
        Self {
            world,
            audience,
            conditions,
            rng: StdRng::seed_from_u64(seed),
            events: BinaryHeap::new(),
            scheduled: 0,
            comes: false,
            past: Past::default(),
            leaving: BTreeSet::new(),
        }
    }

    /// The whole audience comes within `within`, and goes and comes from then on.
    pub fn fill(&mut self, within: Duration) {
        let mut viewers: Vec<Viewer> = (0..self.audience.size)
            .map(|_| self.audience.present(&mut self.rng))
            .collect();
        viewers.shuffle(&mut self.rng);
        let step = within / viewers.len().max(1) as u32;
        for viewer in viewers {
            self.enter(viewer);
            self.run(step);
        }
        self.comes = true;
        self.next_arrival();
    }

    /// From now on nobody comes or goes; who is about to leave is gone.
    pub fn hold(&mut self) {
        self.comes = false;
        for Reverse((_, _, event)) in self.events.drain() {
            if let Event::Gone(id) = event {
                self.world.kill(id);
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        while let Some(&Reverse((at, _, event))) = self.events.peek()
            && at <= end
        {
            self.events.pop();
            self.world.run(at.saturating_duration_since(self.world.now));
            self.happen(event);
        }
        self.world
            .run(end.saturating_duration_since(self.world.now));
    }

    /// Lets time pass and tells what the audience saw in it.
    pub fn watch(&mut self, time: Duration) -> Outcome {
        let begun = self.world.now;
        self.past = Past {
            since: Some(begun),
            ..Past::default()
        };
        let before = self.heals();
        let (exceeded, cycles) = (self.world.exceeded, self.world.cycles);
        while self.world.now < begun + time {
            self.run(INSPECTION);
            self.world.inspect();
        }
        let heals = self.heals() + self.past.heals;
        let heals = heals.saturating_sub(before);
        let now = self.world.now;
        let mut viewers = self.world.viewers();
        viewers.retain(|id| !self.leaving.contains(id));
        for id in &viewers {
            self.tally(*id);
        }
        let live = |id: &&NodeId| self.world.nodes[id].progress.quiet(now) <= LIVE;
        let (mut lost, mut packets) = (0, 0);
        for id in &viewers {
            for (_, track) in self.world.nodes[id].node.snapshot().tracks {
                lost += track.lost;
                packets += track.packets;
            }
        }
        let hours = self.past.watched.as_secs_f64() / 3600.0;
        Outcome {
            viewers: viewers.len(),
            live: viewers.iter().filter(live).count(),
            hours,
            stalls: self.past.stalls as f64 / hours,
            long_stalls: self.past.long_stalls as f64 / hours,
            longest: self.past.longest.as_secs_f64() * 1e3,
            lost: lost as f64 * 1e6 / (packets as f64).max(1.0),
            heals: heals as f64 / hours,
            exceeded: self.world.exceeded - exceeded,
            cycles: self.world.cycles - cycles,
        }
    }

    /// Kills this share of all nodes at once, and tells the share of the others that are live after
    /// each of `times`, in rising order.
    pub fn massacre(&mut self, share: f64, times: &[Duration]) -> Vec<f64> {
        self.hold();
        let mut ids = self.world.viewers();
        ids.shuffle(&mut self.rng);
        let dead = (ids.len() as f64 * share) as usize;
        for id in ids.drain(..dead) {
            self.world.kill(id);
        }
        let begun = self.world.now;
        times
            .iter()
            .map(|&time| {
                let left = (begun + time).saturating_duration_since(self.world.now);
                self.run(left);
                let now = self.world.now;
                let live = |id: &&NodeId| {
                    let place = self.world.nodes.get(id);
                    place.is_some_and(|place| place.progress.quiet(now) <= LIVE)
                };
                ids.iter().filter(live).count() as f64 / ids.len() as f64
            })
            .collect()
    }

    /// Kills a node that feeds others, and tells the longest pause in milliseconds of each node below
    /// it, told after three seconds. Another node takes its place in the audience.
    pub fn fell(&mut self) -> Vec<f64> {
        let inner: Vec<NodeId> = (self.world.viewers().into_iter())
            .filter(|id| self.world.nodes[id].node.taken() > 0)
            .collect();
        let Some(&victim) = inner.choose(&mut self.rng) else {
            return Vec::new();
        };
        let below: Vec<NodeId> = (self.world.viewers().into_iter())
            .filter(|id| self.world.path(*id).contains(&victim))
            .collect();
        let slots = self.world.nodes[&victim].slots;
        self.world.kill(victim);
        let begun = self.world.now;
        self.run(secs(3));
        let now = self.world.now;
        self.world.admit(Newcomer::open(slots));
        let places = below.iter().filter_map(|id| self.world.nodes.get(id));
        places
            .map(|place| place.progress.longest(begun, now).as_secs_f64() * 1e3)
            .collect()
    }

    /// The share of those two or more hops below the root that have a standby.
    pub fn warm(&self) -> f64 {
        let mut deep = (self.world.viewers().into_iter())
            .filter(|id| self.world.path(*id).len() >= 2)
            .map(|id| self.world.standby(id).is_some())
            .peekable();
        if deep.peek().is_none() {
            return 1.0;
        }
        let (mut warm, mut all) = (0_u32, 0_u32);
        for has in deep {
            warm += u32::from(has);
            all += 1;
        }
        f64::from(warm) / f64::from(all)
    }

    fn heals(&self) -> u64 {
        let places = self.world.nodes.iter();
        let here = places.filter(|(id, _)| !self.leaving.contains(*id));
        here.map(|(_, place)| place.node.snapshot().heals as u64)
            .sum()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => {
                let viewer = self.audience.newcomer(&mut self.rng);
                self.enter(viewer);
                self.next_arrival();
            }
            Event::Departure(id, politely) => {
                self.tally(id);
                if let Some(place) = self.world.nodes.get(&id) {
                    self.past.heals += place.node.snapshot().heals as u64;
                }
                if politely {
                    self.leaving.insert(id);
                    self.world.leave(id);
                    self.schedule(GONE, Event::Gone(id));
                } else {
                    self.world.kill(id);
                }
            }
            Event::Gone(id) => {
                self.leaving.remove(&id);
                self.world.kill(id);
            }
        }
    }

    /// What a viewer saw since this was watched.
    fn tally(&mut self, id: NodeId) {
        let (Some(place), Some(watched)) = (self.world.nodes.get(&id), self.past.since) else {
            return;
        };
        let now = self.world.now;
        let progress = &place.progress;
        let Some(since) = progress.since else {
            return;
        };
        self.past.watched += now - since.max(watched);
        let open = progress.last.map(|last| (now, now - last));
        let pauses = progress.pauses.iter().copied().chain(open);
        for (_, pause) in pauses.filter(|(at, _)| *at >= watched) {
            self.past.stalls += usize::from(pause > STALL);
            self.past.long_stalls += usize::from(pause > 5 * STALL / 3);
            self.past.longest = self.past.longest.max(pause);
        }
    }

    fn enter(&mut self, viewer: Viewer) {
        let (native, carries) = (viewer.class == Class::Native, viewer.slots > 0);
        let liar = carries && self.rng.random_bool(self.conditions.liars);
        let reach = match (self.conditions.routers, native) {
            (false, _) => Reach::Open,
            (true, true) => self.draw(&[(0.4, Reach::Open), (0.85, Reach::Cone)]),
            (true, false) => self.draw(&[(0.05, Reach::Open), (0.8, Reach::Cone)]),
        };
        let slots = if liar { PROMISE } else { viewer.slots };
        let id = self.world.admit(Newcomer { slots, reach, liar });
        let politely = self.rng.random_bool(match native {
            true => self.conditions.natives_leave,
            false => self.conditions.pages_leave,
        });
        self.schedule(viewer.stays, Event::Departure(id, politely));
    }

    /// One of these by their summed shares, or else symmetric.
    fn draw(&mut self, shares: &[(f64, Reach)]) -> Reach {
        let at: f64 = self.rng.random();
        let found = shares.iter().find(|(share, _)| at < *share);
        found.map_or(Reach::Symmetric, |&(_, reach)| reach)
    }

    fn next_arrival(&mut self) {
        if self.comes {
            let gaps = Exp::new(self.audience.arrivals()).unwrap();
            let gap = gaps.sample(&mut self.rng);
            self.schedule(Duration::from_secs_f64(gap), Event::Arrival);
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.scheduled += 1;
        let at = self.world.now + after;
        self.events.push(Reverse((at, self.scheduled, event)));
    }
}
