//! A parent with honest children that are served while somebody misbehaves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan_node::rtc::{Engine, EngineEvent, PeerClass};

use crate::media::packet;
use crate::world::{VIDEO, engine, key, stream};

/// Time between two packets of the stream.
const PACE: Duration = Duration::from_millis(5);

/// Longest an honest child may be without a packet, not counting what other programs took.
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
}

struct Child {
    engine: Engine,
    link: LinkKey,
    connected: bool,
    got: HashMap<u16, u32>,
    /// When the last packet came, and how long this thread had been held up by then.
    last: Option<(Instant, Duration)>,
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
        for child in &self.children {
            println!(
                "child {}: {} of {} packets, longest gap {:?}",
                child.link.child,
                child.got.len(),
                self.sent,
                child.gap
            );
            assert_eq!(child.got.len() as u64, self.sent, "packets are missing");
            assert!(child.got.values().all(|n| *n == 1), "packets came twice");
            assert!(child.gap < GAP, "{:?}", child.gap);
        }
    }
}

impl Child {
    async fn turn(&mut self, parent: &mut Engine) {
        self.engine.wait(Some(Instant::now())).await;
        let (held, now) = moment();
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
                    if let Some((last, before)) = self.last.replace((now, held)) {
                        let gap = now.duration_since(last).saturating_sub(held - before);
                        self.gap = self.gap.max(gap);
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

/// Now, and how long this thread has been held up until now.
fn moment() -> (Duration, Instant) {
    let mut held = held_up();
    loop {
        let now = Instant::now();
        let after = held_up();
        // Otherwise it was held up between the two.
        if held == after {
            return (held, now);
        }
        held = after;
    }
}

/// How long this thread has waited so far for a CPU that other programs had.
fn held_up() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}
