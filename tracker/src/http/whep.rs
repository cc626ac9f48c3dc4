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
use axum::http::header::{CONTENT_TYPE, IF_MATCH, USER_AGENT};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use banyan::id::StreamId;
use banyan::limits::MAX_AGENT;
use banyan::wire::tracker::{ClientMessage, StreamState};
use banyan::wire::whep::{self, Offer, Refusal};
use banyan_http::admission::Refused;
use banyan_http::resource::{
    ENDPOINT_METHODS, SESSION_METHODS, created, endpoint_options, entity_tag, not_allowed, open,
    read, refuse, secret, session_options, text_of,
};
use tokio::sync::mpsc;

use super::{App, stopping};
use crate::caller::Connection;

/// Fragments of one player that wait for the core.
const FRAGMENTS: usize = 16;

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

async fn endpoint(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    Path(stream): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if method == Method::OPTIONS {
        return endpoint_options();
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
        return session_options();
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

    let (secret, etag) = (secret(), entity_tag());
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
    // Relative to the request, so that it holds behind a proxy that puts a path in front.
    let location = format!("{stream}/{secret}");
    let keeper = player::Keeper {
        line,
        link: placed.link,
        candidates: received,
        secret,
        players: Arc::clone(&app.whep),
        place,
    };
    tokio::spawn(keeper.run(app.lifetime));

    Ok(created(answer, location, etag, links))
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

/// What the player calls itself.
fn agent(headers: &HeaderMap) -> String {
    let mut agent = text_of(headers, USER_AGENT).unwrap_or("WHEP").to_owned();
    agent.truncate(agent.floor_char_boundary(MAX_AGENT));
    agent
}
