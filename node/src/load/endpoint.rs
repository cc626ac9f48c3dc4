//! The WHEP endpoint the players talk to, over HTTP/1.1.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use banyan::id::StreamId;
use hyper::header::{CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use url::Url;

use crate::http_client::Server;

/// Time for one request and its answer: placing a viewer takes a round trip to its parent.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Largest answer read: a session description has a few kilobytes.
const MAX_ANSWER: usize = 64 << 10;

/// Longest piece of an error's text that is shown.
const MAX_REASON: usize = 200;

/// Where players ask for the stream.
pub struct Endpoint {
    url: Url,
    server: Server,
}

/// What came of asking.
#[derive(Debug)]
pub struct Placed {
    /// The answer's session description.
    pub answer: String,
    /// The session, to be deleted in the end.
    pub resource: Option<Url>,
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No connection, or it broke.
    #[error("the tracker did not answer: {0}")]
    Unreachable(String),
    /// The tracker said no.
    #[error("the tracker answered {status}{reason}")]
    Refused {
        /// Its status code.
        status: StatusCode,
        /// What it said, with a leading colon, or nothing.
        reason: String,
    },
}

impl Endpoint {
    /// The endpoint of a stream at a tracker: `TRACKER/whep/STREAM`.
    ///
    /// # Errors
    /// When the tracker's name has no address.
    pub async fn of_stream(tracker: &Url, stream: &StreamId) -> anyhow::Result<Self> {
        let url = tracker
            .join(&format!("whep/{stream}"))
            .context("the tracker's address")?;
        Self::at(url).await
    }

    /// The endpoint with this URL.
    ///
    /// # Errors
    /// When its host has no address.
    pub async fn at(url: Url) -> anyhow::Result<Self> {
        let server = Server::of(&url).await?;
        Ok(Self { url, server })
    }

    /// The endpoint's TCP port, when it is on this machine.
    pub fn local_port(&self) -> Option<u16> {
        // Only an own address can be bound.
        let addr = self.server.addr();
        UdpSocket::bind((addr.ip(), 0)).ok()?;
        Some(addr.port())
    }

    /// The addresses that players open their sockets on: the one this machine would send to the
    /// tracker from, and those of every interface where that is a loopback address, because the
    /// parent may be bound to either.
    pub fn media_addrs(&self) -> Vec<SocketAddr> {
        let addr = self.server.addr();
        let any: IpAddr = match addr {
            SocketAddr::V4(_) => [0, 0, 0, 0].into(),
            SocketAddr::V6(_) => [0_u16; 8].into(),
        };
        let from = UdpSocket::bind((any, 0)).and_then(|socket| {
            // Picks a route and sends nothing.
            socket.connect(addr)?;
            socket.local_addr()
        });
        match from {
            Ok(from) if from.ip().is_loopback() => vec![(from.ip(), 0).into(), (any, 0).into()],
            Ok(from) => vec![(from.ip(), 0).into()],
            Err(_) => vec![(any, 0).into()],
        }
    }

    /// Posts an offer.
    ///
    /// # Errors
    /// When no answer came, or a refusal.
    pub async fn post(&self, offer: String) -> Result<Placed, RequestError> {
        let response = self.request(Method::POST, &self.url, offer).await?;
        let location = response.headers().get(LOCATION).cloned();
        let resource = location.and_then(|location| self.url.join(location.to_str().ok()?).ok());
        let answer = body(response).await?;
        Ok(Placed { answer, resource })
    }

    /// Deletes a session.
    ///
    /// # Errors
    /// When no answer came, or a refusal.
    pub async fn delete(&self, resource: &Url) -> Result<(), RequestError> {
        self.request(Method::DELETE, resource, String::new())
            .await
            .map(drop)
    }

    async fn request(
        &self,
        method: Method,
        url: &Url,
        body: String,
    ) -> Result<Response<Body>, RequestError> {
        tokio::time::timeout(REQUEST_TIME, self.exchange(method, url, body))
            .await
            .map_err(|_| unreachable(format!("nothing came within {REQUEST_TIME:?}")))?
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        text: String,
    ) -> Result<Response<Body>, RequestError> {
        let mut sender = self.server.connect().await.map_err(unreachable)?;
        let mut request = Request::builder()
            .method(method)
            .uri(&url[url::Position::BeforePath..])
            .header(HOST, self.server.authority());
        if !text.is_empty() {
            request = request.header(CONTENT_TYPE, "application/sdp");
        }
        let request = request.body(Body::from(text)).map_err(unreachable)?;
        let response = sender.send_request(request).await.map_err(unreachable)?;
        let response = response.map(Body::new);
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|seconds| Some(format!(" (again in {} s)", seconds.to_str().ok()?)));
        let said = body(response).await.unwrap_or_default();
        let mut reason = String::new();
        if !said.trim().is_empty() {
            let line = said.trim().lines().next().unwrap_or_default();
            reason = format!(": {}", line.chars().take(MAX_REASON).collect::<String>());
        }
        reason += &retry.unwrap_or_default();
        Err(RequestError::Refused { status, reason })
    }
}

async fn body(response: Response<Body>) -> Result<String, RequestError> {
    let bytes = axum::body::to_bytes(response.into_body(), MAX_ANSWER)
        .await
        .map_err(unreachable)?;
    String::from_utf8(bytes.into()).map_err(unreachable)
}

fn unreachable(error: impl std::fmt::Display) -> RequestError {
    RequestError::Unreachable(error.to_string())
}
