//! A viewer that is not ours: the WebRTC crate's own connection, on a socket of its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use banyan_node::rtc::{Engine, EngineEvent, PeerClass};
use bytes::BytesMut;
use rtc::data_channel::RTCDataChannelInit;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use crate::media::packet;
use crate::world::{VIDEO, stream_of};
use banyan::id::LinkKey;
use banyan::wire::announcement::{Codec, StreamInfo};

/// What a foreign viewer is sent.
pub(crate) fn stream() -> StreamInfo {
    stream_of(Codec::Vp8, "")
}

/// The viewer.
pub(crate) struct Foreign {
    connection: RTCPeerConnection,
    socket: UdpSocket,
    addr: SocketAddr,
    pub(crate) states: Vec<RTCPeerConnectionState>,
    pub(crate) packets: Vec<rtc::rtp::Packet>,
    /// Takes nothing but connectivity checks.
    pub(crate) deaf: bool,
    /// Which datagram of the handshake it loses, counted from one; none at zero.
    pub(crate) loses: u32,
    /// Says nothing in the handshake until it is [released](Self::release).
    pub(crate) holds: bool,
    held: Vec<(SocketAddr, BytesMut)>,
    /// Datagrams of the handshake that came.
    pub(crate) heard: usize,
}

impl Foreign {
    /// A viewer that knows only these ciphers.
    pub(crate) fn new(ciphers: Vec<SrtpProtectionProfile>) -> Self {
        let now = Instant::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        let settings = SettingEngineBuilder::new()
            .with_srtp_protection_profiles(ciphers)
            .with_ice_connection_attempts(Some(Duration::from_millis(10)), None)
            .build();
        let mut media = MediaEngine::default();
        media.register_default_codecs().unwrap();
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_media_engine(media)
            .build(now)
            .unwrap();
        for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                ..Default::default()
            };
            connection
                .add_transceiver_from_kind(kind, Some(init))
                .unwrap();
        }
        for (id, name) in [(0, "control"), (1, "pulse")] {
            let init = RTCDataChannelInit {
                negotiated: Some(id),
                ..Default::default()
            };
            connection.create_data_channel(name, Some(init)).unwrap();
        }
        let candidate = RTCIceCandidateInit {
            candidate: candidate(addr),
            ..Default::default()
        };
        connection.add_local_candidate(candidate).unwrap();
        Self {
            connection,
            socket,
            addr,
            states: Vec::new(),
            packets: Vec::new(),
            deaf: false,
            loses: 0,
            holds: false,
            held: Vec::new(),
            heard: 0,
        }
    }

    /// Says what it held back, and how many datagrams that were.
    pub(crate) fn release(&mut self) -> usize {
        self.holds = false;
        for (to, bytes) in &self.held {
            self.socket.send_to(bytes, to).unwrap();
        }
        self.held.drain(..).count()
    }

    /// Is accepted by `parent`.
    pub(crate) fn join(&mut self, parent: &mut Engine, link: LinkKey, class: PeerClass) {
        let now = Instant::now();
        let offer = self.connection.create_offer(None).unwrap();
        let sdp = offer.sdp.clone();
        self.connection.set_local_description(now, offer).unwrap();
        parent
            .accept(now, link, &sdp, &stream(), class, &[])
            .unwrap();
        parent
            .add_candidate(now, link, &candidate(self.addr))
            .unwrap();
    }

    /// One turn: what the parent told, what has arrived, what is due.
    pub(crate) fn turn(&mut self, told: &[EngineEvent]) {
        let now = Instant::now();
        for event in told {
            match event {
                EngineEvent::Answer { sdp, .. } => {
                    let answer = RTCSessionDescription::answer(sdp.clone()).unwrap();
                    self.connection.set_remote_description(now, answer).unwrap();
                }
                EngineEvent::LocalCandidate { candidate, .. } if !candidate.is_empty() => {
                    let init = RTCIceCandidateInit {
                        candidate: candidate.clone(),
                        ..Default::default()
                    };
                    self.connection.add_remote_candidate(init).unwrap();
                }
                _ => {}
            }
        }
        let mut buffer = [0; 2048];
        while let Ok((size, from)) = self.socket.recv_from(&mut buffer) {
            // STUN by its first byte (RFC 7983).
            if self.deaf && buffer[0] > 3 {
                continue;
            }
            // A DTLS record of the handshake (RFC 5246 section 6.2.1).
            self.heard += usize::from(buffer[0] == 22);
            if self.loses > 0 && buffer[0] == 22 {
                self.loses -= 1;
                if self.loses == 0 {
                    continue;
                }
            }
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
        while let Some(event) = self.connection.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.states.push(state);
            }
        }
        while let Some(message) = self.connection.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = message.message {
                self.packets.push(packet);
            }
        }
        while let Some(message) = self.connection.poll_write() {
            let to = message.transport.peer_addr;
            if self.holds && message.message[0] == 22 {
                self.held.push((to, message.message));
            } else {
                let _ = self.socket.send_to(&message.message, to);
            }
        }
    }
}

/// Runs both until `done`, sending media once they are connected.
pub(crate) async fn until(
    parent: &mut Engine,
    viewer: &mut Foreign,
    patience: Duration,
    mut done: impl FnMut(&[EngineEvent], &Foreign) -> bool,
) -> Duration {
    let begin = Instant::now();
    let mut events = Vec::new();
    let mut seq = 70_000;
    while !done(&events, viewer) {
        assert!(begin.elapsed() < patience, "{events:?} {:?}", viewer.states);
        parent
            .wait(Some(Instant::now() + Duration::from_millis(2)))
            .await;
        let now = Instant::now();
        parent.receive(now);
        parent.handle_timeout(now);
        let before = events.len();
        while let Some(event) = parent.poll_event() {
            events.push(event);
        }
        let up: Vec<_> = events
            .iter()
            .filter_map(|e| match e {
                EngineEvent::Connected { link } => Some(*link),
                _ => None,
            })
            .collect();
        for link in up {
            parent.send_packets(now, link, &[packet(VIDEO, seq)]);
            seq += 1;
        }
        viewer.turn(&events[before..]);
        parent.flush(Instant::now());
    }
    begin.elapsed()
}

fn candidate(addr: SocketAddr) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    format!("candidate:1 1 udp 2130706431 {ip} {port} typ host")
}
