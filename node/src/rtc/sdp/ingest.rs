//! Answering a publisher: it offers to send, this node receives (RFC 9725 section 4.4).

use banyan::wire::announcement::{Codec, MediaKind};
use banyan::wire::trickle;
use bytes::Bytes;
use data_encoding::BASE64;

use super::answer::extensions;
use super::codec::parameter;
use super::writer::Writer;
use super::{Description, LocalTransport, Remote, SdpError, Section, Setup, TrackLine};
use crate::rtc::PublishedTrack;

/// Transport-wide sequence numbers (draft-holmer-rmcat-transport-wide-cc-extensions-01): without
/// feedback about them a browser stays at its first bit rate.
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// RTCP feedback this node sends to a publisher.
const FEEDBACK: [&str; 4] = ["nack", "nack pli", "ccm fir", "transport-cc"];

/// Most parameter sets taken from a description: one of each kind, with room for oddities.
const MAX_PARAMETER_SETS: usize = 8;

/// What was agreed with a publisher.
pub(in crate::rtc) struct Ingest {
    pub(in crate::rtc) sdp: String,
    /// Video first; `track` counts in this order.
    pub(in crate::rtc) lines: Vec<TrackLine>,
    pub(in crate::rtc) tracks: Vec<PublishedTrack>,
    /// The first m-line that is received: all others share its transport.
    pub(in crate::rtc) line: trickle::Section,
    /// Header extension id of transport-wide sequence numbers.
    pub(in crate::rtc) transport_cc: Option<u8>,
}

/// One payload type of the publisher, chosen for its m-line.
struct Choice<'a> {
    payload_type: u8,
    rtpmap: &'a str,
    fmtp: &'a str,
    codec: Codec,
    feedback: Vec<&'a str>,
}

/// How a section of the offer is answered.
enum Verdict<'a> {
    Receive(Choice<'a>),
    Reject,
}

/// Answers `offer`; the audio and the video section that send are received, one of each. All of
/// `candidates` go into the answer, because not every publisher takes them later.
pub(in crate::rtc) fn answer(
    offer: &Description<'_>,
    remote: &Remote,
    local: &LocalTransport,
    setup: Setup,
    candidates: &[String],
) -> Result<Ingest, SdpError> {
    let verdicts = verdicts(offer)?;
    let received = || {
        (offer.media.iter().zip(&verdicts)).filter_map(|(section, verdict)| match verdict {
            Verdict::Receive(choice) => Some((section, choice)),
            Verdict::Reject => None,
        })
    };
    let bundle: Vec<&str> = received().filter_map(|(s, _)| s.mid()).collect();
    let mut out = Writer::new(local.session, &bundle, remote.mixed_extensions);
    let mut transport_cc = None;
    let mut first = true;
    for (section, verdict) in offer.media.iter().zip(&verdicts) {
        let mid = section.mid().unwrap_or("");
        match verdict {
            Verdict::Reject => out.rejected(section, mid),
            Verdict::Receive(choice) => {
                let pt = choice.payload_type;
                out.line(format_args!(
                    "m={} 9 {} {pt}",
                    section.kind, section.protocol
                ));
                out.transport(local, setup, mid);
                for (id, extension) in extensions(section) {
                    out.line(format_args!("a=extmap:{id} {}", extension.uri()));
                }
                if let Some((id, uri)) = section.extensions().find(|(_, uri)| *uri == TRANSPORT_CC)
                {
                    transport_cc.get_or_insert(id);
                    out.line(format_args!("a=extmap:{id} {uri}"));
                }
                out.line("a=recvonly");
                out.line("a=rtcp-mux");
                // Both sides of WHIP include it (RFC 9725 section 4.5).
                out.line("a=rtcp-mux-only");
                if section.attribute("rtcp-rsize").is_some() {
                    out.line("a=rtcp-rsize");
                }
                out.line(format_args!("a=rtpmap:{pt} {}", choice.rtpmap));
                for feedback in &choice.feedback {
                    out.line(format_args!("a=rtcp-fb:{pt} {feedback}"));
                }
                let fmtp = answered_fmtp(choice);
                if !fmtp.is_empty() {
                    out.line(format_args!("a=fmtp:{pt} {fmtp}"));
                }
                if std::mem::take(&mut first) {
                    for candidate in candidates {
                        out.line(format_args!("a={candidate}"));
                    }
                    out.line("a=end-of-candidates");
                }
            }
        }
    }
    let line = received().next().map(|(section, _)| trickle::Section {
        kind: section.kind.to_owned(),
        mid: section.mid().unwrap_or("").to_owned(),
        ..trickle::Section::default()
    });
    let mut agreed: Vec<_> = received().collect();
    // The order of a stream's tracks, whatever that of the offer.
    agreed.sort_by_key(|(_, choice)| choice.codec.kind() != MediaKind::Video);
    let lines = (0..)
        .zip(&agreed)
        .map(|(track, (section, choice))| TrackLine {
            track,
            ssrc: source(section),
            clock_rate: choice.codec.clock_rate(),
            payload_type: choice.payload_type,
            extensions: extensions(section),
            mixed_extensions: remote.mixed_extensions,
        });
    let tracks = agreed.iter().map(|(_, choice)| PublishedTrack {
        codec: choice.codec,
        fmtp: without_parameter_sets(choice.fmtp),
        parameter_sets: parameter_sets(choice.fmtp),
        repairs: choice.feedback.contains(&"nack"),
    });
    Ok(Ingest {
        lines: lines.collect(),
        tracks: tracks.collect(),
        line: line.unwrap_or_default(),
        transport_cc,
        sdp: out.finish(),
    })
}

