//! Offers as browsers write them, and what is answered.

use banyan::id::Epoch;
use banyan::wire::announcement::{Codec, StreamInfo, TrackInfo};

use super::answer::{answer, tracks};
use super::offer::offer;
use super::*;

const FINGERPRINT: &str = "0A:1B:2C:3D:4E:5F:60:71:82:93:A4:B5:C6:D7:E8:F9:0A:1B:2C:3D:4E:5F:60:71:82:93:A4:B5:C6:D7:E8:F9";

fn local() -> LocalTransport {
    LocalTransport {
        ufrag: "abcdefgh".into(),
        pwd: "abcdefghijklmnopqrstuvwx".into(),
        fingerprint: FINGERPRINT.into(),
        session: 7,
    }
}

fn stream(codec: Codec, fmtp: &str) -> StreamInfo {
    StreamInfo {
        epoch: Epoch(1),
        tracks: vec![
            TrackInfo {
                codec,
                fmtp: fmtp.into(),
                ssrc: 1111,
                first_seq: 70_000,
            },
            TrackInfo {
                codec: Codec::Opus,
                fmtp: String::new(),
                ssrc: 2222,
                first_seq: 70_000,
            },
        ],
        cname: "stream".into(),
    }
}

#[test]
fn descriptions_of_nodes_fit_between_peers() {
    let made = offer(&local(), true);
    assert!(
        made.len() <= banyan::limits::MAX_SIGNAL_SDP,
        "{}",
        made.len()
    );
}

/// An offer in the manner of Chromium 156: two recvonly tracks, data channels, retransmission and
/// correction formats, no High profile but High 4:4:4.
fn chromium() -> String {
    let mut text = String::from(
        "v=0\r\no=- 52 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n",
    );
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=candidate:1 1 udp 2113937151 6d4a.local 55458 typ host generation 0\r\n\
         a=ice-ufrag:LyIj\r\na=ice-pwd:ZZZmxH1zIGiu0Fa3wq7cDlKK\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\n"
    );
    text += "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n";
    text += &transport;
    text += "a=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
             a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=recvonly\r\na=rtcp-mux\r\n\
             a=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
             a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\n\
             a=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\n";
    let video = [
        (96, "VP8/90000", ""),
        (98, "VP9/90000", "profile-id=0"),
        (100, "VP9/90000", "profile-id=2"),
        (
            102,
            "H264/90000",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
        ),
        (
            104,
            "H264/90000",
            "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f",
        ),
        (
            108,
            "H264/90000",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        (
            116,
            "H264/90000",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
        ),
        (
            41,
            "H264/90000",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f",
        ),
        (45, "AV1/90000", "level-idx=5;profile=0;tier=0"),
    ];
    text += "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 100 102 104 108 116 41 45 118 49\r\n";
    text += &transport;
    text += "a=mid:1\r\na=extmap:14 urn:ietf:params:rtp-hdrext:toffset\r\n\
             a=extmap:13 urn:3gpp:video-orientation\r\n\
             a=extmap:8 http://www.webrtc.org/experiments/rtp-hdrext/color-space\r\n\
             a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:97 rtx/90000\r\n\
             a=fmtp:97 apt=96\r\na=rtpmap:118 red/90000\r\na=rtpmap:49 flexfec-03/90000\r\n";
    for (pt, rtpmap, fmtp) in video {
        text += &format!("a=rtpmap:{pt} {rtpmap}\r\n");
        for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
            text += &format!("a=rtcp-fb:{pt} {feedback}\r\n");
        }
        if !fmtp.is_empty() {
            text += &format!("a=fmtp:{pt} {fmtp}\r\n");
        }
    }
    text += "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    text += &transport;
    text += "a=mid:2\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n";
    text
}

fn answered(offer: &str, stream: &StreamInfo) -> Result<(String, Vec<TrackLine>), SdpError> {
    let offer = Description::parse(offer)?;
    let remote = offer.remote()?;
    answer(&offer, &remote, stream, true, &local(), Setup::Active)
}

