//! Reading a session description without trusting it.

use banyan::limits::MAX_SDP;

use super::{MAX_SECTIONS, SdpError};

/// A session description cut into its sections.
#[derive(Debug)]
pub(in crate::rtc) struct Description<'a> {
    session: Vec<&'a str>,
    pub(in crate::rtc) media: Vec<Section<'a>>,
}

/// One m-line with its attributes.
#[derive(Debug)]
pub(in crate::rtc) struct Section<'a> {
    /// `audio`, `video`, `application`.
    pub(in crate::rtc) kind: &'a str,
    pub(in crate::rtc) port: u16,
    pub(in crate::rtc) protocol: &'a str,
    pub(in crate::rtc) formats: Vec<&'a str>,
    attributes: Vec<&'a str>,
}

/// Who opens the DTLS handshake (RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rtc) enum Setup {
    Active,
    Passive,
    Either,
}

impl Setup {
    pub(in crate::rtc) const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Either => "actpass",
        }
    }
}

/// The other side's transport, the same for all bundled sections.
#[derive(Debug, Clone)]
pub(in crate::rtc) struct Remote {
    pub(in crate::rtc) ufrag: String,
    pub(in crate::rtc) pwd: String,
    /// SHA-256 of its certificate, as written.
    pub(in crate::rtc) fingerprint: String,
    pub(in crate::rtc) setup: Setup,
    pub(in crate::rtc) mixed_extensions: bool,
    /// SCTP port and largest message of its data channels, if it wants any.
    pub(in crate::rtc) channels: Option<(u16, u32)>,
    /// Candidates that came inside the description.
    pub(in crate::rtc) candidates: Vec<String>,
}

impl<'a> Description<'a> {
    /// Cuts `text` into sections.
    pub(in crate::rtc) fn parse(text: &'a str) -> Result<Self, SdpError> {
        if text.len() > MAX_SDP {
            return Err(SdpError::TooLarge(text.len()));
        }
        let mut session = Vec::new();
        let mut media: Vec<Section<'a>> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            let broken = || SdpError::Syntax(format!("line {}", number + 1));
            if line.chars().any(char::is_control) {
                return Err(broken());
            }
            let (letter, value) = line.split_once('=').ok_or_else(broken)?;
            if letter.len() != 1 {
                return Err(broken());
            }
            if number == 0 && line != "v=0" {
                return Err(SdpError::Syntax("it does not begin with v=0".to_owned()));
            }
            match (letter, media.last_mut()) {
                ("m", _) => {
                    if media.len() == MAX_SECTIONS {
                        return Err(SdpError::Unsupported("more than 16 media sections"));
                    }
                    media.push(Section::parse(value).ok_or_else(broken)?);
                }
                ("a", Some(section)) => section.attributes.push(value),
                ("a", None) => session.push(value),
                _ => {}
            }
        }
        if text.trim().is_empty() {
            return Err(SdpError::Syntax("it is empty".to_owned()));
        }
        Ok(Self { session, media })
    }

    /// The transport of the whole bundle.
    pub(in crate::rtc) fn remote(&self) -> Result<Remote, SdpError> {
        let live: Vec<&Section<'a>> = self.media.iter().filter(|s| s.wanted()).collect();
        let Some(first) = live.first() else {
            return Err(SdpError::Missing("any media section"));
        };
        if live.len() > 1 {
            let bundled: Vec<&str> = self
                .session
                .iter()
                .filter_map(|a| a.strip_prefix("group:BUNDLE"))
                .flat_map(str::split_whitespace)
                .collect();
            if live
                .iter()
                .any(|s| s.mid().is_none_or(|mid| !bundled.contains(&mid)))
            {
                return Err(SdpError::Unsupported(
                    "media sections outside one BUNDLE group",
                ));
            }
        }
        let find = |name: &str| {
            first
                .attribute(name)
                .or_else(|| attribute(&self.session, name))
                .or_else(|| live.iter().find_map(|s| s.attribute(name)))
        };
        let fingerprint = first
            .all("fingerprint")
            .chain(all(&self.session, "fingerprint"))
            .find_map(|value| {
                let (hash, digest) = value.split_once(' ')?;
                hash.eq_ignore_ascii_case("sha-256")
                    .then_some(digest.trim())
            })
            .ok_or(SdpError::Missing("a SHA-256 certificate fingerprint"))?;
        if fingerprint.len() != 95
            || !fingerprint
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b == b':')
        {
            return Err(SdpError::Syntax("the certificate fingerprint".to_owned()));
        }
        let setup = match find("setup") {
            Some("active") => Setup::Active,
            Some("passive") => Setup::Passive,
            Some("actpass") | None => Setup::Either,
            Some(_) => return Err(SdpError::Unsupported("another DTLS role")),
        };
        let channels = self.media.iter().find(|s| s.is_channels()).map(|s| {
            (
                s.attribute("sctp-port")
                    .and_then(|v| v.parse().ok())
                    .unwrap_or(5000),
                s.attribute("max-message-size")
                    .and_then(|v| v.parse().ok())
                    .unwrap_or(65_536),
            )
        });
        Ok(Remote {
            ufrag: credential(find("ice-ufrag"), 4, "ICE user name")?,
            pwd: credential(find("ice-pwd"), 22, "ICE password")?,
            fingerprint: fingerprint.to_ascii_uppercase(),
            setup,
            mixed_extensions: self.session.contains(&"extmap-allow-mixed")
                || live
                    .iter()
                    .any(|s| s.attribute("extmap-allow-mixed").is_some()),
            channels,
            candidates: live
                .iter()
                .flat_map(|s| s.all("candidate"))
                .map(|c| format!("candidate:{c}"))
                .collect(),
        })
    }
}

