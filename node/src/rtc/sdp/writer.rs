//! Writing session descriptions.

use std::fmt::Write;

use super::{Remote, Section, Setup};

/// Our side of the transport, the same for all sections.
#[derive(Debug, Clone)]
pub(in crate::rtc) struct LocalTransport {
    pub(in crate::rtc) ufrag: String,
    pub(in crate::rtc) pwd: String,
    /// SHA-256 of our certificate in hexadecimal pairs.
    pub(in crate::rtc) fingerprint: String,
    /// Session id of the origin line.
    pub(in crate::rtc) session: u64,
}

/// Largest message we take on a data channel.
pub(super) const MAX_MESSAGE: usize = banyan::limits::MAX_PEER_MESSAGE;

/// A description that grows line by line.
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new(session: u64, bundle: &[&str], mixed_extensions: bool) -> Self {
        let mut writer = Self(String::with_capacity(2048));
        writer.line("v=0");
        writer.line(format_args!("o=- {session} 1 IN IP4 127.0.0.1"));
        writer.line("s=-");
        writer.line("t=0 0");
        if !bundle.is_empty() {
            writer.line(format_args!("a=group:BUNDLE {}", bundle.join(" ")));
        }
        if mixed_extensions {
            writer.line("a=extmap-allow-mixed");
        }
        writer.line("a=msid-semantic: WMS *");
        writer
    }

    pub(super) fn line(&mut self, line: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{line}\r\n");
    }

    pub(super) fn transport(&mut self, local: &LocalTransport, setup: Setup, mid: &str) {
        self.line("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=ice-ufrag:{}", local.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.pwd));
        self.line("a=ice-options:trickle");
        self.line(format_args!("a=fingerprint:sha-256 {}", local.fingerprint));
        self.line(format_args!("a=setup:{}", setup.name()));
        self.line(format_args!("a=mid:{mid}"));
    }

    pub(super) fn channels(&mut self, local: &LocalTransport, setup: Setup, mid: &str) {
        self.line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
        self.transport(local, setup, mid);
        self.line("a=sctp-port:5000");
        self.line(format_args!("a=max-message-size:{MAX_MESSAGE}"));
    }

    /// A section this node does not take.
    pub(super) fn rejected(&mut self, section: &Section<'_>, mid: &str) {
        let (kind, protocol) = (section.kind, section.protocol);
        let formats = section.formats.join(" ");
        self.line(format_args!("m={kind} 0 {protocol} {formats}"));
        self.line("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=mid:{mid}"));
        self.line("a=inactive");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The other side's transport as a description without media. The WebRTC crate carries bytes and
/// is told no more than it needs for that.
pub(in crate::rtc) fn transport_only(remote: &Remote, setup: Setup) -> String {
    let mut text = String::with_capacity(512);
    text.push_str("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    let (ufrag, pwd) = (&remote.ufrag, &remote.pwd);
    let fingerprint = &remote.fingerprint;
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "a=group:BUNDLE 0\r\na=ice-options:trickle\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\n"
    );
    if let Some((port, size)) = remote.channels {
        let _ = write!(
            text,
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=setup:{}\r\na=mid:0\r\n\
             a=sctp-port:{port}\r\na=max-message-size:{size}\r\n",
            setup.name()
        );
    }
    text
}
