//! The web pages: the files of `web/`, which the binary carries.

mod assets;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use banyan::id::StreamId;

use super::App;
use assets::Asset;

/// Scripts, styles and workers from this tracker alone and never inline; connections also to the
/// other trackers of a stream.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; \
    worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'";

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/", get(|headers| page("index.html", headers)))
        .route("/broadcast", get(|headers| page("broadcast.html", headers)))
        .route("/watch/{id}", get(watch))
        .route("/embed/{id}", get(embed))
        .fallback(other)
}

async fn page(name: &'static str, headers: HeaderMap) -> Response {
    match assets::find(name) {
        Some(asset) => serve(asset, &headers, Framing::Forbidden),
        None => not_found(),
    }
}

async fn watch(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let page = stream_page(&id, "watch.html", &headers, Framing::Forbidden);
    match (app.demo, assets::find("watch.html")) {
        (Some(_), Some(asset)) if page.status() != StatusCode::NOT_FOUND => demonstrate(asset),
        _ => page,
    }
}

/// The watch page of a demonstration, which is marked for its scripts.
fn demonstrate(asset: &Asset) -> Response {
    let text = String::from_utf8_lossy(asset.body);
    let mut response = text
        .replacen("<html ", "<html data-demo ", 1)
        .into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    protect(headers, Framing::Forbidden);
    response
}

async fn embed(Path(id): Path<String>, headers: HeaderMap) -> Response {
    stream_page(&id, "embed.html", &headers, Framing::Allowed)
}

/// Whether another site may show a page inside its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Allowed,
    Forbidden,
}

fn stream_page(id: &str, name: &str, headers: &HeaderMap, framing: Framing) -> Response {
    if id.parse::<StreamId>().is_err() {
        return not_found();
    }
    match assets::find(name).or_else(|| assets::find("watch.html")) {
        Some(asset) => serve(asset, headers, framing),
        None => not_found(),
    }
}

async fn other(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return super::sentence(
            StatusCode::METHOD_NOT_ALLOWED,
            "this address takes GET requests only",
        );
    }
    let name = request.uri().path().trim_start_matches('/');
    match assets::find(name) {
        // Pages have addresses of their own.
        Some(asset) if !name.ends_with(".html") => {
            serve(asset, request.headers(), Framing::Forbidden)
        }
        _ => not_found(),
    }
}

fn serve(asset: &'static Asset, request: &HeaderMap, framing: Framing) -> Response {
    let unchanged = request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches!(tag.trim().trim_start_matches("W/"), t if t == asset.etag || t == "*"));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        asset.body.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::try_from(&asset.etag) {
        headers.insert(ETAG, etag);
    }
    // A page that embeds the player may load it as a module from here.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    protect(headers, framing);
    response
}

fn protect(headers: &mut HeaderMap, framing: Framing) {
    let ancestors = match framing {
        Framing::Allowed => "*",
        Framing::Forbidden => "'none'",
    };
    let policy = format!("{CONTENT_POLICY}; frame-ancestors {ancestors}");
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    let fixed: [(HeaderName, &'static str); 2] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The page that says so; its plain words cover links that were cut short as well.
fn not_found() -> Response {
    let mut response = match assets::find("404.html") {
        // Without the request's If-None-Match: an error is never "not modified".
        Some(asset) => serve(asset, &HeaderMap::new(), Framing::Forbidden),
        None => super::sentence(StatusCode::NOT_FOUND, "there is nothing at this address"),
    };
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
