//! Engines in one process, with a perfect signalling path between them.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::id::{Epoch, LinkId, LinkKey, NodeId};
use banyan::relay::packet::Packet;
use banyan::wire::announcement::{Codec, StreamInfo, TrackInfo};
use banyan_node::rtc::{
    Engine, EngineConfig, EngineError, EngineEvent, LoopbackCandidates, PeerClass, UdpBind, UdpPort,
};

/// Longest any step of a test may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const VIDEO: u8 = 0;
pub(crate) const AUDIO: u8 = 1;

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

pub(crate) fn config(ip: &str, port: UdpPort) -> EngineConfig {
    EngineConfig {
        udp: UdpBind {
            ip: Some(ip.parse::<IpAddr>().unwrap()),
            port,
        },
        public_addr: None,
        loopback: LoopbackCandidates::WhenAlone,
        rng_seed: rand::random(),
    }
}

pub(crate) fn engine(ip: &str) -> Engine {
    Engine::bind(config(ip, UdpPort::Any)).unwrap()
}

pub(crate) fn key(child: u8, link: u32) -> LinkKey {
    LinkKey {
        child: NodeId::from_bytes([child; 16]),
        link: LinkId(link),
    }
}

pub(crate) fn stream() -> StreamInfo {
    stream_of(Codec::H264, "packetization-mode=1;profile-level-id=42e01f")
}

pub(crate) fn stream_of(codec: Codec, fmtp: &str) -> StreamInfo {
    StreamInfo {
        epoch: Epoch(1),
        tracks: vec![
            TrackInfo {
                codec,
                fmtp: fmtp.into(),
                ssrc: 0x1111_1111,
                first_seq: 70_000,
            },
            TrackInfo {
                codec: Codec::Opus,
                fmtp: "stereo=1".into(),
                ssrc: 0x2222_2222,
                first_seq: 70_000,
            },
        ],
        cname: "banyan-test".into(),
    }
}

/// A child and its parent.
pub(crate) struct Pair {
    pub(crate) child: Engine,
    pub(crate) parent: Engine,
    pub(crate) link: LinkKey,
    pub(crate) stream: StreamInfo,
    /// The DTLS role to offer, instead of either.
    pub(crate) setup: Option<&'static str>,
    /// What the parent takes the child for.
    pub(crate) class: PeerClass,
    /// Answers to offers made anew, and why the last one got none.
    pub(crate) renewals: usize,
    pub(crate) refusal: Option<EngineError>,
    /// What the engines told, except signalling.
    pub(crate) at_child: Vec<EngineEvent>,
    pub(crate) at_parent: Vec<EngineEvent>,
}

impl Pair {
    pub(crate) fn new(ip: &str) -> Self {
        Self::of(engine(ip), engine(ip), key(1, 1))
    }

    /// The child is a player: media alone.
    pub(crate) fn playing(ip: &str) -> Self {
        let (mut child, parent, link) = (engine(ip), engine(ip), key(1, 1));
        child.play(Instant::now(), link, &[]).unwrap();
        Self {
            class: PeerClass::Player,
            ..Self::begun(child, parent, link)
        }
    }

    pub(crate) fn of(mut child: Engine, parent: Engine, link: LinkKey) -> Self {
        child.connect(Instant::now(), link, &[]).unwrap();
        Self::begun(child, parent, link)
    }

    fn begun(child: Engine, parent: Engine, link: LinkKey) -> Self {
        let (at_child, at_parent) = (Vec::new(), Vec::new());
        Self {
            child,
            parent,
            link,
            stream: stream(),
            setup: None,
            class: PeerClass::Native,
            renewals: 0,
            refusal: None,
            at_child,
            at_parent,
        }
    }

    /// Runs both until `done`; panics when it takes too long.
    pub(crate) async fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < end,
                "too long: child {:?}, parent {:?}",
                self.at_child,
                self.at_parent
            );
            self.step().await;
        }
    }

    pub(crate) async fn connected(mut self) -> Self {
        let link = self.link;
        let up = |events: &[EngineEvent]| events.contains(&EngineEvent::Connected { link });
        self.until(|p| up(&p.at_child) && up(&p.at_parent)).await;
        self
    }

    /// Sends a packet that the child never gets: its socket is filled with a stranger's noise
    /// first, while nobody reads it.
    pub(crate) fn send_into_the_void(&mut self, packet: &Arc<Packet>) {
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..20_000 {
            let _ = stranger.send_to(&[200; 1400], ("127.0.0.1", self.child.port()));
        }
        let now = Instant::now();
        self.parent
            .send_packets(now, self.link, &[Arc::clone(packet)]);
        self.parent.flush(now);
    }

    pub(crate) async fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step().await;
        }
    }

    async fn step(&mut self) {
        let tick = Some(Instant::now() + Duration::from_millis(20));
        tokio::select! {
            () = self.child.wait(tick) => {}
            () = self.parent.wait(tick) => {}
        }
        let now = Instant::now();
        for engine in [&mut self.child, &mut self.parent] {
            engine.receive(now);
            engine.handle_timeout(now);
        }
        while let Some(event) = self.child.poll_event() {
            match event {
                EngineEvent::Offer { link, mut sdp } => {
                    if let Some(setup) = self.setup {
                        sdp = sdp.replace("setup:actpass", &format!("setup:{setup}"));
                    }
                    let class = self.class;
                    if self.at_parent.contains(&EngineEvent::Connected { link }) {
                        let (parent, stream) = (&mut self.parent, &self.stream);
                        self.refusal = parent.accept_renewal(link, &sdp, stream, class).err();
                        continue;
                    }
                    self.parent
                        .accept(now, link, &sdp, &self.stream, class, &[])
                        .unwrap();
                }
                // The parent may have given up already.
                EngineEvent::LocalCandidate { link, candidate } => {
                    let _ = self.parent.add_candidate(now, link, &candidate);
                }
                other => self.at_child.push(other),
            }
        }
        while let Some(event) = self.parent.poll_event() {
            match event {
                EngineEvent::Answer { link, sdp }
                    if self.at_child.contains(&EngineEvent::Connected { link }) =>
                {
                    self.child.set_renewal(link, &sdp, &self.stream).unwrap();
                    self.renewals += 1;
                }
                EngineEvent::Answer { link, sdp } => {
                    self.child
                        .set_answer(now, link, &sdp, &self.stream)
                        .unwrap();
                }
                EngineEvent::LocalCandidate { link, candidate } => {
                    let _ = self.child.add_candidate(now, link, &candidate);
                }
                other => self.at_parent.push(other),
            }
        }
        self.child.flush(now);
        self.parent.flush(now);
    }
}
