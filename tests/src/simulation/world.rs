//! A virtual world: one real tracker core, many real node cores, and a network of delay and loss
//! between them, on one virtual clock from one seed.

mod carriage;
mod lines;
mod network;
mod queue;
mod show;
mod stalls;
mod verdict;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use banyan::broadcast::BroadcastCounters;
use banyan::id::{Epoch, LinkKey, NodeId, StreamId};
use banyan::node::{Input, Node, NodeConfig, PeerConfig, PeerEvent, PeerInput, Role};
use banyan::reachability::Reach;
use banyan::relay::packet::{ExtSeq, TrackIndex};
use banyan::tracker::{
    Input as TrackerInput, Output as TrackerOutput, SessionId, Tracker, TrackerConfig,
};
use banyan::wire::announcement::{Codec, StreamInfo, TrackInfo, stream_id};
use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

pub use self::network::Network;
use self::queue::Queue;
pub use self::show::Show;
pub use self::stalls::Progress;

/// Receivers report this often, as RTCP does.
const FEEDBACK_INTERVAL: Duration = Duration::from_secs(1);

/// One node and what was seen of it.
pub struct Place {
    /// The core.
    pub node: Node,
    session: Option<SessionId>,
    frozen: bool,
    /// Inputs that wait for a frozen node.
    held: Vec<Input>,
    deadline: Option<Instant>,
    /// The earliest of its deadlines that the world has noted.
    noted: Option<Instant>,
    /// Children it said it can serve.
    pub slots: u16,
    /// How far strangers' packets come to it.
    reach: Reach,
    /// Promises to feed others, and passes no media on.
    liar: bool,
    /// When media came to it, and when it did not.
    pub progress: Progress,
    /// Packets handed to its sink, in that order, with a hash of each.
    pub delivered: Vec<(TrackIndex, ExtSeq, u64)>,
    /// What it told about itself, and when.
    pub events: Vec<(Instant, PeerEvent)>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = self.events.iter().rev().take(8).collect::<Vec<_>>();
        f.debug_struct("Place")
            .field("slots", &self.slots)
            .field("reach", &self.reach)
            .field("liar", &self.liar)
            .field("parent", &self.node.parent())
            .field("newest_events", &newest)
            .finish_non_exhaustive()
    }
}

struct SimLink {
    parent: Option<NodeId>,
    answered: bool,
    connected: bool,
    /// The epoch whose tracks the parent sends, and the one whose tracks the child takes: what is
    /// of another arrives and means nothing.
    sends: Option<Epoch>,
    takes: Option<Epoch>,
}

enum Happening {
    ToTracker(SessionId, banyan::wire::tracker::ClientMessage),
    TrackerClosed(SessionId),
    ToNode(NodeId, Input),
    /// Media or reports, of the tracks of an epoch.
    Media(LinkKey, NodeId, Option<Epoch>, Input),
    Connect(LinkKey),
    VideoFrame(u64),
    AudioFrame(u64),
    Feedback,
}

/// The world.
pub struct World {
    /// The virtual clock.
    pub now: Instant,
    rng: StdRng,
    queue: Queue<Happening>,
    deadlines: BinaryHeap<Reverse<(Instant, NodeId)>>,
    tracker: Tracker<StdRng>,
    /// Nodes that live.
    pub nodes: BTreeMap<NodeId, Place>,
    by_session: BTreeMap<SessionId, NodeId>,
    next_session: u64,
    links: BTreeMap<LinkKey, SimLink>,
    uplinks: BTreeMap<NodeId, lines::Line>,
    downlinks: BTreeMap<NodeId, lines::Line>,
    traffic: BTreeMap<LinkKey, lines::Traffic>,
    /// Pairs (child, parent) between which ICE finds no way.
    pub unreachable: BTreeSet<(NodeId, NodeId)>,
    /// Parents that do not know what it is to be offered anew.
    pub older: BTreeSet<NodeId>,
    /// Parents that refuse it.
    pub unwilling: BTreeSet<NodeId>,
    /// Nodes that report these slots, whatever they have.
    pub boasters: BTreeMap<NodeId, u16>,
    /// Links that stood and were closed.
    pub closed: usize,
    /// Offers made over links that stood.
    pub offers: usize,
    /// The network between peers.
    pub network: Network,
    /// The stream.
    pub stream: StreamId,
    /// Its root.
    pub root: NodeId,
    key: SigningKey,
    playing: bool,
    /// The publisher gives nothing.
    pub paused: bool,
    /// What the publisher gives.
    show: Show,
    /// Whether sinks keep what they get; large worlds have no room for that.
    pub sinks: bool,
    way: u64,
    /// Times a node fed more than it had slots for.
    pub exceeded: usize,
    /// Times somebody was found above itself.
    pub cycles: usize,
}

