//! Addresses from STUN servers, and from the operator.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use banyan::wire::tracker::IceServer;
use banyan_node::rtc::{Engine, EngineEvent, UdpPort};

use crate::world::{config, key, run};

/// A STUN server that says everybody is at 203.0.113.7:5000.
fn stun_server() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        for _ in 0..4 {
            let Ok((size, from)) = socket.recv_from(&mut buffer) else {
                return;
            };
            assert!(size >= 20 && buffer[..2] == [0, 1]);
            let mut answer = vec![1, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42];
            answer.extend_from_slice(&buffer[8..20]);
            // XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
            answer.extend([0, 0x20, 0, 8, 0, 1]);
            answer.extend((5000u16 ^ 0x2112).to_be_bytes());
            let ip = u32::from_be_bytes([203, 0, 113, 7]) ^ 0x2112_A442;
            answer.extend(ip.to_be_bytes());
            socket.send_to(&answer, from).unwrap();
        }
    });
    port
}

fn server(port: u16) -> IceServer {
    IceServer {
        urls: vec![format!("stun:127.0.0.1:{port}")],
        username: None,
        credential: None,
    }
}

async fn candidates(engine: &mut Engine, time: Duration) -> Vec<(Duration, String)> {
    let begin = Instant::now();
    let mut found = Vec::new();
    while begin.elapsed() < time {
        engine.wait(Some(begin + time)).await;
        let now = Instant::now();
        engine.receive(now);
        engine.handle_timeout(now);
        while let Some(event) = engine.poll_event() {
            if let EngineEvent::LocalCandidate { candidate, .. } = event {
                found.push((begin.elapsed(), candidate));
            }
        }
        engine.flush(now);
    }
    found
}

#[test]
fn a_silent_server_delays_nobody() {
    run(async {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = [
            server(silent.local_addr().unwrap().port()),
            server(stun_server()),
        ];
        let mut engine = Engine::bind(config("127.0.0.1", UdpPort::Any)).unwrap();
        engine.connect(Instant::now(), key(1, 1), &servers).unwrap();
        let found = candidates(&mut engine, Duration::from_millis(400)).await;
        let host = format!("127.0.0.1 {} typ host", engine.port());
        assert!(found[0].1.contains(&host), "{found:?}");
        assert!(found[0].0 < Duration::from_millis(50));
        let seen = found
            .iter()
            .find(|(_, c)| c.contains("203.0.113.7 5000 typ srflx"))
            .unwrap();
        assert!(seen.0 < Duration::from_millis(200), "{found:?}");
        assert!(
            found.iter().all(|(_, c)| !c.is_empty()),
            "the silent one may still answer"
        );
        // Known now: the next link has it at once.
        engine.connect(Instant::now(), key(1, 2), &servers).unwrap();
        let found = candidates(&mut engine, Duration::from_millis(50)).await;
        assert!(
            found.iter().any(|(_, c)| c.contains("203.0.113.7")),
            "{found:?}"
        );
        let found = candidates(&mut engine, Duration::from_secs(6)).await;
        assert_eq!(
            found.iter().filter(|(_, c)| c.is_empty()).count(),
            2,
            "{found:?}"
        );
    });
}

#[test]
fn without_servers_the_end_comes_at_once() {
    run(async {
        let mut config = config("127.0.0.1", UdpPort::Any);
        config.public_addr = Some("198.51.100.4".parse().unwrap());
        let mut engine = Engine::bind(config).unwrap();
        engine.connect(Instant::now(), key(1, 1), &[]).unwrap();
        let found = candidates(&mut engine, Duration::from_millis(20)).await;
        let public = format!("198.51.100.4 {} typ host", engine.port());
        assert!(found[0].1.contains(&public), "{found:?}");
        assert!(found.last().unwrap().1.is_empty());
        assert_eq!(found.len(), 3);
    });
}
