//! HTTP/1.1 connections to a tracker.

use std::net::SocketAddr;

use anyhow::Context;
use axum::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;

use crate::authorities::client_config;

/// A web server whose name has been looked up.
pub(crate) struct Server {
    host: String,
    authority: String,
    addr: SocketAddr,
    tls: Option<TlsConnector>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("its name cannot be in a certificate")]
    Name,
}

impl Server {
    /// The server of a URL.
    ///
    /// # Errors
    /// When its host has no address.
    pub(crate) async fn of(url: &Url) -> anyhow::Result<Self> {
        let host = url.host_str().context("the link names no host")?;
        let port = url.port_or_known_default().context("no port")?;
        let bare = host.trim_matches(['[', ']']).to_owned();
        let addr = tokio::net::lookup_host((bare.as_str(), port))
            .await
            .with_context(|| format!("looking {host} up"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        Ok(Self {
            host: bare,
            authority: url[url::Position::BeforeHost..url::Position::AfterPort].to_owned(),
            addr,
            tls: (url.scheme() == "https").then(|| TlsConnector::from(client_config())),
        })
    }

    /// Its address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What the `Host` field of a request to it says.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When there is none, or no TLS on it where the URL asks for it.
    pub(crate) async fn connect(&self) -> Result<SendRequest<Body>, ConnectError> {
        let stream = TcpStream::connect(self.addr).await?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone());
                let name = name.map_err(|_| ConnectError::Name)?;
                Box::new(tls.connect(name, stream).await?)
            }
            None => Box::new(stream),
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A TCP or TLS connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
