//! Which ports a tracker takes, and who it sees calling.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use banyan::wire::codec::Encoding;
use banyan::wire::tracker::ServerMessage;
use banyan_tracker::config::StunListen;
use banyan_tracker::{Config, Server};
use tokio::net::TcpStream;

use crate::client::{Peer, config, hello, request};

#[tokio::test]
async fn a_default_port_that_is_busy_gives_way_to_the_next_free_one() {
    let defaults = || Server::start(Config::default());
    let first = defaults().await.unwrap();
    let second = defaults().await.unwrap();
    assert!((8080..8100).contains(&first.http_addr().port()));
    assert!((3478..3498).contains(&first.stun_addr().unwrap().port()));
    assert_ne!(first.http_addr().port(), second.http_addr().port());
    assert_ne!(first.stun_addr(), second.stun_addr());
    let port = first.http_addr().port();
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        TcpStream::connect(SocketAddr::new(ip, port)).await.unwrap();
    }
    assert_eq!(first.local_url(), format!("http://127.0.0.1:{port}"));
}

#[tokio::test]
async fn an_explicit_port_that_is_busy_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::start(Config {
        listen: Some(address),
        ..config()
    })
    .await
    .err()
    .unwrap();
    assert!(
        format!("{error:#}").contains(&format!("TCP {address}")),
        "{error:#}"
    );

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::start(Config {
        stun: StunListen::Address(address),
        ..config()
    })
    .await
    .err()
    .unwrap();
    assert!(
        format!("{error:#}").contains(&format!("UDP {address}")),
        "{error:#}"
    );
}

async fn welcome(server: &Server, host: &str) -> (Vec<String>, String) {
    let mut peer = Peer::connect_as(server, Encoding::Json, host).await;
    peer.send(&hello(1)).await;
    let ServerMessage::Welcome(welcome) = peer.next().await else {
        panic!("no welcome");
    };
    let urls = welcome
        .ice_servers
        .into_iter()
        .flat_map(|server| server.urls);
    (urls.collect(), welcome.observed)
}

#[tokio::test]
async fn peers_are_offered_the_own_stun_by_the_name_they_know() {
    let server = Server::start(Config {
        stun: StunListen::Address("[::]:0".parse().unwrap()),
        ..config()
    })
    .await
    .unwrap();
    let port = server.stun_addr().unwrap().port();
    let (urls, _) = welcome(&server, "tracker.test:8080").await;
    assert_eq!(urls, [format!("stun:tracker.test:{port}")]);
    let (urls, observed) = welcome(&server, &server.http_addr().to_string()).await;
    assert_eq!(urls, [""; 0], "STUN on loopback tells nobody anything");
    assert_eq!(observed, "127.0.0.1");
}

#[tokio::test]
async fn configured_ice_servers_are_handed_out_instead() {
    let server = Server::start(Config {
        ice_servers: Some(vec![banyan::wire::tracker::IceServer {
            urls: vec!["turn:turn.test:3478".to_owned()],
            username: Some("u".to_owned()),
            credential: Some("p".to_owned()),
        }]),
        ..config()
    })
    .await
    .unwrap();
    let (urls, _) = welcome(&server, "localhost").await;
    assert_eq!(urls, ["turn:turn.test:3478"]);
}

#[tokio::test]
async fn one_address_has_no_more_than_its_share_of_connections() {
    let server = Server::start(Config {
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        max_connections_per_address: 1,
        ..config()
    })
    .await
    .unwrap();
    let handshake = |client| {
        [
            ("Connection", "Upgrade, close"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "banyan.1.json"),
            ("X-Forwarded-For", client),
        ]
    };
    // The first session stays open while the others ask.
    let mut first = TcpStream::connect(server.http_addr()).await.unwrap();
    let head: String = handshake("192.0.2.1")
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let text = format!("GET /ws HTTP/1.1\r\nHost: tracker.test\r\n{head}\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut first, text.as_bytes())
        .await
        .unwrap();
    let mut line = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut first, &mut line)
        .await
        .unwrap();
    assert_eq!(&line, b"HTTP/1.1 101");
    let answer = request(server.http_addr(), "GET", "/ws", &handshake("192.0.2.1")).await;
    assert_eq!(answer.status, 429, "{answer:?}");
}

/// What the tracker sees of a client that says it comes from 192.0.2.1, in its own welcome.
async fn seen(server: &Server, header: (&str, &str)) -> String {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    let stream = TcpStream::connect(server.http_addr()).await.unwrap();
    let mut request = "ws://tracker.test/ws".into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", "banyan.1.json".parse().unwrap());
    let name = header.0.parse::<axum::http::HeaderName>().unwrap();
    headers.insert(name, header.1.parse().unwrap());
    let mut peer = Peer::request(request, stream, Encoding::Json).await;
    peer.send(&hello(1)).await;
    let ServerMessage::Welcome(welcome) = peer.next().await else {
        panic!("no welcome");
    };
    welcome.observed
}

#[tokio::test]
async fn a_forwarded_address_is_believed_from_a_trusted_proxy_alone() {
    for (proxy, expected) in [("127.0.0.0/8", "192.0.2.1"), ("10.0.0.0/8", "127.0.0.1")] {
        let server = Server::start(Config {
            trusted_proxies: vec![proxy.parse().unwrap()],
            ..config()
        })
        .await
        .unwrap();
        for header in [
            ("x-forwarded-for", "203.0.113.9, 192.0.2.1"),
            ("forwarded", "for=203.0.113.9, for=\"192.0.2.1:4711\""),
        ] {
            assert_eq!(seen(&server, header).await, expected, "{proxy} {header:?}");
        }
        server.shutdown().await;
    }
}
