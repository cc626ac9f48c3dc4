//! Takes TCP connections, with TLS or without, and serves HTTP/1.1 on them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use banyan_http::admission::{Admission, Refused};
use banyan_http::connections::{accept, serve};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::caller::{Connection, Trust};
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;
use crate::tls::Certificates;

/// Longest time a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

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
        loop {
            let (stream, peer) = tokio::select! {
                () = self.lifetime.ended() => return,
                accepted = accept(&listener) => accepted,
            };
            self.take(stream, peer);
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
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
        let ended = self.lifetime.ended();
        if let Err(error) = serve(stream, self.routes, connection, ended).await {
            tracing::debug!(%peer, %error, "HTTP connection failed");
        }
    }
}
