//! Sessions against the real core.

use std::ops::Range;
use std::time::{Duration, Instant};

use banyan::limits::JOIN_BURST;
use banyan::wire::codec::Encoding;
use banyan::wire::tracker::{ClientMessage, Report, ServerMessage};
use banyan_tracker::Server;
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::broadcast::Broadcast;
use crate::client::{PATIENCE, Peer, get, hello, start};

#[tokio::test]
async fn an_offer_and_its_answer_pass_between_the_two_encodings() {
    let server = start().await;
    for (root, viewer) in [
        (Encoding::Bincode, Encoding::Json),
        (Encoding::Json, Encoding::Bincode),
    ] {
        let seed = if root == Encoding::Json { 1 } else { 2 };
        let root = Peer::connect(&server, root).await;
        let mut broadcast = Broadcast::start(&server, root, seed, 2).await;
        let mut viewer = broadcast.viewer(&server, viewer, 10 + seed).await;
        let expect = broadcast
            .root
            .until(|message| matches!(message, ServerMessage::Expect { .. }))
            .await;
        let ServerMessage::Expect { link, offer, .. } = expect else {
            unreachable!()
        };
        assert_eq!(offer, "offer");
        let sdp = "answer".to_owned();
        broadcast
            .root
            .send(&ClientMessage::Answer { link, sdp })
            .await;
        let answer = viewer
            .until(|message| matches!(message, ServerMessage::Answer { .. }))
            .await;
        assert_eq!(
            answer,
            ServerMessage::Answer {
                link,
                sdp: "answer".to_owned()
            }
        );
    }
}

#[tokio::test]
async fn a_fatal_error_of_the_core_is_the_reason_of_the_close_frame() {
    let server = start().await;
    let _first = Peer::welcome(&server, Encoding::Json, 1).await;
    let mut second = Peer::connect(&server, Encoding::Json).await;
    second.send(&hello(1)).await;
    let ServerMessage::Error {
        message,
        fatal: true,
        ..
    } = second.next().await
    else {
        panic!("no error");
    };
    let close = second.closed().await;
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1008, message.as_str())
    );
}

#[tokio::test]
async fn a_stopping_tracker_says_good_bye() {
    let server = start().await;
    let mut peer = Peer::welcome(&server, Encoding::Json, 1).await;
    let began = Instant::now();
    let (close, ()) = tokio::join!(peer.closed(), server.shutdown());
    assert_eq!(u16::from(close.code), 1001);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_core_learns_that_a_peer_has_gone() {
    let server = start().await;
    let peer = Peer::welcome(&server, Encoding::Json, 1).await;
    drop(peer);
    // Its node id is free again.
    timeout(PATIENCE, async {
        loop {
            let mut again = Peer::connect(&server, Encoding::Json).await;
            again.send(&hello(1)).await;
            if matches!(again.next().await, ServerMessage::Welcome(_)) {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

/// A root with a small receive buffer, to be sent more than it reads.
async fn slow_root(server: &Server, slots: u16) -> Broadcast {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(server.http_addr()).await.unwrap();
    let host = server.http_addr().to_string();
    let root = Peer::over(stream, Encoding::Bincode, &host).await;
    Broadcast::start(server, root, 1, slots).await
}

/// Viewers that ask for a parent as often as they may, with offers of 24 KB for the root.
async fn busy_viewers(server: &Server, broadcast: &Broadcast, nodes: Range<u8>) -> Vec<Peer> {
    let mut viewers = Vec::new();
    for node in nodes {
        let mut viewer = Peer::welcome(server, Encoding::Bincode, node).await;
        for link in 1..=JOIN_BURST {
            viewer
                .send(&broadcast.join(link, "x".repeat(24 * 1024)))
                .await;
        }
        viewers.push(viewer);
    }
    viewers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_heard_while_its_downlink_is_busy() {
    let server = start().await;
    let mut broadcast = slow_root(&server, 100).await;
    let mut viewer = broadcast.viewer(&server, Encoding::Json, 20).await;
    let assigned = viewer
        .until(|message| matches!(message, ServerMessage::Assigned { .. }))
        .await;
    let ServerMessage::Assigned { link, .. } = assigned else {
        unreachable!()
    };
    // 8 MB, of which the root reads nothing.
    let _viewers = busy_viewers(&server, &broadcast, 50..90).await;
    let sdp = "answer".to_owned();
    broadcast
        .root
        .send(&ClientMessage::Answer { link, sdp })
        .await;
    let sent = Instant::now();
    viewer
        .until(|message| matches!(message, ServerMessage::Answer { .. }))
        .await;
    assert!(sent.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_is_cut_and_nobody_waits_for_it() {
    let server = start().await;
    let mut broadcast = slow_root(&server, 1000).await;
    let mut bystander = Peer::welcome(&server, Encoding::Json, 2).await;
    let mut longest = Duration::ZERO;
    let mut viewers = Vec::new();
    // 31 MB.
    for first in (50..210).step_by(10) {
        viewers.extend(busy_viewers(&server, &broadcast, first..first + 10).await);
        // The root speaks still, so it does not count as gone.
        let report = ClientMessage::Report(Report {
            slots: 1000,
            ..Report::default()
        });
        let _ = broadcast.root.try_send(&report).await;
        let asked = Instant::now();
        bystander.send(&hello(2)).await;
        bystander
            .until(|message| matches!(message, ServerMessage::Error { .. }))
            .await;
        longest = longest.max(asked.elapsed());
    }
    let cut = "\nbanyan_sessions_too_slow_total 1\n";
    timeout(PATIENCE / 2, async {
        while !get(&server, "/metrics").await.body.contains(cut) {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    assert!(
        longest < Duration::from_secs(1),
        "somebody waited {longest:?}"
    );
}
