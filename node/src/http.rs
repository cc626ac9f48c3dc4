//! The node's HTTP server: one address (`--listen`), a room for each thing it offers.

pub mod health;
pub mod whep;
pub mod whip;

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use banyan::limits::MAX_SDP;
use banyan_http::admission::Admission;
use banyan_http::answer::sentence;
use banyan_http::connections::{accept, serve};
use banyan_http::responses::Responses;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::health::Figures;

/// Ports tried where the user named none: as many broadcasts as one machine carries.
const TRIES: u16 = 32;

/// Most connections in all: a publisher, a monitor and the players of a well connected node, many
/// times over, and few enough for 1024 file descriptors.
const MAX_CONNECTIONS: usize = 256;

/// Most connections from one address: a page asks over six at once.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;

/// Where the server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Here or not at all: the user said so.
    Exactly(SocketAddr),
    /// Here, or at the first port after it that is free.
    From(SocketAddr),
}

/// What the server offers.
pub struct Rooms {
    figures: watch::Receiver<Figures>,
    whep: whep::Endpoint,
    whip: Option<whip::Endpoint>,
}

/// What the doors for media have answered.
#[derive(Debug, Clone, Default)]
struct Doors {
    whep: Responses,
    whip: Responses,
}

impl Rooms {
    /// The node's figures, its door for players, and the one for publishers at a root that waits
    /// for them.
    pub fn new(
        figures: watch::Receiver<Figures>,
        whep: whep::Endpoint,
        whip: Option<whip::Endpoint>,
    ) -> Self {
        Self {
            figures,
            whep,
            whip,
        }
    }

    fn router(self) -> Router {
        let doors = Doors::default();
        let counted = |routes: Router, responses: &Responses| {
            routes.layer(from_fn_with_state(responses.clone(), Responses::count))
        };
        let mut router = Router::new()
            .merge(health::routes(self.figures, doors.clone()))
            .merge(counted(whep::routes(self.whep), &doors.whep));
        if let Some(endpoint) = self.whip {
            router = router.merge(counted(whip::routes(endpoint), &doors.whip));
        }
        router
            .fallback(nothing_here)
            .layer(DefaultBodyLimit::max(MAX_SDP))
    }
}

/// An address that is taken and not served yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// When it cannot be had, naming it.
    pub async fn bind(listen: Listen) -> anyhow::Result<Self> {
        let listener = match listen {
            Listen::Exactly(addr) => TcpListener::bind(addr)
                .await
                .with_context(|| format!("--listen {addr}: the address cannot be had"))?,
            Listen::From(first) => first_free(first).await?,
        };
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves these rooms until the process ends.
    pub fn serve(self, rooms: Rooms) {
        tracing::info!("health, metrics and WHEP at http://{}", self.addr);
        let routes = rooms.router();
        tokio::spawn(take_all(self.listener, routes));
    }
}

async fn take_all(listener: TcpListener, routes: Router) {
    let admission = Admission::of_every_address(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS);
    loop {
        let (stream, peer) = accept(&listener).await;
        let permit = match admission.enter(peer.ip(), false) {
            Ok(permit) => permit,
            Err(refused) => {
                tracing::debug!(%peer, %refused, "HTTP connection refused");
                continue;
            }
        };
        let routes = routes.clone();
        tokio::spawn(async move {
            let _place = permit;
            // A request that is being answered ends with the process.
            let ended = std::future::pending();
            if let Err(error) = serve(stream, routes, (), ended).await {
                tracing::debug!(%peer, %error, "HTTP connection failed");
            }
        });
    }
}

async fn first_free(first: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut last = None;
    for port in (first.port()..=u16::MAX).take(TRIES.into()) {
        match TcpListener::bind(SocketAddr::new(first.ip(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(error).with_context(|| format!("no port from {first} on is free; name one with --listen"))
}

async fn nothing_here() -> Response {
    sentence(StatusCode::NOT_FOUND, "there is nothing here")
}
