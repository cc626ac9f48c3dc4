//! What STUN servers show of the network before a node.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use banyan::reachability::{Reach, Reachability};
use banyan::wire::tracker::IceServer;
use banyan_node::rtc::{Engine, UdpPort};

use crate::world::{config, run};

/// What the second port says, and whether anything comes from the third.
struct Router {
    mapped: [u16; 2],
    lets_in: bool,
}

/// A STUN server with three ports (RFC 5780), behind which there is `router`. It answers the first
/// `silent` requests of each kind with nothing.
fn server(router: Router, silent: u32) -> IceServer {
    let [first, second, quiet] = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let port = first.local_addr().unwrap().port();
    let other = second.local_addr().unwrap().port();
    for socket in [&first, &second] {
        let time = Some(Duration::from_secs(10));
        socket.set_read_timeout(time).unwrap();
    }
    let serve = move |socket: UdpSocket, elsewhere: Option<UdpSocket>, mapped: u16| {
        let (mut plain, mut changed) = (0, 0);
        let mut buffer = [0; 1500];
        for _ in 0..20 {
            let Ok((size, from)) = socket.recv_from(&mut buffer) else {
                return;
            };
            assert!(size == 20 || buffer[20..28] == [0, 3, 0, 4, 0, 0, 0, 2]);
            let count = if size == 20 { &mut plain } else { &mut changed };
            *count += 1;
            if *count <= silent {
                continue;
            }
            let mut answer = vec![1, 1, 0, 24, 0x21, 0x12, 0xA4, 0x42];
            answer.extend_from_slice(&buffer[8..20]);
            answer.extend([0, 0x20, 0, 8, 0, 1]);
            answer.extend((mapped ^ 0x2112).to_be_bytes());
            let ip = u32::from_be_bytes([203, 0, 113, 7]) ^ 0x2112_A442;
            answer.extend(ip.to_be_bytes());
            answer.extend([0x80, 0x2C, 0, 8, 0, 1]);
            answer.extend(other.to_be_bytes());
            answer.extend([127, 0, 0, 1]);
            match (size == 20, &elsewhere) {
                (true, _) => drop(socket.send_to(&answer, from).unwrap()),
                (false, Some(elsewhere)) => drop(elsewhere.send_to(&answer, from).unwrap()),
                (false, None) => {}
            }
        }
    };
    let elsewhere = router.lets_in.then_some(quiet);
    std::thread::spawn(move || serve(first, elsewhere, router.mapped[0]));
    std::thread::spawn(move || serve(second, None, router.mapped[1]));
    IceServer {
        urls: vec![format!("stun:127.0.0.1:{port}")],
        username: None,
        credential: None,
    }
}

/// What an engine at home learns, and how long that took.
async fn learnt(ice: &[IceServer]) -> (Reachability, Duration) {
    let mut engine = Engine::bind(config("127.0.0.1", UdpPort::Any)).unwrap();
    let begin = Instant::now();
    engine.learn(begin, ice);
    let end = begin + Duration::from_secs(8);
    while Instant::now() < end {
        if let Some(reachability) = engine.learnt() {
            return (reachability, begin.elapsed());
        }
        engine.flush(Instant::now());
        engine.wait(Some(end)).await;
        let now = Instant::now();
        engine.receive(now);
        engine.handle_timeout(now);
    }
    panic!("nothing was learnt");
}

fn ipv4(reach: Reach) -> Reachability {
    Reachability {
        v4: Some(reach),
        v6: None,
    }
}

#[test]
fn two_ports_and_a_third_show_what_a_router_does() {
    let cases = [
        (Reach::Open, [5000, 5000], true),
        (Reach::Cone, [5000, 5000], false),
        (Reach::Symmetric, [5000, 5001], false),
    ];
    for (expected, mapped, lets_in) in cases {
        run(async move {
            // A lost packet changes nothing.
            let server = server(Router { mapped, lets_in }, 1);
            let (found, time) = learnt(&[server]).await;
            assert_eq!(found, ipv4(expected));
            assert!(time < Duration::from_secs(2), "{expected:?} after {time:?}");
        });
    }
}

#[test]
fn silence_is_a_blocked_network_and_nobody_to_ask_an_unknown_one() {
    run(async {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let silent = IceServer {
            urls: vec![format!("stun:127.0.0.1:{port}")],
            username: None,
            credential: None,
        };
        let (found, time) = learnt(&[silent]).await;
        assert_eq!(found, ipv4(Reach::Blocked));
        assert!(time < Duration::from_secs(6), "{time:?}");
        let (found, _) = learnt(&[]).await;
        assert_eq!(found, ipv4(Reach::Unknown));
    });
}
