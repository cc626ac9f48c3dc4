//! Publishes the stamped clip through WHIP, as any program built on that crate would, and with
//! habits that few programs have all at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rtc::interceptor::Slot;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::codec::opus::OpusPayloader;
use rtc::rtp::codec::vp8::Vp8Payloader;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RtpCodecKind,
};
use tokio::sync::watch;
use tokio::time::timeout;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry,
    register_default_interceptors,
};
use webrtc::rtp_transceiver::RtpSender;

use super::clip::{Clip, Coding};
use super::pace::{Controls, Pace};
use super::requests::{Requests, SLOT};
use crate::publisher::Whip;
use crate::{api, media, secs, wait_for};

/// Time of one frame and of one packet of sound in the clip.
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / media::FRAME_RATE as u64);
const SOUND: Duration = Duration::from_millis(20);

/// The same in units of the clock rates.
const FRAME_TICKS: u32 = 90_000 / media::FRAME_RATE;
const SOUND_TICKS: u32 = 960;

/// Time a connection may take.
const PATIENCE: Duration = secs(10);

/// How a publisher sends.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// First RTP timestamp and sequence number of the pictures.
    pub video: (u32, u16),
    /// The same of the sound.
    pub audio: (u32, u16),
    /// Timestamps stand still while it pauses.
    pub clock_stops: bool,
    /// A request for a key frame is answered by one, the first picture of the clip.
    pub obeys: bool,
}

impl Default for Habits {
    /// Numbers by chance, a clock that runs on, and deaf ears for requests.
    fn default() -> Self {
        Self {
            video: rand::random(),
            audio: rand::random(),
            clock_stops: false,
            obeys: false,
        }
    }
}

/// A track of the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Its pictures.
    Video,
    /// Its sound.
    Audio,
}

/// A publisher; it leaves when this is dropped.
pub struct Publisher {
    controls: Arc<Controls>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Publishes the VP8 clip at a WHIP endpoint, in a loop, from a thread of its own.
    ///
    /// # Panics
    /// When the clip cannot be read, or nothing is connected in time.
    pub fn start(ffmpeg: &Path, whip: &Whip) -> Self {
        let clip = Clip::read(ffmpeg, Coding::Vp8);
        Self::with_habits(clip, whip, Habits::default())
    }

    /// Publishes `clip` in this manner.
    ///
    /// # Panics
    /// When nothing is connected in time.
    pub fn with_habits(clip: Clip, whip: &Whip, habits: Habits) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (up, is_up) = watch::channel(false);
        let controls = Arc::new(Controls::default());
        let (whip, shared) = (whip.clone(), Arc::clone(&controls));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(publish(clip, &whip, habits, &shared, up, stopped));
        });
        let publisher = Self {
            controls,
            stop,
            thread: Some(thread),
        };
        wait_for("the publisher's connection", PATIENCE, || {
            is_up.borrow().then_some(())
        });
        publisher
    }

    /// Sends nothing from now on, or goes on.
    pub fn pause(&self, paused: bool) {
        self.controls.paused.store(paused, Ordering::Relaxed);
    }

    /// From now on the timestamps of `track` are `seconds` later than they were, or earlier.
    pub fn jump(&self, track: Sent, seconds: f64) {
        let (place, rate) = match track {
            Sent::Video => (0, 90_000.0),
            Sent::Audio => (1, 48_000.0),
        };
        let ticks = (seconds * rate) as i64 as u32;
        self.controls.offsets[place].fetch_add(ticks, Ordering::Relaxed);
    }

    /// How often it was asked for a key frame.
    pub fn key_frame_requests(&self) -> usize {
        self.controls.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the publisher panicked"
            );
        }
    }
}

struct Handler {
    gathered: watch::Sender<bool>,
    connected: watch::Sender<bool>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            self.connected.send_replace(true);
        }
    }
}

