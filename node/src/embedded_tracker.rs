//! The tracker that runs in a broadcaster's process. The only file that knows the tracker crate.

use std::net::SocketAddr;

use anyhow::Context;
use banyan::wire::tracker::IceServer;
use banyan_operator::config::{augment_prefixed, read_prefixed};
use banyan_tracker::Server;
use banyan_tracker::config::Settings as Own;
use banyan_tracker::demo::Demo;
pub use banyan_tracker::demo::Kill;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command};
use tokio::sync::mpsc;
use url::Url;

use crate::invitation;

/// What the tracker's flags begin with in a broadcast.
const PREFIX: &str = "tracker";

/// Every setting of the tracker, as `--tracker-...`.
#[derive(Debug, Clone)]
pub struct Settings(Own);

impl Settings {
    /// The STUN servers that were named; those with a password are the peers' alone.
    pub fn stun_servers(&self) -> Vec<String> {
        let servers = self.0.ice_server.iter().cloned().map(IceServer::from);
        servers
            .filter(|server| server.credential.is_none())
            .flat_map(|server| server.urls)
            .collect()
    }
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        augment_prefixed::<Own>(command, PREFIX, |arg: Arg| {
            // With a tracker elsewhere there is none here.
            arg.help_heading("Tracker in this process")
                .conflicts_with("tracker")
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let own: Own = read_prefixed(matches, PREFIX)?;
        // What contradicts itself is a wrong command line, and nothing has begun yet.
        match own.clone().resolve() {
            Ok(_) => Ok(Self(own)),
            Err(error) => {
                let text = format!("settings of the tracker in this process: {error}\n");
                Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text))
            }
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A secret setting of a broadcast as far as it may be shown.
pub fn shown(key: &str, value: &str) -> Option<String> {
    let own = key.strip_prefix(PREFIX)?.strip_prefix('_')?;
    banyan_tracker::config::shown(own, value)
}

/// A tracker in this process.
pub struct EmbeddedTracker {
    server: Server,
    url: Url,
    local: Url,
    kills: Option<mpsc::Receiver<Kill>>,
}

impl EmbeddedTracker {
    /// Opens its sockets and starts to serve. In a `demo` its watch page asks for relays' deaths.
    ///
    /// # Errors
    /// When a port cannot be had, or an option cannot be used.
    pub async fn start(settings: &Settings, demo: bool) -> anyhow::Result<Self> {
        let mut config = settings.0.clone().resolve()?;
        let (demo, kills) = demo.then(Demo::new).unzip();
        config.demo = demo;
        // The certificate names the tracker as others know it, and may be of an authority that
        // this machine does not.
        config.loopback = config.tls.is_some();
        let server = Server::start(config)
            .await
            .context("the tracker cannot start")?;
        let url = Url::parse(&server.url()).context("the tracker's URL")?;
        let local = Url::parse(&server.loopback_url()).context("the tracker's URL")?;
        Ok(Self {
            server,
            url,
            local,
            kills,
        })
    }

    /// What pages ask for in a demonstration; once.
    pub fn take_kills(&mut self) -> Option<mpsc::Receiver<Kill>> {
        self.kills.take()
    }

    /// The URL people and nodes reach it by.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL this process and nodes it starts reach it by, whatever stands between it and the
    /// world.
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

    /// Reads the certificate files again whenever SIGHUP comes, and never returns. Without such
    /// files the signal ends the program, as it does when a terminal is closed.
    pub async fn reload_on_hang_up(&self) {
        #[cfg(unix)]
        if self.server.is_secure() {
            use tokio::signal::unix::{SignalKind, signal};
            match signal(SignalKind::hangup()) {
                Ok(mut hang_up) => {
                    while hang_up.recv().await.is_some() {
                        self.server.reload();
                    }
                }
                Err(error) => tracing::warn!("cannot listen for SIGHUP: {error}"),
            }
        }
        std::future::pending().await
    }

    /// Says goodbye to everybody and stops.
    pub async fn stop(self) {
        self.server.shutdown().await;
    }
}
