//! Sessions against the real core.

use std::time::{Duration, Instant};

use banyan::wire::codec::Encoding;
use banyan::wire::tracker::{ClientMessage, Report, ServerMessage};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_is_cut_and_nobody_waits_for_it() {
    let server = start().await;
    // A root with a small receive buffer that reads nothing once it has published.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(server.http_addr()).await.unwrap();
    let host = server.http_addr().to_string();
    let root = Peer::over(stream, Encoding::Bincode, &host).await;
    let mut broadcast = Broadcast::start(&server, root, 1, 1000).await;

    let mut bystander = Peer::welcome(&server, Encoding::Json, 2).await;
    let offer = "x".repeat(24 * 1024);
    let mut longest = Duration::ZERO;
    let mut viewers = Vec::new();
    // Each join is one more offer for the root: 48 MB in all.
    for node in 0..40 {
        let mut viewer = Peer::welcome(&server, Encoding::Bincode, 100 + node).await;
        for link in 1..=50 {
            viewer.send(&broadcast.join(link, offer.clone())).await;
        }
        viewers.push(viewer);
        // The root speaks still, so it does not count as gone.
        let report = ClientMessage::Report(Report {
            slots: 1000,
            ..Report::default()
        });
        let _ = broadcast.root.try_send(&report).await;
        let asked = Instant::now();
        bystander.send(&ClientMessage::Leave).await;
        bystander.send(&hello(2)).await;
        bystander
            .until(|message| matches!(message, ServerMessage::Error { .. }))
            .await;
        longest = longest.max(asked.elapsed());
    }
    timeout(PATIENCE, async {
        while !get(&server, "/metrics")
            .await
            .body
            .contains("\nbanyan_sessions_too_slow_total 1\n")
        {
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