fn verdicts<'a>(offer: &Description<'a>) -> Result<Vec<Verdict<'a>>, SdpError> {
    let mut taken: Vec<MediaKind> = Vec::new();
    let mut verdicts = Vec::new();
    for section in &offer.media {
        let kind = match section.kind {
            "audio" => MediaKind::Audio,
            "video" => MediaKind::Video,
            _ => {
                verdicts.push(Verdict::Reject);
                continue;
            }
        };
        let usable = section.wanted() && section.sends() && section.mid().is_some();
        if !usable {
            verdicts.push(Verdict::Reject);
            continue;
        }
        // RFC 9725 section 4.4: one MediaStream of at most one track of each kind.
        if taken.contains(&kind) {
            return Err(SdpError::Unsupported(match kind {
                MediaKind::Audio => "a second audio track",
                MediaKind::Video => "a second video track",
            }));
        }
        if section.attribute("rtcp-mux").is_none() {
            return Err(SdpError::Unsupported("RTCP on a port of its own"));
        }
        let choice = choose(section, kind).ok_or(match kind {
            MediaKind::Audio => SdpError::NoUsableCodec("Opus for sound"),
            MediaKind::Video => SdpError::NoUsableCodec(
                "H264 in packetization-mode 1, VP8, VP9 or AV1 for pictures",
            ),
        })?;
        taken.push(kind);
        verdicts.push(Verdict::Receive(choice));
    }
    if taken.is_empty() {
        return Err(SdpError::NothingSent);
    }
    Ok(verdicts)
}

/// The payload type that most viewers decode; among equals the one offered first.
fn choose<'a>(section: &Section<'a>, kind: MediaKind) -> Option<Choice<'a>> {
    let choices = section.formats.iter().filter_map(|format| {
        let payload_type = format.parse().ok().filter(|pt: &u8| *pt < 128)?;
        let rtpmap = section.format("rtpmap", format)?;
        let fmtp = section.format("fmtp", format).unwrap_or("");
        let codec = codec(rtpmap, fmtp).filter(|codec| codec.kind() == kind)?;
        let feedback = section.all("rtcp-fb").filter_map(|value| {
            let (pt, what) = value.split_once(' ')?;
            let what = what.trim();
            ((pt == *format || pt == "*") && FEEDBACK.contains(&what)).then_some(what)
        });
        Some(Choice {
            payload_type,
            rtpmap,
            fmtp,
            codec,
            feedback: feedback.collect(),
        })
    });
    choices.min_by_key(|choice| rank(choice.codec, choice.fmtp))
}

fn codec(rtpmap: &str, fmtp: &str) -> Option<Codec> {
    let mut parts = rtpmap.split('/');
    let (name, clock) = (parts.next()?, parts.next()?);
    let all = [Codec::Opus, Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1];
    let codec = all.into_iter().find(|codec| {
        name.eq_ignore_ascii_case(codec.name()) && clock.parse() == Ok(codec.clock_rate())
    })?;
    let carried = codec != Codec::H264 || parameter(fmtp, "packetization-mode") == Some("1");
    carried.then_some(codec)
}

