//! `/whep/STREAM_ID`: standard players (draft-ietf-wish-whep-03). The tracker speaks the mesh's
//! protocol for them: it joins the stream on a player's behalf, and gives it the answer of the
//! parent that was found.

mod placing;
mod player;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE,
    ETAG, IF_MATCH, LINK, LOCATION, RETRY_AFTER, USER_AGENT,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use banyan::id::StreamId;
use banyan::limits::MAX_AGENT;
use banyan::wire::tracker::{ClientMessage, StreamState};
use banyan::wire::trickle;
use banyan::wire::whep::{self, Offer, Refusal};
use banyan_http::admission::Refused;
use data_encoding::BASE32_NOPAD;
use tokio::sync::mpsc;

use super::{App, sentence, stopping};
use crate::caller::Connection;

/// Fragments of one player that wait for the core.
const FRAGMENTS: usize = 16;

/// What the endpoint of a stream can be asked.
const ENDPOINT_METHODS: &str = "GET, HEAD, OPTIONS, POST";

/// What a session can be asked.
const SESSION_METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH";

/// The sessions of all players, by their secret.
#[derive(Default)]
pub(crate) struct Players {
    sessions: Mutex<HashMap<String, Playing>>,
}

/// One player that was given a parent.
struct Playing {
    stream: StreamId,
    session: whep::Session,
    /// Its candidates, for its parent. Dropping it ends the player.
    candidates: mpsc::Sender<Vec<String>>,
}

impl Players {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Playing>> {
        // No code panics while it holds the lock.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if there is no such session any more.
    fn remove(&self, secret: &str) -> bool {
        self.lock().remove(secret).is_some()
    }
}

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/whep/{stream}", any(endpoint))
        .route("/whep/{stream}/{secret}", any(session))
        .layer(axum::middleware::map_response(open))
}

/// For pages of every origin, which may read what players need.
async fn open(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag, Link, Location, Retry-After, Accept-Patch"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn endpoint(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    Path(stream): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if method == Method::OPTIONS {
        return options(ENDPOINT_METHODS);
    }
    let Ok(stream) = stream.parse::<StreamId>() else {
        return refuse(Refusal::new(404, "the address names no stream"));
    };
    let answered = match method {
        Method::POST => post(app, connection, stream, &headers, body).await,
        // The draft has no use for them, and wants them to succeed (section 4.1).
        Method::GET | Method::HEAD => known(&app, stream)
            .await
            .map(|_| StatusCode::NO_CONTENT.into_response()),
        _ => Ok(not_allowed(ENDPOINT_METHODS)),
    };
    answered.unwrap_or_else(refuse)
}

