//! What a peer says that is nothing but a session.

use std::collections::BTreeMap;

use banyan::id::{Epoch, Generation, LinkId, LinkKey, NodeId, StreamId};
use banyan::wire::PROTOCOL_VERSION;
use banyan::wire::announcement::{
    CHALLENGE_DOMAIN, Codec, SignedStreamInfo, StreamInfo, TrackInfo, sign, stream_id,
};
use banyan::wire::tracker::{
    ClientMessage, Hello, Join, PeerClass, Publish, Report, ServerMessage, challenge_text,
};
use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Bytes of a page's offer: Chromium's for two tracks and data channels.
const PAGE_OFFER: usize = 7000;

/// Bytes of a native node's offer, and of an answer: one codec of each kind.
const NATIVE_SDP: usize = 1500;

/// Candidates of each end of a link.
const CANDIDATES: usize = 2;

/// Packets of all tracks in a second.
const PACKETS: u32 = 150;

/// Reports between two tries to get a standby.
const STANDBY_RETRY: u32 = 7;

/// What an order was about.
#[derive(Debug, Clone, Copy)]
struct Order {
    link: LinkKey,
    generation: Generation,
    host: NodeId,
    depth: u16,
}

/// A peer, or the root.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) class: PeerClass,
    slots: u16,
    stream: StreamId,
    /// Only the root has it, with the name it calls the tracker by.
    key: Option<(SigningKey, String)>,
    next_link: u32,
    wanted: Option<LinkKey>,
    /// The link to a standby that is asked for.
    wanted_standby: Option<LinkKey>,
    order: Option<Order>,
    /// The parent, and hops from the root.
    pub(super) parent: Option<(NodeId, u16)>,
    standby: bool,
    follows: bool,
    reports: u32,
    children: BTreeMap<LinkKey, ()>,
    rng: StdRng,
    /// What is to be said.
    pub(super) says: Vec<ClientMessage>,
}

impl Peer {
    /// The root of the stream of `key`, which calls the tracker `authority`.
    pub(super) fn root(key: SigningKey, authority: &str, slots: u16) -> Self {
        let stream = stream_id(&key);
        let mut peer = Self::viewer(0, stream, PeerClass::Native, slots);
        peer.key = Some((key, authority.to_owned()));
        peer.parent = None;
        peer.says.push(ClientMessage::Publish(Publish {
            stream,
            epoch: Epoch(1),
            title: "measured".into(),
            listed: false,
        }));
        peer
    }

