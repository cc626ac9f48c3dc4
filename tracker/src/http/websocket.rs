//! `GET /ws`: from a request to a session (RFC 6455 section 4.2).
//!
//! Any origin may connect: whatever a page can learn or do here, any program can too, and a
//! stream has to be embeddable anywhere. Nothing depends on cookies.

use axum::extract::{Extension, Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use banyan::wire::codec::Encoding;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{App, sentence, stopping};
use crate::caller::Connection;
use crate::session::{BINCODE_PROTOCOL, JSON_PROTOCOL, Session, websocket_config};

pub(super) async fn upgrade(
    State(app): State<App>,
    Extension(connection): Extension<Connection>,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    let accept = match accept_key(headers) {
        Ok(accept) => accept,
        Err(response) => return *response,
    };
    let Some((encoding, protocol)) = choose_protocol(headers) else {
        return sentence(
            StatusCode::BAD_REQUEST,
            format!(
                "this tracker speaks the WebSocket subprotocols {JSON_PROTOCOL} and \
                 {BINCODE_PROTOCOL}; offer one of them"
            ),
        );
    };
    let Some(authority) = app.trust.authority(&connection, headers) else {
        return sentence(StatusCode::BAD_REQUEST, "the Host header is missing");
    };
    let peer = connection.peer.ip();
    let observed = app.trust.observed(peer, headers);
    let behind_proxy = match (observed != peer)
        .then(|| app.admission.enter_behind_proxy(observed))
        .transpose()
    {
        Ok(permit) => permit,
        Err(refused) => {
            app.metrics.refused_address.add(1);
            return sentence(StatusCode::TOO_MANY_REQUESTS, refused.to_string());
        }
    };
    let ice_servers = app.ice.servers(&authority);
    let upgraded = hyper::upgrade::on(&mut request);
    let Ok(line) = app.core.connect(observed, authority, ice_servers).await else {
        return stopping();
    };
    tokio::spawn(async move {
        // The places this session takes are free again when it ends.
        let _places = (connection.permit, behind_proxy);
        let Ok(stream) = upgraded.await else {
            return;
        };
        let socket = WebSocketStream::from_raw_socket(
            TokioIo::new(stream),
            Role::Server,
            Some(websocket_config()),
        )
        .await;
        let session = Session {
            socket,
            encoding,
            line,
            metrics: app.metrics,
        };
        tracing::debug!(%observed, ?encoding, "session opened");
        session.run(app.lifetime).await;
        tracing::debug!(%observed, "session closed");
    });
    let headers = [
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
        (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Checks that the request is a WebSocket handshake, and answers its key.
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Box<Response>> {
    if !has_token(headers, CONNECTION, "upgrade") || !has_token(headers, UPGRADE, "websocket") {
        let mut response = sentence(
            StatusCode::UPGRADE_REQUIRED,
            "this address is for WebSocket connections",
        );
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        return Err(Box::new(response));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes)
        != Some(b"13")
    {
        let mut response = sentence(
            StatusCode::UPGRADE_REQUIRED,
            "this tracker speaks WebSocket version 13",
        );
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(Box::new(response));
    }
    headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| key.len() == 24)
        .and_then(|key| HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok())
        .ok_or_else(|| {
            Box::new(sentence(
                StatusCode::BAD_REQUEST,
                "the Sec-WebSocket-Key header is missing or malformed",
            ))
        })
}

/// The first subprotocol in the client's order that is known here.
fn choose_protocol(headers: &HeaderMap) -> Option<(Encoding, &'static str)> {
    tokens(headers, SEC_WEBSOCKET_PROTOCOL).find_map(|name| match name {
        JSON_PROTOCOL => Some((Encoding::Json, JSON_PROTOCOL)),
        BINCODE_PROTOCOL => Some((Encoding::Bincode, BINCODE_PROTOCOL)),
        _ => None,
    })
}

fn has_token(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}
