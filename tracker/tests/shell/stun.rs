//! STUN as any client asks it.

use std::net::SocketAddr;
use std::time::Duration;

use banyan_tracker::config::StunListen;
use banyan_tracker::{Config, Server};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::client::{PATIENCE, config};

const REQUEST: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";

/// A request for an answer from another port (RFC 5780 section 7.2).
const CHANGE_PORT: [u8; 28] =
    *b"\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x03\x00\x04\x00\x00\x00\x02";

/// Asks `server` from `from`; the address it says the question came from.
async fn ask(from: &UdpSocket, server: SocketAddr) -> SocketAddr {
    let (source, answer) = answer(from, server, &REQUEST).await;
    assert_eq!(
        source, server,
        "the answer comes from the address that was asked"
    );
    mapped(&answer)
}

/// Sends `request` to `server`; the answer and where it came from.
async fn answer(from: &UdpSocket, server: SocketAddr, request: &[u8]) -> (SocketAddr, Vec<u8>) {
    from.send_to(request, server).await.unwrap();
    let mut buffer = [0; 100];
    let (len, source) = timeout(PATIENCE, from.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    let answer = &buffer[..len];
    assert_eq!(answer[..2], [1, 1]);
    assert_eq!(answer[8..20], REQUEST[8..20]);
    (source, answer.to_vec())
}

/// The XOR-MAPPED-ADDRESS, which comes first.
fn mapped(answer: &[u8]) -> SocketAddr {
    assert_eq!(answer[20..22], [0, 0x20]);
    let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
    let end = 24 + usize::from(answer[23]);
    let ip: Vec<u8> = answer[28..end]
        .iter()
        .zip(&REQUEST[4..])
        .map(|(a, b)| a ^ b)
        .collect();
    match answer[25] {
        1 => (<[u8; 4]>::try_from(ip).unwrap(), port).into(),
        _ => (<[u8; 16]>::try_from(ip).unwrap(), port).into(),
    }
}

#[tokio::test]
async fn a_peer_learns_its_address_on_ipv4_and_ipv6() {
    let server = Server::start(Config {
        stun: StunListen::Address("[::]:0".parse().unwrap()),
        ..config()
    })
    .await
    .unwrap();
    let port = server.stun_addr().unwrap().port();
    for loopback in ["127.0.0.1", "127.0.0.2", "::1"] {
        let ip = loopback.parse().unwrap();
        let from = UdpSocket::bind(SocketAddr::new(ip, 0)).await.unwrap();
        let seen = ask(&from, SocketAddr::new(ip, port)).await;
        assert_eq!(seen, from.local_addr().unwrap());
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_peer_can_compare_two_ports_and_be_answered_from_a_third() {
    let server = Server::start(config()).await.unwrap();
    let main = server.stun_addr().unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let own = from.local_addr().unwrap();
    let (_, plain) = answer(&from, main, &REQUEST).await;
    // OTHER-ADDRESS, after an XOR-MAPPED-ADDRESS of IPv4.
    assert_eq!(plain[32..38], [0x80, 0x2C, 0, 8, 0, 1]);
    assert_eq!(plain[40..], [127, 0, 0, 1]);
    let second = u16::from_be_bytes([plain[38], plain[39]]);
    let second = SocketAddr::new(main.ip(), second);
    assert_ne!(second, main);
    assert_eq!(ask(&from, second).await, own);
    for asked in [main, second] {
        let (source, unasked) = answer(&from, asked, &CHANGE_PORT).await;
        assert_eq!(source.ip(), main.ip());
        assert!(source != main && source != second, "{source}");
        assert_eq!(mapped(&unasked), own);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn the_second_port_is_the_next_free_one() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:41751").unwrap();
    let server = Server::start(Config {
        stun: StunListen::Address("127.0.0.1:41750".parse().unwrap()),
        ..config()
    })
    .await
    .unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (_, plain) = answer(&from, server.stun_addr().unwrap(), &REQUEST).await;
    assert_eq!(u16::from_be_bytes([plain[38], plain[39]]), 41_752);
    drop(taken);
}

#[tokio::test]
async fn garbage_is_ignored_and_the_next_question_answered() {
    let server = Server::start(config()).await.unwrap();
    let address = server.stun_addr().unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut answer = REQUEST;
    answer[0] = 1;
    for garbage in [
        &b""[..],
        b"hello",
        &[0; 20],
        &[255; 1400],
        &answer,
        &REQUEST[..19],
    ] {
        from.send_to(garbage, address).await.unwrap();
    }
    let silent = timeout(Duration::from_millis(200), from.recv_from(&mut [0; 100])).await;
    assert!(silent.is_err(), "garbage was answered");
    assert_eq!(ask(&from, address).await, from.local_addr().unwrap());
}

#[tokio::test]
async fn a_flood_from_one_source_is_bounded() {
    let server = Server::start(config()).await.unwrap();
    let address = server.stun_addr().unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut answers = 0;
    for _ in 0..600 {
        from.send_to(&REQUEST, address).await.unwrap();
        if timeout(Duration::from_millis(1), from.recv_from(&mut [0; 100]))
            .await
            .is_ok()
        {
            answers += 1;
        }
    }
    // 200 a second, and the flood lasts about a second where the host is slow.
    assert!((100..=500).contains(&answers), "{answers}");
}
