//! One player: WHEP on the `webrtc` crate.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rtc::interceptor::Slot;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;
use url::Url;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry,
    SettingEngineBuilder, register_default_interceptors,
};

use super::endpoint::{Endpoint, RequestError};
use super::tally::Tally;
use super::tape::{self, Reports, Tape};

/// From the start of a player to its first whole frame. A key frame is at most some seconds away.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Host candidates are there at once; nothing else is gathered.
const GATHER_TIMEOUT: Duration = Duration::from_secs(2);

/// Pace of connectivity checks; the crate's 200 ms would be most of the time a join takes.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Checks per candidate pair before it is given up: two seconds of them.
const CHECKS_PER_PAIR: u16 = 200;

/// Packets an older one may be behind the newest and still be taken: repairs come late.
const REPLAY_WINDOW: usize = 4096;

/// H.264 profiles offered beside the crate's own (constrained baseline and High): Main, and
/// constrained High, which it does not take for the same.
const MORE_H264: [(u8, &str); 2] = [(121, "4d001f"), (119, "640c1f")];

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Video, Self::Audio];
}

/// One track so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct TrackCount {
    /// Packets, each once.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came again.
    pub repeated: u64,
    /// Bytes of RTP payload.
    pub bytes: u64,
    /// Longest time between two packets in milliseconds.
    pub largest_gap_ms: f64,
}

/// Why a player did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The WebRTC stack refused.
    #[error("WebRTC: {0}")]
    WebRtc(#[from] webrtc::error::Error),
    /// No answer, or a refusal.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer accepts neither pictures nor sound.
    #[error("the answer carries no media")]
    NoMedia,
    /// The connection failed.
    #[error("the connection failed")]
    Failed,
    /// It stands, and nothing whole came.
    #[error("connected, but no whole frame came within {} s", JOIN_TIMEOUT.as_secs())]
    Silent,
    /// It never stood.
    #[error("no connection within {} s", JOIN_TIMEOUT.as_secs())]
    Unconnected,
}

/// A player that has joined.
pub struct Player {
    connection: Arc<dyn PeerConnection>,
    watching: Arc<Watching>,
    resource: Option<Url>,
    joined_after: Duration,
}

/// What the connection's callbacks tell.
struct Watching {
    started: Instant,
    tallies: [Mutex<Tally>; 2],
    tape: Option<Arc<Tape>>,
    /// When the first frame of each track was whole.
    first_frames: watch::Sender<[Option<Duration>; 2]>,
    state: watch::Sender<RTCPeerConnectionState>,
    gathered: watch::Sender<bool>,
}

impl Watching {
    fn new(tape: Option<Arc<Tape>>) -> Self {
        Self {
            started: Instant::now(),
            tallies: Default::default(),
            tape,
            first_frames: watch::Sender::new([None; 2]),
            state: watch::Sender::new(RTCPeerConnectionState::New),
            gathered: watch::Sender::new(false),
        }
    }

    fn tally(&self, kind: Kind) -> MutexGuard<'_, Tally> {
        // A count is whole after every packet, whoever panics.
        self.tallies[kind as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self: Arc<Self>, kind: Kind, track: Arc<dyn TrackRemote>) {
        while let Some(event) = track.poll().await {
            let packet = match event {
                TrackRemoteEvent::OnRtpPacket(packet) => packet,
                TrackRemoteEvent::OnRtcpPacket(packets) => {
                    if let Some(tape) = &self.tape {
                        tape.reports(kind, &packets);
                    }
                    continue;
                }
                _ => continue,
            };
            let now = Instant::now();
            if let Some(tape) = &self.tape {
                tape.packet(kind, &packet);
            }
            let header = &packet.header;
            // Each packet of sound is a frame; its marker says something else (RFC 3551 4.1).
            let ends_frame = header.marker || kind == Kind::Audio;
            let whole = self.tally(kind).packet(
                now,
                header.sequence_number,
                header.timestamp,
                ends_frame,
                packet.payload.len(),
            );
            if whole {
                let after = now.saturating_duration_since(self.started);
                self.first_frames
                    .send_modify(|first| first[kind as usize] = Some(after));
            }
        }
    }
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.0.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.0.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let kind = match track.kind().await {
            RtpCodecKind::Video => Kind::Video,
            RtpCodecKind::Audio => Kind::Audio,
            _ => return,
        };
        tokio::spawn(Arc::clone(&self.0).read(kind, track));
    }
}

struct Handler(Arc<Watching>);

