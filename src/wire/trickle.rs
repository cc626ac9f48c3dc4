//! `application/trickle-ice-sdpfrag` (RFC 8840): the candidates a WHIP or WHEP client sends after
//! its offer, and the new credentials of an ICE restart in both directions.

use std::fmt;

use super::{BoundError, bound};
use crate::limits::{MAX_CANDIDATE, MAX_TRICKLE, MAX_TRICKLE_CANDIDATES};

/// The media type of a fragment.
pub const MEDIA_TYPE: &str = "application/trickle-ice-sdpfrag";

/// Most m-lines in a fragment: as many as a session description may have.
const MAX_SECTIONS: usize = 16;

/// Longest identification tag of an m-line in bytes. Browsers use one or two.
const MAX_MID: usize = 64;

/// Bounds of ICE credentials (RFC 8839 section 5.4).
const UFRAG: std::ops::RangeInclusive<usize> = 4..=256;
const PWD: std::ops::RangeInclusive<usize> = 22..=256;

/// One fragment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Of the ICE session it belongs to. All m-lines share one transport, so there is one pair.
    pub credentials: Option<Credentials>,
    /// Its m-lines in order.
    pub sections: Vec<Section>,
    /// No more candidates come for any m-line.
    pub end_of_candidates: bool,
}

/// A user name fragment and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ..)", self.ufrag)
    }
}

/// The candidates of one m-line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video` or `application`.
    pub kind: String,
    /// Which m-line of the offer.
    pub mid: String,
    /// Lines that begin with `candidate:`.
    pub candidates: Vec<String>,
    /// No more come for this m-line.
    pub end_of_candidates: bool,
}

/// Why a fragment was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrickleError {
    /// Something in it is too large or too many.
    #[error(transparent)]
    Bound(#[from] BoundError),
    /// A line is no line of a fragment.
    #[error("line {0} is not a line of an ICE fragment")]
    Syntax(usize),
    /// A candidate stands before every m-line.
    #[error("line {0} is a candidate that belongs to no m-line")]
    Homeless(usize),
    /// An m-line has no `a=mid`.
    #[error("an m-line has no a=mid")]
    NoMid,
    /// A user name fragment without password, or the other way round.
    #[error("a=ice-ufrag and a=ice-pwd come together")]
    HalfCredentials,
    /// A credential has characters or a length that none has.
    #[error("the {0} is not one")]
    Credential(&'static str),
    /// Two m-lines have different credentials.
    #[error("the m-lines have different ICE credentials; they share one transport")]
    ManyTransports,
}

impl Fragment {
    /// Reads a fragment. Attributes it does not know are passed over.
    ///
    /// # Errors
    /// [`TrickleError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, TrickleError> {
        bound("the ICE fragment", text.len(), MAX_TRICKLE)?;
        let mut fragment = Self::default();
        let (mut ufrag, mut pwd) = (None, None);
        let mut candidates = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            if line.chars().any(char::is_control) {
                return Err(TrickleError::Syntax(number));
            }
            let section = fragment.sections.last_mut();
            match line.split_once('=').ok_or(TrickleError::Syntax(number))? {
                ("m", value) => {
                    bound(
                        "the list of m-lines",
                        fragment.sections.len() + 1,
                        MAX_SECTIONS,
                    )?;
                    let kind = value.split(' ').next().unwrap_or_default().to_owned();
                    fragment.sections.push(Section {
                        kind,
                        ..Section::default()
                    });
                }
                ("a", value) => {
                    let (name, rest) = value.split_once(':').unwrap_or((value, ""));
                    match (name, section) {
                        ("ice-ufrag", _) => once(&mut ufrag, rest, UFRAG, "ICE user name")?,
                        ("ice-pwd", _) => once(&mut pwd, rest, PWD, "ICE password")?,
                        ("mid", Some(section)) => {
                            bound("a=mid", rest.len(), MAX_MID)?;
                            rest.clone_into(&mut section.mid);
                        }
                        ("candidate", Some(section)) => {
                            candidates += 1;
                            bound("the list of candidates", candidates, MAX_TRICKLE_CANDIDATES)?;
                            bound("a candidate", value.len(), MAX_CANDIDATE)?;
                            section.candidates.push(value.to_owned());
                        }
                        ("candidate", None) => return Err(TrickleError::Homeless(number)),
                        ("end-of-candidates", Some(section)) => section.end_of_candidates = true,
                        ("end-of-candidates", None) => fragment.end_of_candidates = true,
                        _ => {}
                    }
                }
                // Lines of a whole session description, which some clients send.
                (letter, _) if letter.len() == 1 => {}
                _ => return Err(TrickleError::Syntax(number)),
            }
        }
        if fragment.sections.iter().any(|s| s.mid.is_empty()) {
            return Err(TrickleError::NoMid);
        }
        fragment.credentials = match (ufrag, pwd) {
            (Some(ufrag), Some(pwd)) => Some(Credentials { ufrag, pwd }),
            (None, None) => None,
            _ => return Err(TrickleError::HalfCredentials),
        };
        Ok(fragment)
    }

    /// Every candidate in it, whatever its m-line.
    pub fn candidates(&self) -> impl Iterator<Item = &str> {
        let sections = self.sections.iter();
        sections.flat_map(|section| section.candidates.iter().map(String::as_str))
    }
}

