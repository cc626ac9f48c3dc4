//! Sends a source by the clock.

use std::time::{Duration, Instant, SystemTime};

use banyan::wire::announcement::MediaKind;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::packetize::Packetizer;
use super::{Source, SourceError};

/// Frames that are read and cut ahead of their time: about a second of video and sound.
const AHEAD: usize = 80;

/// A sender that is later than this, because the machine slept or the process was stopped, does
/// not hurry after the lost time: the rest of the stream is moved instead.
const MAX_CATCH_UP: Duration = Duration::from_millis(400);

/// Above this a viewer who joins waits long for the first picture.
const LONG_GAP: Duration = Duration::from_secs(4);

/// One RTP packet of a source, before the node gives it a sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackPacket {
    /// Position in [`Source::tracks`].
    pub track: u8,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker: the last packet of a video frame.
    pub marker: bool,
    /// The first packet of a frame at which a decoder can start.
    pub key_frame_start: bool,
    /// RTP payload.
    pub payload: Bytes,
}

/// When the source's time zero was, by both clocks: the mapping for sender reports (RFC 3550
/// section 6.4.1). A track's RTP timestamp of time zero is the base it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaClock {
    /// By the clock of timers.
    pub zero: Instant,
    /// By the clock on the wall.
    pub zero_wall: SystemTime,
}

/// What [`play()`] tells.
#[derive(Debug)]
pub enum PlayEvent {
    /// First of all, and again when the source had to be moved in time.
    Clock(MediaClock),
    /// The packets of one frame, now due.
    Frame(Vec<TrackPacket>),
    /// The last thing: the source ended, or failed.
    Ended(Result<(), SourceError>),
}

/// One frame, ready to be sent.
struct Ready {
    due: Duration,
    packets: Vec<TrackPacket>,
}

/// Plays a source from now on; each frame is sent when it is due. `bases` are the RTP timestamps
/// of time zero, one for each track. Returns after [`PlayEvent::Ended`], or when nobody listens.
pub async fn play(source: Source, bases: Vec<u32>, events: mpsc::Sender<PlayEvent>) {
    let (ready, mut frames) = mpsc::channel(AHEAD);
    let reader = std::thread::Builder::new()
        .name("source".into())
        .spawn(move || read(source, &bases, &ready));
    if let Err(error) = reader {
        let _ = events
            .send(PlayEvent::Ended(Err(SourceError::Read(error))))
            .await;
        return;
    }
    // The clock starts with the first frame: opening an ffmpeg takes a moment.
    let Some(mut next) = frames.recv().await else {
        return;
    };
    let mut clock = MediaClock {
        zero: Instant::now(),
        zero_wall: SystemTime::now(),
    };
    if events.send(PlayEvent::Clock(clock)).await.is_err() {
        return;
    }
    loop {
        let frame = match next {
            Ok(frame) => frame,
            Err(end) => {
                let _ = events.send(PlayEvent::Ended(end)).await;
                return;
            }
        };
        let due = clock.zero + frame.due;
        tokio::time::sleep_until(due.into()).await;
        let late = Instant::now().saturating_duration_since(due);
        if late > MAX_CATCH_UP {
            tracing::warn!("the source was held up for {} ms", late.as_millis());
            clock.zero += late;
            clock.zero_wall += late;
            if events.send(PlayEvent::Clock(clock)).await.is_err() {
                return;
            }
        }
        if events.send(PlayEvent::Frame(frame.packets)).await.is_err() {
            return;
        }
        next = match frames.recv().await {
            Some(next) => next,
            None => return,
        };
    }
}

/// Reads and cuts frames until the source ends or nobody takes them.
fn read(
    mut source: Source,
    bases: &[u32],
    ready: &mpsc::Sender<Result<Ready, Result<(), SourceError>>>,
) {
    let mut packetizers: Vec<_> = (source.tracks().iter())
        .map(|track| Packetizer::new(track.codec))
        .collect();
    let mut gaps = KeyFrameGaps::default();
    loop {
        let frame = match source.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                let _ = ready.blocking_send(Err(Ok(())));
                return;
            }
            Err(error) => {
                let _ = ready.blocking_send(Err(Err(error)));
                return;
            }
        };
        let place = usize::from(frame.track);
        let video = source.tracks()[place].codec.kind() == MediaKind::Video;
        if video && let Some(gap) = gaps.long(frame.key, frame.due) {
            tracing::warn!(
                "key frames are {:.1} s apart and more; above 4 s viewers who join wait long for \
                 the picture",
                gap.as_secs_f64()
            );
        }
        let base = bases.get(place).copied().unwrap_or(0);
        let payloads = packetizers[place].packetize(&frame.data, frame.key);
        let count = payloads.len();
        let packets = (payloads.into_iter().enumerate())
            .map(|(index, payload)| TrackPacket {
                track: frame.track,
                timestamp: base.wrapping_add(frame.timestamp as u32),
                marker: video && index + 1 == count,
                key_frame_start: frame.key && index == 0,
                payload,
            })
            .collect::<Vec<_>>();
        if packets.is_empty() {
            continue;
        }
        let due = frame.due;
        if ready.blocking_send(Ok(Ready { due, packets })).is_err() {
            return;
        }
    }
}

/// Watches the distance of key frames through the whole source: one warning is enough.
#[derive(Default)]
struct KeyFrameGaps {
    last: Option<Duration>,
    warned: bool,
}

impl KeyFrameGaps {
    /// The time since the last key frame, the first time that it is too long.
    fn long(&mut self, key: bool, at: Duration) -> Option<Duration> {
        let gap = at.saturating_sub(*self.last.get_or_insert(at));
        if key {
            self.last = Some(at);
        }
        let long = gap > LONG_GAP && !self.warned;
        self.warned |= long;
        long.then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_way_between_key_frames_is_told_once_wherever_it_is() {
        let mut gaps = KeyFrameGaps::default();
        let mut told = Vec::new();
        for frame in 0..900u32 {
            let at = Duration::from_secs(1) * frame / 30;
            // Each second one, but none from the 15th to the 21st.
            let key = frame.is_multiple_of(30) && !(450..630).contains(&frame);
            told.extend(gaps.long(key, at));
        }
        assert_eq!(told.len(), 1);
        assert!(told[0] > LONG_GAP && told[0] < LONG_GAP + Duration::from_millis(100));
    }
}