impl Player {
    /// Joins, and waits until the first frame of every track is whole. What it receives goes to
    /// the tape, if there is one.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn join(endpoint: &Endpoint, tape: Option<Arc<Tape>>) -> Result<Self, JoinError> {
        let watching = Arc::new(Watching::new(tape));
        let connection = connect(endpoint, &watching).await?;
        let mut player = Self {
            connection,
            watching,
            resource: None,
            joined_after: Duration::ZERO,
        };
        match player.play(endpoint).await {
            Ok(()) => Ok(player),
            Err(error) => {
                player.leave(endpoint).await;
                Err(error)
            }
        }
    }

    /// From the start to the first whole frame: of the picture where there is one.
    pub fn joined_after(&self) -> Duration {
        self.joined_after
    }

    /// Whether the connection still stands.
    pub fn is_connected(&self) -> bool {
        *self.watching.state.borrow() == RTCPeerConnectionState::Connected
    }

    /// What it received so far, of the tracks it receives.
    pub fn tracks(&self) -> Vec<(Kind, TrackCount)> {
        let now = Instant::now();
        Kind::ALL
            .into_iter()
            .filter_map(|kind| {
                let tally = self.watching.tally(kind);
                (tally.packets > 0).then(|| {
                    let count = TrackCount {
                        packets: tally.packets,
                        lost: tally.lost(),
                        repeated: tally.repeated,
                        bytes: tally.bytes,
                        largest_gap_ms: tally.largest_gap(now).as_secs_f64() * 1000.0,
                    };
                    (kind, count)
                })
            })
            .collect()
    }

    /// Says goodbye.
    pub async fn leave(self, endpoint: &Endpoint) {
        if let Some(resource) = &self.resource
            && let Err(error) = endpoint.delete(resource).await
        {
            tracing::debug!(%error, "deleting a session");
        }
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing a connection");
        }
    }

    /// Offers, takes the answer, and waits for media.
    async fn play(&mut self, endpoint: &Endpoint) -> Result<(), JoinError> {
        let offer = self.connection.create_offer(None).await?;
        self.connection.set_local_description(offer).await?;
        let mut gathered = self.watching.gathered.subscribe();
        // What is there by then is offered.
        let _ = timeout(GATHER_TIMEOUT, gathered.wait_for(|done| *done)).await;
        let offer = self.connection.local_description().await;
        let offer = offer.map(|description| description.sdp).unwrap_or_default();
        let placed = endpoint.post(offer).await?;
        self.resource = placed.resource;
        let expected = Kind::ALL.map(|kind| sends(&placed.answer, kind));
        if expected == [false, false] {
            return Err(JoinError::NoMedia);
        }
        if let Some(tape) = &self.watching.tape {
            tape.begin(&placed.answer);
        }
        let answer = RTCSessionDescription::answer(placed.answer)?;
        self.connection.set_remote_description(answer).await?;

        let mut first_frames = self.watching.first_frames.subscribe();
        let mut state = self.watching.state.subscribe();
        let left = JOIN_TIMEOUT.saturating_sub(self.watching.started.elapsed());
        let frames = first_frames.wait_for(|first| {
            first
                .iter()
                .zip(expected)
                .all(|(at, expected)| at.is_some() || !expected)
        });
        let failed = state.wait_for(|state| *state == RTCPeerConnectionState::Failed);
        tokio::select! {
            frames = timeout(left, frames) => match frames {
                Ok(Ok(frames)) => {
                    self.joined_after = frames.iter().flatten().next().copied().unwrap_or_default();
                    Ok(())
                }
                _ if self.is_connected() => Err(JoinError::Silent),
                _ => Err(JoinError::Unconnected),
            },
            _ = failed => Err(JoinError::Failed),
        }
    }
}

/// A connection that wants one track of each kind.
async fn connect(
    endpoint: &Endpoint,
    watching: &Arc<Watching>,
) -> Result<Arc<dyn PeerConnection>, JoinError> {
    let mut media = MediaEngine::default();
    media.register_default_codecs()?;
    for (payload_type, profile) in MORE_H264 {
        let codec = RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                mime_type: "video/H264".into(),
                clock_rate: 90_000,
                channels: 0,
                sdp_fmtp_line: format!(
                    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}"
                ),
                rtcp_feedback: vec![],
            },
            payload_type,
        };
        media.register_codec(codec, RtpCodecKind::Video)?;
    }
    let mut interceptors = register_default_interceptors(Registry::new(), &mut media)?;
    if watching.tape.is_some() {
        interceptors = interceptors.with(Slot::Custom(tape::SLOT), Reports::default());
    }
    let settings = SettingEngineBuilder::new()
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS_PER_PAIR))
        .with_srtp_replay_protection_window(REPLAY_WINDOW)
        .build();
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(interceptors)
        .with_setting_engine(settings)
        .with_handler(Arc::new(Handler(Arc::clone(watching))))
        .with_udp_addrs(endpoint.media_addrs())
        .build()
        .await?;
    for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
        let receive = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            ..Default::default()
        };
        connection
            .add_transceiver_from_kind(kind, Some(receive))
            .await?;
    }
    Ok(Arc::new(connection))
}

/// Whether an answer says that a track of this kind is sent.
fn sends(answer: &str, kind: Kind) -> bool {
    section(answer, kind).is_some()
}

/// The lines of an answer about a track of this kind, if one is sent.
pub(super) fn section(answer: &str, kind: Kind) -> Option<Vec<&str>> {
    let begins = match kind {
        Kind::Video => "m=video ",
        Kind::Audio => "m=audio ",
    };
    let mut lines = answer.lines().map(str::trim_end);
    let first = lines.find(|line| line.starts_with(begins))?;
    let mut section = vec![first];
    section.extend(lines.take_while(|line| !line.starts_with("m=")));
    let silent = section.contains(&"a=inactive") || section.contains(&"a=recvonly");
    (!silent && first.split(' ').nth(1) != Some("0")).then_some(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_which_tracks_come() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendonly\r\n\
                      m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\n";
        assert!(sends(answer, Kind::Audio));
        assert!(!sends(answer, Kind::Video));
        assert!(sends("m=video 9 x 96\r\nc=IN IP4 0.0.0.0\r\n", Kind::Video));
        assert!(!sends("m=video 0 x 96\r\na=sendonly\r\n", Kind::Video));
    }
}
