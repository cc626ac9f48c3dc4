//! What the first viewer receives, written to a file.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use banyan::relay::packet::{Packet as MeshPacket, TrackIndex};
use banyan::wire::announcement::{Codec, TrackInfo};
use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::player::{Kind, section};
use crate::sink::Recording;

/// A recording of one player.
#[derive(Debug)]
pub struct Tape {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    recording: Option<Recording>,
    tracks: Vec<(Kind, Option<u64>)>,
    failed: Option<String>,
}

impl Tape {
    /// A tape for this file, which is made when the tracks are known.
    ///
    /// # Errors
    /// When the file's name does not say what to write.
    pub fn new(path: PathBuf) -> anyhow::Result<Self> {
        Recording::check(&path, &[])?;
        Ok(Self {
            path,
            state: Mutex::default(),
        })
    }

    /// Begins with the tracks that an answer describes.
    pub(super) fn begin(&self, answer: &str) {
        let tracks: Vec<(Kind, TrackInfo)> = Kind::ALL
            .into_iter()
            .filter_map(|kind| Some((kind, track(answer, kind)?)))
            .collect();
        let infos: Vec<TrackInfo> = tracks.iter().map(|(_, info)| info.clone()).collect();
        let mut state = self.lock();
        match Recording::create(&self.path, &infos) {
            Ok(recording) => state.recording = Some(recording),
            Err(error) => state.failed = Some(error.to_string()),
        }
        state.tracks = tracks.into_iter().map(|(kind, _)| (kind, None)).collect();
    }

    /// The next packet, as it came.
    pub(super) fn packet(&self, kind: Kind, packet: &rtc::rtp::Packet) {
        let mut state = self.lock();
        let Some((index, newest)) = state.track(kind) else {
            return;
        };
        let header = &packet.header;
        let seq = match *newest {
            None => (1 << 16) | u64::from(header.sequence_number),
            // The nearest number with these low bits (RFC 3550 appendix A.1).
            Some(newest) => {
                let step = header.sequence_number.wrapping_sub(newest as u16) as i16;
                newest.saturating_add_signed(i64::from(step))
            }
        };
        *newest = Some(newest.map_or(seq, |newest| newest.max(seq)));
        if let Some(recording) = &state.recording {
            recording.push(MeshPacket {
                track: index,
                seq,
                timestamp: header.timestamp,
                marker: header.marker,
                extensions: Vec::new(),
                payload: packet.payload.clone(),
            });
        }
    }

    /// Reports of the sender of a track.
    pub(super) fn reports(&self, kind: Kind, packets: &[Box<dyn rtc::rtcp::Packet>]) {
        let mut state = self.lock();
        let Some((index, _)) = state.track(kind) else {
            return;
        };
        let Some(recording) = &state.recording else {
            return;
        };
        for packet in packets {
            if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
                recording.set_clock(index, report.ntp_time, report.rtp_time);
            }
        }
    }

    /// Ends the file, and waits until it is whole.
    ///
    /// # Errors
    /// When nothing was recorded, or not everything.
    pub fn finish(&self) -> anyhow::Result<()> {
        let mut state = self.lock();
        if let Some(failed) = &state.failed {
            anyhow::bail!("{failed}");
        }
        let recording = state.recording.take();
        drop(state);
        let recording = recording.context("the viewer that was to be recorded did not join")?;
        recording.finish()?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn track(&mut self, kind: Kind) -> Option<(TrackIndex, &mut Option<u64>)> {
        let mut tracks = (0..).zip(&mut self.tracks);
        tracks.find_map(|(index, (of, newest))| (*of == kind).then_some((index, newest)))
    }
}

/// The track of this kind that an answer describes.
fn track(answer: &str, kind: Kind) -> Option<TrackInfo> {
    let section: Vec<&str> = section(answer, kind)?;
    let format = section.first()?.split(' ').nth(3)?;
    let find = |name: &str| {
        let prefix = format!("a={name}:{format} ");
        section.iter().find_map(|line| line.strip_prefix(&prefix))
    };
    let name = find("rtpmap")?.split('/').next()?;
    let codecs = [Codec::Opus, Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1];
    let codec = codecs
        .into_iter()
        .find(|codec| codec.name().eq_ignore_ascii_case(name))?;
    Some(TrackInfo {
        codec,
        fmtp: find("fmtp").unwrap_or_default().to_owned(),
        ssrc: 0,
        first_seq: 1 << 16,
    })
}

/// Lets sender reports through to the application: the crate keeps RTCP to itself otherwise.
#[derive(Default)]
pub(super) struct Reports {
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

/// Its position in the chain: behind everything else.
pub(super) const SLOT: usize = 20_000;

impl Protocol<TaggedPacket, TaggedPacket, ()> for Reports {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &mut message.message.packet {
            packets.retain(|packet| packet.as_any().is::<SenderReport>());
            if packets.is_empty() {
                return Ok(());
            }
            message.message.add(Attribute::DeliverToApplication);
        }
        self.incoming.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.incoming.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for Reports {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_read_from_the_answer() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
                      m=video 9 UDP/TLS/RTP/SAVPF 102 96\r\na=rtpmap:96 VP8/90000\r\n\
                      a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1\r\n";
        let video = track(answer, Kind::Video).unwrap();
        assert_eq!(video.codec, Codec::H264);
        assert_eq!(video.fmtp, "packetization-mode=1");
        assert_eq!(track(answer, Kind::Audio).unwrap().codec, Codec::Opus);
        assert_eq!(track("m=video 0 x 102\r\n", Kind::Video), None);
    }
}
