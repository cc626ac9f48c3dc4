//! Many peers as simple as can be, and the world that carries what they say.

mod liar;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::*;
use crate::id::{Generation, LinkId, LinkKey, NodeId};
use crate::wire::tracker::*;

/// What happens in the world outside the tracker.
#[derive(Debug)]
enum Event {
    /// A message reaches the tracker.
    Said(u64, ClientMessage),
    /// A session's end reaches the tracker.
    Hung(u64),
    /// An answered connection stands, or does not.
    Connect(NodeId, LinkKey),
    /// A child notices that its parent fell silent or closed, or that it cannot be reached.
    Notice(NodeId, LinkKey, LostReason),
    /// It is time for a report.
    Report(NodeId),
    /// A peer whose request was refused asks again.
    Retry(NodeId),
}

/// A peer as simple as can be, honest or not.
pub(super) struct Actor {
    pub(super) client: Client,
    pub(super) slots: usize,
    pub(super) class: PeerClass,
    pub(super) liar: bool,
    pub(super) links: u32,
    /// The connection that feeds it.
    pub(super) fed: Option<(LinkKey, NodeId)>,
    /// The one it is making.
    pub(super) coming: Option<(LinkKey, Option<(NodeId, Generation)>)>,
    pub(super) children: BTreeSet<LinkKey>,
}

pub(super) struct Mesh {
    pub(super) world: World,
    pub(super) rng: StdRng,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    pub(super) actors: BTreeMap<NodeId, Actor>,
    pub(super) root: NodeId,
    next_node: u64,
    /// Times anybody was told to move.
    pub(super) moves: usize,
    /// Everything anybody was sent, hashed.
    pub(super) transcript: u64,
}

impl Mesh {
    pub(super) fn new(seed: u64, root_slots: u16) -> Self {
        let mut world = World::new(seed);
        let root = world.root(0, root_slots);
        world.go_live(root, 1);
        let mut mesh = Self {
            world,
            rng: StdRng::seed_from_u64(seed ^ 0xfeed),
            events: BTreeMap::new(),
            next_event: 0,
            actors: BTreeMap::new(),
            root: root.node,
            next_node: 1,
            moves: 0,
            transcript: 0,
        };
        mesh.add(root, root_slots, PeerClass::Native, false);
        mesh
    }

    fn add(&mut self, client: Client, slots: u16, class: PeerClass, liar: bool) {
        let actor = Actor {
            client,
            slots: slots.into(),
            class,
            liar,
            links: 0,
            fed: None,
            coming: None,
            children: BTreeSet::new(),
        };
        self.actors.insert(client.node, actor);
        self.after(ms(100), Event::Report(client.node));
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.next_event += 1;
        let at = self.world.now + delay;
        self.events.insert((at, self.next_event), event);
    }

    pub(super) fn arrive(&mut self, class: PeerClass, slots: u16, liar: bool) -> NodeId {
        let n = self.next_node;
        self.next_node += 1;
        let client = self.world.client(n, class, slots);
        self.add(client, slots, class, liar);
        self.join(client.node, None);
        client.node
    }

    fn say(&mut self, node: NodeId, message: ClientMessage) {
        let session = self.actors[&node].client.session;
        // The same delay for everybody keeps a session's messages in order.
        self.after(ms(20), Event::Said(session, message));
    }

    fn join(&mut self, node: NodeId, lost: Option<Lost>) {
        let stream = self.world.stream();
        let Some(actor) = self.actors.get_mut(&node) else {
            return;
        };
        actor.links += 1;
        let link = LinkKey {
            child: node,
            link: LinkId(actor.links),
        };
        actor.coming = Some((link, None));
        let link = link.link;
        let offer = "offer".to_string();
        self.say(
            node,
            ClientMessage::Join(Join {
                stream,
                link,
                offer,
                lost,
            }),
        );
    }

