//! What the resources of WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-03) say alike, whether at a
//! tracker, which places players, or at a node.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE,
    ETAG, LINK, LOCATION, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use banyan::wire::trickle;
use banyan::wire::whep::{Refusal, SDP_TYPE};
use data_encoding::BASE32_NOPAD;

use crate::answer::sentence;

/// Header fields that the `http` crate has no names for.
pub const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// As [`ACCEPT_POST`].
pub const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// What an endpoint can be asked.
pub const ENDPOINT_METHODS: &str = "GET, HEAD, OPTIONS, POST";

/// What a session can be asked.
pub const SESSION_METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH";

/// The name of a session, so that nobody ends another's: 200 random bits.
pub fn secret() -> String {
    let bytes: [u8; 25] = rand::random();
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

/// An entity tag for an ICE session, with its quotes.
pub fn entity_tag() -> String {
    format!("\"{}\"", &secret()[..16])
}

/// Lets pages of every origin in, and read what they need: no cookie is looked at.
pub async fn open(mut response: Response) -> Response {
    let fields = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            ACCESS_CONTROL_EXPOSE_HEADERS,
            "Location, ETag, Link, Accept-Post, Accept-Patch, WWW-Authenticate, Retry-After",
        ),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fields {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// The body of a request.
///
/// # Errors
/// 413 for one that is too large; what the server says for one that does not come.
pub fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(413, "the body is too large"),
        status => Refusal::new(status.as_u16(), "the body could not be read"),
    })
}

/// A header field, where it is there and text.
pub fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// 201: the session at `location`, with `answer` to its offer. `links` name ICE servers.
pub fn created(
    answer: String,
    location: String,
    etag: String,
    links: impl IntoIterator<Item = String>,
) -> Response {
    let mut response = (StatusCode::CREATED, answer).into_response();
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(SDP_TYPE));
    let fragments = HeaderValue::from_static(trickle::MEDIA_TYPE);
    out.insert(ACCEPT_PATCH, fragments);
    let links = links.into_iter().map(|link| (LINK, link));
    for (name, value) in [(LOCATION, location), (ETAG, etag)]
        .into_iter()
        .chain(links)
    {
        if let Ok(value) = HeaderValue::try_from(value) {
            out.append(name, value);
        }
    }
    response
}

/// What an endpoint answers to a CORS preflight, and to who asks what can be asked.
pub fn endpoint_options() -> Response {
    options(ENDPOINT_METHODS)
}

/// As [`endpoint_options`], of a session. WHEP's draft wants `Accept-Post` there as well.
pub fn session_options() -> Response {
    let fragments = (ACCEPT_PATCH, trickle::MEDIA_TYPE);
    ([fragments], options(SESSION_METHODS)).into_response()
}

fn options(methods: &'static str) -> Response {
    let headers = [
        (ALLOW, methods),
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, If-Match",
        ),
        (ACCESS_CONTROL_MAX_AGE, "86400"),
        (ACCEPT_POST, SDP_TYPE),
    ];
    (StatusCode::OK, headers).into_response()
}

/// 405, with what is allowed.
pub fn not_allowed(methods: &'static str) -> Response {
    let text = format!("this address takes {methods}");
    let mut response = sentence(StatusCode::METHOD_NOT_ALLOWED, text);
    let allow = HeaderValue::from_static(methods);
    response.headers_mut().insert(ALLOW, allow);
    response
}

/// A refusal as it is sent.
pub fn refuse(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = sentence(status, refusal.sentence);
    if let Some(seconds) = refusal.retry_after {
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}