/// An ICE credential: RFC 8839 section 5.4 allows letters, digits, `+` and `/`; some senders add
/// `-`, `_` and `=`.
fn credential(value: Option<&str>, least: usize, what: &'static str) -> Result<String, SdpError> {
    let value = value.ok_or(SdpError::Missing(what))?;
    let good = (least..=256).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b));
    if good {
        Ok(value.to_owned())
    } else {
        Err(SdpError::Syntax(format!("the {what}")))
    }
}

impl<'a> Section<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split_whitespace();
        let kind = words.next()?;
        let port = words.next()?.split('/').next()?.parse().ok()?;
        let protocol = words.next()?;
        Some(Self {
            kind,
            port,
            protocol,
            formats: words.collect(),
            attributes: Vec::new(),
        })
    }

    /// The value of its first attribute `name`; empty for a property.
    pub(in crate::rtc) fn attribute(&self, name: &str) -> Option<&'a str> {
        attribute(&self.attributes, name)
    }

    /// The values of all its attributes `name`.
    pub(in crate::rtc) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        all(&self.attributes, name)
    }

    pub(in crate::rtc) fn mid(&self) -> Option<&'a str> {
        self.attribute("mid").filter(|mid| !mid.is_empty())
    }

    /// Not rejected: port 0 means so, unless the section rides on another's transport.
    pub(in crate::rtc) fn wanted(&self) -> bool {
        self.port != 0 || self.attribute("bundle-only").is_some()
    }

    /// The section of the data channels.
    pub(in crate::rtc) fn is_channels(&self) -> bool {
        self.kind == "application"
            && self.wanted()
            && self.formats.first() == Some(&"webrtc-datachannel")
    }

    /// Whether its sender wants to receive.
    pub(in crate::rtc) fn receives(&self) -> bool {
        self.attribute("sendonly").is_none() && self.attribute("inactive").is_none()
    }

    /// Whether its sender wants to send.
    pub(in crate::rtc) fn sends(&self) -> bool {
        self.attribute("recvonly").is_none() && self.attribute("inactive").is_none()
    }

    /// The parameters of a payload type in an attribute written as `name:PT value`.
    pub(in crate::rtc) fn format(&self, name: &str, payload_type: &str) -> Option<&'a str> {
        all(&self.attributes, name).find_map(|value| {
            let (pt, rest) = value.split_once(' ')?;
            (pt == payload_type).then_some(rest.trim())
        })
    }

    /// Its header extensions: id and URI.
    pub(in crate::rtc) fn extensions(&self) -> impl Iterator<Item = (u8, &'a str)> + '_ {
        all(&self.attributes, "extmap").filter_map(|value| {
            let mut words = value.split_whitespace();
            let id = words
                .next()?
                .split('/')
                .next()?
                .parse()
                .ok()
                .filter(|id| *id > 0)?;
            Some((id, words.next()?))
        })
    }
}

fn attribute<'a>(attributes: &[&'a str], name: &str) -> Option<&'a str> {
    attributes.iter().find_map(|a| value_of(a, name))
}

fn all<'a, 's>(attributes: &'s [&'a str], name: &'s str) -> impl Iterator<Item = &'a str> + 's {
    attributes.iter().filter_map(move |a| value_of(a, name))
}

fn value_of<'a>(attribute: &'a str, name: &str) -> Option<&'a str> {
    let rest = attribute.strip_prefix(name)?;
    if rest.is_empty() {
        Some("")
    } else {
        rest.strip_prefix(':')
    }
}
