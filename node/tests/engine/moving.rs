//! A child whose address changes: its NAT maps it anew.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use banyan_node::rtc::{Channel, CloseReason, Engine, EngineEvent, MessageData, PeerClass};

use crate::media::packet;
use crate::world::{VIDEO, engine, key, run, stream};

/// Time between two packets of the stream.
const PACE: Duration = Duration::from_millis(10);

/// A child behind a NAT, and its parent.
struct Scene {
    parent: Engine,
    child: Engine,
    /// The NAT's sockets, one for each mapping it has made; the last one is in use.
    mappings: Vec<UdpSocket>,
    connected: (bool, bool),
    closed: Vec<CloseReason>,
    sent: u64,
    /// When packets came to the child.
    got: Vec<Instant>,
    /// Heartbeats that came to the parent.
    heard: usize,
    sent_at: Instant,
    beat_at: Instant,
}

impl Scene {
    fn new() -> Self {
        let mut child = engine("127.0.0.1");
        child.connect(Instant::now(), key(1, 1), &[]).unwrap();
        let mut scene = Self {
            parent: engine("127.0.0.1"),
            child,
            mappings: Vec::new(),
            connected: (false, false),
            closed: Vec::new(),
            sent: 0,
            got: Vec::new(),
            heard: 0,
            sent_at: Instant::now(),
            beat_at: Instant::now(),
        };
        scene.map_anew();
        scene
    }

    /// The first mapping is the one in use again.
    fn map_as_at_first(&mut self) {
        let first = self.mappings[0].try_clone().unwrap();
        self.mappings.push(first);
    }

    /// From now on nothing comes through the mapping before.
    fn map_anew(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        self.mappings.push(socket);
    }

    fn translate(&self) {
        let mut buffer = [0; 2048];
        let inside = SocketAddr::from(([127, 0, 0, 1], self.child.port()));
        let parent = SocketAddr::from(([127, 0, 0, 1], self.parent.port()));
        // The child knows its parent at the first socket's address, as if that were the parent's own.
        let (door, newest) = (&self.mappings[0], self.mappings.last().unwrap());
        for socket in &self.mappings {
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                let outside = socket.local_addr().unwrap() == newest.local_addr().unwrap();
                if from == inside {
                    newest.send_to(&buffer[..size], parent).unwrap();
                } else if outside {
                    door.send_to(&buffer[..size], inside).unwrap();
                }
            }
        }
    }

    async fn turn(&mut self) {
        let tick = Some(Instant::now() + Duration::from_millis(1));
        tokio::select! {
            () = self.child.wait(tick) => {}
            () = self.parent.wait(tick) => {}
        }
        self.translate();
        let now = Instant::now();
        if self.connected == (true, true) {
            self.talk(now);
        }
        for engine in [&mut self.child, &mut self.parent] {
            engine.receive(now);
            engine.handle_timeout(now);
        }
        let link = key(1, 1);
        while let Some(event) = self.child.poll_event() {
            match event {
                EngineEvent::Offer { sdp, .. } => {
                    let class = PeerClass::Native;
                    let accepted = self.parent.accept(now, link, &sdp, &stream(), class, &[]);
                    accepted.unwrap();
                }
                EngineEvent::Connected { .. } => self.connected.0 = true,
                EngineEvent::Packet { .. } => self.got.push(now),
                EngineEvent::Closed { reason, .. } => self.closed.push(reason),
                _ => {}
            }
        }
        while let Some(event) = self.parent.poll_event() {
            match event {
                EngineEvent::Answer { sdp, .. } => {
                    self.child.set_answer(now, link, &sdp, &stream()).unwrap();
                    let port = self.mappings[0].local_addr().unwrap().port();
                    let candidate =
                        format!("candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host");
                    self.child.add_candidate(now, link, &candidate).unwrap();
                }
                EngineEvent::Connected { .. } => self.connected.1 = true,
                EngineEvent::Message { .. } => self.heard += 1,
                EngineEvent::Closed { reason, .. } => self.closed.push(reason),
                _ => {}
            }
        }
        self.child.flush(now);
        self.parent.flush(now);
    }

    /// Media down, and heartbeats up, as between nodes.
    fn talk(&mut self, now: Instant) {
        if now >= self.sent_at + PACE {
            let packet = packet(VIDEO, 70_000 + self.sent);
            self.parent.send_packets(now, key(1, 1), &[packet]);
            self.sent += 1;
            self.sent_at = now;
        }
        if now >= self.beat_at + Duration::from_millis(250) {
            let beat = MessageData::Text("beat".into());
            let sent = (self.child).send_message(now, key(1, 1), Channel::Pulse, beat);
            sent.unwrap();
            self.beat_at = now;
        }
    }

    async fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn().await;
        }
    }

    /// The longest time without a packet since `begin`.
    fn gap(&self, begin: Instant) -> Duration {
        let times = self.got.iter().filter(|at| **at >= begin);
        let mut last = begin;
        let mut longest = Duration::ZERO;
        for at in times {
            longest = longest.max(at.saturating_duration_since(last));
            last = *at;
        }
        longest.max(last.elapsed())
    }
}

#[test]
fn a_child_that_its_nat_maps_anew_keeps_its_connection() {
    run(async {
        let mut scene = Scene::new();
        let begin = Instant::now();
        while scene.connected != (true, true) {
            assert!(begin.elapsed() < Duration::from_secs(5));
            scene.turn().await;
        }
        scene.run_for(Duration::from_secs(2)).await;
        for back in [false, false, true] {
            match back {
                false => scene.map_anew(),
                true => scene.map_as_at_first(),
            }
            let moved = Instant::now();
            scene.run_for(Duration::from_secs(2)).await;
            let gap = scene.gap(moved);
            println!("nothing for {gap:?}");
            assert!(gap < Duration::from_millis(900), "nothing for {gap:?}");
        }
        // The agents alone would have given up by now.
        let heard = scene.heard;
        scene.run_for(Duration::from_secs(10)).await;
        assert_eq!(scene.closed, []);
        assert!(
            scene.heard >= heard + 35,
            "{} heartbeats",
            scene.heard - heard
        );
        assert!(scene.gap(Instant::now() - Duration::from_secs(9)) < Duration::from_millis(300));
    });
}
