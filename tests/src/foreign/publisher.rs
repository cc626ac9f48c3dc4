//! Publishes the stamped VP8 clip through WHIP, as any program built on that crate would.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rtc::media::Sample;
use rtc::media::io::ivf_reader::IVFReader;
use rtc::media::io::ogg_reader::OggReader;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RtpCodecKind,
};
use tokio::sync::watch;
use tokio::time::{interval_at, timeout};
use webrtc::media_stream::Track;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry,
    register_default_interceptors,
};
use webrtc::rtp_transceiver::RtpSender;

use crate::workspace::TempDir;
use crate::{api, media, secs, wait_for};

/// Time of one frame and of one packet of sound in the clip. Rounded up: the crate cuts timestamps
/// off.
const FRAME: Duration = Duration::from_nanos(1_000_000_000_u64.div_ceil(media::FRAME_RATE as u64));
const SOUND: Duration = Duration::from_millis(20);

/// Time a connection may take.
const PATIENCE: Duration = secs(10);

/// A publisher; it leaves when this is dropped.
pub struct Publisher {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Publishes at a WHIP endpoint, in a loop, from a thread of its own.
    ///
    /// # Panics
    /// When the clip cannot be read, or nothing is connected in time.
    pub fn start(ffmpeg: &Path, endpoint: &str, token: &str) -> Self {
        let clip = Clip::read(ffmpeg);
        let (stop, stopped) = watch::channel(false);
        let (up, is_up) = watch::channel(false);
        let (endpoint, token) = (endpoint.to_owned(), token.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(publish(clip, &endpoint, &token, up, stopped));
        });
        let publisher = Self {
            stop,
            thread: Some(thread),
        };
        wait_for("the publisher's connection", PATIENCE, || {
            is_up.borrow().then_some(())
        });
        publisher
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

/// The clip's frames and packets of sound.
struct Clip {
    frames: Vec<Bytes>,
    sounds: Vec<Bytes>,
}

impl Clip {
    fn read(ffmpeg: &Path) -> Self {
        let directory = TempDir::new();
        let (ivf, ogg) = (directory.join("clip.ivf"), directory.join("clip.ogg"));
        let taken_apart = Command::new(ffmpeg)
            .args(["-v", "error", "-i"])
            .arg(media::clip_webm())
            .args(["-map", "0:v", "-c", "copy"])
            .arg(&ivf)
            // The crate's reader takes a page for a packet.
            .args(["-map", "0:a", "-c", "copy", "-page_duration", "20000"])
            .arg(&ogg)
            .status();
        assert!(taken_apart.unwrap().success());
        let open = |path| BufReader::new(File::open(path).unwrap());
        let (mut reader, _) = IVFReader::new(open(&ivf)).unwrap();
        let mut frames = Vec::new();
        while let Ok((frame, _)) = reader.parse_next_frame() {
            frames.push(frame.freeze());
        }
        let (mut reader, _) = OggReader::new(open(&ogg), true).unwrap();
        let mut sounds = Vec::new();
        while let Ok((page, header)) = reader.parse_next_page() {
            // The first page with a position is the first with sound.
            if header.granule_position > 0 {
                sounds.push(page.freeze());
            }
        }
        assert_eq!(frames.len(), media::FRAMES as usize);
        assert!(sounds.len() >= 499, "{} packets of sound", sounds.len());
        Self { frames, sounds }
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
    endpoint: &str,
    token: &str,
    up: watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
) {
    let handler = Arc::new(Handler {
        gathered: watch::Sender::new(false),
        connected: watch::Sender::new(false),
    });
    let mut engine = MediaEngine::default();
    let vp8 = codec("video/VP8", 90_000, 0);
    let opus = codec("audio/opus", 48_000, 2);
    for (codec, payload_type, kind) in [
        (&vp8, 96, RtpCodecKind::Video),
        (&opus, 111, RtpCodecKind::Audio),
    ] {
        let codec = RTCRtpCodecParameters {
            rtp_codec: codec.clone(),
            payload_type,
        };
        engine.register_codec(codec, kind).unwrap();
    }
    let interceptors = register_default_interceptors(Registry::new(), &mut engine).unwrap();
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_interceptor_registry(interceptors)
        .with_handler(Arc::clone(&handler) as _)
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await
        .unwrap();
    let (video, video_sender) = add(&connection, RtpCodecKind::Video, vp8).await;
    let (audio, audio_sender) = add(&connection, RtpCodecKind::Audio, opus).await;

    let offer = connection.create_offer(None).await.unwrap();
    connection.set_local_description(offer).await.unwrap();
    let mut gathered = handler.gathered.subscribe();
    timeout(PATIENCE, gathered.wait_for(|done| *done))
        .await
        .unwrap()
        .unwrap();
    let offer = connection.local_description().await.unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Content-Type", "application/sdp"),
        ("Authorization", bearer.as_str()),
    ];
    let answer = api::request_with("POST", endpoint, &headers, &offer.sdp);
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
    tokio::select! {
        () = play(&video, payload_type(&video_sender).await, begin, FRAME, &clip.frames) => {}
        () = play(&audio, payload_type(&audio_sender).await, begin, SOUND, &clip.sounds) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    timeout(PATIENCE, connection.close())
        .await
        .unwrap()
        .unwrap();
}

fn codec(mime_type: &str, clock_rate: u32, channels: u16) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: vec![],
    }
}

async fn add(
    connection: &impl PeerConnection,
    kind: RtpCodecKind,
    codec: RTCRtpCodec,
) -> (Arc<TrackLocalStaticSample>, Arc<dyn RtpSender>) {
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
    let track = Arc::new(TrackLocalStaticSample::new(Instant::now(), track).unwrap());
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

/// Sends the samples at their pace, again and again.
async fn play(
    track: &TrackLocalStaticSample,
    payload_type: u8,
    begin: Instant,
    duration: Duration,
    samples: &[Bytes],
) {
    let ssrc = track.ssrcs().await[0];
    let mut pace = interval_at(begin.into(), duration);
    for data in samples.iter().cycle() {
        let timestamp = pace.tick().await.into_std();
        let sample = Sample {
            data: data.clone(),
            timestamp,
            duration,
            packet_timestamp: 0,
            prev_dropped_packets: 0,
            prev_padding_packets: 0,
        };
        track
            .sample_writer(ssrc, payload_type)
            .write_sample(&sample)
            .await
            .unwrap();
    }
}