fn payload_type(offer: &str, codec: Codec, fmtp: &str) -> Option<u8> {
    let (_, lines) = answered(offer, &stream(codec, fmtp)).ok()?;
    lines.iter().find(|l| l.track == 0).map(|l| l.payload_type)
}

#[test]
fn a_browser_is_answered_with_one_codec_per_track() {
    let (sdp, lines) = answered(&chromium(), &stream(Codec::Vp8, "")).unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].ssrc, lines[0].payload_type), (2222, 111));
    assert_eq!((lines[1].ssrc, lines[1].payload_type), (1111, 96));
    assert_eq!(lines[0].extensions, [(1, EndToEndExtension::AudioLevel)]);
    assert_eq!(
        lines[1].extensions,
        [(13, EndToEndExtension::VideoOrientation)]
    );
    for line in [
        "a=group:BUNDLE 0 1 2",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=ssrc:1111 cname:stream",
        "a=ssrc:2222 cname:stream",
        "a=setup:active",
        "a=sctp-port:5000",
    ] {
        assert!(
            sdp.lines().any(|l| l == line),
            "{line} is missing in\n{sdp}"
        );
    }
    for never in [
        "rtx",
        "red",
        "flexfec",
        "transport-cc",
        "remb",
        "color-space",
        "toffset",
    ] {
        assert!(!sdp.contains(never), "{never} is in\n{sdp}");
    }
    assert_eq!(sdp.matches("a=sendonly").count(), 2);
}

#[test]
fn h264_goes_to_the_nearest_profile_that_decodes_it() {
    let offer = chromium();
    let h264 = |id: &str| {
        let fmtp = format!("packetization-mode=1;profile-level-id={id}");
        payload_type(&offer, Codec::H264, &fmtp)
    };
    assert_eq!(h264("42e01f"), Some(108));
    assert_eq!(
        h264("42c028"),
        Some(108),
        "Constrained Baseline in another notation"
    );
    assert_eq!(h264("420029"), Some(102));
    assert_eq!(h264("4d401f"), Some(116));
    assert_eq!(h264("64001f"), Some(41), "High 4:4:4 decoders take High");
    assert_eq!(h264("640c1f"), Some(41));
    let only_main = offer.replace("f4001f", "42001f");
    let high = "packetization-mode=1;profile-level-id=64001f";
    let error = answered(&only_main, &stream(Codec::H264, high)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the child cannot decode H264 High (64001f)"
    );
}

#[test]
fn other_codecs_match_by_profile() {
    let offer = chromium();
    assert_eq!(payload_type(&offer, Codec::Vp9, ""), Some(98));
    assert_eq!(payload_type(&offer, Codec::Vp9, "profile-id=2"), Some(100));
    assert_eq!(payload_type(&offer, Codec::Av1, "profile=0"), Some(45));
    let error = answered(&offer, &stream(Codec::Av1, "profile=1")).unwrap_err();
    assert_eq!(
        error,
        SdpError::NoCommonCodec {
            codec: "AV1 profile 1".into()
        }
    );
}

#[test]
fn what_the_stream_lacks_is_inactive() {
    let mut silent = stream(Codec::Vp8, "");
    silent.tracks.pop();
    let (sdp, lines) = answered(&chromium(), &silent).unwrap();
    assert_eq!(lines.len(), 1);
    let audio = sdp.split("m=").nth(1).unwrap();
    assert!(
        audio.starts_with("audio 9") && audio.contains("a=inactive"),
        "{audio}"
    );
    assert!(!audio.contains("ssrc") && !audio.contains("sendonly"));
}

