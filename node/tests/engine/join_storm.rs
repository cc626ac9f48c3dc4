//! Many handshakes at once: each costs public-key work, and the packets of those who are there do
//! not wait for all of it.

use std::time::{Duration, Instant};

use banyan_node::rtc::{EngineEvent, PeerClass};
use rtc::peer_connection::state::RTCPeerConnectionState;

use crate::ciphers::BOTH;
use crate::foreign::Foreign;
use crate::half_open::of_link;
use crate::media::packet;
use crate::world::{Pair, VIDEO, key, run};

/// Viewers that join at the same instant.
const CROWD: u8 = 24;

/// Most of their handshakes that one turn may bring forward.
const STEPS: usize = 4;

/// Packets from the parent in the same batch, behind all the handshakes.
const PACKETS: u64 = 40;

const PATIENCE: Duration = Duration::from_secs(20);

fn link(viewer: usize) -> banyan::id::LinkKey {
    key(10 + viewer as u8, 1)
}

/// A turn of everybody; what the node told.
async fn turn(pair: &mut Pair, crowd: &mut [Foreign]) -> Vec<EngineEvent> {
    let soon = Instant::now() + Duration::from_millis(2);
    pair.child.wait(Some(soon)).await;
    let now = Instant::now();
    let mut told = Vec::new();
    for engine in [&mut pair.child, &mut pair.parent] {
        engine.receive(now);
        engine.handle_timeout(now);
    }
    while let Some(event) = pair.child.poll_event() {
        told.push(event);
    }
    while pair.parent.poll_event().is_some() {}
    for (at, viewer) in crowd.iter_mut().enumerate() {
        viewer.turn(&of_link(&told, link(at)));
    }
    pair.child.flush(now);
    pair.parent.flush(now);
    told
}

#[test]
fn media_passes_a_crowd_of_handshakes() {
    run(async {
        let begin = Instant::now();
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let mut crowd = Vec::new();
        for at in 0..usize::from(CROWD) {
            let mut viewer = Foreign::new(BOTH.to_vec());
            viewer.holds = true;
            viewer.join(&mut pair.child, link(at), PeerClass::Player);
            crowd.push(viewer);
        }
        while crowd.iter().any(|viewer| viewer.heard == 0) {
            assert!(begin.elapsed() < PATIENCE, "no path to everybody");
            turn(&mut pair, &mut crowd).await;
        }

        // All answer the first hello at once, and the media is behind them.
        let waiting: usize = crowd.iter_mut().map(Foreign::release).sum();
        assert!(waiting >= crowd.len());
        let packets: Vec<_> = (0..PACKETS).map(|n| packet(VIDEO, 70_000 + n)).collect();
        let now = Instant::now();
        pair.parent.send_packets(now, pair.link, &packets);
        pair.parent.flush(now);
        let before: Vec<usize> = crowd.iter().map(|viewer| viewer.heard).collect();
        let soon = Instant::now() + Duration::from_secs(1);
        pair.child.wait(Some(soon)).await;
        let now = Instant::now();
        pair.child.receive(now);
        let told: Vec<_> = std::iter::from_fn(|| pair.child.poll_event()).collect();
        pair.child.flush(now);

        let media = |e: &&EngineEvent| matches!(e, EngineEvent::Packet { .. });
        let passed = told.iter().filter(media).count();
        assert_eq!(passed, PACKETS as usize, "in one turn: {told:?}");
        for (at, viewer) in crowd.iter_mut().enumerate() {
            viewer.turn(&of_link(&told, link(at)));
        }
        let served = crowd.iter().zip(&before).filter(|(v, b)| v.heard > **b);
        let served = served.count();
        assert!((1..=STEPS).contains(&served), "{served} handshakes");

        // Nobody is forgotten.
        let up = |viewer: &Foreign| viewer.states.contains(&RTCPeerConnectionState::Connected);
        while !crowd.iter().all(up) {
            assert!(begin.elapsed() < PATIENCE, "not everybody joined");
            turn(&mut pair, &mut crowd).await;
        }
    });
}
