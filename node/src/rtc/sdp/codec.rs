//! Which of a child's payload types carries a track.

use banyan::wire::announcement::{Codec, TrackInfo};

use super::Section;

/// RTCP feedback this node can act on: repair, and key-frame requests (RFC 4585, RFC 5104).
const FEEDBACK: [&str; 3] = ["nack", "nack pli", "ccm fir"];

/// A payload type of the child that can carry the track.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rtc) struct Choice<'a> {
    pub(in crate::rtc) payload_type: u8,
    /// `a=rtpmap` without the payload type.
    pub(in crate::rtc) rtpmap: &'a str,
    /// `a=fmtp` without the payload type, as the child wrote it.
    pub(in crate::rtc) fmtp: Option<&'a str>,
    /// The child's feedback this node serves.
    pub(in crate::rtc) feedback: Vec<&'a str>,
}

/// The best payload type in `section` for `track`. A native child passes bytes on and decodes
/// nothing, so `decodes` is false for it and profiles only order the choices.
pub(in crate::rtc) fn choose<'a>(
    section: &Section<'a>,
    track: &TrackInfo,
    decodes: bool,
) -> Option<Choice<'a>> {
    section
        .formats
        .iter()
        .filter_map(|format| {
            let payload_type = format.parse().ok().filter(|pt: &u8| *pt < 128)?;
            let rtpmap = section.format("rtpmap", format)?;
            let fmtp = section.format("fmtp", format);
            let rank = rank(rtpmap, fmtp.unwrap_or(""), track, decodes)?;
            let feedback = section
                .all("rtcp-fb")
                .filter_map(|value| {
                    let (pt, kind) = value.split_once(' ')?;
                    let kind = kind.trim();
                    ((pt == *format || pt == "*") && FEEDBACK.contains(&kind)).then_some(kind)
                })
                .collect();
            Some((
                rank,
                Choice {
                    payload_type,
                    rtpmap,
                    fmtp,
                    feedback,
                },
            ))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, choice)| choice)
}

/// The track's codec in words, with the profile where that decides who can play it.
pub(in crate::rtc) fn describe(track: &TrackInfo) -> String {
    let name = track.codec.name();
    match track.codec {
        Codec::H264 => match parameter(&track.fmtp, "profile-level-id") {
            Some(id) if id.len() == 6 => format!("{name} {} ({id})", H264::parse(id).name()),
            _ => name.to_owned(),
        },
        Codec::Vp9 => format!("{name} profile {}", numbered(&track.fmtp, "profile-id")),
        Codec::Av1 => format!("{name} profile {}", numbered(&track.fmtp, "profile")),
        _ => name.to_owned(),
    }
}

/// How well a payload type carries the track; lower is better, `None` is not at all.
fn rank(rtpmap: &str, fmtp: &str, track: &TrackInfo, decodes: bool) -> Option<u8> {
    let mut parts = rtpmap.split('/');
    let (name, clock) = (parts.next()?, parts.next()?);
    if !name.eq_ignore_ascii_case(track.codec.name())
        || clock.parse() != Ok(track.codec.clock_rate())
    {
        return None;
    }
    let same = |key| numbered(fmtp, key) == numbered(&track.fmtp, key);
    match track.codec {
        Codec::Opus => (parts.next() == Some("2")).then_some(0),
        Codec::Vp8 => Some(0),
        Codec::Vp9 => (same("profile-id") || !decodes).then_some(u8::from(!same("profile-id"))),
        Codec::Av1 => (same("profile") || !decodes).then_some(u8::from(!same("profile"))),
        Codec::H264 => {
            if parameter(fmtp, "packetization-mode") != Some("1") {
                return None;
            }
            let stream = H264::of(&track.fmtp);
            let child = H264::of(fmtp);
            match child.distance(stream) {
                None => (!decodes).then_some(u8::MAX),
                some => some,
            }
        }
    }
}

/// A numeric format parameter; absent means 0.
fn numbered(fmtp: &str, key: &str) -> u32 {
    parameter(fmtp, key)
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// A format parameter.
pub(super) fn parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case(key)
            .then_some(value.trim())
    })
}

/// H.264 profiles as RTP names them (RFC 6184 section 8.1, table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum H264 {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    /// High 4:4:4 Predictive, whose decoders take all of the above and 10 bits too
    /// (H.264 annex A.2.7). Chromium names it instead of High.
    High444,
    Other(u8),
}

impl H264 {
    fn of(fmtp: &str) -> Self {
        // Without the parameter it is Baseline at level 1 (RFC 6184 section 8.1).
        Self::parse(parameter(fmtp, "profile-level-id").unwrap_or("42000a"))
    }

    fn parse(id: &str) -> Self {
        let Ok(id) = u32::from_str_radix(id, 16) else {
            return Self::Other(0);
        };
        let [_, idc, constraints, _] = id.to_be_bytes();
        match (idc, constraints) {
            (66, c) if c & 0x40 != 0 => Self::ConstrainedBaseline,
            (66, _) => Self::Baseline,
            (77, c) if c & 0x80 != 0 => Self::ConstrainedBaseline,
            (77, _) => Self::Main,
            (100, 0x0c) => Self::ConstrainedHigh,
            (100, _) => Self::High,
            (244, _) => Self::High444,
            (other, _) => Self::Other(other),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ConstrainedBaseline => "Constrained Baseline",
            Self::Baseline => "Baseline",
            Self::Main => "Main",
            Self::ConstrainedHigh => "Constrained High",
            Self::High => "High",
            Self::High444 => "High 4:4:4",
            Self::Other(_) => "of another profile",
        }
    }

    /// How far a decoder of this profile is from `stream`: 0 is the same, `None` cannot decode.
    /// Levels are left out: decoders in browsers take what they are given. The tools that tell
    /// Baseline from Constrained Baseline (arbitrary slice order) and High from Constrained High
    /// (interlace) are not used by live encoders, so a decoder of the one is trusted with the
    /// other.
    fn distance(self, stream: Self) -> Option<u8> {
        use H264::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, High444, Main, Other};
        let order: &[Self] = match stream {
            ConstrainedBaseline => &[
                ConstrainedBaseline,
                Baseline,
                Main,
                ConstrainedHigh,
                High,
                High444,
            ],
            Baseline => &[
                Baseline,
                ConstrainedBaseline,
                Main,
                High,
                ConstrainedHigh,
                High444,
            ],
            Main => &[Main, High, ConstrainedHigh, High444],
            ConstrainedHigh => &[ConstrainedHigh, High, High444],
            High => &[High, ConstrainedHigh, High444],
            High444 => &[High444],
            // High 10 and High 4:2:2.
            Other(110 | 122) => &[stream, High444],
            Other(_) => &[stream],
        };
        order
            .iter()
            .position(|p| *p == self)
            .and_then(|p| u8::try_from(p).ok())
    }
}
