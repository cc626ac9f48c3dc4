//! Bad input at the WebSocket's door.

use banyan::limits::MAX_TRACKER_FRAME;
use banyan::wire::codec::Encoding;
use banyan::wire::tracker::{ClientMessage, ErrorCode, Hello, PeerClass, ServerMessage};
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Peer, get, hello, request, start};

/// What every bad frame must lead to: an error in words, then the close frame.
async fn refused(peer: &mut Peer, close: u16) -> String {
    let ServerMessage::Error {
        code,
        message,
        fatal,
    } = peer.next().await
    else {
        panic!("no error");
    };
    assert_eq!(code, ErrorCode::Malformed);
    assert!(fatal);
    assert_eq!(u16::from(peer.closed().await.code), close);
    message
}

#[tokio::test]
async fn a_frame_that_is_no_message_is_named_and_closes_its_session_alone() {
    let server = start().await;
    let mut other = Peer::welcome(&server, Encoding::Json, 1).await;
    let cases: [(Encoding, Message, &str); 5] = [
        (Encoding::Json, Message::text("{"), "not a message"),
        (Encoding::Json, Message::text("{\"dance\":1}"), "dance"),
        (Encoding::Json, Message::binary(vec![1]), "no binary frames"),
        (Encoding::Bincode, Message::text("{}"), "no text frames"),
        (
            Encoding::Bincode,
            Message::binary(vec![255; 40]),
            "not a message",
        ),
    ];
    for (encoding, frame, words) in cases {
        let mut peer = Peer::connect(&server, encoding).await;
        peer.socket.send(frame).await.unwrap();
        let message = refused(&mut peer, 1002).await;
        assert!(message.contains(words), "{message}");
    }
    other.send(&hello(1)).await;
    other.next().await;
    let metrics = get(&server, "/metrics").await.body;
    assert!(
        metrics.contains("\nbanyan_malformed_frames_total 5\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_message_that_breaks_a_bound_is_refused_by_its_field() {
    let server = start().await;
    let mut peer = Peer::connect(&server, Encoding::Bincode).await;
    let ClientMessage::Hello(hello) = hello(1) else {
        unreachable!()
    };
    peer.send(&ClientMessage::Hello(Hello {
        class: PeerClass::Browser,
        agent: "x".repeat(101),
        ..hello
    }))
    .await;
    let message = refused(&mut peer, 1002).await;
    assert!(message.contains("agent"), "{message}");
}

#[tokio::test]
async fn an_oversized_message_is_refused_before_it_has_arrived() {
    let server = start().await;
    for size in [MAX_TRACKER_FRAME + 1, 3_000_000] {
        let mut peer = Peer::connect(&server, Encoding::Json).await;
        peer.socket
            .send(Message::text(" ".repeat(size)))
            .await
            .unwrap();
        let message = refused(&mut peer, 1009).await;
        assert!(message.contains(&size.to_string()), "{message}");
    }
    // The header of a frame is enough; 100 MB of it never come.
    let mut peer = Peer::connect(&server, Encoding::Json).await;
    let header = [&[0x81, 0xff][..], &100_000_000_u64.to_be_bytes(), &[0; 4]].concat();
    tokio::io::AsyncWriteExt::write_all(peer.socket.get_mut(), &header)
        .await
        .unwrap();
    refused(&mut peer, 1009).await;
}

#[tokio::test]
async fn bytes_that_are_no_websocket_frame_are_refused() {
    let server = start().await;
    let mut peer = Peer::connect(&server, Encoding::Json).await;
    // A frame without the mask that clients must use.
    tokio::io::AsyncWriteExt::write_all(peer.socket.get_mut(), &[0x81, 1, b'x'])
        .await
        .unwrap();
    refused(&mut peer, 1002).await;
    let mut peer = Peer::connect(&server, Encoding::Json).await;
    // Text that is not UTF-8.
    tokio::io::AsyncWriteExt::write_all(peer.socket.get_mut(), &[0x81, 0x81, 0, 0, 0, 0, 0xff])
        .await
        .unwrap();
    refused(&mut peer, 1007).await;
}

#[tokio::test]
async fn a_client_must_offer_a_subprotocol_that_is_spoken_here() {
    let server = start().await;
    let handshake = [
        ("Connection", "Upgrade, close"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let strange = [
        &handshake[..],
        &[("Sec-WebSocket-Protocol", "banyan.9.json, chat")],
    ]
    .concat();
    for headers in [&handshake[..], &strange] {
        let answer = request(server.http_addr(), "GET", "/ws", headers).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("banyan.1.json"), "{answer:?}");
    }
    let old = [("Sec-WebSocket-Version", "8")];
    let old = [&handshake[..2], &old, &handshake[3..]].concat();
    let answer = request(server.http_addr(), "GET", "/ws", &old).await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.header("Sec-WebSocket-Version"), Some("13"));
    assert_eq!(get(&server, "/ws").await.status, 426);
}
