//! RTCP: what receivers ask of senders, and what senders tell receivers.

use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use bytes::Bytes;
use rtc::rtcp::Packet as Rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};

use super::EngineEvent;
use super::media::{Media, Track};
use super::reception::middle;

/// Most pairs in one generic NACK: 1000 bytes, so that it fits every path.
const MAX_NACK_PAIRS: usize = 250;

/// Reads one compound packet and reports what matters to the node.
pub(super) fn read(
    now: Instant,
    link: LinkKey,
    media: &mut Media,
    packets: &[Box<dyn Rtcp>],
    mut emit: impl FnMut(EngineEvent),
) {
    for packet in packets {
        let any = packet.as_any();
        if let Some(nack) = any.downcast_ref::<TransportLayerNack>() {
            if let Some(track) = media.source(nack.media_ssrc) {
                let seqs = nack
                    .nacks
                    .iter()
                    .flat_map(|pair| pair.into_iter())
                    .collect();
                emit(EngineEvent::Nack {
                    link,
                    track: track.line.track,
                    seqs,
                });
            }
        } else if let Some(pli) = any.downcast_ref::<PictureLossIndication>() {
            if let Some(track) = media.source(pli.media_ssrc) {
                emit(EngineEvent::KeyFrameRequest {
                    link,
                    track: track.line.track,
                });
            }
        } else if let Some(fir) = any.downcast_ref::<FullIntraRequest>() {
            for entry in &fir.fir {
                if let Some(track) = media.source(entry.ssrc) {
                    emit(EngineEvent::KeyFrameRequest {
                        link,
                        track: track.line.track,
                    });
                }
            }
        } else if let Some(report) = any.downcast_ref::<ReceiverReport>() {
            for block in &report.reports {
                if let Some(track) = media.source(block.ssrc) {
                    emit(receiver_report(now, link, track, block));
                }
            }
        } else if let Some(report) = any.downcast_ref::<SenderReport>()
            && let Some(track) = media.source(report.ssrc)
        {
            track.reception.sender_report(now, report.ntp_time);
            emit(EngineEvent::SenderReport {
                link,
                track: track.line.track,
                ntp: report.ntp_time,
                rtp: report.rtp_time,
            });
        }
    }
}

fn receiver_report(
    now: Instant,
    link: LinkKey,
    track: &Track,
    block: &ReceptionReport,
) -> EngineEvent {
    let rtt = track
        .reports
        .iter()
        .flatten()
        .find(|(ntp, _)| *ntp == block.last_sender_report)
        .map(|(_, sent)| {
            let held = Duration::from_micros(u64::from(block.delay) * 1_000_000 / 65_536);
            now.saturating_duration_since(*sent).saturating_sub(held)
        });
    EngineEvent::ReceiverReport {
        link,
        track: track.line.track,
        fraction_lost: f32::from(block.fraction_lost) / 256.0,
        jitter: Duration::from_secs_f64(f64::from(block.jitter) / f64::from(track.line.clock_rate)),
        rtt: rtt.filter(|_| block.last_sender_report != 0),
    }
}

/// Generic NACKs (RFC 4585 section 6.2.1) for `seqs` of `ssrc`.
pub(super) fn nacks(sender: u32, ssrc: u32, seqs: &[u16]) -> Vec<Box<dyn Rtcp>> {
    let mut pairs: Vec<NackPair> = Vec::new();
    for seq in seqs {
        if let Some(last) = pairs.last_mut() {
            let ahead = seq.wrapping_sub(last.packet_id);
            if ahead == 0 {
                continue;
            }
            if ahead <= 16 {
                last.lost_packets |= 1 << (ahead - 1);
                continue;
            }
        }
        pairs.push(NackPair::new(*seq));
    }
    pairs
        .chunks(MAX_NACK_PAIRS)
        .map(|pairs| {
            Box::new(TransportLayerNack {
                sender_ssrc: sender,
                media_ssrc: ssrc,
                nacks: pairs.to_vec(),
            }) as Box<dyn Rtcp>
        })
        .collect()
}

/// A request for a key frame of `ssrc` (RFC 4585 section 6.3.1).
pub(super) fn picture_loss(sender: u32, ssrc: u32) -> Box<dyn Rtcp> {
    Box::new(PictureLossIndication {
        sender_ssrc: sender,
        media_ssrc: ssrc,
    })
}

/// A sender report and the name that ties the stream's tracks together.
pub(super) fn sender_report(
    now: Instant,
    track: &mut Track,
    ntp: u64,
    rtp: u32,
    cname: &str,
) -> Vec<Box<dyn Rtcp>> {
    track.reports.rotate_right(1);
    track.reports[0] = Some((middle(ntp), now));
    let report = SenderReport {
        ssrc: track.line.ssrc,
        ntp_time: ntp,
        rtp_time: rtp,
        packet_count: track.packets,
        octet_count: track.octets,
        ..Default::default()
    };
    let name = SourceDescription {
        chunks: vec![SourceDescriptionChunk {
            source: track.line.ssrc,
            items: vec![SourceDescriptionItem {
                sdes_type: SdesType::SdesCname,
                text: Bytes::copy_from_slice(cname.as_bytes()),
            }],
        }],
    };
    vec![Box::new(report), Box::new(name)]
}

/// What this link received of each track since the last report; `None` if nothing.
pub(super) fn reception(now: Instant, sender: u32, media: &mut Media) -> Option<Box<dyn Rtcp>> {
    if !media.tracks.iter().any(|t| t.reception.news()) {
        return None;
    }
    let reports = media
        .tracks
        .iter_mut()
        // A publisher's source is unknown until its first packet.
        .filter(|t| t.line.ssrc != 0)
        .map(|t| t.reception.report(now, t.line.ssrc))
        .collect();
    Some(Box::new(ReceiverReport {
        ssrc: sender,
        reports,
        ..Default::default()
    }))
}
