//! A child that writes its sibling's address on its packets.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use banyan_node::rtc::{Channel, Engine, EngineEvent, MessageData, PeerClass};
use rtc::ice::attributes::control::AttrControlling;
use rtc::ice::attributes::priority::PriorityAttr;
use rtc::ice::attributes::use_candidate::UseCandidateAttr;
use rtc::stun::attributes::ATTR_USERNAME;
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, Message, TransactionId};
use rtc::stun::textattrs::Username;

use crate::world::{engine, key, run, stream};

/// Both halves of a link's ICE credentials.
#[derive(Default)]
pub(crate) struct Credentials {
    pub(crate) ours: String,
    pub(crate) theirs: String,
    pub(crate) pwd: String,
}

/// An attribute of a session description.
pub(crate) fn attribute(sdp: &str, name: &str) -> String {
    sdp.lines()
        .find_map(|line| line.strip_prefix(&format!("a={name}:")))
        .unwrap()
        .trim()
        .to_owned()
}

/// A check that its receiver finds authentic.
pub(crate) fn check(credentials: &Credentials) -> Vec<u8> {
    let Credentials { ours, theirs, pwd } = credentials;
    let provider = rtc::crypto::default_provider().unwrap();
    let mut message = Message::new();
    let integrity =
        MessageIntegrity::new_short_term_integrity_with_provider(pwd.clone(), provider.crypto());
    message
        .build(&[
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(Username::new(ATTR_USERNAME, format!("{theirs}:{ours}"))),
            Box::<UseCandidateAttr>::default(),
            Box::new(AttrControlling(7)),
            Box::new(PriorityAttr(1_845_501_695)),
            Box::new(integrity),
            Box::new(FINGERPRINT),
        ])
        .unwrap();
    message.raw
}

/// An honest child behind a NAT, through which somebody else can send too.
struct Scene {
    parent: Engine,
    child: Engine,
    nat: UdpSocket,
    outside: SocketAddr,
    connected: bool,
    /// What the parent heard of the child.
    heard: Vec<MessageData>,
    credentials: Credentials,
}

impl Scene {
    fn new() -> Self {
        let nat = UdpSocket::bind("127.0.0.1:0").unwrap();
        nat.set_nonblocking(true).unwrap();
        let outside = nat.local_addr().unwrap();
        let mut child = engine("127.0.0.1");
        child.connect(Instant::now(), key(1, 1), &[]).unwrap();
        Self {
            parent: engine("127.0.0.1"),
            child,
            nat,
            outside,
            connected: false,
            heard: Vec::new(),
            credentials: Credentials::default(),
        }
    }

    /// A sibling is let in; its checks will be authentic.
    fn let_in_a_sibling(&mut self) {
        let now = Instant::now();
        let mut sibling = engine("127.0.0.1");
        sibling.connect(now, key(2, 1), &[]).unwrap();
        let Some(EngineEvent::Offer { sdp, .. }) = sibling.poll_event() else {
            panic!("no offer");
        };
        self.credentials.ours = attribute(&sdp, "ice-ufrag");
        let class = PeerClass::Native;
        self.parent
            .accept(now, key(2, 1), &sdp, &stream(), class, &[])
            .unwrap();
    }

    fn spoof(&self) {
        let to = ("127.0.0.1", self.parent.port());
        self.nat.send_to(&check(&self.credentials), to).unwrap();
    }

    async fn turn(&mut self) {
        let tick = Some(Instant::now() + Duration::from_millis(1));
        tokio::select! {
            () = self.child.wait(tick) => {}
            () = self.parent.wait(tick) => {}
        }
        let mut buffer = [0; 2048];
        let inside = SocketAddr::from(([127, 0, 0, 1], self.child.port()));
        let parent = SocketAddr::from(([127, 0, 0, 1], self.parent.port()));
        while let Ok((size, from)) = self.nat.recv_from(&mut buffer) {
            let to = if from == parent { inside } else { parent };
            self.nat.send_to(&buffer[..size], to).unwrap();
        }
        let now = Instant::now();
        for engine in [&mut self.child, &mut self.parent] {
            engine.receive(now);
            engine.handle_timeout(now);
        }
        while let Some(event) = self.child.poll_event() {
            match event {
                EngineEvent::Offer { link, sdp } => {
                    let class = PeerClass::Native;
                    self.parent
                        .accept(now, link, &sdp, &stream(), class, &[])
                        .unwrap();
                }
                EngineEvent::Connected { .. } => self.connected = true,
                // The parent learns only the outside of the NAT, from the checks.
                EngineEvent::LocalCandidate { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        while let Some(event) = self.parent.poll_event() {
            match event {
                EngineEvent::Answer { link, sdp } if link == key(1, 1) => {
                    self.child.set_answer(now, link, &sdp, &stream()).unwrap();
                    let (ip, port) = (self.outside.ip(), self.outside.port());
                    let candidate = format!("candidate:1 1 udp 2130706431 {ip} {port} typ host");
                    self.child.add_candidate(now, link, &candidate).unwrap();
                }
                EngineEvent::Answer { sdp, .. } => {
                    self.credentials.theirs = attribute(&sdp, "ice-ufrag");
                    self.credentials.pwd = attribute(&sdp, "ice-pwd");
                }
                EngineEvent::Message { data, .. } => self.heard.push(data),
                EngineEvent::Closed { link, reason } => {
                    assert_ne!(link, key(1, 1), "{reason:?}");
                }
                _ => {}
            }
        }
        self.child.flush(now);
        self.parent.flush(now);
    }

    /// Lets the child talk for a while and returns how many of its messages went missing.
    async fn talk(&mut self, spoofing: bool) -> usize {
        self.heard.clear();
        let begin = Instant::now();
        let mut said = 0;
        while begin.elapsed() < Duration::from_millis(1500) {
            if begin.elapsed() > Duration::from_millis(10) * said {
                // Never retransmitted: each one tells whether it came through.
                let text = MessageData::Text(said.to_string());
                self.child
                    .send_message(Instant::now(), key(1, 1), Channel::Pulse, text)
                    .unwrap();
                said += 1;
                if spoofing {
                    self.spoof();
                }
            }
            self.turn().await;
        }
        for _ in 0..50 {
            self.turn().await;
        }
        said as usize - self.heard.len()
    }
}

#[test]
fn a_sibling_cannot_take_an_address_that_is_in_use() {
    run(async {
        let mut scene = Scene::new();
        let begin = Instant::now();
        while !scene.connected {
            assert!(begin.elapsed() < Duration::from_secs(5));
            scene.turn().await;
        }
        assert_eq!(scene.talk(false).await, 0);
        scene.let_in_a_sibling();
        scene.turn().await;
        assert_eq!(scene.talk(true).await, 0, "messages went astray");
    });
}

#[test]
fn a_sibling_that_is_first_at_an_address_gives_way() {
    run(async {
        let mut scene = Scene::new();
        scene.let_in_a_sibling();
        while scene.credentials.pwd.is_empty() {
            scene.turn().await;
        }
        let begin = Instant::now();
        while !scene.connected {
            assert!(begin.elapsed() < Duration::from_secs(5));
            scene.spoof();
            scene.turn().await;
        }
        println!("connected all the same after {:?}", begin.elapsed());
        assert_eq!(scene.talk(true).await, 0, "messages went astray");
    });
}
