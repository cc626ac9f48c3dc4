//! A WHEP player: plain HTTP, and the media engine without data channels.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use banyan::id::{LinkId, LinkKey, NodeId, StreamId};
use banyan::wire::announcement::{SignedStreamInfo, StreamInfo};
use banyan_node::rtc::{
    CloseReason, Engine, EngineConfig, EngineEvent, LoopbackCandidates, ReceivedPacket, UdpBind,
    UdpPort,
};

use crate::api::{self, Response};
use crate::packet_log::PacketLog;

/// Longest time from the answer to the first packet, and from a goodbye to its arrival.
const PATIENCE: Duration = Duration::from_secs(5);

/// The media type of a session description.
pub const SDP: (&str, &str) = ("Content-Type", "application/sdp");

/// The media type of an ICE fragment.
pub const FRAGMENT: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");

/// What a browser offers, more or less, for H.264 or VP8 and Opus. Nobody answers behind it.
pub const OFFER: &str = include_str!("whep/offer.sdp");

/// Posts an offer.
pub fn post(endpoint: &str, offer: &str) -> Response {
    api::request_with("POST", endpoint, &[SDP], offer)
}

/// The session's address, from the answer to a POST.
pub fn session(endpoint: &str, created: &Response) -> String {
    api::resolve(endpoint, created.header("location").unwrap())
}

/// A port that nobody has at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A stream's tracks, from the tracker's API.
pub fn tracks(tracker: &str, stream: &str) -> StreamInfo {
    let answer = api::get(&format!("{tracker}/api/streams/{stream}"));
    let info = answer.json()["info"].clone();
    let signed: SignedStreamInfo = serde_json::from_value(info).unwrap();
    signed.verify(&stream.parse::<StreamId>().unwrap()).unwrap()
}

/// A player that was given a parent.
pub struct Player {
    runtime: tokio::runtime::Runtime,
    engine: Engine,
    link: LinkKey,
    /// Its session's address.
    pub session: String,
    /// What came, in its order.
    pub packets: Vec<ReceivedPacket>,
    /// Why its link ended, if it did.
    pub ended: Option<CloseReason>,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Player {
    /// Asks `endpoint` for a stream with these tracks.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn start(endpoint: &str, stream: &StreamInfo) -> Self {
        Self::begin(endpoint, stream, true, |_, answer| answer)
    }

