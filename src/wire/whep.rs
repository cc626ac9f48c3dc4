//! What is common to every WHEP endpoint (draft-ietf-wish-whep-03): which offers and fragments are
//! taken, and with which status and words the others are refused. No HTTP library is needed for
//! that, so trackers and nodes say the same.

use super::tracker::{IceServer, RefuseReason};
use super::trickle::{self, Credentials, Fragment};
use crate::limits::{MAX_SDP, MAX_TRICKLE};

/// The media type of a session description (RFC 8866 section 8.2.1).
pub const SDP_TYPE: &str = "application/sdp";

/// Seconds a player should wait before it asks again for a stream that does not play yet.
pub const RETRY_WAITING: u32 = 5;

/// Seconds a player should wait before it asks again for a free slot: peers come and go, and each
/// one that comes may bring slots.
pub const RETRY_FULL: u32 = 5;

/// A request that is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status code (RFC 9110 section 15).
    pub status: u16,
    /// For people.
    pub sentence: String,
    /// Seconds after which the same request may be granted.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// One that stays.
    pub fn new(status: u16, sentence: impl Into<String>) -> Self {
        Self {
            status,
            sentence: sentence.into(),
            retry_after: None,
        }
    }

    /// One that may be another answer after some seconds.
    pub fn for_now(status: u16, sentence: impl Into<String>, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(status, sentence)
        }
    }

    /// The stream does not play (section 4.2.8 of the draft: 409).
    pub fn waiting() -> Self {
        Self::for_now(
            409,
            "the broadcast has not begun, or is over",
            RETRY_WAITING,
        )
    }

    /// No slot is free (section 4.6 of the draft: 503).
    pub fn full() -> Self {
        let sentence = "every slot is taken at the moment; each viewer that helps brings more";
        Self::for_now(503, sentence, RETRY_FULL)
    }

    /// The player decodes none of the stream's codecs. Not 406, which in this protocol comes with
    /// an offer of the server's own.
    pub fn codec() -> Self {
        Self::new(422, "the offer has no codec that the stream comes in")
    }

    /// The offer cannot be answered.
    pub fn offer() -> Self {
        Self::new(400, "the offer cannot be answered")
    }

    /// There is no such session, or there is none any more.
    pub fn no_session() -> Self {
        Self::new(404, "there is no such session, or it is over")
    }
}

impl From<RefuseReason> for Refusal {
    fn from(reason: RefuseReason) -> Self {
        match reason {
            RefuseReason::Full => Self::full(),
            RefuseReason::NoMedia => Self::waiting(),
            RefuseReason::Codec => Self::codec(),
            RefuseReason::Offer | RefuseReason::Cycle => Self::offer(),
        }
    }
}

/// A player's request, as far as it can be judged without the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The session description.
    pub sdp: String,
    /// Its ICE session.
    pub credentials: Credentials,
}

impl Offer {
    /// Judges the body of a POST.
    ///
    /// # Errors
    /// 415 for another media type, 413 for a body larger than any honest one, 400 for one that is
    /// no offer.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, Refusal> {
        expect_type(content_type, SDP_TYPE)?;
        let text = text(body, MAX_SDP)?;
        let bad = |what| Refusal::new(400, format!("the body is no session description: {what}"));
        if !text.starts_with("v=0") {
            return Err(bad("it does not begin with v=0"));
        }
        if !text.lines().any(|line| line.starts_with("m=")) {
            return Err(bad("it has no m= line"));
        }
        let attribute = |name| text.lines().find_map(|line| line.strip_prefix(name));
        let ufrag = attribute("a=ice-ufrag:").ok_or_else(|| bad("it has no a=ice-ufrag"))?;
        let pwd = attribute("a=ice-pwd:").ok_or_else(|| bad("it has no a=ice-pwd"))?;
        let credentials = Credentials {
            ufrag: ufrag.trim_end().to_owned(),
            pwd: pwd.trim_end().to_owned(),
        };
        Ok(Self {
            sdp: text.to_owned(),
            credentials,
        })
    }
}

/// What a session needs to know to judge requests about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The entity tag of its ICE session, with its quotation marks.
    pub etag: String,
    /// The player's ICE session.
    pub credentials: Credentials,
}

