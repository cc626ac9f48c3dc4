//! TCP connections, and HTTP/1.1 on them within limits.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::answer::sentence;

/// Longest time a client may take for the head of a request, and between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest time from the head of a request to its answer. A WHEP player waits longest for it: for
/// two parents to say nothing, with a body that takes its time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Most header fields of a request.
const MAX_HEADERS: usize = 64;

/// Pause after the system refused a connection, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time a request that is being answered has left when its server stops.
const STOP_GRACE: Duration = Duration::from_millis(1000);

/// How long is waited for a client.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    request: Duration,
}

const PATIENCE: Patience = Patience {
    head: HEADER_TIMEOUT,
    request: REQUEST_TIMEOUT,
};

/// The next connection and its other end, IPv4 in its own form. Waits while the system gives none.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and waited for.
                let _ = stream.set_nodelay(true);
                return (
                    stream,
                    SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                );
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot take connections");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves `routes` on one connection until it closes, breaks a limit, or `ended` comes. Each
/// request carries `tag` as an extension.
///
/// # Errors
/// When the connection fails, or its client is too slow.
pub async fn serve<S, T>(
    stream: S,
    routes: Router,
    tag: T,
    ended: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    serve_with(PATIENCE, stream, routes, tag, ended).await
}

async fn serve_with<S, T>(
    patience: Patience,
    stream: S,
    routes: Router,
    tag: T,
    ended: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(tag.clone());
        let answering = routes.call(request);
        async move {
            match timeout(patience.request, answering).await {
                Ok(answered) => answered,
                Err(_) => Ok(too_slow()),
            }
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    tokio::select! {
        served = serving.as_mut() => served,
        () = ended => {
            serving.as_mut().graceful_shutdown();
            timeout(STOP_GRACE, serving).await.unwrap_or(Ok(()))
        }
    }
}

/// What remains of the body is not worth waiting for.
fn too_slow() -> Response<Body> {
    let text = "the request took too long";
    let mut response = sentence(StatusCode::REQUEST_TIMEOUT, text);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const SHORT: Patience = Patience {
        head: Duration::from_millis(200),
        request: Duration::from_millis(500),
    };

    /// What a client gets that sends `bytes` and no more, and after how long.
    async fn answer_to(bytes: &[u8]) -> (String, Duration) {
        let routes = Router::new().route("/", post(|body: Bytes| async move { body }));
        let (mut client, server): (DuplexStream, DuplexStream) = duplex(64 * 1024);
        tokio::spawn(serve_with(
            SHORT,
            server,
            routes,
            (),
            std::future::pending(),
        ));
        let started = Instant::now();
        client.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        (answer, started.elapsed())
    }

    #[tokio::test]
    async fn a_slow_client_is_cut_off() {
        for head in ["", "POST / HTTP/1.1\r\nHost: x\r\n"] {
            let (answer, after) = answer_to(head.as_bytes()).await;
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
                "{answer}"
            );
            assert!(after >= SHORT.head, "{after:?}");
        }
        let begun = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel";
        let (answer, after) = answer_to(begun.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\nthe request took too long\n"),
            "{answer}"
        );
        assert!(after >= SHORT.request, "{after:?}");
    }

    #[tokio::test]
    async fn a_large_head_is_refused() {
        let field = format!("x: {}\r\n", "y".repeat(2 * MAX_HEAD));
        for fields in [field, "x: y\r\n".repeat(MAX_HEADERS + 1)] {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            let (answer, _) = answer_to(head.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_whole_request_is_answered_and_the_connection_kept() {
        let whole = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        let (answer, after) = answer_to(whole.repeat(2).as_bytes()).await;
        assert_eq!(answer.matches("\r\n\r\nhello").count(), 2, "{answer}");
        assert!(after >= SHORT.head, "{after:?}");
    }
}
