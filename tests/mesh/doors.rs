//! The node's HTTP server among clients that only hold on to it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use banyan_tests::api::{get, request_with, split};
use banyan_tests::publisher::{waiting, waiting_args};
use banyan_tests::secs;
use banyan_tests::turn::share_turn;
use banyan_tests::workspace::TempDir;
use tokio::net::TcpSocket;

use super::whip_conformance::OFFER;

/// Connections from another loopback address than everybody else's, that say nothing.
fn idle_connections(count: usize, to: SocketAddr) -> Vec<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connect = || async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = socket.connect(to).await.unwrap().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(secs(30))).unwrap();
        stream
    };
    (0..count).map(|_| runtime.block_on(connect())).collect()
}

/// Waits until the other end closes.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn idle_connections_keep_nobody_out_and_slow_ones_are_cut_off() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let (_root, whip) = waiting(&directory, waiting_args(&directory));
    let (authority, _) = split(&whip.url);
    let mut idle = idle_connections(300, authority.parse().unwrap());
    // More than one address may have: these are not even taken.
    for stream in &mut idle[64..] {
        assert!(is_closed(stream));
    }
    let health = whip.url.replace("/whip", "/healthz");
    assert_eq!(get(&health).status, 200);
    let bearer = format!("Bearer {}", whip.token);
    let fields = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/sdp"),
    ];
    let published = request_with("POST", &whip.url, &fields, OFFER);
    assert_eq!(published.status, 201, "{published:?}");

    let slow = &mut idle[0];
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
    let started = Instant::now();
    assert!(is_closed(slow));
    assert!(started.elapsed() < secs(25), "{:?}", started.elapsed());
    let mut next = idle_connections(1, authority.parse().unwrap());
    for stream in &mut idle {
        assert!(is_closed(stream));
    }
    next[0]
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    next[0].read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
}