impl Session {
    /// Judges the body of a PATCH. The candidates it brings, and an empty one if no more come.
    ///
    /// # Errors
    /// 415, 413 and 400 as for an offer; 428 without `If-Match` and 412 with an outdated one; 422
    /// for an ICE restart, since the connection is somebody else's: the player posts anew.
    pub fn trickle(
        &self,
        content_type: Option<&str>,
        if_match: Option<&str>,
        body: &[u8],
    ) -> Result<Vec<String>, Refusal> {
        expect_type(content_type, trickle::MEDIA_TYPE)?;
        let tags = if_match.ok_or_else(|| {
            Refusal::new(428, "If-Match with the ETag of the session is required")
        })?;
        // Some clients quote the asterisk, as an example in the draft does.
        let known = |tag: &str| matches!(tag, "*" | "\"*\"") || tag == self.etag;
        if !tags.split(',').map(str::trim).any(known) {
            return Err(Refusal::new(412, "If-Match names another ICE session"));
        }
        let text = text(body, MAX_TRICKLE)?;
        let fragment = Fragment::parse(text)
            .map_err(|error| Refusal::new(400, format!("the body is no ICE fragment: {error}")))?;
        if fragment
            .credentials
            .as_ref()
            .is_some_and(|c| *c != self.credentials)
        {
            let sentence = "ICE restarts are not supported; end this session and begin another";
            return Err(Refusal::new(422, sentence));
        }
        let ended = fragment.end_of_candidates
            || fragment
                .sections
                .iter()
                .any(|section| section.end_of_candidates);
        let mut candidates: Vec<String> = fragment.candidates().map(str::to_owned).collect();
        if ended {
            candidates.push(String::new());
        }
        Ok(candidates)
    }
}

/// An answer with all candidates of its side, since none can follow (section 4.4.2 of the draft).
/// They go into the first m-line that is in use, which carries the transport of all.
pub fn with_candidates(answer: &str, candidates: &[String]) -> String {
    let mut out = String::with_capacity(answer.len() + 128 * (candidates.len() + 1));
    let put = |out: &mut String| {
        for candidate in candidates {
            out.push_str("a=");
            out.push_str(candidate);
            out.push_str("\r\n");
        }
        out.push_str("a=end-of-candidates\r\n");
    };
    let (mut inside, mut done) = (false, false);
    for line in answer.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            if inside && !done {
                put(&mut out);
                done = true;
            }
            inside |= media.split(' ').nth(1).is_some_and(|port| port != "0");
        }
        out.push_str(line.trim_end());
        out.push_str("\r\n");
    }
    if inside && !done {
        put(&mut out);
    }
    out
}

/// `Link` header values that name ICE servers (RFC 9725 section 4.6). What could break out of a
/// header is left out.
pub fn ice_links(servers: &[IceServer]) -> Vec<String> {
    let clean = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_graphic() && !b"<>\"\\,;".contains(&b))
    };
    let mut links = Vec::new();
    for server in servers {
        for url in server.urls.iter().filter(|url| clean(url)) {
            let mut link = format!("<{url}>; rel=\"ice-server\"");
            if let (Some(name), Some(secret)) = (&server.username, &server.credential)
                && clean(name)
                && clean(secret)
            {
                link += &format!(
                    "; username=\"{name}\"; credential=\"{secret}\"; credential-type=\"password\""
                );
            }
            links.push(link);
        }
    }
    links
}

fn expect_type(found: Option<&str>, expected: &str) -> Result<(), Refusal> {
    let essence = found
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case(expected) => Ok(()),
        _ => Err(Refusal::new(415, format!("the body must be {expected}"))),
    }
}