    /// A viewer that has said hello; it does not join before [`join`](Self::join).
    pub(super) fn viewer(seed: u64, stream: StreamId, class: PeerClass, slots: u16) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let node = NodeId::random(&mut rng);
        let hello = ClientMessage::Hello(Hello {
            version: PROTOCOL_VERSION,
            node,
            class,
            agent: "banyan measure".into(),
            slots,
        });
        Self {
            node,
            class,
            slots,
            stream,
            key: None,
            next_link: 0,
            wanted: None,
            wanted_standby: None,
            order: None,
            parent: None,
            standby: false,
            follows: false,
            reports: 0,
            children: BTreeMap::new(),
            rng,
            says: vec![hello],
        }
    }

    /// Asks for a parent.
    pub(super) fn join(&mut self) {
        let (link, join) = self.wish();
        self.wanted = Some(link);
        self.says.push(ClientMessage::Join(join));
    }

    fn wish(&mut self) -> (LinkKey, Join) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let join = Join {
            stream: self.stream,
            link,
            offer: description(match self.class {
                PeerClass::Native => NATIVE_SDP,
                _ => PAGE_OFFER,
            }),
            lost: None,
        };
        let child = self.node;
        (LinkKey { child, link }, join)
    }

    /// Asks for a standby, if it should have one.
    fn want_standby(&mut self) {
        if !self.standby && self.parent.is_some_and(|(_, depth)| depth >= 2) {
            let (link, join) = self.wish();
            self.wanted_standby = Some(link);
            self.says.push(ClientMessage::StandBy(join));
        }
    }

    /// Tells how it is. To `settle` is to ask for a standby, and for a page to follow the tree.
    pub(super) fn report(&mut self, settle: bool) {
        self.reports += 1;
        if settle && self.wanted.is_none() && self.reports.is_multiple_of(STANDBY_RETRY) {
            if self.class == PeerClass::Browser && !self.follows {
                self.follows = true;
                self.says.push(ClientMessage::FollowTree { follow: true });
            }
            self.want_standby();
        }
        let depth = self.parent.map_or(0, |(_, depth)| u32::from(depth));
        self.says.push(ClientMessage::Report(Report {
            parent: self.parent.map(|(parent, _)| parent),
            children: self.children.keys().map(|link| link.child).collect(),
            slots: self.slots,
            delay_ms: 20 * depth + self.rng.random_range(0..3),
            lost: 0,
            received: PACKETS,
            up_bytes_per_second: 250_000 * self.children.len() as u64,
        }));
    }

    /// Answers what the tracker says.
    ///
    /// # Panics
    /// When the tracker refuses something.
    pub(super) fn hear(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Challenge { nonce } => self.prove(&nonce),
            ServerMessage::Assigned {
                link,
                parent,
                generation,
                depth,
                ..
            } if [self.wanted, self.wanted_standby].contains(&Some(link)) => {
                self.order = Some(Order {
                    link,
                    generation,
                    host: parent,
                    depth,
                });
                self.send_candidates(link);
            }
            ServerMessage::Answer { link, .. } => self.answered(link),
            ServerMessage::Expect { link, .. } => {
                self.children.insert(link, ());
                self.answer(link);
            }
            ServerMessage::ExpectStandby { link, .. } => self.answer(link),
            ServerMessage::Release { link } if self.wanted == Some(link) => self.join(),
            ServerMessage::Release { link } => {
                self.children.remove(&link);
            }
            ServerMessage::NoStandby { .. } => {
                self.standby = false;
                self.wanted_standby = None;
            }
            ServerMessage::Move { .. } => self.join(),
            ServerMessage::Error { code, message, .. } => panic!("{code:?}: {message}"),
            _ => {}
        }
    }

    fn answer(&mut self, link: LinkKey) {
        let sdp = description(NATIVE_SDP);
        self.says.push(ClientMessage::Answer { link, sdp });
        self.send_candidates(link);
    }

    fn answered(&mut self, link: LinkKey) {
        let Some(order) = self.order.take_if(|order| order.link == link) else {
            return;
        };
        let generation = order.generation;
        self.says.push(ClientMessage::Attached { link, generation });
        if self.wanted == Some(link) {
            self.wanted = None;
            self.parent = Some((order.host, order.depth));
        } else {
            self.standby = true;
        }
    }

    fn send_candidates(&mut self, link: LinkKey) {
        for _ in 0..CANDIDATES {
            let port = self.rng.random_range(1024..u16::MAX);
            let candidate = format!("candidate:1 1 udp 2122260223 192.168.1.17 {port} typ host");
            self.says.push(ClientMessage::Candidate { link, candidate });
        }
        let candidate = String::new();
        self.says.push(ClientMessage::Candidate { link, candidate });
    }

    fn prove(&mut self, nonce: &str) {
        let Some((key, authority)) = &self.key else {
            return;
        };
        let text = challenge_text(nonce, authority, &self.node);
        let signature = sign(key, CHALLENGE_DOMAIN, text.as_bytes());
        let track = |codec, ssrc| TrackInfo {
            codec,
            fmtp: String::new(),
            ssrc,
            first_seq: 1,
        };
        let info = StreamInfo {
            epoch: Epoch(1),
            tracks: vec![track(Codec::H264, 1), track(Codec::Opus, 2)],
            cname: "measured".into(),
        };
        let info = SignedStreamInfo::sign(&info, key).unwrap();
        self.says.push(ClientMessage::Prove { signature });
        self.says.push(ClientMessage::Info(info));
    }
}

/// A text as long as a session description, with as many line ends, which JSON escapes.
fn description(length: usize) -> String {
    const LINE: &str = "a=rtpmap:96 H264/90000 level-asymmetry=1\r\n";
    let mut text = LINE.repeat(length / LINE.len() + 1);
    text.truncate(length);
    text
}
