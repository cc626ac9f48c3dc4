//! A WHEP endpoint in a few lines: one engine, made-up packets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use banyan::id::{Epoch, LinkId, LinkKey, NodeId};
use banyan::relay::packet::Packet;
use banyan::wire::announcement::{Codec, StreamInfo, TrackInfo};
use banyan_node::rtc::{
    Engine, EngineConfig, EngineEvent, LoopbackCandidates, PeerClass, UdpBind, UdpPort,
};
use tokio::sync::{mpsc, oneshot};
use url::Url;

/// First extended sequence number of both tracks.
const FIRST: u64 = 70_000;

/// Packets of one frame.
const PACKETS: u64 = 3;

/// How the endpoint behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conduct {
    /// Answers 503.
    pub(crate) refuse: bool,
    /// Never sends packets whose number divides by this.
    pub(crate) drop_every: Option<u64>,
}

type Offers = mpsc::Sender<(String, oneshot::Sender<String>)>;

/// Serves at the URL returned, for as long as the runtime lives.
pub(crate) async fn serve(conduct: Conduct) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (offers, inbox) = mpsc::channel(16);
    tokio::spawn(engine(conduct, inbox));
    let app = Router::new()
        .route("/whep/stream", post(offer))
        .route("/whep/session", delete(async || StatusCode::OK))
        .with_state((conduct, offers));
    tokio::spawn(async { axum::serve(listener, app).await });
    Url::parse(&format!("http://{address}/whep/stream")).unwrap()
}

async fn offer(State((conduct, offers)): State<(Conduct, Offers)>, sdp: String) -> Response {
    if conduct.refuse {
        let later = [("retry-after", "5")];
        return (StatusCode::SERVICE_UNAVAILABLE, later, "the tree is full\n").into_response();
    }
    let (reply, answer) = oneshot::channel();
    offers.send((sdp, reply)).await.unwrap();
    let headers = [("content-type", "application/sdp"), ("location", "session")];
    (StatusCode::CREATED, headers, answer.await.unwrap()).into_response()
}

fn stream() -> StreamInfo {
    let track = |codec, fmtp: &str, ssrc| TrackInfo {
        codec,
        fmtp: fmtp.into(),
        ssrc,
        first_seq: FIRST,
    };
    StreamInfo {
        epoch: Epoch(1),
        tracks: vec![
            track(
                Codec::H264,
                "packetization-mode=1;profile-level-id=4d001f",
                1111,
            ),
            track(Codec::Opus, "", 2222),
        ],
        cname: "banyan-test".into(),
    }
}

fn link(number: u32) -> LinkKey {
    LinkKey {
        child: NodeId::from_bytes([7; 16]),
        link: LinkId(number),
    }
}

/// Takes offers and sends 30 frames and 50 packets of sound per second to whoever is connected.
async fn engine(conduct: Conduct, mut offers: mpsc::Receiver<(String, oneshot::Sender<String>)>) {
    let mut engine = Engine::bind(EngineConfig {
        udp: UdpBind {
            ip: Some([127, 0, 0, 1].into()),
            port: UdpPort::Any,
        },
        public_addr: None,
        loopback: LoopbackCandidates::WhenAlone,
        rng_seed: rand::random(),
    })
    .unwrap();
    let mut answering: Option<(LinkKey, String, oneshot::Sender<String>)> = None;
    let mut candidates = String::new();
    let mut viewers = Vec::new();
    let mut links = 0;
    let (mut frames, mut sounds) = (0, 0);
    let began = Instant::now();
    loop {
        let tick = Some(Instant::now() + Duration::from_millis(5));
        let offered = tokio::select! {
            offered = offers.recv(), if answering.is_none() => offered,
            () = engine.wait(tick) => None,
        };
        let now = Instant::now();
        if let Some((sdp, reply)) = offered {
            links += 1;
            engine
                .accept(now, link(links), &sdp, &stream(), PeerClass::Player, &[])
                .unwrap();
            answering = Some((link(links), String::new(), reply));
            candidates.clear();
        }
        engine.receive(now);
        engine.handle_timeout(now);
        while let Some(event) = engine.poll_event() {
            match event {
                EngineEvent::Answer { sdp, .. } => {
                    if let Some((_, answer, _)) = &mut answering {
                        *answer = sdp;
                    }
                }
                EngineEvent::LocalCandidate { candidate, .. } if candidate.is_empty() => {
                    if let Some((_, answer, reply)) = answering.take() {
                        let _ = reply.send(answer + &candidates);
                    }
                }
                EngineEvent::LocalCandidate { candidate, .. } => {
                    // Behind the last section, which is bundled with the first.
                    candidates += &format!("a={candidate}\r\n");
                }
                EngineEvent::Connected { link } => viewers.push(link),
                EngineEvent::Closed { link, .. } => viewers.retain(|viewer| *viewer != link),
                _ => {}
            }
        }
        let due = began.elapsed().as_millis() as u64;
        let mut packets = Vec::new();
        while frames * 1000 / 30 <= due {
            packets.extend((0..PACKETS).map(|part| {
                packet(
                    0,
                    frames * PACKETS + part,
                    frames * 3000,
                    part + 1 == PACKETS,
                )
            }));
            frames += 1;
        }
        while sounds * 20 <= due {
            packets.push(packet(1, sounds, sounds * 960, false));
            sounds += 1;
        }
        packets.retain(|packet| {
            conduct
                .drop_every
                .is_none_or(|every| packet.seq % every != 0)
        });
        for viewer in &viewers {
            engine.send_packets(now, *viewer, &packets);
        }
        engine.flush(now);
    }
}

fn packet(track: u8, number: u64, timestamp: u64, marker: bool) -> Arc<Packet> {
    Arc::new(Packet {
        track,
        seq: FIRST + number,
        timestamp: timestamp as u32,
        marker,
        extensions: Vec::new(),
        payload: vec![1; 500].into(),
    })
}
