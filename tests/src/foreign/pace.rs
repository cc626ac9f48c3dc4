//! Sends one track at its pace, with the habits a publisher was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::rtp;
use rtc::rtp::packetizer::Payloader;
use tokio::time::interval_at;
use webrtc::media_stream::Track;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

/// Largest payload, as browsers and most programs make them.
const MTU: usize = 1200;

/// What a test may change while it publishes.
#[derive(Debug, Default)]
pub(super) struct Controls {
    /// Nothing is sent.
    pub(super) paused: AtomicBool,
    /// What is added to the timestamps of picture and sound.
    pub(super) offsets: [AtomicU32; 2],
    /// Key frames that were asked for.
    pub(super) requests: Arc<AtomicUsize>,
}

/// One track on its way.
pub(super) struct Pace {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) payload_type: u8,
    pub(super) payloader: Box<dyn Payloader>,
    /// Of the first sample, which is sent then.
    pub(super) begin: Instant,
    pub(super) timestamp: u32,
    pub(super) seq: u16,
    /// Time from one sample to the next, and the same in units of the clock rate.
    pub(super) duration: Duration,
    pub(super) ticks: u32,
    /// Timestamps stand still in a pause.
    pub(super) clock_stops: bool,
    /// A request for a key frame is answered by the first sample.
    pub(super) obeys: bool,
}

impl Pace {
    /// Sends `samples` again and again. `index` is the track's place in [`Controls::offsets`].
    pub(super) async fn run(mut self, samples: &[Bytes], controls: &Controls, index: usize) {
        let ssrc = self.track.ssrcs().await[0];
        let mut pace = interval_at(self.begin.into(), self.duration);
        let mut next = 0;
        let mut obeyed = 0;
        loop {
            pace.tick().await;
            if controls.paused.load(Ordering::Relaxed) {
                if !self.clock_stops {
                    self.timestamp = self.timestamp.wrapping_add(self.ticks);
                }
                continue;
            }
            let asked = controls.requests.load(Ordering::Relaxed);
            if self.obeys && asked > obeyed {
                next = 0;
            }
            obeyed = asked;
            let offset = controls.offsets[index].load(Ordering::Relaxed);
            let timestamp = self.timestamp.wrapping_add(offset);
            let payloads = self.payloader.payload(MTU, &samples[next]).unwrap();
            let last = payloads.len().saturating_sub(1);
            for (part, payload) in payloads.into_iter().enumerate() {
                let header = rtp::header::Header {
                    version: 2,
                    marker: part == last,
                    payload_type: self.payload_type,
                    sequence_number: self.seq,
                    timestamp,
                    ssrc,
                    ..Default::default()
                };
                self.seq = self.seq.wrapping_add(1);
                let packet = rtp::Packet { header, payload };
                self.track.write_rtp(packet).await.unwrap();
            }
            self.timestamp = self.timestamp.wrapping_add(self.ticks);
            next = (next + 1) % samples.len();
        }
    }
}