    /// The same for a player that names none of its addresses. `reroute` is told the UDP port it
    /// listens on, and may change the answer it gets.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn start_unnamed(
        endpoint: &str,
        stream: &StreamInfo,
        reroute: impl FnOnce(u16, String) -> String,
    ) -> Self {
        Self::begin(endpoint, stream, false, reroute)
    }

    fn begin(
        endpoint: &str,
        stream: &StreamInfo,
        named: bool,
        reroute: impl FnOnce(u16, String) -> String,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let entered = runtime.enter();
        let mut engine = Engine::bind(EngineConfig {
            udp: UdpBind {
                ip: Some("127.0.0.1".parse().unwrap()),
                port: UdpPort::Any,
            },
            public_addr: None,
            loopback: LoopbackCandidates::WhenAlone,
            rng_seed: rand::random(),
        })
        .unwrap();
        drop(entered);
        let link = LinkKey {
            child: NodeId::from_bytes([7; 16]),
            link: LinkId(1),
        };
        engine.play(Instant::now(), link, &[]).unwrap();
        let (mut offer, mut candidates) = (String::new(), String::new());
        while let Some(event) = engine.poll_event() {
            match event {
                EngineEvent::Offer { sdp, .. } => offer = sdp,
                EngineEvent::LocalCandidate { candidate, .. } if named && !candidate.is_empty() => {
                    candidates += &format!("a={candidate}\r\n");
                }
                _ => {}
            }
        }
        // The last m-line is as good as the first: all share one transport.
        let created = post(endpoint, &(offer + &candidates));
        assert_eq!(created.status, 201, "{}", created.body);
        let session = session(endpoint, &created);
        let answer = reroute(engine.port(), created.body);
        engine
            .set_answer(Instant::now(), link, &answer, stream)
            .unwrap();
        Self {
            runtime,
            engine,
            link,
            session,
            packets: Vec::new(),
            ended: None,
        }
    }

    /// Plays until `done`, or until its link ends.
    ///
    /// # Panics
    /// When that takes longer than `timeout`.
    pub fn play_until(&mut self, timeout: Duration, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + timeout;
        while self.ended.is_none() && !done(self) {
            let now = Instant::now();
            assert!(now < end, "{} packets in {timeout:?}", self.packets.len());
            self.turn(Duration::from_millis(20));
        }
    }

    /// Waits for something to do, this long at most, and does it.
    pub fn turn(&mut self, wait: Duration) {
        let tick = Some(Instant::now() + wait);
        self.runtime.block_on(self.engine.wait(tick));
        let now = Instant::now();
        self.engine.receive(now);
        self.engine.handle_timeout(now);
        while let Some(event) = self.engine.poll_event() {
            match event {
                EngineEvent::Packet { packet, .. } => self.packets.push(packet),
                EngineEvent::Closed { reason, .. } => self.ended = Some(reason),
                _ => {}
            }
        }
        self.engine.flush(now);
    }

    /// Asks for packets again (RTCP NACK), with its next turn.
    pub fn ask_again(&mut self, track: u8, seqs: &[u16]) {
        let now = Instant::now();
        self.engine.request_packets(now, self.link, track, seqs);
    }

    /// Asks for a key frame (RTCP PLI), with its next turn.
    pub fn ask_for_key_frame(&mut self, track: u8) {
        self.engine
            .request_key_frame(Instant::now(), self.link, track);
    }

    /// Waits for the first packets.
    pub fn wait_for_media(&mut self) {
        self.play_until(PATIENCE, |player| player.packets.len() > 10);
        assert_eq!(self.ended, None);
    }

    /// Plays for some time.
    pub fn play(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.play_until(time * 2, |_| Instant::now() >= end);
        assert_eq!(self.ended, None);
    }

    /// Waits until the parent has ended the link.
    pub fn wait_for_the_end(&mut self) -> CloseReason {
        self.play_until(PATIENCE, |_| false);
        self.ended.unwrap()
    }

    /// Ends the link as a player does that is closed: without a word by HTTP.
    pub fn close(mut self) {
        let now = Instant::now();
        self.engine.close(now, self.link);
        self.engine.flush(now);
        let linger = Some(now + Duration::from_millis(100));
        self.runtime.block_on(self.engine.wait(linger));
    }

    /// Whether it has every packet of each track from its first on, as the root sent it; how many
    /// of the track with the fewest.
    ///
    /// # Panics
    /// On a packet that is missing or differs.
    pub fn assert_whole(&self, sent: &PacketLog, tracks: u8) -> usize {
        let mut fewest = usize::MAX;
        for track in 0..tracks {
            let mine: Vec<&ReceivedPacket> =
                self.packets.iter().filter(|p| p.track == track).collect();
            let named = |packet: &ReceivedPacket| {
                let mut same = sent.iter().filter(|((_, t, seq), logged)| {
                    (*t, *seq as u16, logged.timestamp) == (track, packet.seq, packet.timestamp)
                });
                let ((_, _, seq), logged) = same
                    .next()
                    .unwrap_or_else(|| panic!("track {track}: {} was never sent", packet.seq));
                let here = (packet.marker, packet.payload.len());
                assert_eq!(here, (logged.marker, logged.length), "{seq} of {track}");
                *seq
            };
            let got: BTreeSet<u64> = mine.iter().map(|packet| named(packet)).collect();
            let (Some(&first), Some(&last)) = (got.first(), got.last()) else {
                panic!("nothing of track {track}");
            };
            let missing: Vec<u64> = (first..=last).filter(|seq| !got.contains(seq)).collect();
            assert_eq!(missing, Vec::<u64>::new(), "missing of track {track}");
            fewest = fewest.min(got.len());
        }
        fewest
    }
}
