//! A publisher that sends as soon as its own part of the handshake is done.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use banyan_node::rtc::{Engine, EngineEvent};
use bytes::{Bytes, BytesMut};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use crate::world::{engine, key, run};

const SSRC: u32 = 7144;

/// Packets of the first key frame.
const FIRST: u16 = 60;

struct Publisher {
    connection: RTCPeerConnection,
    sender: RTCRtpSenderId,
    socket: UdpSocket,
    addr: SocketAddr,
}

impl Publisher {
    fn new(root: &mut Engine) -> Self {
        let now = Instant::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        let settings = SettingEngineBuilder::new()
            .with_ice_connection_attempts(Some(Duration::from_millis(10)), None)
            .build();
        let mut media = MediaEngine::default();
        media.register_default_codecs().unwrap();
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_media_engine(media)
            .build(now)
            .unwrap();
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(SSRC),
                ..Default::default()
            },
            codec: RTCRtpCodec {
                mime_type: "video/VP8".to_owned(),
                clock_rate: 90_000,
                ..Default::default()
            },
            ..Default::default()
        };
        let kind = RtpCodecKind::Video;
        let track = MediaStreamTrack::new("s".into(), "t".into(), "l".into(), kind, vec![encoding]);
        let sender = connection.add_track(track).unwrap();
        let offer = connection.create_offer(None).unwrap();
        // As ffmpeg does: the root begins the handshake, so this end finishes it.
        let sdp = offer.sdp.replace("a=setup:actpass", "a=setup:passive");
        connection.set_local_description(now, offer).unwrap();
        let port = addr.port();
        let candidate = format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host\r\n");
        let answer = root.publish(now, key(1, 1), &(sdp + &candidate)).unwrap();
        assert!(answer.sdp.contains("a=setup:active"), "{}", answer.sdp);
        let candidate = rtc::peer_connection::transport::RTCIceCandidateInit {
            candidate: candidate["a=".len()..].trim().to_owned(),
            ..Default::default()
        };
        connection.add_local_candidate(candidate).unwrap();
        let answer = RTCSessionDescription::answer(answer.sdp).unwrap();
        connection.set_remote_description(now, answer).unwrap();
        Self {
            connection,
            sender,
            socket,
            addr,
        }
    }

    /// One turn. Once it is connected it sends its first key frame behind the last words of the
    /// handshake, so that both are there together.
    fn turn(&mut self) -> bool {
        let now = Instant::now();
        let mut buffer = [0; 2048];
        while let Ok((size, from)) = self.socket.recv_from(&mut buffer) {
            let message = TaggedBytesMut {
                now,
                transport: TransportContext {
                    local_addr: self.addr,
                    peer_addr: from,
                    transport_protocol: TransportProtocol::UDP,
                    ecn: None,
                },
                message: BytesMut::from(&buffer[..size]),
            };
            let _ = self.connection.handle_read(message);
        }
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            let _ = self.connection.handle_timeout(now);
        }
        let mut connected = false;
        while let Some(event) = self.connection.poll_event() {
            connected |= matches!(
                event,
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(
                    RTCPeerConnectionState::Connected
                )
            );
        }
        if connected {
            for seq in 0..FIRST {
                self.send(now, seq);
            }
        }
        while let Some(message) = self.connection.poll_write() {
            let to = message.transport.peer_addr;
            let _ = self.socket.send_to(&message.message, to);
        }
        connected
    }

    fn send(&mut self, now: Instant, seq: u16) {
        let mut sender = self.connection.rtp_sender(self.sender).unwrap();
        let payload_type = sender.get_parameters().rtp_parameters.codecs[0].payload_type;
        let header = rtc::rtp::header::Header {
            version: 2,
            payload_type,
            sequence_number: seq,
            ssrc: SSRC,
            ..Default::default()
        };
        let payload = Bytes::from(vec![7; 1000]);
        let packet = rtc::rtp::Packet { header, payload };
        sender.write_rtp(now, packet).unwrap();
    }
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_kept() {
    run(async {
        let mut root = engine("127.0.0.1");
        let mut publisher = Publisher::new(&mut root);
        let begin = Instant::now();
        let mut sent = false;
        let mut got = Vec::new();
        while got.len() < usize::from(FIRST) {
            let age = begin.elapsed();
            assert!(age < Duration::from_secs(5), "sent: {sent}, got: {got:?}");
            let soon = Instant::now() + Duration::from_millis(2);
            root.wait(Some(soon)).await;
            let now = Instant::now();
            root.receive(now);
            root.handle_timeout(now);
            while let Some(event) = root.poll_event() {
                if let EngineEvent::Packet { packet, .. } = event {
                    got.push(packet.seq);
                }
            }
            root.flush(Instant::now());
            sent |= publisher.turn();
        }
        assert_eq!(got, Vec::from_iter(0..FIRST));
    });
}
