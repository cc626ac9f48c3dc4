//! What the tracker serves over HTTP.

mod api;
mod demo;
mod fresh;
mod health;
mod metrics;
mod pages;
mod websocket;
mod whep;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use banyan_http::answer::sentence;
use banyan_http::responses::Responses;
use banyan_operator::process::Process;
use tokio::task::AbortHandle;

use crate::caller::Trust;
use crate::core::CoreHandle;
use crate::demo::Demo;
use crate::ice::IceOffer;
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;
use banyan_http::admission::Admission;
use fresh::Fresh;

/// Largest request body.
const MAX_BODY: usize = 64 * 1024;

/// What every request may need.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) core: CoreHandle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) ice: Arc<IceOffer>,
    pub(crate) lifetime: Lifetime,
    pub(crate) answers: Arc<Answers>,
    pub(crate) whep: Arc<whep::Players>,
    pub(crate) process: Process,
    /// Whether this is a demonstration.
    pub(crate) demo: Option<Demo>,
    /// The task that answers STUN, if there is one.
    pub(crate) stun: Option<AbortHandle>,
}

/// Answers that cost the core work in proportion to its streams.
#[derive(Default)]
pub(crate) struct Answers {
    streams: Fresh,
    metrics: Fresh,
}

/// All of it.
pub(crate) fn router(app: App) -> Router {
    let whep_counted = from_fn_with_state(app.metrics.whep.clone(), Responses::count);
    let demo = app.demo.clone().map(demo::router).unwrap_or_default();
    Router::new()
        .route("/ws", get(websocket::upgrade))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .nest("/api", api::router())
        .merge(whep::router().layer(whep_counted))
        .merge(demo)
        .merge(pages::router())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// The tracker's core has ended.
fn stopping() -> Response {
    sentence(
        StatusCode::SERVICE_UNAVAILABLE,
        crate::core::Stopped.to_string(),
    )
}
