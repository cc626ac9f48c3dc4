//! The JSON API: which streams there are, and how their trees stand. Open to pages of any origin.

use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use banyan::id::{NodeId, StreamId};
use banyan::tracker::{StreamSummary, TreeQuery};
use banyan::wire::announcement::SignedStreamInfo;
use banyan::wire::tracker::{StreamState, TreePeer};
use serde::{Deserialize, Serialize};

use super::{App, stopping};
use crate::core::Core;

/// Most streams the list names, those with the most viewers first.
const MAX_LISTED: usize = 500;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/streams", get(streams))
        .route("/streams/{id}", get(stream))
        .route("/streams/{id}/tree", get(tree))
        .fallback(unknown)
        .layer(middleware::map_response(open))
}

/// For every origin, and never from a cache.
async fn open(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A request that cannot be answered.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        (self.0, Json(Body { error: self.1 })).into_response()
    }
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Response {
    Refusal(status, error.into()).into_response()
}

async fn unknown() -> Response {
    refuse(StatusCode::NOT_FOUND, "the API has nothing at this address")
}

/// A stream as the API shows it.
#[derive(Clone, Serialize)]
struct Stream {
    stream: StreamId,
    title: String,
    state: StreamState,
    viewers: u32,
    waiting: u32,
    /// Seconds since it began to play.
    age: Option<u64>,
}

impl Stream {
    fn new(now: Instant, summary: StreamSummary) -> (Self, Option<SignedStreamInfo>) {
        let status = summary.status;
        let stream = Self {
            stream: status.stream,
            title: status.title,
            state: status.state,
            viewers: status.viewers,
            waiting: status.waiting,
            age: summary
                .started
                .map(|at| now.saturating_duration_since(at).as_secs()),
        };
        (stream, status.info)
    }
}

async fn streams(State(app): State<App>) -> Response {
    #[derive(Serialize)]
    struct Body {
        streams: Vec<Stream>,
    }
    let answered = app
        .answers
        .streams
        .get(async || {
            let streams = app.core.ask(listed).await?;
            Ok(serde_json::to_string(&Body { streams }).unwrap_or_default())
        })
        .await;
    match answered {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => stopping(),
    }
}

fn listed(core: &Core) -> Vec<Stream> {
    let now = Instant::now();
    let mut streams: Vec<Stream> = core
        .streams()
        .filter(|summary| summary.listed && summary.status.state != StreamState::Offline)
        .map(|summary| Stream::new(now, summary).0)
        .collect();
    streams.sort_by_key(|stream| std::cmp::Reverse(stream.viewers));
    streams.truncate(MAX_LISTED);
    streams
}

async fn stream(State(app): State<App>, Path(id): Path<String>) -> Response {
    #[derive(Serialize)]
    struct Body {
        stream: StreamId,
        title: String,
        state: StreamState,
        viewers: u32,
        waiting: u32,
        age: Option<u64>,
        listed: bool,
        info: Option<SignedStreamInfo>,
        bits_per_second: Option<u64>,
        heals: Heals,
    }
    #[derive(Serialize)]
    struct Heals {
        by_standby: u64,
        by_tracker: u64,
    }
    let id = match stream_id(&id) {
        Ok(id) => id,
        Err(refusal) => return refusal.into_response(),
    };
    let Ok(found) = app.core.ask(move |core| core.stream(&id)).await else {
        return stopping();
    };
    let Some(summary) = found else {
        return no_such_stream();
    };
    let StreamSummary {
        listed,
        bits_per_second,
        heals,
        ..
    } = summary;
    let (stream, info) = Stream::new(Instant::now(), summary);
    Json(Body {
        stream: stream.stream,
        title: stream.title,
        state: stream.state,
        viewers: stream.viewers,
        waiting: stream.waiting,
        age: stream.age,
        listed,
        info,
        bits_per_second,
        heals: Heals {
            by_standby: heals.by_standby,
            by_tracker: heals.by_tracker,
        },
    })
    .into_response()
}

/// Which part of a tree.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeParameters {
    /// A peer: its path to the root, its siblings and its children alone.
    around: Option<NodeId>,
    /// Peers at most this deep.
    depth: Option<u16>,
    /// The `next` of the page before.
    after: Option<NodeId>,
}

async fn tree(
    State(app): State<App>,
    Path(id): Path<String>,
    parameters: Result<Query<TreeParameters>, QueryRejection>,
) -> Response {
    #[derive(Serialize)]
    struct Body {
        peers: Vec<TreePeer>,
        total: u32,
        per_depth: Vec<u32>,
        next: Option<NodeId>,
    }
    let id = match stream_id(&id) {
        Ok(id) => id,
        Err(refusal) => return refusal.into_response(),
    };
    let Query(parameters) = match parameters {
        Ok(parameters) => parameters,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let query = TreeQuery {
        around: parameters.around,
        depth: parameters.depth,
        after: parameters.after,
        limit: None,
    };
    let page = app
        .core
        .ask(move |core| core.tree(Instant::now(), &id, &query))
        .await;
    match page {
        Err(_) => stopping(),
        Ok(None) => no_such_stream(),
        Ok(Some(page)) => Json(Body {
            peers: page.peers,
            total: page.total,
            per_depth: page.per_depth,
            next: page.next,
        })
        .into_response(),
    }
}

fn stream_id(text: &str) -> Result<StreamId, Refusal> {
    text.parse()
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("{error}")))
}

fn no_such_stream() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "this tracker does not know the stream",
    )
}