/// Lower is better: what every browser and phone decodes comes before what only some do.
fn rank(codec: Codec, fmtp: &str) -> u8 {
    match codec {
        Codec::Opus | Codec::Vp8 => 0,
        // Profile 66 is Baseline, constrained or not (ITU-T H.264 annex A).
        Codec::H264 => {
            let profile = parameter(fmtp, "profile-level-id").unwrap_or("42000a");
            u8::from(!profile.starts_with("42"))
        }
        Codec::Vp9 => 2,
        Codec::Av1 => 3,
    }
}

/// The publisher's own parameters. A browser sends two channels of sound only where it is asked.
fn answered_fmtp(choice: &Choice<'_>) -> String {
    let mut fmtp = without_parameter_sets(choice.fmtp);
    if choice.codec == Codec::Opus && parameter(&fmtp, "stereo").is_none() {
        if !fmtp.is_empty() {
            fmtp.push(';');
        }
        fmtp.push_str("stereo=1");
    }
    fmtp
}

/// The sets travel in front of each key frame; in a description they would only grow old.
fn without_parameter_sets(fmtp: &str) -> String {
    let kept = (fmtp.split(';').map(str::trim))
        .filter(|pair| !pair.is_empty() && !pair.starts_with("sprop-parameter-sets"));
    kept.collect::<Vec<_>>().join(";")
}

/// `sprop-parameter-sets` (RFC 6184 section 8.1).
fn parameter_sets(fmtp: &str) -> Vec<Bytes> {
    let sets = parameter(fmtp, "sprop-parameter-sets").unwrap_or("");
    (sets.split(',').take(MAX_PARAMETER_SETS))
        .filter_map(|set| BASE64.decode(set.trim().as_bytes()).ok())
        .filter(|set| !set.is_empty())
        .map(Bytes::from)
        .collect()
}

