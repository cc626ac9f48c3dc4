//! Players and the parents the tracker finds for them.

use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan::wire::codec::Encoding;
use banyan::wire::tracker::{
    ClientMessage, IceServer, PeerClass, RefuseReason, Report, ServerMessage,
};
use banyan_tracker::{Config, Server};

use crate::broadcast::Broadcast;
use crate::client::{Answer, Peer, config, exchange, request};

const OFFER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
    a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";

/// A full root with two relays below it.
struct Mesh {
    server: Server,
    broadcast: Broadcast,
    relays: [Peer; 2],
}

async fn mesh() -> Mesh {
    let turn = IceServer {
        urls: vec!["turn:turn.example".to_owned()],
        username: Some("me".to_owned()),
        credential: Some("secret".to_owned()),
    };
    let config = Config {
        ice_servers: Some(vec![turn]),
        ..config()
    };
    let server = Server::start(config).await.unwrap();
    let root = Peer::connect(&server, Encoding::Bincode).await;
    let broadcast = Broadcast::start(&server, root, 1, 2).await;
    let mut relays = Vec::new();
    for node in [11, 12] {
        let mut relay = broadcast.viewer(&server, Encoding::Bincode, node).await;
        let assigned = |m: &ServerMessage| matches!(m, ServerMessage::Assigned { .. });
        let ServerMessage::Assigned {
            link, generation, ..
        } = relay.until(assigned).await
        else {
            unreachable!()
        };
        relay
            .send(&ClientMessage::Attached { link, generation })
            .await;
        relays.push(relay);
    }
    // Only when the relays hang in the tree have they slots.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let Ok(relays) = <[Peer; 2]>::try_from(relays) else {
        unreachable!()
    };
    Mesh {
        server,
        broadcast,
        relays,
    }
}

async fn post(server: &Server, stream: &str) -> Answer {
    let headers = [
        ("Content-Type", "application/sdp"),
        ("User-Agent", "test player"),
    ];
    let path = format!("/whep/{stream}");
    exchange(server.http_addr(), "POST", &path, &headers, OFFER).await
}

/// The relay that is told to expect the player, and which link.
async fn expected(relays: &mut [Peer; 2]) -> (usize, LinkKey) {
    let is_expect = |m: &ServerMessage| matches!(m, ServerMessage::Expect { .. });
    let [first, second] = relays;
    let (at, message) = tokio::select! {
        message = first.until(is_expect) => (0, message),
        message = second.until(is_expect) => (1, message),
    };
    let ServerMessage::Expect {
        link, class, offer, ..
    } = message
    else {
        unreachable!()
    };
    assert_eq!((class, offer.as_str()), (PeerClass::Player, OFFER));
    (at, link)
}

async fn answer(relay: &mut Peer, link: LinkKey) {
    let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n".to_owned();
    relay.send(&ClientMessage::Answer { link, sdp }).await;
    for candidate in ["candidate:1 1 udp 1 192.0.2.1 7144 typ host", ""] {
        let candidate = candidate.to_owned();
        relay
            .send(&ClientMessage::Candidate { link, candidate })
            .await;
    }
}

#[tokio::test]
async fn a_parent_that_says_nothing_or_no_is_replaced_within_the_request() {
    for refuses in [true, false] {
        let mut mesh = mesh().await;
        let stream = mesh.broadcast.stream.to_string();
        let begin = Instant::now();
        let parents = async {
            let (first, link) = expected(&mut mesh.relays).await;
            if refuses {
                let reason = RefuseReason::Offer;
                let refuse = ClientMessage::Refuse { link, reason };
                mesh.relays[first].send(&refuse).await;
            }
            let (second, link) = expected(&mut mesh.relays).await;
            assert_ne!(first, second);
            answer(&mut mesh.relays[second], link).await;
            (second, link)
        };
        let (created, (parent, link)) = tokio::join!(post(&mesh.server, &stream), parents);
        assert_eq!(created.status, 201, "{}", created.body);
        assert_eq!(begin.elapsed() > Duration::from_secs(1), !refuses);
        let candidate = "a=candidate:1 1 udp 1 192.0.2.1 7144 typ host\r\n";
        assert!(
            created
                .body
                .ends_with(&format!("{candidate}a=end-of-candidates\r\n"))
        );
        assert_eq!(
            created.header("Link"),
            Some(
                "<turn:turn.example>; rel=\"ice-server\"; username=\"me\"; \
                 credential=\"secret\"; credential-type=\"password\""
            )
        );

        // Its candidates go to that parent, and so does its goodbye.
        let session = format!("/whep/{}", created.header("Location").unwrap());
        let etag = created.header("ETag").unwrap();
        let headers = [
            ("Content-Type", "application/trickle-ice-sdpfrag"),
            ("If-Match", etag),
        ];
        let fragment = "m=audio 9 x 0\r\na=mid:0\r\na=candidate:2 1 udp 1 192.0.2.2 9 typ host\r\n";
        let address = mesh.server.http_addr();
        let patched = exchange(address, "PATCH", &session, &headers, fragment).await;
        assert_eq!(patched.status, 204, "{}", patched.body);
        let relay = &mut mesh.relays[parent];
        let is_candidate = |m: &ServerMessage| matches!(m, ServerMessage::Candidate { .. });
        let ServerMessage::Candidate { candidate, .. } = relay.until(is_candidate).await else {
            unreachable!()
        };
        assert_eq!(candidate, "candidate:2 1 udp 1 192.0.2.2 9 typ host");
        let report = Report {
            children: vec![link.child],
            slots: 2,
            ..Report::default()
        };
        relay.send(&ClientMessage::Report(report)).await;
        assert_eq!(request(address, "DELETE", &session, &[]).await.status, 200);
        let release = |m: &ServerMessage| matches!(m, ServerMessage::Release { .. });
        relay.until(release).await;
        assert_eq!(request(address, "DELETE", &session, &[]).await.status, 404);
    }
}

#[tokio::test]
async fn a_session_ends_when_the_parent_no_longer_reports_the_player() {
    let mut mesh = mesh().await;
    let stream = mesh.broadcast.stream.to_string();
    let parents = async {
        let (at, link) = expected(&mut mesh.relays).await;
        answer(&mut mesh.relays[at], link).await;
        (at, link)
    };
    let (created, (parent, link)) = tokio::join!(post(&mesh.server, &stream), parents);
    let session = format!("/whep/{}", created.header("Location").unwrap());
    for children in [vec![link.child], Vec::new()] {
        let here = request(mesh.server.http_addr(), "GET", &session, &[]).await;
        assert_eq!(here.status, 204);
        let report = Report {
            children,
            slots: 2,
            ..Report::default()
        };
        mesh.relays[parent]
            .send(&ClientMessage::Report(report))
            .await;
    }
    let end = Instant::now() + Duration::from_secs(2);
    while request(mesh.server.http_addr(), "GET", &session, &[])
        .await
        .status
        != 404
    {
        assert!(Instant::now() < end, "the session is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
