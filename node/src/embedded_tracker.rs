//! The tracker that runs in a broadcaster's process. The only file that knows the tracker crate.

use std::net::SocketAddr;

use anyhow::Context;
use banyan_tracker::config::StunListen;
use banyan_tracker::{Config, Server};
use url::Url;

use crate::config::EmbeddedTracker as Options;
use crate::invitation;

/// A tracker in this process.
pub struct EmbeddedTracker {
    server: Server,
    url: Url,
    local: Url,
}

impl EmbeddedTracker {
    /// Opens its sockets and starts to serve.
    ///
    /// # Errors
    /// When a port cannot be had, or an option cannot be used.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let ice_servers = (!options.tracker_ice_server.is_empty()).then(|| {
            let urls = options.tracker_ice_server.clone();
            vec![banyan::wire::tracker::IceServer {
                urls,
                username: None,
                credential: None,
            }]
        });
        let public_url = options
            .tracker_public_url
            .as_deref()
            .map(|url| {
                url.parse()
                    .map_err(|e| anyhow::anyhow!("--tracker-public-url: {e}"))
            })
            .transpose()?;
        let config = Config {
            listen: options.tracker_listen,
            stun: options
                .tracker_stun
                .map_or(StunListen::Default, StunListen::Address),
            public_url,
            ice_servers,
            ..Config::default()
        };
        let server = Server::start(config)
            .await
            .context("the tracker cannot start")?;
        let url = Url::parse(&server.url()).context("the tracker's URL")?;
        let local = Url::parse(&server.local_url()).context("the tracker's URL")?;
        Ok(Self { server, url, local })
    }

    /// The URL people and nodes reach it by.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL nodes of this machine reach it by, whatever stands between it and the world.
    pub fn local_url(&self) -> &Url {
        &self.local
    }

    /// Where it listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.server.http_addr()
    }

    /// The URL by which other machines of the local network reach it, if they can.
    pub fn lan_url(&self) -> Option<Url> {
        invitation::lan_url(&self.url, self.http_addr())
    }

    /// Says goodbye to everybody and stops.
    pub async fn stop(self) {
        self.server.shutdown().await;
    }
}