#[test]
fn a_player_without_data_channels_is_answered_too() {
    let offer = chromium();
    let cut = offer.find("m=application").unwrap();
    let offer = offer[..cut].replace("BUNDLE 0 1 2", "BUNDLE 0 1");
    let parsed = Description::parse(&offer).unwrap();
    assert_eq!(parsed.remote().unwrap().channels, None);
    let (sdp, lines) = answered(&offer, &stream(Codec::Vp8, "")).unwrap();
    assert_eq!(lines.len(), 2);
    assert!(!sdp.contains("application"));
}

#[test]
fn a_native_child_takes_every_codec_and_reads_the_answer() {
    let text = offer(&local(), true);
    let parsed = Description::parse(&text).unwrap();
    let remote = parsed.remote().unwrap();
    for (codec, fmtp, pt) in [
        (Codec::Vp8, "", 96),
        (Codec::Vp9, "profile-id=0", 98),
        (Codec::Vp9, "profile-id=3", 98),
        (Codec::Av1, "", 45),
        (
            Codec::H264,
            "packetization-mode=1;profile-level-id=64001f",
            108,
        ),
        (
            Codec::H264,
            "packetization-mode=1;profile-level-id=7a001f",
            102,
        ),
    ] {
        let stream = stream(codec, fmtp);
        let (sdp, sent) =
            answer(&parsed, &remote, &stream, false, &local(), Setup::Active).unwrap();
        let answer = Description::parse(&sdp).unwrap();
        let back = answer.remote().unwrap();
        assert_eq!(back.setup, Setup::Active);
        let got = tracks(&answer, &back, &stream).unwrap();
        assert_eq!(got, sent, "{sdp}");
        assert_eq!(
            got.iter().find(|l| l.track == 0).unwrap().payload_type,
            pt,
            "{fmtp}"
        );
        assert_eq!(got[0].extensions.len(), EndToEndExtension::ALL.len());
    }
}

#[test]
fn an_answer_may_only_send_what_the_stream_has() {
    let text = offer(&local(), true);
    let parsed = Description::parse(&text).unwrap();
    let remote = parsed.remote().unwrap();
    let ours = stream(Codec::Vp8, "");
    let mut other = ours.clone();
    other.tracks[0].ssrc = 9;
    let (sdp, _) = answer(&parsed, &remote, &other, false, &local(), Setup::Active).unwrap();
    let answer = Description::parse(&sdp).unwrap();
    let error = tracks(&answer, &answer.remote().unwrap(), &ours).unwrap_err();
    assert_eq!(error, SdpError::UnknownSource(9));
}

#[test]
fn a_name_from_outside_cannot_add_lines() {
    let mut evil = stream(Codec::Vp8, "");
    evil.cname = "x\r\na=candidate:1 1 udp 1 10.0.0.1 1 typ host".into();
    let (sdp, _) = answered(&chromium(), &evil).unwrap();
    assert!(!sdp.contains("10.0.0.1"));
    assert!(sdp.contains("cname:banyan"));
}

#[test]
fn broken_offers_are_named() {
    let cases = [
        (chromium().replace("sha-256", "sha-1"), "SHA-256"),
        (
            chromium().replace("a=ice-ufrag:LyIj\r\n", ""),
            "ICE user name",
        ),
        (
            chromium().replace("ice-pwd:ZZZ", "ice-pwd:Z Z"),
            "ICE password",
        ),
        (chromium().replace("BUNDLE 0 1 2", "BUNDLE 0 1"), "BUNDLE"),
        (chromium().replace("a=rtcp-mux\r\n", ""), "RTCP"),
        (chromium().replace("m=video 9", "m=video x"), "line"),
        (chromium().replace("s=-", "s=\u{7}"), "line"),
    ];
    for (offer, part) in cases {
        let error = answered(&offer, &stream(Codec::Vp8, "")).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let many = format!("v=0\r\n{}", "m=audio 9 X 0\r\n".repeat(17));
    assert!(matches!(
        Description::parse(&many),
        Err(SdpError::Unsupported(_))
    ));
}