/// The media source a section names first: a repair source, where there is one, comes second. 0
/// where it names none; then the first packet tells.
fn source(section: &Section<'_>) -> u32 {
    let named = section
        .attribute("ssrc")
        .filter(|_| section.attribute("simulcast").is_none());
    let number = named.and_then(|value| value.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ffmpeg's offer as version 9 makes it, shortened.
    const FFMPEG: &str = "v=0\r\no=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n\
        a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:9b9c\r\n\
        a=ice-pwd:9b9c9b9c9b9c9b9c9b9c9b9c\r\na=fingerprint:sha-256 AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA\r\n\
        a=setup:passive\r\na=mid:0\r\na=sendonly\r\na=msid:FFmpeg audio\r\na=rtcp-mux\r\n\
        a=rtpmap:111 opus/48000/2\r\na=ssrc:3922011 cname:FFmpeg\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 106\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:9b9c\r\n\
        a=ice-pwd:9b9c9b9c9b9c9b9c9b9c9b9c\r\na=setup:passive\r\na=mid:1\r\na=sendonly\r\n\
        a=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:106 H264/90000\r\n\
        a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c01f;sprop-parameter-sets=Z0LAHw==,aM4=\r\n\
        a=rtcp-fb:106 nack\r\na=rtcp-fb:106 goog-remb\r\na=ssrc:3922012 cname:FFmpeg\r\n";

    /// libdatachannel's, on which OBS stands: sources named per m-line, its addresses with
    /// documentation ones in their place.
    const LIBDATACHANNEL: &str = "v=0\r\no=rtc 1079901615 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        a=group:BUNDLE 0 1\r\na=group:LS 0 1\r\na=msid-semantic:WMS *\r\na=ice-options:ice2,trickle\r\n\
        a=fingerprint:sha-256 AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA\r\n\
        m=audio 44681 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.2\r\na=mid:0\r\na=sendonly\r\n\
        a=ssrc:1001 cname:obs\r\na=ssrc:1001 msid:live live-audio\r\na=msid:live live-audio\r\n\
        a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
        a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1\r\n\
        a=setup:actpass\r\na=ice-ufrag:auJk\r\na=ice-pwd:Ip5olproKPpczHy0NV07W/\r\n\
        a=candidate:1 1 UDP 2114977791 192.0.2.2 44681 typ host\r\na=end-of-candidates\r\n\
        m=video 44681 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 192.0.2.2\r\na=mid:1\r\na=sendonly\r\n\
        a=ssrc:1002 cname:obs\r\na=ssrc:1002 msid:live live-video\r\na=msid:live live-video\r\n\
        a=rtcp-mux\r\na=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
        a=rtcp-fb:96 goog-remb\r\n\
        a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n\
        a=setup:actpass\r\na=ice-ufrag:auJk\r\na=ice-pwd:Ip5olproKPpczHy0NV07W/\r\n";

    /// What GStreamer's `whipsink` and `whipclientsink` (0.14, on 1.22) have in common, shortened:
    /// m-lines but the first are `bundle-only`, with port 0 (RFC 9143 section 6); names stand where
    /// others count; candidates for TCP. The codecs are those of `whipclientsink`.
    const GSTREAMER: &str = "v=0\r\no=- 892902083087894701 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
        a=ice-options:trickle\r\na=group:BUNDLE video0 audio1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 101 102 103 104\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\n\
        a=ice-ufrag:qmEDMnLvU8DOAeRc6BNnqGM76TVy2buf\r\na=ice-pwd:fZ8KIAcHIedkj0bQv/KAQzhuCQWVKsA3\r\n\
        a=rtcp-mux\r\na=rtcp-rsize\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n\
        a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 transport-cc\r\n\
        a=extmap:1 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=rtpmap:97 H264/90000\r\na=rtcp-fb:97 nack\r\na=rtcp-fb:97 nack pli\r\n\
        a=fmtp:97 packetization-mode=1;profile-level-id=42c01e;level-asymmetry-allowed=1\r\n\
        a=rtpmap:98 VP9/90000\r\na=rtpmap:99 H265/90000\r\na=rtpmap:101 red/90000\r\n\
        a=rtpmap:102 ulpfec/90000\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=96\r\n\
        a=rtpmap:104 rtx/90000\r\na=fmtp:104 apt=101\r\na=ssrc-group:FID 3943220330 724330922\r\n\
        a=ssrc:3943220330 msid:user@host webrtctransceiver0\r\na=ssrc:3943220330 cname:user@host\r\n\
        a=ssrc:724330922 msid:user@host webrtctransceiver0\r\na=ssrc:724330922 cname:user@host\r\n\
        a=mid:video0\r\n\
        a=fingerprint:sha-256 AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA\r\n\
        a=rtcp-mux-only\r\na=candidate:1 1 UDP 2015363327 192.0.2.2 55627 typ host\r\n\
        a=candidate:2 1 TCP 1015021823 192.0.2.2 9 typ host tcptype active\r\n\
        m=audio 0 UDP/TLS/RTP/SAVPF 100\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\n\
        a=ice-ufrag:qmEDMnLvU8DOAeRc6BNnqGM76TVy2buf\r\na=ice-pwd:fZ8KIAcHIedkj0bQv/KAQzhuCQWVKsA3\r\n\
        a=bundle-only\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=sendonly\r\na=rtpmap:100 OPUS/48000/2\r\n\
        a=rtcp-fb:100 transport-cc\r\na=fmtp:100 sprop-stereo=0;sprop-maxcapturerate=48000\r\n\
        a=ssrc:3564649540 msid:user@host webrtctransceiver1\r\na=mid:audio1\r\n\
        a=fingerprint:sha-256 AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA\r\n\
        a=rtcp-mux-only\r\n";

    fn local() -> LocalTransport {
        LocalTransport {
            ufrag: "ours".into(),
            pwd: "p".repeat(24),
            fingerprint: "BB".into(),
            session: 1,
        }
    }

    fn answered(offer: &str) -> Result<Ingest, SdpError> {
        let description = Description::parse(offer)?;
        let remote = description.remote()?;
        let candidates = ["candidate:1 1 udp 1 192.0.2.1 7144 typ host".to_owned()];
        answer(&description, &remote, &local(), Setup::Active, &candidates)
    }

    #[test]
    fn libdatachannels_offer_is_answered() {
        let sdp = answered(LIBDATACHANNEL).unwrap().sdp;
        for line in [
            "m=audio 9 ",
            "m=video 9 ",
            "a=setup:active",
            "a=rtcp-fb:96 nack pli",
        ] {
            assert!(sdp.contains(line), "no {line} in {sdp}");
        }
    }

    #[test]
    fn gstreamers_offer_is_answered_with_both_tracks() {
        let ingest = answered(GSTREAMER).unwrap();
        for line in [
            "a=group:BUNDLE video0 audio1\r\n",
            "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
            "m=audio 9 UDP/TLS/RTP/SAVPF 100\r\n",
            "a=rtpmap:100 OPUS/48000/2\r\n",
            "a=rtcp-fb:96 transport-cc\r\n",
        ] {
            assert!(ingest.sdp.contains(line), "no {line} in {}", ingest.sdp);
        }
        assert_eq!(
            ingest.lines[0].ssrc, 3_943_220_330,
            "not the repairs' source"
        );
        assert_eq!(ingest.lines[1].ssrc, 3_564_649_540);
        assert_eq!(ingest.transport_cc, Some(1));
    }

    #[test]
    fn ffmpegs_offer_is_answered_line_for_line() {
        let ingest = answered(FFMPEG).unwrap();
        let lines: Vec<&str> = (ingest.sdp.lines())
            .filter(|l| l.starts_with("m=") || l.starts_with("a=mid"))
            .collect();
        assert_eq!(
            lines,
            [
                "m=audio 9 UDP/TLS/RTP/SAVPF 111",
                "a=mid:0",
                "m=video 9 UDP/TLS/RTP/SAVPF 106",
                "a=mid:1"
            ]
        );
        assert_eq!(ingest.sdp.matches("a=setup:active").count(), 2);
        assert_eq!(ingest.sdp.matches("a=rtcp-mux-only\r\n").count(), 2);
        assert_eq!(ingest.sdp.matches("a=candidate:").count(), 1);
        assert!(!ingest.sdp.contains("sprop-parameter-sets"));
        assert!(ingest.sdp.contains("a=fmtp:111 stereo=1"));
        assert!(ingest.sdp.contains("a=rtcp-fb:106 nack\r\n"));
        assert!(!ingest.sdp.contains("goog-remb"));
        // Video first.
        assert_eq!(ingest.tracks[0].codec, Codec::H264);
        assert_eq!(
            ingest.tracks[0].parameter_sets[0][..],
            [0x67, 0x42, 0xc0, 0x1f]
        );
        assert_eq!(
            (ingest.lines[0].ssrc, ingest.lines[0].payload_type),
            (3_922_012, 106)
        );
        assert_eq!(
            (ingest.lines[1].track, ingest.lines[1].ssrc),
            (1, 3_922_011)
        );
    }

    #[test]
    fn what_most_viewers_decode_is_chosen() {
        let offer = FFMPEG
            .replace("SAVPF 106", "SAVPF 45 98 100 106 96")
            .replace(
                "a=rtpmap:106",
                "a=rtpmap:45 AV1/90000\r\na=rtpmap:98 VP9/90000\r\na=rtpmap:100 H264/90000\r\n\
             a=fmtp:100 packetization-mode=1;profile-level-id=640032\r\n\
             a=rtpmap:96 VP8/90000\r\na=rtpmap:106",
            );
        assert_eq!(answered(&offer).unwrap().lines[0].payload_type, 106);
        let only_new = FFMPEG.replace("SAVPF 106", "SAVPF 45 98").replace(
            "a=rtpmap:106",
            "a=rtpmap:45 AV1/90000\r\na=rtpmap:98 VP9/90000\r\na=x:106",
        );
        assert_eq!(answered(&only_new).unwrap().tracks[0].codec, Codec::Vp9);
    }

    #[test]
    fn what_cannot_be_received_is_named() {
        let error = |offer: &str| answered(offer).err().unwrap().to_string();
        let mode_0 = FFMPEG.replace("packetization-mode=1", "packetization-mode=0");
        assert!(error(&mode_0).contains("packetization-mode 1"));
        assert!(error(&FFMPEG.replace("opus/48000/2", "PCMU/8000")).contains("Opus"));
        assert!(error(&FFMPEG.replace("sendonly", "recvonly")).contains("sends neither"));
        assert!(error(&FFMPEG.replace("a=rtcp-mux\r\n", "")).contains("RTCP"));
    }

    #[test]
    fn a_second_picture_is_refused_and_data_channels_are_rejected() {
        let second = "m=video 9 UDP/TLS/RTP/SAVPF 106\r\na=mid:2\r\na=sendonly\r\n\
            a=rtcp-mux\r\na=rtpmap:106 H264/90000\r\na=fmtp:106 packetization-mode=1\r\n";
        let two = FFMPEG.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + second;
        let refused = answered(&two).err().unwrap().to_string();
        assert!(refused.contains("a second video track"), "{refused}");
        let more = FFMPEG.replace("BUNDLE 0 1", "BUNDLE 0 1 2 3")
            + &second.replace("sendonly", "inactive")
            + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:3\r\n";
        let ingest = answered(&more).unwrap();
        assert_eq!(ingest.lines.len(), 2);
        assert!(ingest.sdp.contains("m=video 0 UDP/TLS/RTP/SAVPF 106"));
        assert!(
            ingest
                .sdp
                .contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel")
        );
        assert!(ingest.sdp.contains("a=group:BUNDLE 0 1\r\n"));
    }
}
