//! A tracker and its clients on a virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::id::{Epoch, Generation, LinkId, LinkKey, NodeId, StreamId};
use crate::tracker::{Input, Output, SessionId, Tracker, TrackerConfig};
use crate::virtual_clock::start;
use crate::wire::PROTOCOL_VERSION;
use crate::wire::announcement::{
    CHALLENGE_DOMAIN, Codec, SignedStreamInfo, StreamInfo, TrackInfo, sign, stream_id,
};
use crate::wire::tracker::*;

pub(super) const AUTHORITY: &str = "Tracker.example:8080";

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) tracker: Tracker<StdRng>,
    /// What each session was sent and has not read.
    pub(super) inbox: BTreeMap<u64, VecDeque<ServerMessage>>,
    pub(super) closed: Vec<u64>,
    pub(super) key: SigningKey,
    next_session: u64,
    /// Inputs since everything was looked at.
    unchecked: usize,
}

/// One client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) session: u64,
    pub(super) node: NodeId,
}

/// An order as the child reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) link: LinkKey,
    pub(super) parent: NodeId,
    pub(super) generation: Generation,
    pub(super) depth: u16,
}

pub(super) fn node(n: u64) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    NodeId::from_bytes(bytes)
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn info(epoch: u64) -> StreamInfo {
    StreamInfo {
        epoch: Epoch(epoch),
        tracks: vec![TrackInfo {
            codec: Codec::Vp8,
            fmtp: String::new(),
            ssrc: 7,
            first_seq: 70_000,
        }],
        cname: "banyan".into(),
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, TrackerConfig::default())
    }

    fn with(seed: u64, config: TrackerConfig) -> Self {
        Self {
            now: start(),
            tracker: Tracker::new(config, StdRng::seed_from_u64(seed)),
            inbox: BTreeMap::new(),
            closed: Vec::new(),
            key: SigningKey::from_bytes(&[1; 32]),
            next_session: 0,
            unchecked: 0,
        }
    }

    /// A world with a live stream; its root has node 0.
    pub(super) fn live(root_slots: u16) -> (Self, Client) {
        Self::live_with_relays(root_slots, Vec::new())
    }

    /// The same at a tracker that has TURN servers to offer.
    pub(super) fn live_with_relays(root_slots: u16, relays: Vec<IceServer>) -> (Self, Client) {
        let config = TrackerConfig {
            relays,
            ..TrackerConfig::default()
        };
        let mut world = Self::with(1, config);
        let root = world.root(0, root_slots);
        world.go_live(root, 1);
        // Past the time in which the last slot is kept for relays.
        world.pass(ms(2500), &[root]);
        world.inbox.clear();
        (world, root)
    }

    pub(super) fn stream(&self) -> StreamId {
        stream_id(&self.key)
    }

    pub(super) fn input(&mut self, input: Input) {
        self.tracker.handle(self.now, input);
        while let Some(output) = self.tracker.poll_output() {
            match output {
                Output::Send { session, message } => {
                    self.inbox.entry(session.0).or_default().push_back(message);
                }
                Output::Close { session } => self.closed.push(session.0),
            }
        }
        // Everything is looked at, so in a crowd not after every message.
        self.unchecked += 1;
        if self.unchecked > self.tracker.sessions.len() / 4 {
            self.unchecked = 0;
            self.assert_consistent();
        }
    }

    /// Panics if sessions and broadcasts disagree.
    pub(super) fn assert_consistent(&self) {
        let tracker = &self.tracker;
        for (stream, broadcast) in &tracker.streams {
            broadcast.assert_consistent();
            let due = tracker.due_of.get(stream);
            assert!(due.is_none_or(|&at| tracker.due.contains(&(at, *stream))));
        }
        assert_eq!(tracker.due.len(), tracker.due_of.len());
        assert_eq!(tracker.leases.len(), tracker.sessions.len());
        for (id, session) in &tracker.sessions {
            let Some(arrival) = session.hello else {
                continue;
            };
            assert_eq!(tracker.nodes.get(&arrival.node), Some(id));
            let of = |stream: &StreamId| tracker.streams[stream].contains(&arrival.node);
            assert!(session.stream.as_ref().is_none_or(of));
        }
    }

    pub(super) fn connect(&mut self) -> u64 {
        self.connect_from("192.0.2.7")
    }

    fn connect_from(&mut self, address: &str) -> u64 {
        self.next_session += 1;
        self.input(Input::Connected {
            session: SessionId(self.next_session),
            observed: address.parse().unwrap(),
            authority: AUTHORITY.into(),
        });
        self.next_session
    }

    pub(super) fn client(&mut self, n: u64, class: PeerClass, slots: u16) -> Client {
        let session = self.connect();
        self.greet(session, n, class, slots)
    }

    fn greet(&mut self, session: u64, n: u64, class: PeerClass, slots: u16) -> Client {
        let client = Client {
            session,
            node: node(n),
        };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            node: client.node,
            class,
            agent: "test".into(),
            slots,
        };
        self.say(client, ClientMessage::Hello(hello));
        client
    }

    pub(super) fn native(&mut self, n: u64, slots: u16) -> Client {
        self.client(n, PeerClass::Native, slots)
    }

    /// A native peer that the tracker sees at this address.
    pub(super) fn native_at(&mut self, n: u64, slots: u16, address: &str) -> Client {
        let session = self.connect_from(address);
        self.greet(session, n, PeerClass::Native, slots)
    }

    /// A page that the tracker sees at this address.
    pub(super) fn page_at(&mut self, n: u64, address: &str) -> Client {
        let session = self.connect_from(address);
        self.greet(session, n, PeerClass::Browser, 0)
    }

    pub(super) fn say(&mut self, client: Client, message: ClientMessage) {
        self.input(Input::Message {
            session: SessionId(client.session),
            message,
        });
    }

    pub(super) fn disconnect(&mut self, client: Client) {
        self.input(Input::Disconnected {
            session: SessionId(client.session),
        });
    }

    /// Everything a client has not read yet.
    pub(super) fn read(&mut self, client: Client) -> Vec<ServerMessage> {
        let inbox = self.inbox.remove(&client.session);
        inbox.unwrap_or_default().into()
    }

    pub(super) fn errors(&mut self, client: Client) -> Vec<(ErrorCode, bool)> {
        let messages = self.read(client);
        let errors = messages.into_iter().filter_map(|message| match message {
            ServerMessage::Error { code, fatal, .. } => Some((code, fatal)),
            _ => None,
        });
        errors.collect()
    }

    /// Time passes; these clients report meanwhile.
    pub(super) fn pass(&mut self, time: Duration, alive: &[Client]) {
        let reports: Vec<_> = alive.iter().map(|&client| (client, None)).collect();
        self.pass_reporting(time, &reports);
    }

    /// Time passes; these clients report what is given, or that they live.
    pub(super) fn pass_reporting(&mut self, time: Duration, alive: &[(Client, Option<Report>)]) {
        let end = self.now + time;
        let mut report_at = self.now;
        loop {
            let tick = self.tracker.deadline().filter(|&at| at <= end);
            let report = Some(report_at).filter(|&at| at <= end && !alive.is_empty());
            let next = [tick, report].into_iter().flatten().min();
            let Some(next) = next else {
                break;
            };
            self.now = self.now.max(next);
            if Some(next) == tick {
                self.input(Input::Tick);
                assert!(self.tracker.deadline().is_none_or(|at| at > self.now));
            }
            if Some(next) == report {
                report_at += ms(500);
                for (client, report) in alive {
                    let report = match report {
                        Some(report) => report.clone(),
                        None => self.bland_report(*client),
                    };
                    self.say(*client, ClientMessage::Report(report));
                }
            }
        }
        self.now = end;
    }

    /// A report that confirms what the tracker thinks.
    pub(super) fn bland_report(&mut self, client: Client) -> Report {
        let shown = self.shown(client.node);
        Report {
            parent: shown.as_ref().and_then(|peer| peer.parent),
            received: 100,
            slots: shown.map_or(self.slots_of(client), |peer| peer.slots),
            ..Report::default()
        }
    }

    fn slots_of(&self, client: Client) -> u16 {
        let session = &self.tracker.sessions[&SessionId(client.session)];
        session.hello.map_or(0, |arrival| arrival.slots)
    }

    pub(super) fn root(&mut self, n: u64, slots: u16) -> Client {
        let root = self.native(n, slots);
        self.publish(root, 1);
        root
    }

    pub(super) fn publish(&mut self, root: Client, epoch: u64) {
        let publish = Publish {
            stream: self.stream(),
            epoch: Epoch(epoch),
            title: "Show".into(),
            listed: true,
        };
        self.say(root, ClientMessage::Publish(publish));
        let challenge = self.inbox.get(&root.session).and_then(|inbox| inbox.back());
        if let Some(ServerMessage::Challenge { nonce }) = challenge {
            let text = challenge_text(nonce, AUTHORITY, &root.node);
            let signature = sign(&self.key, CHALLENGE_DOMAIN, text.as_bytes());
            self.say(root, ClientMessage::Prove { signature });
        }
    }

    pub(super) fn go_live(&mut self, root: Client, epoch: u64) {
        let signed = SignedStreamInfo::sign(&info(epoch), &self.key).unwrap();
        self.say(root, ClientMessage::Info(signed));
    }

    pub(super) fn join(&mut self, client: Client, link: u32, lost: Option<Lost>) {
        let join = Join {
            stream: self.stream(),
            link: LinkId(link),
            offer: format!("offer {link} of {}", client.node),
            lost,
        };
        self.say(client, ClientMessage::Join(join));
    }

    /// The newest order in a client's inbox; what came before is read with it.
    pub(super) fn order(&mut self, client: Client) -> Option<Order> {
        self.read(client)
            .into_iter()
            .rev()
            .find_map(|message| match message {
                ServerMessage::Assigned {
                    link,
                    parent,
                    generation,
                    depth,
                    ..
                } => Some(Order {
                    link,
                    parent,
                    generation,
                    depth,
                }),
                _ => None,
            })
    }

    pub(super) fn attach(&mut self, client: Client, order: Order) {
        let Order {
            link, generation, ..
        } = order;
        self.say(client, ClientMessage::Attached { link, generation });
    }

    /// A new native peer that joins and attaches at once.
    pub(super) fn placed(&mut self, n: u64, slots: u16) -> (Client, Order) {
        let client = self.native(n, slots);
        let order = self.place(client, 1, None);
        (client, order)
    }

    pub(super) fn place(&mut self, client: Client, link: u32, lost: Option<Lost>) -> Order {
        self.join(client, link, lost);
        let order = self.order(client).expect("assigned");
        self.attach(client, order);
        order
    }

    /// A peer as the API shows it.
    pub(super) fn shown(&self, node: NodeId) -> Option<TreePeer> {
        let query = crate::broadcast::TreeQuery {
            around: Some(node),
            ..Default::default()
        };
        let page = self.tracker.tree(self.now, &self.stream(), &query)?;
        page.peers.into_iter().find(|peer| peer.id == node)
    }

    pub(super) fn parent_of(&self, client: Client) -> Option<NodeId> {
        self.shown(client.node).and_then(|peer| peer.parent)
    }

    pub(super) fn status(&self) -> StreamStatus {
        self.tracker.stream(&self.stream()).unwrap().status
    }
}

pub(super) fn link(child: Client, link: u32) -> LinkKey {
    LinkKey {
        child: child.node,
        link: LinkId(link),
    }
}

pub(super) fn lost(parent: NodeId, reason: LostReason) -> Option<Lost> {
    Some(Lost { parent, reason })
}