async fn session(
    State(app): State<App>,
    Path((stream, secret)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if method == Method::OPTIONS {
        return options(SESSION_METHODS);
    }
    let stream = stream.parse::<StreamId>().ok();
    let of_stream = |playing: &Playing| Some(playing.stream) == stream;
    let is_here = app.whep.lock().get(&secret).is_some_and(of_stream);
    let answered = match method {
        _ if !is_here => Err(Refusal::no_session()),
        Method::PATCH => patch(&app, &secret, &headers, body).await,
        // Of two requests at once, one ends the session.
        Method::DELETE if !app.whep.remove(&secret) => Err(Refusal::no_session()),
        Method::DELETE => Ok(StatusCode::OK.into_response()),
        Method::GET | Method::HEAD => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Ok(not_allowed(SESSION_METHODS)),
    };
    answered.unwrap_or_else(refuse)
}

async fn post(
    app: App,
    connection: Connection,
    stream: StreamId,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let offer = Offer::read(text_of(headers, CONTENT_TYPE), &read(body)?)?;
    if known(&app, stream).await? != StreamState::Live {
        return Err(Refusal::waiting());
    }
    let Some(authority) = app.trust.authority(&connection, headers) else {
        return Err(Refusal::new(400, "the Host header is missing"));
    };
    let observed = app.trust.observed(connection.peer.ip(), headers);
    let place = app.admission.enter(observed, false).map_err(|refused| {
        let status = match refused {
            Refused::Total => {
                app.metrics.refused_total.add(1);
                503
            }
            Refused::Address => {
                app.metrics.refused_address.add(1);
                429
            }
        };
        Refusal::for_now(status, refused.to_string(), whep::RETRY_FULL)
    })?;
    let ice_servers = app.ice.servers(&authority);
    let links = whep::ice_links(&ice_servers);
    let Ok(mut line) = app.core.connect(observed, authority, ice_servers).await else {
        return Ok(stopping());
    };
    let agent = agent(headers);
    let placed = match placing::place(&mut line, stream, agent, &offer.sdp).await {
        Ok(placed) => placed,
        Err(refusal) => {
            // Said rather than left to the end of the session, which would count as a loss.
            let _ = line.outbox.send(ClientMessage::Leave).await;
            return Err(refusal);
        }
    };
    let answer = whep::with_candidates(&placed.sdp, &placed.candidates);

    let secret = secret();
    let etag = format!("\"{}\"", &self::secret()[..16]);
    let (candidates, received) = mpsc::channel(FRAGMENTS);
    let playing = Playing {
        stream,
        session: whep::Session {
            etag: etag.clone(),
            credentials: offer.credentials,
        },
        candidates,
    };
    app.whep.lock().insert(secret.clone(), playing);
    let location = format!("/whep/{stream}/{secret}");
    let keeper = player::Keeper {
        line,
        link: placed.link,
        candidates: received,
        secret,
        players: Arc::clone(&app.whep),
        place,
    };
    tokio::spawn(keeper.run(app.lifetime));

    let mut response = (StatusCode::CREATED, answer).into_response();
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(whep::SDP_TYPE));
    out.insert(
        "accept-patch",
        HeaderValue::from_static(trickle::MEDIA_TYPE),
    );
    for (name, value) in [(LOCATION, location), (ETAG, etag)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            out.insert(name, value);
        }
    }
    for link in links {
        if let Ok(link) = HeaderValue::try_from(link) {
            out.append(LINK, link);
        }
    }
    Ok(response)
}

async fn patch(
    app: &App,
    secret: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = read(body)?;
    let (session, sender) = match app.whep.lock().get(secret) {
        Some(playing) => (playing.session.clone(), playing.candidates.clone()),
        None => return Err(Refusal::no_session()),
    };
    let kind = text_of(headers, CONTENT_TYPE);
    let candidates = session.trickle(kind, text_of(headers, IF_MATCH), &body)?;
    if sender.send(candidates).await.is_err() {
        return Err(Refusal::no_session());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The state of a stream that this tracker knows.
async fn known(app: &App, stream: StreamId) -> Result<StreamState, Refusal> {
    let summary = app.core.ask(move |core| core.stream(&stream)).await;
    let summary = summary.map_err(|stopped| Refusal::new(503, stopped.to_string()))?;
    summary
        .map(|summary| summary.status.state)
        .ok_or_else(|| Refusal::new(404, "this tracker knows no such stream"))
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(413, "the body is too large"),
        status => Refusal::new(status.as_u16(), "the body could not be read"),
    })
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What the player calls itself.
fn agent(headers: &HeaderMap) -> String {
    let mut agent = text_of(headers, USER_AGENT).unwrap_or("WHEP").to_owned();
    agent.truncate(agent.floor_char_boundary(MAX_AGENT));
    agent
}

/// 200 random bits, so that nobody ends another's session.
fn secret() -> String {
    let bytes: [u8; 25] = rand::random();
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

/// The answer to a CORS preflight, and to who asks what can be asked (sections 4.2.8 and 4.3).
fn options(methods: &'static str) -> Response {
    let headers = [
        (ALLOW, methods),
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, If-Match",
        ),
        (ACCESS_CONTROL_MAX_AGE, "86400"),
        (HeaderName::from_static("accept-post"), whep::SDP_TYPE),
    ];
    (StatusCode::OK, headers).into_response()
}

fn not_allowed(methods: &'static str) -> Response {
    let text = format!("this address takes {methods}");
    let mut response = sentence(StatusCode::METHOD_NOT_ALLOWED, text);
    let allow = HeaderValue::from_static(methods);
    response.headers_mut().insert(ALLOW, allow);
    response
}

fn refuse(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = sentence(status, refusal.sentence);
    if let Some(seconds) = refusal.retry_after {
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}
