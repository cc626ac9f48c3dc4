//! `/whep`: standard players on or near this machine (draft-ietf-wish-whep-03). A player becomes a
//! child of this very node and takes one of its slots.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use banyan::id::{LinkId, LinkKey, NodeId};
use banyan::node::{PlayerNews, PlayerRequest};
use banyan::wire::whep::{self, Offer, Refusal};
use banyan_http::resource::{
    ENDPOINT_METHODS, SESSION_METHODS, created, endpoint_options, entity_tag, not_allowed, open,
    read, refuse, secret, session_options, text_of,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::driver::Command;
use crate::driver::players::PlayerCommand;

/// Time the media thread has for an answer; it needs milliseconds.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Time for the candidates that follow it: what a STUN server tells.
const CANDIDATES_WAIT: Duration = Duration::from_millis(300);

/// News of one player that wait for its request: an answer, and the addresses of a host with many
/// interfaces.
const NEWS: usize = 64;

/// The door for players.
#[derive(Debug, Clone)]
pub struct Endpoint {
    commands: mpsc::Sender<Command>,
    /// The players that were let in, by their secret.
    players: Arc<Mutex<HashMap<String, Playing>>>,
}

/// One player that was let in.
#[derive(Debug)]
struct Playing {
    session: whep::Session,
    link: LinkKey,
}

/// What this node gives a player.
struct Answer {
    sdp: String,
    candidates: Vec<String>,
}

impl Endpoint {
    /// A door to the node behind these commands.
    pub fn new(commands: mpsc::Sender<Command>) -> Self {
        Self {
            commands,
            players: Arc::default(),
        }
    }

    fn players(&self) -> MutexGuard<'_, HashMap<String, Playing>> {
        // No code panics while it holds the lock.
        self.players.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(
        &self,
        link: LinkKey,
        request: PlayerRequest,
        news: Option<mpsc::Sender<PlayerNews>>,
    ) -> Result<(), Refusal> {
        let command = Command::Player(PlayerCommand {
            link,
            request,
            news,
        });
        let sent = self.commands.send(command).await;
        sent.map_err(|_| Refusal::new(503, "this node is stopping"))
    }
}

/// The routes of `/whep`.
pub fn routes(endpoint: Endpoint) -> Router {
    Router::new()
        .route("/whep", any(door))
        .route("/whep/{secret}", any(session))
        .layer(axum::middleware::map_response(open))
        .with_state(endpoint)
}

async fn door(
    State(endpoint): State<Endpoint>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match method {
        Method::POST => post(endpoint, &headers, body).await.unwrap_or_else(refuse),
        Method::OPTIONS => endpoint_options(),
        // The draft has no use for them, and wants them to succeed (section 4.1).
        Method::GET | Method::HEAD => StatusCode::NO_CONTENT.into_response(),
        _ => not_allowed(ENDPOINT_METHODS),
    }
}

async fn session(
    State(endpoint): State<Endpoint>,
    Path(secret): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if method == Method::OPTIONS {
        return session_options();
    }
    let known = endpoint
        .players()
        .get(&secret)
        .map(|playing| (playing.session.clone(), playing.link));
    let Some((session, link)) = known else {
        return refuse(Refusal::no_session());
    };
    let answered = match method {
        Method::PATCH => patch(&endpoint, &session, link, &headers, body).await,
        Method::DELETE => {
            // Of two requests at once, one ends the session.
            if endpoint.players().remove(&secret).is_none() {
                return refuse(Refusal::no_session());
            }
            let asked = endpoint.ask(link, PlayerRequest::Leave, None).await;
            asked.map(|()| StatusCode::OK.into_response())
        }
        Method::GET | Method::HEAD => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Ok(not_allowed(SESSION_METHODS)),
    };
    answered.unwrap_or_else(refuse)
}

async fn post(
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let offer = Offer::read(text_of(headers, CONTENT_TYPE), &read(body)?)?;
    let link = LinkKey {
        child: NodeId::random(&mut rand::rng()),
        link: LinkId(1),
    };
    let (sender, mut news) = mpsc::channel(NEWS);
    let play = PlayerRequest::Play { offer: offer.sdp };
    endpoint.ask(link, play, Some(sender)).await?;
    let answer = answer(&mut news).await?;
    let (secret, etag) = (secret(), entity_tag());
    let playing = Playing {
        session: whep::Session {
            etag: etag.clone(),
            credentials: offer.credentials,
        },
        link,
    };
    endpoint.players().insert(secret.clone(), playing);
    // Relative to the request, so that it holds behind a proxy that puts a path in front.
    let location = format!("whep/{secret}");
    tokio::spawn(async move {
        // The last word is that it ended.
        while news.recv().await.is_some_and(|n| n != PlayerNews::Ended) {}
        endpoint.players().remove(&secret);
    });

    let sdp = whep::with_candidates(&answer.sdp, &answer.candidates);
    Ok(created(sdp, location, etag, Vec::new()))
}

/// Waits for the answer, and shortly for the candidates that belong to it.
async fn answer(news: &mut mpsc::Receiver<PlayerNews>) -> Result<Answer, Refusal> {
    let mut answer = None;
    let mut until = Instant::now() + ANSWER_WAIT;
    while let Ok(next) = timeout_at(until, news.recv()).await {
        match next {
            Some(PlayerNews::Answer { sdp }) => {
                until = Instant::now() + CANDIDATES_WAIT;
                answer = Some(Answer {
                    sdp,
                    candidates: Vec::new(),
                });
            }
            Some(PlayerNews::Candidate { candidate }) => match &mut answer {
                Some(_) if candidate.is_empty() => break,
                Some(answer) => answer.candidates.push(candidate),
                None => {}
            },
            Some(PlayerNews::Refused(reason)) => return Err(reason.into()),
            Some(PlayerNews::Ended) | None => return Err(Refusal::offer()),
        }
    }
    answer.ok_or_else(|| Refusal::for_now(503, "this node is busy", whep::RETRY_FULL))
}

async fn patch(
    endpoint: &Endpoint,
    session: &whep::Session,
    link: LinkKey,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let kind = text_of(headers, CONTENT_TYPE);
    let tag = text_of(headers, IF_MATCH);
    for candidate in session.trickle(kind, tag, &read(body)?)? {
        let request = PlayerRequest::Candidate { candidate };
        endpoint.ask(link, request, None).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
