//! What a native child offers: it receives everything WebRTC can carry.

use banyan::relay::packet::EndToEndExtension;

use super::writer::Writer;
use super::{LocalTransport, Setup};

/// Payload types of a native child, with `a=rtpmap` and `a=fmtp`. It decodes nothing, so one
/// entry per codec and H.264 profile is only there for parents to name.
const VIDEO: [(u8, &str, &str); 8] = [
    (96, "VP8/90000", ""),
    (98, "VP9/90000", "profile-id=0"),
    (100, "VP9/90000", "profile-id=2"),
    (45, "AV1/90000", "profile=0"),
    (
        102,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    (
        104,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    ),
    (
        106,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    ),
    (
        108,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640034",
    ),
];

/// The offer of a native child; without data channels, that of a player.
pub(in crate::rtc) fn offer(local: &LocalTransport, channels: bool) -> String {
    let bundle: &[&str] = if channels {
        &["0", "1", "2"]
    } else {
        &["0", "1"]
    };
    let mut out = Writer::new(local.session, bundle, true);
    out.line("m=audio 9 UDP/TLS/RTP/SAVPF 111");
    media(&mut out, local, "0");
    out.line("a=rtpmap:111 opus/48000/2");
    out.line("a=rtcp-fb:111 nack");
    out.line("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1");

    let types: Vec<String> = VIDEO.iter().map(|(pt, ..)| pt.to_string()).collect();
    out.line(format_args!(
        "m=video 9 UDP/TLS/RTP/SAVPF {}",
        types.join(" ")
    ));
    media(&mut out, local, "1");
    for (pt, rtpmap, fmtp) in VIDEO {
        out.line(format_args!("a=rtpmap:{pt} {rtpmap}"));
        for feedback in ["nack", "nack pli", "ccm fir"] {
            out.line(format_args!("a=rtcp-fb:{pt} {feedback}"));
        }
        if !fmtp.is_empty() {
            out.line(format_args!("a=fmtp:{pt} {fmtp}"));
        }
    }
    if channels {
        out.channels(local, Setup::Either, "2");
    }
    out.finish()
}

fn media(out: &mut Writer, local: &LocalTransport, mid: &str) {
    out.transport(local, Setup::Either, mid);
    for (id, extension) in (1..).zip(EndToEndExtension::ALL) {
        out.line(format_args!("a=extmap:{id} {}", extension.uri()));
    }
    out.line("a=recvonly");
    out.line("a=rtcp-mux");
    out.line("a=rtcp-rsize");
}
