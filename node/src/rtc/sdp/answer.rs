//! Answering a child, and reading a parent's answer.

use banyan::relay::packet::{EndToEndExtension, TrackIndex};
use banyan::wire::announcement::{MediaKind, StreamInfo, TrackInfo};

use super::codec::{self, Choice};
use super::writer::Writer;
use super::{Description, LocalTransport, Remote, SdpError, Section, Setup, TrackLine, cname};

/// How each section of the offer is answered.
enum Verdict<'a> {
    Send {
        track: TrackIndex,
        info: &'a TrackInfo,
        choice: Choice<'a>,
    },
    Inactive,
    Channels,
    Reject,
}

/// Answers `offer` with what `stream` has. `decodes`: the child plays what it gets and must be
/// able to decode it.
pub(in crate::rtc) fn answer<'a>(
    offer: &Description<'a>,
    remote: &Remote,
    stream: &'a StreamInfo,
    decodes: bool,
    local: &LocalTransport,
    setup: Setup,
) -> Result<(String, Vec<TrackLine>), SdpError> {
    let verdicts = verdicts(offer, stream, decodes)?;
    let bundle: Vec<&str> = offer
        .media
        .iter()
        .zip(&verdicts)
        .filter(|(_, v)| !matches!(v, Verdict::Reject))
        .filter_map(|(s, _)| s.mid())
        .collect();
    let cname = cname(&stream.cname);
    let mut out = Writer::new(local.session, &bundle, remote.mixed_extensions);
    let mut lines = Vec::new();
    for (section, verdict) in offer.media.iter().zip(&verdicts) {
        let mid = section.mid().unwrap_or("");
        match verdict {
            Verdict::Channels => out.channels(local, setup, mid),
            Verdict::Reject => out.rejected(section, mid),
            Verdict::Inactive => {
                let first = section.formats.first().unwrap_or(&"0");
                out.line(format_args!(
                    "m={} 9 {} {first}",
                    section.kind, section.protocol
                ));
                out.transport(local, setup, mid);
                out.line("a=inactive");
                out.line("a=rtcp-mux");
                if let Some(rtpmap) = section.format("rtpmap", first) {
                    out.line(format_args!("a=rtpmap:{first} {rtpmap}"));
                }
            }
            Verdict::Send {
                track,
                info,
                choice,
            } => {
                let line = TrackLine {
                    track: *track,
                    ssrc: info.ssrc,
                    clock_rate: info.codec.clock_rate(),
                    payload_type: choice.payload_type,
                    extensions: extensions(section),
                    mixed_extensions: remote.mixed_extensions,
                };
                let pt = choice.payload_type;
                out.line(format_args!(
                    "m={} 9 {} {pt}",
                    section.kind, section.protocol
                ));
                out.transport(local, setup, mid);
                for (id, extension) in &line.extensions {
                    out.line(format_args!("a=extmap:{id} {}", extension.uri()));
                }
                out.line("a=sendonly");
                out.line(format_args!("a=msid:{cname} {cname}-{track}"));
                out.line("a=rtcp-mux");
                if section.attribute("rtcp-rsize").is_some() {
                    out.line("a=rtcp-rsize");
                }
                out.line(format_args!("a=rtpmap:{pt} {}", choice.rtpmap));
                for feedback in &choice.feedback {
                    out.line(format_args!("a=rtcp-fb:{pt} {feedback}"));
                }
                if let Some(fmtp) = choice.fmtp {
                    out.line(format_args!("a=fmtp:{pt} {fmtp}"));
                }
                out.line(format_args!("a=ssrc:{} cname:{cname}", info.ssrc));
                lines.push(line);
            }
        }
    }
    Ok((out.finish(), lines))
}

fn verdicts<'a>(
    offer: &Description<'a>,
    stream: &'a StreamInfo,
    decodes: bool,
) -> Result<Vec<Verdict<'a>>, SdpError> {
    let mut left: Vec<(TrackIndex, &TrackInfo)> = (0..).zip(&stream.tracks).collect();
    let mut channels = false;
    offer
        .media
        .iter()
        .map(|section| {
            let kind = match section.kind {
                "audio" => MediaKind::Audio,
                "video" => MediaKind::Video,
                _ => {
                    let first = section.is_channels() && !channels;
                    channels |= first;
                    return Ok(if first {
                        Verdict::Channels
                    } else {
                        Verdict::Reject
                    });
                }
            };
            if !section.wanted() || section.mid().is_none() {
                return Ok(Verdict::Reject);
            }
            if section.attribute("rtcp-mux").is_none() {
                return Err(SdpError::Unsupported("RTCP on a port of its own"));
            }
            let next = left.iter().position(|(_, info)| info.codec.kind() == kind);
            let Some(at) = next.filter(|_| section.receives()) else {
                return Ok(Verdict::Inactive);
            };
            let (track, info) = left.remove(at);
            let choice =
                codec::choose(section, info, decodes).ok_or_else(|| SdpError::NoCommonCodec {
                    codec: codec::describe(info),
                })?;
            Ok(Verdict::Send {
                track,
                info,
                choice,
            })
        })
        .collect()
}

/// The end-to-end extensions of a section with their ids on this hop.
pub(super) fn extensions(section: &Section<'_>) -> Vec<(u8, EndToEndExtension)> {
    let mut found: Vec<(u8, EndToEndExtension)> = Vec::new();
    for (id, uri) in section.extensions() {
        if let Some(extension) = EndToEndExtension::ALL.into_iter().find(|e| e.uri() == uri)
            && !found.iter().any(|(i, e)| *i == id || *e == extension)
        {
            found.push((id, extension));
        }
    }
    found
}

/// Reads a parent's answer: how each of the stream's tracks will arrive.
pub(in crate::rtc) fn tracks(
    answer: &Description<'_>,
    remote: &Remote,
    stream: &StreamInfo,
) -> Result<Vec<TrackLine>, SdpError> {
    let mut lines = Vec::new();
    for section in &answer.media {
        if !matches!(section.kind, "audio" | "video") || !section.wanted() || !section.sends() {
            continue;
        }
        let ssrc = section
            .attribute("ssrc")
            .and_then(|v| v.split(' ').next())
            .and_then(|v| v.parse().ok())
            .ok_or(SdpError::Missing("the media source of a sent track"))?;
        let (track, info) = (0..)
            .zip(&stream.tracks)
            .find(|(_, info)| info.ssrc == ssrc)
            .ok_or(SdpError::UnknownSource(ssrc))?;
        let payload_type = section
            .formats
            .first()
            .and_then(|f| f.parse().ok())
            .ok_or(SdpError::Missing("the payload type of a sent track"))?;
        lines.push(TrackLine {
            track,
            ssrc,
            clock_rate: info.codec.clock_rate(),
            payload_type,
            extensions: extensions(section),
            mixed_extensions: remote.mixed_extensions,
        });
    }
    Ok(lines)
}
