//! `GET /healthz`: the process lives. `GET /readyz`: it can be used, so a balancer may send people
//! here.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::task::AbortHandle;

use super::{App, sentence};

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(app): State<App>) -> Response {
    let reason = if app.lifetime.is_over() {
        "this tracker is stopping"
    } else if app.stun.as_ref().is_some_and(AbortHandle::is_finished) {
        "STUN has stopped"
    } else if app.core.ask(|_| ()).await.is_err() {
        "the tracker's core has stopped"
    } else {
        return "ready\n".into_response();
    };
    sentence(StatusCode::SERVICE_UNAVAILABLE, reason)
}
