//! Takes TCP connections and serves HTTP/1.1 on them, within limits.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::admission::{Admission, Refused};
use crate::caller::{Connection, Trust};
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;
use crate::tls::Certificates;

/// Longest time a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time a client may take for the head of a request, and between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Most header fields of a request.
const MAX_HEADERS: usize = 64;

/// Pause after the system refused a connection, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time a request that is being answered has left when the tracker stops.
const STOP_GRACE: Duration = Duration::from_millis(1000);

/// What it takes to serve connections.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) tls: Option<Certificates>,
    pub(crate) routes: Router,
    pub(crate) admission: Arc<Admission>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifetime: Lifetime,
}

impl Acceptor {
    /// Serves `listener` until the tracker stops.
    pub(crate) async fn run(mut self, listener: TcpListener) {
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                () = self.lifetime.ended() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    failing = false;
                    self.take(stream, peer);
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

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let exempt = self.trust.is_proxy(peer.ip());
        let permit = match self.admission.enter(peer.ip(), exempt) {
            Ok(permit) => Arc::new(permit),
            Err(refused) => {
                match refused {
                    Refused::Total => self.metrics.refused_total.add(1),
                    Refused::Address => self.metrics.refused_address.add(1),
                }
                tracing::debug!(%peer, %refused, "connection refused");
                return;
            }
        };
        let Ok(local) = stream.local_addr() else {
            return;
        };
        self.metrics.connections_accepted.add(1);
        // Signalling is many small messages, each waited for.
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            peer,
            local,
            permit,
        };
        let acceptor = self.clone();
        tokio::spawn(async move {
            match acceptor.tls.as_ref().map(Certificates::acceptor) {
                None => acceptor.serve(stream, connection).await,
                Some(tls) => {
                    let mut lifetime = acceptor.lifetime.clone();
                    let handshake = tokio::select! {
                        () = lifetime.ended() => return,
                        handshake = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => handshake,
                    };
                    match handshake {
                        Ok(Ok(stream)) => acceptor.serve(stream, connection).await,
                        Ok(Err(error)) => {
                            acceptor.metrics.tls_failures.add(1);
                            tracing::debug!(%peer, %error, "TLS handshake failed");
                        }
                        Err(_) => {
                            acceptor.metrics.tls_failures.add(1);
                            tracing::debug!(%peer, "TLS handshake took too long");
                        }
                    }
                }
            }
        });
    }

    async fn serve<S>(mut self, stream: S, connection: Connection)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = connection.peer;
        let routes = TowerToHyperService::new(self.routes);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            routes.call(request)
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut serving = pin!(serving);
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = self.lifetime.ended() => {
                serving.as_mut().graceful_shutdown();
                match timeout(STOP_GRACE, serving).await {
                    Ok(served) => served,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "HTTP connection failed");
        }
    }
}