    /// One pair in twenty cannot connect.
    fn blocked(a: NodeId, b: NodeId) -> bool {
        let sum: u64 = [a, b]
            .iter()
            .map(|n| u64::from(n.as_bytes()[7]) * 7 + u64::from(n.as_bytes()[6]))
            .sum();
        sum % 20 == 13
    }

    pub(super) fn die(&mut self, node: NodeId, silently: bool) {
        let Some(actor) = self.actors.remove(&node) else {
            return;
        };
        if !silently {
            self.after(ms(20), Event::Hung(actor.client.session));
        }
        for link in actor.children {
            self.after(
                ms(1000),
                Event::Notice(link.child, link, LostReason::Silent),
            );
        }
        if let Some((link, parent)) = actor.fed
            && let Some(parent) = self.actors.get_mut(&parent)
        {
            parent.children.remove(&link);
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        loop {
            let event = self.events.first_key_value().map(|(&(at, _), _)| at);
            let tick = self.world.tracker.deadline();
            let next = [event, tick].into_iter().flatten().min();
            let Some(next) = next.filter(|&at| at <= end) else {
                break;
            };
            self.world.now = self.world.now.max(next);
            if Some(next) == tick {
                self.world.input(crate::tracker::Input::Tick);
            } else if let Some((_, event)) = self.events.pop_first() {
                self.happen(event);
            }
            self.deliver();
        }
        self.world.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Said(session, message) => {
                let node = self.root;
                self.world.say(Client { session, node }, message);
            }
            Event::Hung(session) => {
                let node = self.root;
                self.world.disconnect(Client { session, node });
            }
            Event::Connect(child, link) => self.connect(child, link),
            Event::Notice(child, link, reason) => self.notice(child, link, reason),
            Event::Report(node) => self.report(node),
            Event::Retry(node) => {
                let idle = |actor: &Actor| actor.fed.is_none() && actor.coming.is_none();
                if self.actors.get(&node).is_some_and(idle) {
                    self.join(node, None);
                }
            }
        }
    }

    fn connect(&mut self, child: NodeId, link: LinkKey) {
        let coming = self.actors.get(&child).and_then(|actor| actor.coming);
        let Some((_, Some((parent, generation)))) = coming.filter(|(l, _)| *l == link) else {
            return;
        };
        let expects = self
            .actors
            .get(&parent)
            .is_some_and(|p| p.children.contains(&link));
        if Self::blocked(child, parent) || !expects {
            return;
        }
        let Some(actor) = self.actors.get_mut(&child) else {
            return;
        };
        actor.coming = None;
        let old = actor.fed.replace((link, parent));
        if let Some((old, parent)) = old
            && let Some(parent) = self.actors.get_mut(&parent)
        {
            parent.children.remove(&old);
        }
        self.say(child, ClientMessage::Attached { link, generation });
    }

    fn notice(&mut self, child: NodeId, link: LinkKey, reason: LostReason) {
        let Some(actor) = self.actors.get_mut(&child) else {
            return;
        };
        // That a connection did not come about in time says nothing about one that stands.
        let stands = reason != LostReason::Unreachable;
        let fed = actor.fed.take_if(|(fed, _)| *fed == link && stands);
        let coming = actor.coming.take_if(|(coming, _)| *coming == link);
        let parent = match (fed, coming) {
            (Some((_, parent)), _) | (None, Some((_, Some((parent, _))))) => parent,
            _ => {
                actor.coming = actor.coming.take().or(coming);
                return;
            }
        };
        let fed = actor.fed.is_some();
        if let Some(parent) = self.actors.get_mut(&parent) {
            parent.children.remove(&link);
        }
        // A move that failed costs nothing.
        if !fed {
            self.join(child, Some(Lost { parent, reason }));
        }
    }