/// A node that is about to join.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    /// Children it says it can serve.
    pub slots: u16,
    /// How far strangers' packets come to it.
    pub reach: Reach,
    /// Promises to feed others, and passes no media on.
    pub liar: bool,
}

impl Newcomer {
    /// A node with so many slots that anybody reaches.
    pub fn open(slots: u16) -> Self {
        Self {
            slots,
            reach: Reach::Open,
            liar: false,
        }
    }
}

impl World {
    /// A tracker and a root with `slots` that has told its tracks if `playing`.
    pub fn new(seed: u64, slots: u16, playing: bool) -> Self {
        Self::showing(seed, slots, playing, Show::default())
    }

    /// The same with another publisher.
    pub fn showing(seed: u64, slots: u16, playing: bool, show: Show) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let now = Instant::now();
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let key = SigningKey::from_bytes(&secret);
        let stream = stream_id(&key);
        let tracker = Tracker::new(
            TrackerConfig::default(),
            StdRng::seed_from_u64(rng.random::<u64>()),
        );
        let root = NodeId::random(&mut rng);
        let mut world = Self {
            now,
            rng,
            queue: Queue::default(),
            deadlines: BinaryHeap::new(),
            tracker,
            nodes: BTreeMap::new(),
            by_session: BTreeMap::new(),
            next_session: 0,
            links: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            downlinks: BTreeMap::new(),
            traffic: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            older: BTreeSet::new(),
            unwilling: BTreeSet::new(),
            boasters: BTreeMap::new(),
            closed: 0,
            offers: 0,
            network: Network::default(),
            stream,
            root,
            key: key.clone(),
            playing: false,
            paused: false,
            show,
            sinks: true,
            way: seed,
            exceeded: 0,
            cycles: 0,
        };
        let role = Role::Root {
            key: Box::new(key),
            epoch: Epoch(1),
            title: "a virtual show".into(),
            listed: true,
        };
        world.place(root, Newcomer::open(slots), role);
        world.schedule(FEEDBACK_INTERVAL, Happening::Feedback);
        if playing {
            world.begin_show();
        }
        // Until the tracker knows the stream.
        world.run(Duration::from_millis(200));
        world
    }

    /// The root tells its tracks and its source begins.
    pub fn begin_show(&mut self) {
        // Close to a wrap of the 16 bits that travel.
        self.tell_tracks(1, 0x1_ff00);
        self.playing = true;
        self.schedule(Duration::ZERO, Happening::VideoFrame(0));
        if self.show.sound.is_some() {
            self.schedule(Duration::ZERO, Happening::AudioFrame(0));
        }
    }

    /// The root's process is started again, with the key of the one before and a later epoch.
    pub fn restart_root(&mut self, slots: u16, epoch: u64) {
        let root = NodeId::random(&mut self.rng);
        let role = Role::Root {
            key: Box::new(self.key.clone()),
            epoch: Epoch(epoch),
            title: "a virtual show".into(),
            listed: true,
        };
        self.root = root;
        self.place(root, Newcomer::open(slots), role);
        self.run(Duration::from_millis(100));
    }

    /// The root tells the tracks of an epoch, whose numbers begin at `first_seq`.
    pub fn tell_tracks(&mut self, epoch: u64, first_seq: ExtSeq) {
        let track = |codec, ssrc, first_seq| TrackInfo {
            codec,
            fmtp: String::new(),
            ssrc,
            first_seq,
        };
        let ssrc = epoch as u32 * 10;
        let tracks = vec![
            track(Codec::Vp8, ssrc, first_seq),
            track(Codec::Opus, ssrc + 1, first_seq + 0xf0),
        ];
        let info = StreamInfo {
            epoch: Epoch(epoch),
            tracks,
            cname: "world".into(),
        };
        let root = self.root;
        self.feed(root, Input::Control(PeerInput::Tracks(info)));
    }

    /// What the tracker has counted.
    pub fn counters(&self) -> BroadcastCounters {
        self.tracker.counters().broadcasts
    }

    /// A native node joins.
    pub fn join(&mut self, slots: u16) -> NodeId {
        self.admit(Newcomer::open(slots))
    }

    /// Somebody joins.
    pub fn admit(&mut self, newcomer: Newcomer) -> NodeId {
        let id = NodeId::random(&mut self.rng);
        let role = Role::Viewer {
            stream: self.stream,
        };
        self.place(id, newcomer, role);
        id
    }

    fn place(&mut self, id: NodeId, newcomer: Newcomer, role: Role) {
        let Newcomer { slots, reach, liar } = newcomer;
        let peer = PeerConfig {
            node: id,
            agent: "virtual".into(),
            slots,
            role,
        };
        let sink_wait = self.sinks.then_some(Duration::from_secs(4));
        let node = Node::new(
            self.now,
            NodeConfig {
                peer,
                max_upload: None,
                sink_wait,
            },
        );
        let place = Place {
            node,
            session: None,
            frozen: false,
            held: Vec::new(),
            deadline: None,
            noted: None,
            slots,
            reach,
            liar,
            progress: Progress::default(),
            delivered: Vec::new(),
            events: Vec::new(),
        };
        self.nodes.insert(id, place);
        self.open_session(id);
    }

    /// A node's WebSocket to the tracker opens.
    pub fn open_session(&mut self, id: NodeId) {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.by_session.insert(session, id);
        if let Some(place) = self.nodes.get_mut(&id) {
            place.session = Some(session);
        }
        // Nobody shares a home with another.
        let observed = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | self.next_session as u32));
        let authority = "tracker.test".to_owned();
        self.tell_tracker(TrackerInput::Connected {
            session,
            observed,
            authority: authority.clone(),
        });
        self.feed(id, Input::Control(PeerInput::TrackerUp { authority }));
    }

    /// A node's WebSocket to the tracker breaks.
    pub fn close_session(&mut self, id: NodeId) {
        let Some(session) = self
            .nodes
            .get_mut(&id)
            .and_then(|place| place.session.take())
        else {
            return;
        };
        self.by_session.remove(&session);
        self.tell_tracker(TrackerInput::Disconnected { session });
        self.feed(id, Input::Control(PeerInput::TrackerDown));
    }

    /// A node's process is killed: its sockets close, nobody is told goodbye.
    pub fn kill(&mut self, id: NodeId) {
        let session = self.nodes.remove(&id).and_then(|place| place.session);
        if let Some(session) = session {
            self.by_session.remove(&session);
            self.tell_tracker(TrackerInput::Disconnected { session });
        }
    }

    /// A node's process stops running, and keeps its sockets.
    pub fn freeze(&mut self, id: NodeId) {
        if let Some(place) = self.nodes.get_mut(&id) {
            place.frozen = true;
        }
    }

    /// A frozen node runs again and reads what waited for it.
    pub fn thaw(&mut self, id: NodeId) {
        let Some(place) = self.nodes.get_mut(&id) else {
            return;
        };
        place.frozen = false;
        let held = std::mem::take(&mut place.held);
        self.note_deadline(id);
        for input in held {
            self.feed(id, input);
        }
    }

    /// A node leaves politely.
    pub fn leave(&mut self, id: NodeId) {
        self.feed(id, Input::Control(PeerInput::Leave));
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let queued = self.queue.next();
            let tracker = self.tracker.deadline();
            let node = self.next_deadline();
            let times = [queued, tracker, node.map(|(at, _)| at)];
            let Some(next) = times.into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if queued == Some(next) {
                if let Some(happening) = self.queue.pop() {
                    self.happen(happening);
                }
            } else if tracker == Some(next) {
                // A deadline in the past must not stop the clock.
                self.now += Duration::from_micros(10);
                self.tell_tracker(TrackerInput::Tick);
            } else if let Some((_, id)) = node {
                self.now += Duration::from_micros(10);
                if let Some(place) = self.nodes.get_mut(&id) {
                    place.noted = None;
                }
                self.deadlines.pop();
                self.feed(id, Input::Tick);
            }
        }
        self.now = self.now.max(until);
    }

    /// Lets time pass until something holds; tells how long it took.
    pub fn run_until(
        &mut self,
        at_most: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let begun = self.now;
        while !holds(self) {
            if self.now >= begun + at_most {
                return None;
            }
            self.run(Duration::from_millis(10));
        }
        Some(self.now - begun)
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.queue.push(self.now + after, happening);
    }

    /// The node that wants to be woken first, and when.
    fn next_deadline(&mut self) -> Option<(Instant, NodeId)> {
        while let Some(&Reverse((at, id))) = self.deadlines.peek() {
            let place = self.nodes.get_mut(&id).filter(|place| !place.frozen);
            match place {
                Some(place) if place.noted == Some(at) => {
                    if place.deadline == Some(at) {
                        return Some((at, id));
                    }
                    place.noted = None;
                    self.deadlines.pop();
                    self.note_deadline(id);
                }
                _ => {
                    self.deadlines.pop();
                }
            }
        }
        None
    }

    fn note_deadline(&mut self, id: NodeId) {
        let Some(place) = self.nodes.get_mut(&id) else {
            return;
        };
        if let Some(at) = place.deadline
            && place.noted.is_none_or(|noted| at < noted)
        {
            place.noted = Some(at);
            self.deadlines.push(Reverse((at, id)));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToTracker(session, message) => {
                if self.by_session.contains_key(&session) {
                    self.tell_tracker(TrackerInput::Message { session, message });
                }
            }
            Happening::TrackerClosed(session) => {
                if let Some(id) = self.by_session.get(&session).copied() {
                    self.close_session(id);
                    self.open_session(id);
                }
            }
            Happening::ToNode(id, input) => self.feed(id, input),
            Happening::Media(link, to, epoch, input) => self.media(link, to, epoch, input),
            Happening::Connect(link) => self.connect(link),
            Happening::VideoFrame(frame) => self.video_frame(frame),
            Happening::AudioFrame(frame) => self.audio_frame(frame),
            Happening::Feedback => self.report_reception(),
        }
    }

    fn tell_tracker(&mut self, input: TrackerInput) {
        self.tracker.handle(self.now, input);
        while let Some(output) = self.tracker.poll_output() {
            match output {
                TrackerOutput::Send { session, message } => {
                    if let Some(id) = self.by_session.get(&session).copied() {
                        let time = self.tracker_time(id);
                        let input = Input::Control(PeerInput::Tracker(message));
                        self.schedule(time, Happening::ToNode(id, input));
                    }
                }
                TrackerOutput::Close { session } => {
                    let time = self.network.delay;
                    self.schedule(time, Happening::TrackerClosed(session));
                }
            }
        }
    }

    fn feed(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let Some(place) = self.nodes.get_mut(&id) else {
            return;
        };
        if place.frozen {
            // A socket's buffer holds about this much before it drops.
            if place.held.len() < 400 {
                place.held.push(input);
            }
            return;
        }
        place.node.handle(now, input);
        place.node.flush(now);
        let mut outputs = Vec::new();
        while let Some(output) = place.node.poll_output() {
            outputs.push(output);
        }
        place.deadline = place.node.deadline();
        self.note_deadline(id);
        for output in outputs {
            self.carry_out(id, output);
        }
    }
}