fn once(
    slot: &mut Option<String>,
    value: &str,
    length: std::ops::RangeInclusive<usize>,
    what: &'static str,
) -> Result<(), TrickleError> {
    // Some senders add `-`, `_` and `=` to the characters of RFC 8839.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b);
    if !length.contains(&value.len()) || !value.bytes().all(allowed) {
        return Err(TrickleError::Credential(what));
    }
    match slot {
        Some(known) if known != value => Err(TrickleError::ManyTransports),
        _ => {
            *slot = Some(value.to_owned());
            Ok(())
        }
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Credentials { ufrag, pwd }) = &self.credentials {
            write!(f, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n")?;
        }
        if self.end_of_candidates {
            f.write_str("a=end-of-candidates\r\n")?;
        }
        for section in &self.sections {
            // RFC 8840 section 9: port 9, RTP/AVP and format 0 stand for nothing.
            write!(
                f,
                "m={} 9 RTP/AVP 0\r\na=mid:{}\r\n",
                section.kind, section.mid
            )?;
            for candidate in &section.candidates {
                write!(f, "a={candidate}\r\n")?;
            }
            if section.end_of_candidates {
                f.write_str("a=end-of-candidates\r\n")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The form of RFC 8840 section 9, credentials first.
    const AT_TOP: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        m=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";

    #[test]
    fn both_places_of_credentials_are_read() {
        let fragment = Fragment::parse(AT_TOP).unwrap();
        // As in RFC 9725 section 4.3.2, where they stand inside the m-line.
        let inside = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
            a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
            a=candidate:1 1 udp 2130706431 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
        assert_eq!(Fragment::parse(inside).unwrap(), fragment);
        assert_eq!(fragment.sections[0].mid, "0");
        assert!(fragment.sections[0].end_of_candidates);
        let candidates: Vec<&str> = fragment.candidates().collect();
        assert_eq!(
            candidates,
            ["candidate:1 1 udp 2130706431 192.0.2.1 61764 typ host"]
        );
        assert_eq!(fragment.credentials.unwrap().ufrag, "EsAw");
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Fragment::parse(AT_TOP).unwrap().to_string(), AT_TOP);
        let end = Fragment {
            end_of_candidates: true,
            ..Fragment::default()
        };
        assert_eq!(Fragment::parse(&end.to_string()), Ok(end));
        assert_eq!(Fragment::parse(""), Ok(Fragment::default()));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = |text: &str| Fragment::parse(text).unwrap_err();
        assert_eq!(error("hello"), TrickleError::Syntax(1));
        assert_eq!(error("a=mid:0\n\nrtpmap=1"), TrickleError::Syntax(3));
        assert_eq!(error("a=candidate:1 1 udp"), TrickleError::Homeless(1));
        assert_eq!(error("m=audio 9 RTP/AVP 0\r\n"), TrickleError::NoMid);
        assert_eq!(error("a=ice-ufrag:EsAw"), TrickleError::HalfCredentials);
        assert_eq!(
            error("a=ice-ufrag:E A w"),
            TrickleError::Credential("ICE user name")
        );
        assert_eq!(
            error("a=ice-ufrag:EsAw\na=ice-ufrag:EsAx"),
            TrickleError::ManyTransports
        );
    }

    #[test]
    fn everything_has_a_bound() {
        let line = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n";
        let many = |count| format!("m=audio 9 RTP/AVP 0\r\na=mid:0\r\n{}", line.repeat(count));
        assert!(Fragment::parse(&many(MAX_TRICKLE_CANDIDATES)).is_ok());
        let long = format!("m=a 9\na=mid:0\na=candidate:{}", "1".repeat(MAX_CANDIDATE));
        for text in [
            many(MAX_TRICKLE_CANDIDATES + 1),
            long,
            "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n".repeat(MAX_SECTIONS + 1),
            format!("a=mid:{}", "x".repeat(MAX_TRICKLE)),
            format!("m=a 9\na=mid:{}", "x".repeat(MAX_MID + 1)),
        ] {
            let error = Fragment::parse(&text).unwrap_err();
            assert!(matches!(error, TrickleError::Bound(_)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn total_on_any_text(text in "\\PC{0,200}") {
            let _ = Fragment::parse(&text);
        }

        #[test]
        fn total_on_likely_lines(lines in prop::collection::vec(
            prop::sample::select(vec![
                "a=ice-ufrag:EsAw", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", "m=audio 9 x 0", "a=mid:0",
                "a=candidate:1 1 udp 1 192.0.2.1 1 typ host", "a=end-of-candidates", "v=0", "=",
            ]), 0..12,
        )) {
            if let Ok(fragment) = Fragment::parse(&lines.join("\r\n")) {
                prop_assert_eq!(Fragment::parse(&fragment.to_string()), Ok(fragment));
            }
        }
    }
}
