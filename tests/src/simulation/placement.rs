//! Placement alone: the real tree and its policy, every edge made at once, no packets.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use banyan::id::NodeId;
use banyan::tree::{Class, Displacement, Handle, Newcomer, Placement, Round, Spare, Tree, Wish};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp};

use super::churn::{Audience, Viewer};
use crate::secs;

/// Children of the root.
const ROOT_SLOTS: u16 = 8;

/// Time after which a peer is trusted to stay.
const PROVEN: Duration = secs(120);

/// Time until a child's second report says that its parent feeds it.
const DELIVERY: Duration = secs(2);

/// Time after which a peer without place tries again.
const RETRY: Duration = secs(1);

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Departure(Handle),
    Proof(Handle),
    Delivery(Handle),
    Rebalance,
    Retry(Handle),
}

/// What came out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Peers with a place.
    pub placed: usize,
    /// Peers without.
    pub waiting: usize,
    /// Mean depth of all peers with a place, over the second half of the run.
    pub mean_depth: f64,
    /// The same of the best tree these peers could form.
    pub optimum: f64,
    /// Of the deepest peer at the end.
    pub deepest: usize,
    /// Moves of peers that had a place, per peer and minute.
    pub moves: f64,
    /// Departures above a peer, per viewer-hour.
    pub interruptions: f64,
    /// Times a peer had more children than slots.
    pub exceeded: usize,
}

/// One stream on a virtual clock.
pub struct World {
    tree: Tree,
    rng: StdRng,
    now: Instant,
    round: Round,
    audience: Audience,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    scheduled: u64,
    names: u64,
    recent: u64,
    moves: u64,
    interruptions: u64,
    exceeded: usize,
    arrivals: bool,
    /// Whether pages can be moved like nodes.
    pub pages_move: bool,
}

impl World {
    /// A root alone, and nobody on the way.
    pub fn new(audience: Audience, seed: u64) -> Self {
        let begun = Instant::now();
        let mut world = Self {
            tree: Tree::new(),
            rng: StdRng::seed_from_u64(seed),
            now: begun + secs(200_000),
            round: Round::default(),
            audience,
            events: BinaryHeap::new(),
            scheduled: 0,
            names: 0,
            recent: 0,
            moves: 0,
            interruptions: 0,
            exceeded: 0,
            arrivals: false,
            pages_move: true,
        };
        let root = world.insert(Class::Native, ROOT_SLOTS, world.now);
        world.tree.set_root(root).unwrap();
        world.tree.prove(root);
        world.schedule(secs(1), Event::Rebalance);
        world
    }

    /// Everybody comes within `within`.
    pub fn rush(&mut self, within: Duration) {
        let step = within / self.audience.size as u32;
        let mut viewers: Vec<Viewer> = (0..self.audience.size)
            .map(|_| self.audience.present(&mut self.rng))
            .collect();
        for viewer in &mut viewers {
            viewer.age = Duration::ZERO;
        }
        for viewer in viewers {
            self.run_until(self.now + step);
            self.enter(viewer);
        }
    }

    /// A moment like any other: an audience that has been here for a while.
    pub fn settle(&mut self) {
        let mut viewers: Vec<Viewer> = (0..self.audience.size)
            .map(|_| self.audience.present(&mut self.rng))
            .collect();
        viewers.sort_by_key(|viewer| Reverse(viewer.age));
        for viewer in viewers {
            self.enter(viewer);
        }
        self.arrivals = true;
        self.next_arrival();
    }

