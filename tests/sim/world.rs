//! A virtual world: one real tracker core, many real node cores, and a network of delay and loss
//! between them, on one virtual clock from one seed.

mod carriage;
mod lines;
mod verdict;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use banyan::broadcast::BroadcastCounters;
use banyan::id::{Epoch, LinkKey, NodeId, StreamId};
use banyan::node::{Input, Node, NodeConfig, PeerConfig, PeerEvent, PeerInput, Role};
use banyan::relay::packet::{ExtSeq, Packet, TrackIndex};
use banyan::tracker::{
    Input as TrackerInput, Output as TrackerOutput, SessionId, Tracker, TrackerConfig,
};
use banyan::wire::announcement::{Codec, StreamInfo, TrackInfo, stream_id};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Video frames per second of the virtual source.
const FRAME_INTERVAL: Duration = Duration::from_millis(33);

/// Frames between two key frames.
const KEY_INTERVAL: u64 = 30;

/// RTP packets of a video frame.
const PACKETS_PER_FRAME: u64 = 4;

/// Opus frames are 20 ms long.
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);

/// Receivers report this often, as RTCP does.
const FEEDBACK_INTERVAL: Duration = Duration::from_secs(1);

/// What the network does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// One-way delay, at least.
    pub delay: Duration,
    /// Most that is added to it at random.
    pub jitter: Duration,
    /// Share of datagrams that are lost, 0 to 1.
    pub loss: f64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(2),
            loss: 0.0,
        }
    }
}

/// One node and what was seen of it.
pub struct Place {
    /// The core.
    pub node: Node,
    session: Option<SessionId>,
    frozen: bool,
    /// Inputs that wait for a frozen node.
    held: Vec<Input>,
    deadline: Option<Instant>,
    /// Packets handed to its sink, in that order, with a hash of each.
    pub delivered: Vec<(TrackIndex, ExtSeq, u64)>,
    /// What it told about itself, and when.
    pub events: Vec<(Instant, PeerEvent)>,
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

struct Scheduled(Instant, u64, Happening);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// The world.
pub struct World {
    /// The virtual clock.
    pub now: Instant,
    rng: StdRng,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
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
}

impl World {
    /// A tracker and a root with `slots` that has told its tracks if `playing`.
    pub fn new(seed: u64, slots: u16, playing: bool) -> Self {
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
            queue: BinaryHeap::new(),
            scheduled: 0,
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
        };
        let role = Role::Root {
            key: Box::new(key),
            epoch: Epoch(1),
            title: "a virtual show".into(),
            listed: true,
        };
        world.place(root, slots, role);
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
        self.schedule(Duration::ZERO, Happening::AudioFrame(0));
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
        self.place(root, slots, role);
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
        let id = NodeId::random(&mut self.rng);
        let role = Role::Viewer {
            stream: self.stream,
        };
        self.place(id, slots, role);
        id
    }

    fn place(&mut self, id: NodeId, slots: u16, role: Role) {
        let peer = PeerConfig {
            node: id,
            agent: "virtual".into(),
            slots,
            role,
        };
        let sink_wait = Some(Duration::from_secs(4));
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
        let observed = IpAddr::V4(Ipv4Addr::LOCALHOST);
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
        for input in std::mem::take(&mut place.held) {
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
            let queued = self.queue.peek().map(|Reverse(next)| next.0);
            let tracker = self.tracker.deadline();
            let node = self
                .nodes
                .iter()
                .filter(|(_, place)| !place.frozen)
                .filter_map(|(id, place)| place.deadline.map(|at| (at, *id)))
                .min();
            let times = [queued, tracker, node.map(|(at, _)| at)];
            let Some(next) = times.into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if queued == Some(next) {
                if let Some(Reverse(Scheduled(_, _, happening))) = self.queue.pop() {
                    self.happen(happening);
                }
            } else if tracker == Some(next) {
                // A deadline in the past must not stop the clock.
                self.now += Duration::from_micros(10);
                self.tell_tracker(TrackerInput::Tick);
            } else if let Some((_, id)) = node {
                self.now += Duration::from_micros(10);
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
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled(
            self.now + after,
            self.scheduled,
            happening,
        )));
    }

    fn travel_time(&mut self) -> Duration {
        self.network.delay + self.network.jitter.mul_f64(self.rng.random_range(0.0..1.0))
    }

    /// What is sent over TCP, or in order over SCTP, takes the longest time a datagram takes.
    fn stream_time(&self) -> Duration {
        self.network.delay + self.network.jitter
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
            Happening::Feedback => {
                let connected = self.links.iter().filter(|(_, ends)| ends.connected);
                let connected = connected.filter_map(|(link, ends)| Some((*link, ends.parent?)));
                for (link, parent) in connected.collect::<Vec<_>>() {
                    let child = self.nodes.get(&link.child);
                    if child.is_some_and(|place| !place.frozen) {
                        let report = self.feedback_of(link, parent);
                        self.schedule(self.network.delay, Happening::ToNode(parent, report));
                    }
                }
                self.schedule(FEEDBACK_INTERVAL, Happening::Feedback);
            }
        }
    }

    fn video_frame(&mut self, frame: u64) {
        let key = frame.is_multiple_of(KEY_INTERVAL);
        let packets = (0..PACKETS_PER_FRAME).map(|part| {
            let mut payload = vec![0; 200];
            self.rng.fill_bytes(&mut payload);
            // VP8 payload descriptor (RFC 7741): S bit on the first packet; then the frame
            // header, whose lowest bit is 0 for a key frame.
            payload[0] = if part == 0 { 0x10 } else { 0x00 };
            payload[1] = if key { payload[1] & !1 } else { payload[1] | 1 };
            Packet {
                track: 0,
                seq: 0,
                timestamp: (frame * 3000) as u32,
                marker: part + 1 == PACKETS_PER_FRAME,
                extensions: Vec::new(),
                payload: Bytes::from(payload),
            }
        });
        let packets = packets.collect();
        let root = self.root;
        if !self.paused {
            self.feed(root, Input::Source(packets));
        }
        self.schedule(FRAME_INTERVAL, Happening::VideoFrame(frame + 1));
    }

    fn audio_frame(&mut self, frame: u64) {
        let mut payload = vec![0; 80];
        self.rng.fill_bytes(&mut payload);
        let packet = Packet {
            track: 1,
            seq: 0,
            timestamp: (frame * 960) as u32,
            marker: false,
            extensions: Vec::new(),
            payload: Bytes::from(payload),
        };
        let root = self.root;
        if !self.paused {
            self.feed(root, Input::Source(vec![packet]));
        }
        self.schedule(AUDIO_INTERVAL, Happening::AudioFrame(frame + 1));
    }

    fn tell_tracker(&mut self, input: TrackerInput) {
        self.tracker.handle(self.now, input);
        while let Some(output) = self.tracker.poll_output() {
            match output {
                TrackerOutput::Send { session, message } => {
                    if let Some(id) = self.by_session.get(&session).copied() {
                        let time = self.stream_time();
                        let input = Input::Control(PeerInput::Tracker(message));
                        self.schedule(time, Happening::ToNode(id, input));
                    }
                }
                TrackerOutput::Close { session } => {
                    let time = self.stream_time();
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
        for output in outputs {
            self.carry_out(id, output);
        }
    }
}
