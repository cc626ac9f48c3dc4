//! `POST /whip` (RFC 9725): where OBS, ffmpeg, GStreamer and browsers publish.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, post};
use banyan::wire::tracker::IceServer;
use banyan::wire::trickle::{self, Fragment, TrickleError};
use banyan::wire::whep::{SDP_TYPE, ice_links};
use banyan_http::answer::sentence;
use banyan_http::resource::{
    ACCEPT_PATCH, ACCEPT_POST, ENDPOINT_METHODS, SESSION_METHODS, created, endpoint_options,
    not_allowed, open, session_options,
};
use data_encoding::BASE32_NOPAD;
use tokio::sync::{mpsc, oneshot};

use crate::broadcast::epoch_now;
use crate::driver::Command;
use crate::driver::publisher::{
    Condition, PublisherCommand, Refusal, SessionId, TrickleRefusal, Trickled,
};
use crate::rtc::{EngineError, SdpError};
use crate::whip_token::Token;

/// Most entity tags read in an `If-Match` field. Clients send one.
const MAX_TAGS: usize = 8;

/// What the endpoint is made of.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// To the media thread.
    pub commands: mpsc::Sender<Command>,
    /// Who shows it may publish.
    pub token: Arc<Token>,
    /// STUN servers to tell publishers of.
    pub ice_servers: Vec<IceServer>,
}

/// An answer that says no.
#[derive(Debug)]
struct Refused(Box<Response>);

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// `/whip`, and a resource for each publisher below it.
pub(super) fn routes(endpoint: Endpoint) -> Router {
    Router::new()
        .route(
            "/whip",
            post(publish)
                .get(nothing)
                .options(async || endpoint_options())
                .fallback(async || not_allowed(ENDPOINT_METHODS)),
        )
        .route(
            "/whip/{session}",
            patch(trickle)
                .delete(end)
                .get(look)
                .options(async || session_options())
                .fallback(async || not_allowed(SESSION_METHODS)),
        )
        .layer(map_response(open))
        .with_state(endpoint)
}

/// What RFC 9725 section 4.1 has for GET and HEAD: there is nothing to read.
async fn nothing() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// As [`nothing`], of a session.
async fn look(
    State(endpoint): State<Endpoint>,
    Path(session): Path<String>,
) -> Result<StatusCode, Refused> {
    let session = known(&session)?;
    let lives = endpoint
        .ask(|reply| PublisherCommand::Look { session, reply })
        .await?;
    if lives {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(gone().into())
    }
}

async fn publish(
    State(endpoint): State<Endpoint>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    endpoint.authorize(&headers)?;
    if !has_type(&headers, SDP_TYPE) {
        let reason = "the body of a request to publish is a session description: application/sdp";
        let answer = sentence(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
        return Err(([(ACCEPT_POST, SDP_TYPE)], answer).into_response().into());
    }
    if !accepts(&headers, SDP_TYPE) {
        let reason = "the answer is a session description: application/sdp";
        return Err(sentence(StatusCode::NOT_ACCEPTABLE, reason).into());
    }
    let sdp = text(&body)?;
    let session: SessionId = rand::random();
    let answer = endpoint
        .ask(|reply| PublisherCommand::Offer {
            session,
            epoch: epoch_now(),
            sdp,
            reply,
        })
        .await?;
    let accepted = answer.map_err(refused)?;
    // Relative to the request, so that it holds behind a proxy that puts a path in front.
    let location = format!("whip/{}", name(session));
    let links = ice_links(&endpoint.ice_servers);
    Ok(created(
        accepted.sdp,
        location,
        quoted(&accepted.tag),
        links,
    ))
}

async fn trickle(
    State(endpoint): State<Endpoint>,
    Path(session): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    endpoint.authorize(&headers)?;
    let session = known(&session)?;
    if !has_type(&headers, trickle::MEDIA_TYPE) {
        let reason = "the body is an ICE fragment: application/trickle-ice-sdpfrag";
        let answer = sentence(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
        return Err(([(ACCEPT_PATCH, trickle::MEDIA_TYPE)], answer)
            .into_response()
            .into());
    }
    let fragment = Fragment::parse(&text(&body)?).map_err(|error| {
        let status = match error {
            TrickleError::Bound(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        sentence(status, error.to_string())
    })?;
    let condition = condition(&headers);
    let taken = endpoint
        .ask(|reply| PublisherCommand::Trickle {
            session,
            condition,
            fragment,
            reply,
        })
        .await?;
    match taken {
        Ok(Trickled::Added) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Trickled::Restarted { fragment, tag }) => {
            let fields = [
                (CONTENT_TYPE, trickle::MEDIA_TYPE.to_owned()),
                (ETAG, quoted(&tag)),
            ];
            Ok((StatusCode::OK, fields, fragment.to_string()).into_response())
        }
        Err(TrickleRefusal::Gone) => Err(gone().into()),
        Err(TrickleRefusal::ConditionMissing) => Err(sentence(
            StatusCode::PRECONDITION_REQUIRED,
            "send the session's ETag in an If-Match header field",
        )
        .into()),
        Err(TrickleRefusal::ConditionFailed) => Err(sentence(
            StatusCode::PRECONDITION_FAILED,
            "the session's ETag is another one",
        )
        .into()),
        // The session stays as it is (RFC 9725 section 4.3.3).
        Err(TrickleRefusal::Engine(error)) => {
            let reason = match &error {
                EngineError::NotConnected(_) => {
                    "a session that was never connected cannot restart ICE"
                }
                other => &other.to_string(),
            };
            Err(sentence(StatusCode::CONFLICT, reason).into())
        }
    }
}

async fn end(
    State(endpoint): State<Endpoint>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    endpoint.authorize(&headers)?;
    let session = known(&session)?;
    let ended = endpoint
        .ask(|reply| PublisherCommand::End { session, reply })
        .await?;
    if ended {
        Ok(StatusCode::OK.into_response())
    } else {
        Err(gone().into())
    }
}

impl Endpoint {
    /// RFC 6750: without a token the client is asked for one, with a wrong one it is told so.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let shown = headers.get(AUTHORIZATION).map(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        let (challenge, reason) = match shown {
            Some(Some(token)) if self.token.is(token) => return Ok(()),
            Some(Some(_)) => (
                "Bearer realm=\"whip\", error=\"invalid_token\"",
                "the bearer token is not this broadcast's",
            ),
            _ => (
                "Bearer realm=\"whip\"",
                "publishing needs the bearer token that the broadcast printed",
            ),
        };
        let answer = sentence(StatusCode::UNAUTHORIZED, reason);
        Err(([(WWW_AUTHENTICATE, challenge)], answer)
            .into_response()
            .into())
    }

    /// Asks the media thread.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> PublisherCommand,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Publisher(command(reply));
        let ending = || sentence(StatusCode::SERVICE_UNAVAILABLE, "the broadcast is ending");
        self.commands.send(command).await.map_err(|_| ending())?;
        Ok(answer.await.map_err(|_| ending())?)
    }
}