async fn publish(
    clip: Clip,
    whip: &Whip,
    habits: Habits,
    controls: &Controls,
    up: watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
) {
    let handler = Arc::new(Handler {
        gathered: watch::Sender::new(false),
        connected: watch::Sender::new(false),
    });
    let mut engine = MediaEngine::default();
    let (pictures, payloader): (_, Box<dyn Payloader>) = match clip.coding {
        Coding::Vp8 => (
            codec("video/VP8", 90_000, 0, ""),
            Box::new(Vp8Payloader::default()),
        ),
        Coding::H264 => {
            let format = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
            (
                codec("video/H264", 90_000, 0, format),
                Box::new(H264Payloader::default()),
            )
        }
    };
    let opus = codec("audio/opus", 48_000, 2, "");
    for (codec, payload_type, kind) in [
        (&pictures, 96, RtpCodecKind::Video),
        (&opus, 111, RtpCodecKind::Audio),
    ] {
        let codec = RTCRtpCodecParameters {
            rtp_codec: codec.clone(),
            payload_type,
        };
        engine.register_codec(codec, kind).unwrap();
    }
    let interceptors = register_default_interceptors(Registry::new(), &mut engine)
        .unwrap()
        .with(
            Slot::Custom(SLOT),
            Requests::new(Arc::clone(&controls.requests)),
        );
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_interceptor_registry(interceptors)
        .with_handler(Arc::clone(&handler) as _)
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await
        .unwrap();
    let (video, video_sender) = add(&connection, RtpCodecKind::Video, pictures).await;
    let (audio, audio_sender) = add(&connection, RtpCodecKind::Audio, opus).await;

    let offer = connection.create_offer(None).await.unwrap();
    connection.set_local_description(offer).await.unwrap();
    let mut gathered = handler.gathered.subscribe();
    timeout(PATIENCE, gathered.wait_for(|done| *done))
        .await
        .unwrap()
        .unwrap();
    let offer = connection.local_description().await.unwrap();
    let bearer = format!("Bearer {}", whip.token);
    let headers = [
        ("Content-Type", "application/sdp"),
        ("Authorization", bearer.as_str()),
    ];
    let answer = api::request_with("POST", &whip.url, &headers, &offer.sdp);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let answer_sdp = RTCSessionDescription::answer(answer.body.clone()).unwrap();
    connection.set_remote_description(answer_sdp).await.unwrap();
    let mut connected = handler.connected.subscribe();
    timeout(PATIENCE, connected.wait_for(|done| *done))
        .await
        .unwrap()
        .unwrap();
    up.send_replace(true);

    // Both begin at the same instant: their reports tie them together from there on.
    let begin = Instant::now() + FRAME;
    let video = Pace {
        track: video,
        payload_type: payload_type(&video_sender).await,
        payloader,
        begin,
        timestamp: habits.video.0,
        seq: habits.video.1,
        duration: FRAME,
        ticks: FRAME_TICKS,
        clock_stops: habits.clock_stops,
        obeys: habits.obeys,
    };
    let audio = Pace {
        track: audio,
        payload_type: payload_type(&audio_sender).await,
        payloader: Box::new(OpusPayloader),
        timestamp: habits.audio.0,
        seq: habits.audio.1,
        duration: SOUND,
        ticks: SOUND_TICKS,
        obeys: false,
        ..video
    };
    tokio::select! {
        () = video.run(&clip.frames, controls, 0) => {}
        () = audio.run(&clip.sounds, controls, 1) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    timeout(PATIENCE, connection.close())
        .await
        .unwrap()
        .unwrap();
}

fn codec(mime_type: &str, clock_rate: u32, channels: u16, format: &str) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: format.to_owned(),
        rtcp_feedback: vec![],
    }
}

async fn add(
    connection: &impl PeerConnection,
    kind: RtpCodecKind,
    codec: RTCRtpCodec,
) -> (Arc<TrackLocalStaticRTP>, Arc<dyn RtpSender>) {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(rand::random()),
            ..Default::default()
        },
        codec,
        ..Default::default()
    };
    let track = MediaStreamTrack::new(
        "clip".into(),
        kind.to_string(),
        kind.to_string(),
        kind,
        vec![encoding],
    );
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    let sender = connection
        .add_track(Arc::clone(&track) as Arc<dyn TrackLocal>)
        .await
        .unwrap();
    (track, sender)
}

async fn payload_type(sender: &Arc<dyn RtpSender>) -> u8 {
    let parameters = sender.get_parameters().await.unwrap();
    parameters.rtp_parameters.codecs[0].payload_type
}
