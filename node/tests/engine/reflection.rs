//! A child that names somebody else's address as its own.

use std::net::UdpSocket;
use std::time::Duration;

use banyan::limits::MAX_CANDIDATES;
use banyan_node::rtc::{Engine, EngineEvent, PeerClass};

use crate::village::Village;
use crate::world::{engine, key, run, stream};

/// A host of its own on every Linux machine, which never asked for anything.
struct Victim(Vec<UdpSocket>);

impl Victim {
    fn new(ports: usize) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self((0..ports).map(|_| socket()).collect())
    }

    fn candidates(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|socket| {
            let port = socket.local_addr().unwrap().port();
            format!("candidate:1 1 udp 2130706431 127.0.0.2 {port} typ host")
        })
    }

    /// Datagrams that came, by port.
    fn received(&self) -> Vec<usize> {
        let count = |socket: &UdpSocket| {
            let mut buffer = [0; 2048];
            std::iter::from_fn(|| socket.recv_from(&mut buffer).ok()).count()
        };
        self.0.iter().map(count).collect()
    }
}

/// The offer of a child that never shows up.
pub(crate) fn offer() -> String {
    let mut child = engine("127.0.0.1");
    child
        .connect(std::time::Instant::now(), key(200, 1), &[])
        .unwrap();
    match child.poll_event() {
        Some(EngineEvent::Offer { sdp, .. }) => sdp,
        other => panic!("{other:?}"),
    }
}

fn join(parent: &mut Engine, now: std::time::Instant, n: u32, offer: &str, victim: &Victim) {
    let link = key(100, n);
    let class = PeerClass::Native;
    parent
        .accept(now, link, offer, &stream(), class, &[])
        .unwrap();
    for candidate in victim.candidates() {
        parent.add_candidate(now, link, &candidate).unwrap();
    }
}

#[test]
fn a_stranger_named_by_one_child_gets_little() {
    run(async {
        let mut village = Village::new().await;
        let victim = Victim::new(MAX_CANDIDATES + 4);
        join(&mut village.parent, village.now, 1, &offer(), &victim);
        village.run(Duration::from_secs(5), |_| {}).await;
        let received = victim.received();
        println!("a stranger named by one child got {received:?}");
        let ports = received.iter().filter(|n| **n > 0).count();
        assert_eq!(ports, MAX_CANDIDATES, "as many candidates are tried");
        assert!(received.iter().all(|n| *n <= 80), "checks to one address");
        village.judge().await;
    });
}

#[test]
fn a_stranger_named_by_a_crowd_gets_no_more() {
    run(async {
        let mut village = Village::new().await;
        let victim = Victim::new(3);
        let offer = offer();
        let (mut n, mut turns) = (0, 0);
        let seconds = 5;
        village
            .run(Duration::from_secs(seconds), |parent| {
                turns += 1;
                if turns % 10 == 0 && n < 100 {
                    n += 1;
                    join(parent, std::time::Instant::now(), n, &offer, &victim);
                }
            })
            .await;
        let received: usize = victim.received().iter().sum();
        println!("a stranger named by {n} children got {received} datagrams in {seconds} s");
        assert!(n > 20, "{n} joins");
        assert!(received <= 100 * (seconds as usize + 1), "{received}");
        village.judge().await;
    });
}