    /// Lets time pass.
    pub fn run_until(&mut self, end: Instant) {
        while let Some(&Reverse((at, _, event))) = self.events.peek()
            && at <= end
        {
            self.events.pop();
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    /// Lets `time` pass and tells how it went.
    pub fn watch(&mut self, time: Duration) -> Outcome {
        let (moves, interruptions) = (self.moves, self.interruptions);
        let (mut depth, mut optimum, mut peers) = (0.0, 0.0, 0.0);
        let samples = 20;
        for _ in 0..samples {
            self.run_until(self.now + time / samples);
            depth += self.mean_depth();
            optimum += self.optimum();
            peers += f64::from(self.tree.attached());
        }
        let samples = f64::from(samples);
        let minutes = peers / samples * time.as_secs_f64() / 60.0;
        Outcome {
            placed: self.tree.attached() as usize,
            waiting: self.tree.len() - self.tree.attached() as usize,
            mean_depth: depth / samples,
            optimum: optimum / samples,
            deepest: self.tree.per_depth().len() - 1,
            moves: (self.moves - moves) as f64 / minutes,
            interruptions: (self.interruptions - interruptions) as f64 / (minutes / 60.0),
            exceeded: self.exceeded,
        }
    }

    /// Now.
    pub fn now(&self) -> Instant {
        self.now
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => {
                let viewer = self.audience.newcomer(&mut self.rng);
                self.enter(viewer);
                self.next_arrival();
            }
            Event::Departure(peer) => self.depart(peer),
            Event::Proof(peer) => self.tree.prove(peer),
            Event::Delivery(child) => self.tree.confirm(child),
            Event::Rebalance => self.rebalance(),
            Event::Retry(peer) => {
                if self.tree.get(peer).is_some_and(|peer| !peer.attached())
                    && self.tree.parent(peer).is_none()
                {
                    self.place(peer);
                }
            }
        }
    }

    fn next_arrival(&mut self) {
        if self.arrivals {
            let gaps = Exp::new(self.audience.arrivals()).unwrap();
            let gap = gaps.sample(&mut self.rng);
            self.schedule(Duration::from_secs_f64(gap), Event::Arrival);
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.scheduled += 1;
        self.events
            .push(Reverse((self.now + after, self.scheduled, event)));
    }

    fn insert(&mut self, class: Class, slots: u16, joined: Instant) -> Handle {
        self.names += 1;
        let mut name = [0; 16];
        name[..8].copy_from_slice(&self.names.to_be_bytes());
        let node = NodeId::from_bytes(name);
        self.tree.insert(Newcomer {
            node,
            class,
            slots,
            joined,
        })
    }

    fn enter(&mut self, viewer: Viewer) {
        let peer = self.insert(viewer.class, viewer.slots, self.now - viewer.age);
        self.recent += 1;
        self.schedule(viewer.stays, Event::Departure(peer));
        self.schedule(PROVEN.saturating_sub(viewer.age), Event::Proof(peer));
        self.place(peer);
    }

    fn depart(&mut self, peer: Handle) {
        let below = self.tree.subtree(peer).count() as u64 - 1;
        self.interruptions += below;
        let mut orphans = self.tree.remove(peer);
        // Those who bring most go first.
        orphans.sort_by_key(|&orphan| Reverse(self.tree.get(orphan).map(|p| p.slots())));
        for orphan in orphans {
            self.place(orphan);
        }
    }

    fn place(&mut self, peer: Handle) {
        let heals = self.tree.children(peer).next().is_some();
        let regime = self.tree.regime();
        let full =
            [Class::Native, Class::Browser].map(|class| self.tree.free_slots(class)) == [0; 2];
        let (place, evicted) = {
            let stays = stays(&self.tree, self.pages_move, Some(peer));
            let wish = Wish {
                joiner: peer,
                keep_last: false,
                spare: if heals { Spare::Freely } else { Spare::Last },
                excluded: &stays,
            };
            let place = self.tree.find_place(&wish, regime, &mut self.rng);
            // Nobody can keep a page where it is if its parent lets it go.
            let wish = Wish {
                excluded: &|_, _| false,
                ..wish
            };
            let evicted = match full {
                true => self.tree.find_eviction(&wish, &mut self.rng),
                false => None,
            };
            (place, evicted)
        };
        match (place, evicted) {
            (Some(Placement::Slot(parent)), _) => self.attach(peer, parent),
            (Some(Placement::Displace(displacement)), _) => self.displace(peer, displacement),
            (None, Some(place)) => {
                self.tree.detach(place.victim);
                self.interruptions += self.tree.subtree(place.victim).count() as u64;
                self.attach(peer, place.parent);
                self.attach(place.victim, peer);
            }
            (None, None) => self.schedule(RETRY, Event::Retry(peer)),
        }
    }

    fn attach(&mut self, child: Handle, parent: Handle) {
        self.tree.attach(child, parent).unwrap();
        self.schedule(DELIVERY, Event::Delivery(child));
        if let Some(parent) = self.tree.get(parent) {
            self.exceeded += usize::from(parent.used() > parent.slots());
        }
    }

    fn displace(&mut self, better: Handle, displacement: Displacement) {
        self.moves += u64::from(self.tree.get(better).is_some_and(|peer| peer.attached()));
        self.attach(better, displacement.parent);
        self.attach(displacement.victim, better);
        self.moves += 1;
    }

    /// What a tracker does once a second.
    fn rebalance(&mut self) {
        self.schedule(secs(1), Event::Rebalance);
        let mut left = self.tree.moves_per_second();
        for peer in self.tree.next_candidates(&mut self.round) {
            let found = {
                let stays = stays(&self.tree, self.pages_move, None);
                self.tree
                    .find_promotion(peer, self.now, &stays, &mut self.rng)
            };
            if let Some(displacement) = found.filter(|_| left > 0) {
                self.displace(peer, displacement);
                left -= 1;
            }
        }
        while left > 0 {
            let found = {
                let stays = stays(&self.tree, self.pages_move, None);
                self.tree.find_move(&stays, &mut self.rng)
            };
            let Some(found) = found else {
                break;
            };
            self.attach(found.child, found.parent);
            self.moves += 1;
            left -= 1;
        }
    }

    fn mean_depth(&self) -> f64 {
        let levels = self.tree.per_depth();
        let sum: u64 = (0_u64..)
            .zip(levels)
            .map(|(depth, &n)| depth * u64::from(n))
            .sum();
        sum as f64 / f64::from(self.tree.attached())
    }

    /// Mean depth of the tree in which whoever brings more is nearer to the root, natives first.
    fn optimum(&self) -> f64 {
        let mut peers: Vec<(bool, u16)> = self
            .tree
            .breadth_first()
            .skip(1)
            .filter_map(|peer| self.tree.get(peer))
            .map(|peer| {
                (
                    peer.class() == Class::Native && peer.slots() > 0,
                    peer.slots(),
                )
            })
            .collect();
        peers.sort_unstable_by_key(|&peer| Reverse(peer));
        let (mut depth, mut room, mut next, mut sum) = (1_u64, usize::from(ROOT_SLOTS), 0, 0);
        for (_, slots) in &peers {
            if room == 0 {
                depth += 1;
                room = std::mem::take(&mut next);
            }
            room = room.saturating_sub(1);
            next += usize::from(*slots);
            sum += depth;
        }
        sum as f64 / (peers.len() + 1) as f64
    }
}

/// Tells which pairs must not be: whoever cannot be moved gets no other parent than `joiner` finds.
fn stays(tree: &Tree, pages_move: bool, joiner: Option<Handle>) -> impl Fn(Handle, Handle) -> bool {
    move |child, _| {
        let page = tree
            .get(child)
            .is_some_and(|peer| peer.class() != Class::Native);
        page && !pages_move && Some(child) != joiner
    }
}