fn refused(refusal: Refusal) -> Response {
    let reason = |error: &EngineError| error.to_string();
    match refusal {
        Refusal::Busy => sentence(StatusCode::CONFLICT, "somebody else is publishing"),
        Refusal::Engine(error) => match &error {
            EngineError::Sdp(SdpError::TooLarge(_)) => {
                sentence(StatusCode::PAYLOAD_TOO_LARGE, reason(&error))
            }
            EngineError::Sdp(SdpError::Syntax(_) | SdpError::Missing(_)) => {
                sentence(StatusCode::BAD_REQUEST, reason(&error))
            }
            // RFC 9725 section 4.4: read and understood, and nothing to receive.
            EngineError::Sdp(_) => sentence(StatusCode::UNPROCESSABLE_ENTITY, reason(&error)),
            EngineError::WebRtc(text) => sentence(StatusCode::BAD_REQUEST, text),
            _ => {
                let answer = sentence(StatusCode::SERVICE_UNAVAILABLE, reason(&error));
                ([(RETRY_AFTER, "5")], answer).into_response()
            }
        },
    }
}

fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

fn gone() -> Response {
    sentence(
        StatusCode::NOT_FOUND,
        "there is no such session, or it is over",
    )
}

/// The name of a session in its URL.
fn name(session: SessionId) -> String {
    BASE32_NOPAD.encode(&session).to_ascii_lowercase()
}

fn known(name: &str) -> Result<SessionId, Refused> {
    let bytes = BASE32_NOPAD
        .decode(name.to_ascii_uppercase().as_bytes())
        .ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| gone().into())
}

fn text(body: &Bytes) -> Result<String, Refused> {
    String::from_utf8(body.to_vec())
        .map_err(|_| sentence(StatusCode::BAD_REQUEST, "the body is not UTF-8").into())
}

/// Whether the body is of this media type, whatever its parameters.
fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// Whether the client takes an answer of this media type.
fn accepts(headers: &HeaderMap, offered: &str) -> bool {
    let mut fields = headers.get_all(ACCEPT).iter().peekable();
    fields.peek().is_none()
        || fields
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next())
            .map(str::trim)
            .any(|range| ["*/*", "application/*", offered].contains(&range))
}

fn condition(headers: &HeaderMap) -> Condition {
    let values: Vec<&str> = (headers.get_all(IF_MATCH).iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .take(MAX_TAGS)
        .collect();
    if values.is_empty() {
        Condition::Missing
    } else if values.iter().any(|value| ["*", "\"*\""].contains(value)) {
        // RFC 9725 writes it like a tag.
        Condition::Any
    } else {
        let tags = values
            .into_iter()
            .map(|tag| tag.trim_matches('"').to_owned());
        Condition::Tags(tags.collect())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn media_types_are_compared_without_parameters() {
        let sdp = headers(&[(CONTENT_TYPE, "Application/SDP; charset=utf-8")]);
        assert!(has_type(&sdp, SDP_TYPE));
        assert!(!has_type(
            &headers(&[(CONTENT_TYPE, "application/sdpx")]),
            SDP_TYPE
        ));
        assert!(!has_type(&headers(&[]), SDP_TYPE));
        assert!(accepts(&headers(&[]), SDP_TYPE));
        assert!(accepts(
            &headers(&[(ACCEPT, "text/html, */*;q=0.8")]),
            SDP_TYPE
        ));
        assert!(!accepts(&headers(&[(ACCEPT, "text/html")]), SDP_TYPE));
    }

    #[test]
    fn conditions_are_read() {
        assert_eq!(condition(&headers(&[])), Condition::Missing);
        for any in ["*", "\"*\""] {
            assert_eq!(condition(&headers(&[(IF_MATCH, any)])), Condition::Any);
        }
        let tags = condition(&headers(&[(IF_MATCH, "\"a\", \"b\"")]));
        assert_eq!(tags, Condition::Tags(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn a_session_has_one_name() {
        let session = [7; 16];
        assert_eq!(known(&name(session)).ok(), Some(session));
        for wrong in ["", "x", "0", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(
                known(wrong).err().unwrap().into_response().status(),
                StatusCode::NOT_FOUND
            );
        }
    }
}
