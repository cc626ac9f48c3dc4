//! A parent with honest children that are served while somebody misbehaves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan_node::rtc::{Engine, EngineEvent, PeerClass};

use crate::media::packet;
use crate::world::{VIDEO, engine, key, stream};

/// Time between two packets of the stream.
const PACE: Duration = Duration::from_millis(5);

/// Longest an honest child may be without a packet, beside what this machine was held up itself.
const GAP: Duration = Duration::from_millis(100);

/// Time the last packets are given on a busy machine.
const SETTLE: Duration = Duration::from_secs(5);

/// Links of honest children have these children's numbers; misbehaving ones have higher ones.
pub(crate) const HONEST: u8 = 4;

/// The parent, its honest children, and what they got.
pub(crate) struct Village {
    pub(crate) parent: Engine,
    pub(crate) now: Instant,
    children: Vec<Child>,
    begin: Instant,
    sent: u64,
    sending: bool,
    pause: Pause,
}

struct Child {
    engine: Engine,
    link: LinkKey,
    connected: bool,
    got: HashMap<u16, u32>,
    last: Option<Instant>,
    gap: Duration,
}

impl Village {
    /// Waits until all honest children are connected.
    pub(crate) async fn new() -> Self {
        let now = Instant::now();
        let children = (1..=HONEST)
            .map(|n| {
                let mut engine = engine("127.0.0.1");
                engine.connect(now, key(n, 1), &[]).unwrap();
                Child {
                    engine,
                    link: key(n, 1),
                    connected: false,
                    got: HashMap::new(),
                    last: None,
                    gap: Duration::ZERO,
                }
            })
            .collect();
        let mut village = Self {
            parent: engine("127.0.0.1"),
            now,
            children,
            begin: now,
            sent: 0,
            sending: false,
            pause: Pause::watch(),
        };
        while village.children.iter().any(|c| !c.connected) {
            assert!(now.elapsed() < Duration::from_secs(20));
            assert_eq!(village.turn().await, []);
        }
        village.sending = true;
        village.begin = Instant::now();
        village
    }

    /// One turn of everybody; returns what the parent tells of links that are not honest ones.
    pub(crate) async fn turn(&mut self) -> Vec<EngineEvent> {
        let tick = Instant::now() + Duration::from_millis(1);
        self.parent.wait(Some(tick)).await;
        self.now = Instant::now();
        let now = self.now;
        self.parent.receive(now);
        self.parent.handle_timeout(now);
        let mut strange = Vec::new();
        while let Some(event) = self.parent.poll_event() {
            match event {
                EngineEvent::Answer { link, sdp } if honest(link) => {
                    let child = &mut self.children[index(link)].engine;
                    child.set_answer(now, link, &sdp, &stream()).unwrap();
                }
                EngineEvent::LocalCandidate { link, candidate } if honest(link) => {
                    let child = &mut self.children[index(link)].engine;
                    child.add_candidate(now, link, &candidate).unwrap();
                }
                EngineEvent::Connected { link } if honest(link) => {
                    self.children[index(link)].connected = true;
                }
                EngineEvent::Closed { link, reason } if honest(link) => {
                    panic!("an honest child was cut off: {reason:?}");
                }
                EngineEvent::ReceiverReport { link, .. } if honest(link) => {}
                other => strange.push(other),
            }
        }
        if self.sending && now.duration_since(self.begin) > PACE * self.sent as u32 {
            let next = packet(VIDEO, 70_000 + self.sent);
            self.sent += 1;
            for child in &self.children {
                self.parent
                    .send_packets(now, child.link, &[Arc::clone(&next)]);
            }
        }
        self.parent.flush(now);
        for child in &mut self.children {
            child.turn(&mut self.parent).await;
        }
        strange
    }

    /// Turns for so long, doing `each` before every turn.
    pub(crate) async fn run(&mut self, time: Duration, mut each: impl FnMut(&mut Engine)) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            each(&mut self.parent);
            self.turn().await;
        }
    }

    /// No packet is missing or came twice, and none was late.
    pub(crate) async fn judge(mut self) {
        self.sending = false;
        let end = Instant::now() + SETTLE;
        let whole = |village: &Self| {
            let mut children = village.children.iter();
            children.all(|c| c.got.len() as u64 >= village.sent)
        };
        while !whole(&self) && Instant::now() < end {
            self.turn().await;
        }
        let held_up = self.pause.longest();
        for child in &self.children {
            println!(
                "child {}: {} of {} packets, longest gap {:?} (held up {held_up:?})",
                child.link.child,
                child.got.len(),
                self.sent,
                child.gap
            );
            assert_eq!(child.got.len() as u64, self.sent, "packets are missing");
            assert!(child.got.values().all(|n| *n == 1), "packets came twice");
            assert!(child.gap < GAP + held_up * 3, "{:?}", child.gap);
        }
    }
}

impl Child {
    async fn turn(&mut self, parent: &mut Engine) {
        self.engine.wait(Some(Instant::now())).await;
        let now = Instant::now();
        self.engine.receive(now);
        self.engine.handle_timeout(now);
        while let Some(event) = self.engine.poll_event() {
            match event {
                EngineEvent::Offer { link, sdp } => {
                    let class = PeerClass::Native;
                    parent
                        .accept(now, link, &sdp, &stream(), class, &[])
                        .unwrap();
                }
                EngineEvent::LocalCandidate { link, candidate } => {
                    parent.add_candidate(now, link, &candidate).unwrap();
                }
                EngineEvent::Packet { packet, .. } => {
                    *self.got.entry(packet.seq).or_default() += 1;
                    if let Some(last) = self.last.replace(now) {
                        self.gap = self.gap.max(now.duration_since(last));
                    }
                }
                EngineEvent::Closed { reason, .. } => panic!("cut off: {reason:?}"),
                _ => {}
            }
        }
        self.engine.flush(now);
    }
}

fn honest(link: LinkKey) -> bool {
    (1..=HONEST).any(|n| link == key(n, 1))
}

fn index(link: LinkKey) -> usize {
    usize::from(link.child.as_bytes()[0]) - 1
}

/// Watches how long this machine lets a thread wait that wants to run.
struct Pause {
    longest: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Pause {
    fn watch() -> Self {
        let longest = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let (seen, done) = (Arc::clone(&longest), Arc::clone(&over));
        std::thread::spawn(move || {
            let step = Duration::from_millis(2);
            while !done.load(Ordering::Relaxed) {
                let begin = Instant::now();
                std::thread::sleep(step);
                let late = begin.elapsed().saturating_sub(step).as_micros() as u64;
                seen.fetch_max(late, Ordering::Relaxed);
            }
        });
        Self { longest, over }
    }

    fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
