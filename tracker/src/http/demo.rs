//! `POST /api/demo/kill`, which exists in a demonstration alone.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use banyan::id::NodeId;
use serde::Deserialize;

use super::App;
use crate::caller::{Connection, Trust, host_of};
use crate::demo::Demo;

pub(super) fn router(demo: Demo) -> Router<App> {
    Router::new().route(
        "/api/demo/kill",
        post(async |state, connection, headers, body| {
            kill(demo, state, connection, headers, body).await
        }),
    )
}

async fn kill(
    demo: Demo,
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    #[derive(Deserialize)]
    struct Body {
        node: NodeId,
    }
    let refuse = |status, text: &str| super::sentence(status, text.to_owned());
    if !is_own_page(&app.trust, &connection, &headers) {
        let text = "only the watch page of this demonstration may ask for that";
        return refuse(StatusCode::FORBIDDEN, text);
    }
    // What a form of another site cannot send.
    if headers
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind != "application/json")
    {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json");
    }
    let Ok(Body { node }) = serde_json::from_slice(&body) else {
        return refuse(StatusCode::BAD_REQUEST, "name a node: {\"node\":\"...\"}");
    };
    match demo.kill(node).await {
        true => StatusCode::NO_CONTENT.into_response(),
        false => refuse(
            StatusCode::NOT_FOUND,
            "this is no relay of the demonstration",
        ),
    }
}

/// Whether a page of this tracker asks. A browser always says of which site a page is that posts.
fn is_own_page(trust: &Trust, connection: &Connection, headers: &HeaderMap) -> bool {
    let Some(authority) = trust.authority(connection, headers) else {
        return false;
    };
    // A name that somebody else has made point here is of their site.
    let host = host_of(&authority);
    let named = (trust.public_url.as_ref()).is_some_and(|url| url.authority() == authority);
    if !named && host != "localhost" && host.parse::<IpAddr>().is_err() {
        return false;
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let of = origin.and_then(|origin| {
        let rest = origin.strip_prefix("http://");
        rest.or_else(|| origin.strip_prefix("https://"))
    });
    of.is_some_and(|of| of.eq_ignore_ascii_case(&authority))
        && headers
            .get("sec-fetch-site")
            .is_none_or(|site| site == "same-origin")
}