fn text(body: &[u8], most: usize) -> Result<&str, Refusal> {
    if body.len() > most {
        let sentence = format!("a body of {} bytes; at most {most} are taken", body.len());
        return Err(Refusal::new(413, sentence));
    }
    std::str::from_utf8(body).map_err(|_| Refusal::new(400, "the body is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";

    fn session() -> Session {
        let offer = Offer::read(Some(SDP_TYPE), OFFER.as_bytes()).unwrap();
        Session {
            etag: "\"tag\"".into(),
            credentials: offer.credentials,
        }
    }

    #[test]
    fn offers_are_judged_by_type_size_and_form() {
        let status = |kind, body: &[u8]| Offer::read(kind, body).unwrap_err().status;
        assert!(Offer::read(Some("Application/SDP; charset=utf-8"), OFFER.as_bytes()).is_ok());
        assert_eq!(status(None, OFFER.as_bytes()), 415);
        assert_eq!(status(Some("application/json"), OFFER.as_bytes()), 415);
        assert_eq!(status(Some(SDP_TYPE), &[b'v'; MAX_SDP + 1]), 413);
        for bad in ["", "hello", "v=0\r\n", "v=0\r\nm=audio 9 x 0\r\n"] {
            assert_eq!(status(Some(SDP_TYPE), bad.as_bytes()), 400, "{bad}");
        }
        assert_eq!(status(Some(SDP_TYPE), &[0xff]), 400);
    }

    #[test]
    fn fragments_are_judged_by_type_tag_and_ice_session() {
        let session = session();
        let kind = Some(trickle::MEDIA_TYPE);
        let fragment = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
            m=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
            a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n";
        let trickle = |kind, tag, text: &str| session.trickle(kind, tag, text.as_bytes());
        let status = |kind, tag, text| trickle(kind, tag, text).unwrap_err().status;
        let candidates = ["candidate:1 1 udp 1 192.0.2.1 9 typ host", ""];
        for tag in ["\"tag\"", "*", "\"other\", \"tag\""] {
            assert_eq!(trickle(kind, Some(tag), fragment).unwrap(), candidates);
        }
        assert_eq!(status(Some(SDP_TYPE), Some("*"), fragment), 415);
        assert_eq!(status(kind, None, fragment), 428);
        assert_eq!(status(kind, Some("\"old\""), fragment), 412);
        assert_eq!(status(kind, Some("W/\"tag\""), fragment), 412);
        assert_eq!(status(kind, Some("*"), "hello"), 400);
        let restart = fragment.replace("EsAw", "new1");
        assert_eq!(status(kind, Some("*"), &restart), 422);
        let long = "x".repeat(MAX_TRICKLE + 1);
        assert_eq!(status(kind, Some("*"), &long), 413);
    }

    #[test]
    fn candidates_go_into_the_first_section_in_use() {
        let answer = "v=0\r\nm=application 0 x y\r\na=mid:2\r\nm=audio 9 x 111\r\na=mid:0\r\n\
            m=video 9 x 96\r\na=mid:1\r\n";
        let candidates = ["candidate:1".to_owned(), "candidate:2".to_owned()];
        assert_eq!(
            with_candidates(answer, &candidates),
            "v=0\r\nm=application 0 x y\r\na=mid:2\r\nm=audio 9 x 111\r\na=mid:0\r\n\
            a=candidate:1\r\na=candidate:2\r\na=end-of-candidates\r\n\
            m=video 9 x 96\r\na=mid:1\r\n"
        );
        assert_eq!(
            with_candidates("v=0\nm=audio 9 x 0\n", &[]),
            "v=0\r\nm=audio 9 x 0\r\na=end-of-candidates\r\n"
        );
    }

    #[test]
    fn ice_servers_become_links() {
        let server = |url: &str, name: Option<&str>| IceServer {
            urls: vec![url.to_owned()],
            username: name.map(str::to_owned),
            credential: name.map(|_| "secret".to_owned()),
        };
        let servers = [
            server("stun:tracker.example:3478", None),
            server("turn:turn.example", Some("me")),
            server("stun:evil\r\nSet-Cookie: x", None),
        ];
        assert_eq!(
            ice_links(&servers),
            [
                "<stun:tracker.example:3478>; rel=\"ice-server\"",
                "<turn:turn.example>; rel=\"ice-server\"; username=\"me\"; credential=\"secret\"; \
                 credential-type=\"password\"",
            ]
        );
    }

    proptest! {
        #[test]
        fn total_on_any_body(body in prop::collection::vec(any::<u8>(), 0..200), tag in "\\PC{0,9}") {
            let _ = Offer::read(Some(SDP_TYPE), &body);
            let _ = session().trickle(Some(trickle::MEDIA_TYPE), Some(&tag), &body);
        }

        #[test]
        fn candidates_change_no_line_of_an_answer(lines in prop::collection::vec(
            prop::sample::select(vec!["v=0", "m=audio 0 x 0", "m=video 9 x 96", "a=mid:1", "m="]),
            0..10,
        )) {
            let candidates = ["candidate:1".to_owned()];
            let filled = with_candidates(&lines.join("\r\n"), &candidates);
            let added = ["a=candidate:1", "a=end-of-candidates"];
            let rest: Vec<&str> = filled.lines().filter(|line| !added.contains(line)).collect();
            prop_assert_eq!(rest, lines.clone());
            let places = usize::from(lines.contains(&"m=video 9 x 96"));
            prop_assert_eq!(filled.matches("a=candidate:1").count(), places);
        }
    }
}
