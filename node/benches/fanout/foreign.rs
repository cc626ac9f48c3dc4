//! The same parent built on the `webrtc` crate's async layer, with an interceptor as bare as ours.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rtc::interceptor::{Interceptor, Registry, Slot, StreamInfo, TaggedPacket};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler};

use crate::cpu::Cpu;
use crate::parent::Run;
use crate::pipe::{Children, News, Order, Report};
use crate::stream::{FRAME, SSRC, packets};

/// Longest that children may take to join.
const PATIENCE: Duration = Duration::from_secs(60);

struct Quiet;

impl PeerConnectionEventHandler for Quiet {}

struct Viewer {
    connection: Arc<dyn PeerConnection>,
    track: Arc<TrackLocalStaticRTP>,
}

/// Sends the stream to `count` children for `time`.
pub(crate) async fn measure(count: u16, time: Duration) -> Result<(Run, Report)> {
    let mut children = Children::start()?;
    children.tell(&Order::Join { first: 1, count })?;
    let mut viewers: Vec<Option<Viewer>> = (0..count).map(|_| None).collect();
    let mut connected = 0;
    let begin = Instant::now();
    while connected < count {
        let left = PATIENCE.saturating_sub(begin.elapsed());
        let news = tokio::time::timeout(left, children.news.recv())
            .await
            .with_context(|| format!("only {connected} of {count} joined"))?;
        match news.context("the children ended")? {
            News::Offer { child, sdp } => {
                let (viewer, sdp) = answer(sdp).await?;
                viewers[usize::from(child - 1)] = Some(viewer);
                children.tell(&Order::Answer { child, sdp })?;
            }
            News::Candidate { child, candidate } if !candidate.is_empty() => {
                let init = RTCIceCandidateInit {
                    candidate,
                    ..Default::default()
                };
                if let Some(viewer) = &viewers[usize::from(child - 1)] {
                    viewer.connection.add_ice_candidate(init).await?;
                }
            }
            News::Connected { .. } => connected += 1,
            _ => {}
        }
    }
    let viewers: Vec<Viewer> = viewers.into_iter().flatten().collect();
    send(&viewers, 0, Duration::from_secs(1)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    children.tell(&Order::Reset)?;
    let run = send(&viewers, 1000, time).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let report = children.report().await?;
    for viewer in viewers {
        viewer.connection.close().await?;
    }
    Ok((run, report))
}

async fn send(viewers: &[Viewer], first: u32, time: Duration) -> Result<Run> {
    let begin = Instant::now();
    let cpu = Cpu::process(std::process::id())?;
    let (mut frames, mut sent) = (0, 0);
    while begin.elapsed() < time {
        let group: Vec<rtp::Packet> = packets(first + frames)
            .iter()
            .map(|packet| rtp::Packet {
                header: rtp::Header {
                    version: 2,
                    marker: packet.marker,
                    payload_type: 96,
                    sequence_number: (packet.seq & 0xFFFF) as u16,
                    timestamp: packet.timestamp,
                    ssrc: SSRC,
                    ..Default::default()
                },
                payload: packet.payload.clone(),
            })
            .collect();
        for viewer in viewers {
            for packet in &group {
                viewer.track.write_rtp(packet.clone()).await?;
                sent += 1;
            }
        }
        frames += 1;
        tokio::time::sleep_until((begin + FRAME * frames).into()).await;
    }
    let cpu = Cpu::process(std::process::id())?.since(cpu);
    Ok(Run { cpu, sent })
}

/// A connection that answers `offer`, and its answer with all candidates.
async fn answer(offer: String) -> Result<(Viewer, String)> {
    let codec = RTCRtpCodec {
        mime_type: "video/VP8".to_owned(),
        clock_rate: 90_000,
        ..Default::default()
    };
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(SSRC),
            ..Default::default()
        },
        codec,
        ..Default::default()
    };
    let track = MediaStreamTrack::new(
        "bench".to_owned(),
        "bench-0".to_owned(),
        "bench-0".to_owned(),
        RtpCodecKind::Video,
        vec![encoding],
    );
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    let mut media = MediaEngine::default();
    media.register_default_codecs()?;
    let settings = SettingEngineBuilder::new()
        .with_ice_connection_attempts(Some(Duration::from_millis(10)), Some(1000))
        .build();
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_setting_engine(settings)
        .with_interceptor_registry(Registry::new().with(Slot::Custom(20_000), Bare::default()))
        .with_handler(Arc::new(Quiet))
        .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
        .build()
        .await?;
    let connection: Arc<dyn PeerConnection> = Arc::new(connection);
    connection
        .add_track(Arc::clone(&track) as Arc<dyn TrackLocal>)
        .await?;
    connection
        .set_remote_description(RTCSessionDescription::offer(offer)?)
        .await?;
    let answer = connection.create_answer(None).await?;
    connection.set_local_description(answer).await?;
    for _ in 0..200 {
        let sdp = connection.local_description().await.unwrap_or_default().sdp;
        if sdp.contains("a=candidate:") {
            // It would send sound too, from no source; our children refuse that.
            let sdp = sdp.replacen("a=sendonly", "a=inactive", 1);
            return Ok((Viewer { connection, track }, sdp));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    anyhow::bail!("the webrtc crate gathered no candidates")
}

/// Passes everything out and nothing in.
#[derive(Default)]
struct Bare {
    outgoing: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Bare {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, _: TaggedPacket) -> Result<(), Error> {
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for Bare {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