    fn report(&mut self, node: NodeId) {
        let Some(actor) = self.actors.get(&node) else {
            return;
        };
        let fed = |link: &LinkKey| {
            let child = self.actors.get(&link.child);
            child.is_some_and(|child| child.fed.is_some_and(|(fed, _)| fed == *link))
        };
        let report = Report {
            parent: actor.fed.map(|(_, parent)| parent),
            children: actor
                .children
                .iter()
                .filter(|l| fed(l))
                .map(|l| l.child)
                .collect(),
            slots: actor.slots as u16,
            delay_ms: 10,
            received: 100,
            ..Report::default()
        };
        let liar = actor.liar;
        self.say(node, ClientMessage::Report(report));
        if liar {
            self.lie(node);
        }
        self.after(ms(1000), Event::Report(node));
    }

    /// Lets everybody read what the tracker said, and act on it.
    fn deliver(&mut self) {
        let inbox = std::mem::take(&mut self.world.inbox);
        let by_session: BTreeMap<u64, NodeId> = self
            .actors
            .iter()
            .map(|(&node, actor)| (actor.client.session, node))
            .collect();
        for (session, messages) in inbox {
            for message in messages {
                for byte in format!("{session} {message:?}").bytes() {
                    let sum = self.transcript ^ u64::from(byte);
                    self.transcript = sum.wrapping_mul(0x0000_0100_0000_01b3);
                }
                if let Some(&node) = by_session.get(&session) {
                    self.act(node, message);
                }
            }
        }
    }

    fn act(&mut self, node: NodeId, message: ServerMessage) {
        let Some(actor) = self.actors.get_mut(&node) else {
            return;
        };
        match message {
            ServerMessage::Assigned {
                link,
                parent,
                generation,
                ..
            } => {
                if let Some(coming) = actor.coming.as_mut().filter(|(l, _)| *l == link) {
                    coming.1 = Some((parent, generation));
                    self.after(ms(4000), Event::Notice(node, link, LostReason::Unreachable));
                }
            }
            ServerMessage::Expect { link, class, .. } => {
                assert!(actor.class == PeerClass::Native || class == PeerClass::Browser);
                if actor.liar && self.rng.random_bool(0.3) {
                    return;
                }
                if actor.children.len() >= actor.slots {
                    let reason = RefuseReason::Full;
                    self.say(node, ClientMessage::Refuse { link, reason });
                    return;
                }
                actor.children.insert(link);
                let sdp = "answer".to_string();
                self.say(node, ClientMessage::Answer { link, sdp });
            }
            ServerMessage::Answer { link, .. } => {
                self.after(ms(60), Event::Connect(node, link));
            }
            ServerMessage::Move { .. } if actor.fed.is_some() && actor.coming.is_none() => {
                self.moves += 1;
                self.join(node, None);
            }
            ServerMessage::Release { link } if actor.children.remove(&link) => {
                self.after(ms(20), Event::Notice(link.child, link, LostReason::Closed));
            }
            ServerMessage::Error {
                code: ErrorCode::Offer,
                ..
            } => {
                // Only a liar refuses an offer here.
                actor.coming = None;
                self.after(ms(2000), Event::Retry(node));
            }
            ServerMessage::Error { code, .. } => {
                assert!(actor.liar, "an honest peer was told {code:?}");
            }
            _ => {}
        }
    }

    pub(super) fn random_viewer(&mut self) -> Option<NodeId> {
        let nodes: Vec<NodeId> = self.actors.keys().copied().collect();
        let node = nodes[self.rng.random_range(0..nodes.len())];
        (node != self.root).then_some(node)
    }

    /// Whether media reaches a peer over connections that stand.
    pub(super) fn is_fed(&self, node: NodeId) -> bool {
        let mut at = node;
        for _ in 0..64 {
            if at == self.root {
                return true;
            }
            match self.actors.get(&at).and_then(|actor| actor.fed) {
                Some((link, parent)) => {
                    let serves = |p: &Actor| p.children.contains(&link);
                    if !self.actors.get(&parent).is_some_and(serves) {
                        return false;
                    }
                    at = parent;
                }
                None => return false,
            }
        }
        false
    }

    pub(super) fn honest(&self) -> impl Iterator<Item = &Actor> {
        self.actors.values().filter(|actor| !actor.liar)
    }
}
