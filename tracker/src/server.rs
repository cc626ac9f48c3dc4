//! A running tracker: its sockets, its tasks, its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use banyan_operator::process::Process;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::caller::Trust;
use crate::config::{Config, DEFAULT_PORT, DEFAULT_STUN_PORT, PublicUrl, StunListen};
use crate::connections::Acceptor;
use crate::ice::{IceOffer, StunOffer};
use crate::lifetime::{Lifetime, Stopper, lifetime};
use crate::metrics::Metrics;
use crate::turn::Turn;
use crate::{core, http, listen, stun, tls};
use banyan_http::admission::Admission;

/// Longest time [`Server::shutdown`] takes.
const SHUTDOWN: Duration = Duration::from_millis(1800);

/// A running tracker. Dropping it stops it as well, but waits for nobody.
pub struct Server {
    http_addr: SocketAddr,
    loopback: Option<SocketAddr>,
    stun_addr: Option<SocketAddr>,
    secure: bool,
    reload: Arc<Notify>,
    public_url: Option<PublicUrl>,
    core: JoinHandle<()>,
    stopper: Stopper,
}

impl Server {
    /// Opens the sockets and starts to serve, within the current tokio runtime. Lets the process
    /// have as many file descriptors as the system allows it, since each peer takes one.
    ///
    /// # Errors
    /// If an address cannot be listened on or a certificate cannot be used; the error's chain
    /// says which, in plain words.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        listen::raise_descriptor_limit();
        let metrics = Arc::new(Metrics::default());
        let watched = config
            .tls
            .map(|files| tls::Watcher::new(files, Arc::clone(&metrics)))
            .transpose()?;
        let listener = listen::tcp(config.listen, DEFAULT_PORT)?;
        let http_addr = listener.local_addr()?;
        let listener = TcpListener::from_std(listener).context("cannot use the TCP socket")?;
        let beside = if config.loopback {
            Some(
                TcpListener::bind((loopback(), 0))
                    .await
                    .context("cannot use the loopback interface")?,
            )
        } else {
            None
        };
        let loopback = beside.as_ref().map(TcpListener::local_addr).transpose()?;
        let (stopper, lifetime) = lifetime();

        let (stun_addr, stun) = start_stun(config.stun, &metrics, &lifetime)?.unzip();
        let turn = (config.turn)
            .map(|turn| Turn::load(turn.urls, &turn.secret_file))
            .transpose()?;
        let ice = IceOffer {
            stun: match (config.ice_servers, stun_addr) {
                (Some(servers), _) => StunOffer::Configured(servers),
                (None, Some(address)) => StunOffer::OwnStun(address),
                (None, None) => StunOffer::Nothing,
            },
            turn,
        };
        let trust = Arc::new(Trust {
            proxies: config.trusted_proxies,
            public_url: config.public_url.clone(),
        });
        let admission = Admission::new(config.max_connections, config.max_connections_per_address);
        let (handle, core) = core::spawn(&ice, Arc::clone(&metrics), lifetime.clone())
            .context("the system gives no randomness")?;
        let reload = Arc::new(Notify::new());
        let tls = watched.map(|(watcher, certificates)| {
            tokio::spawn(watcher.run(Arc::clone(&reload), lifetime.clone()));
            certificates
        });
        let secure = tls.is_some();
        let acceptor = Acceptor {
            tls,
            routes: http::router(http::App {
                core: handle,
                metrics: Arc::clone(&metrics),
                admission: Arc::clone(&admission),
                trust: Arc::clone(&trust),
                ice: Arc::new(ice),
                lifetime: lifetime.clone(),
                answers: Arc::default(),
                whep: Arc::default(),
                demo: config.demo,
                process: Process::started("banyan-tracker", env!("CARGO_PKG_VERSION")),
                stun,
            }),
            admission,
            trust,
            metrics,
            lifetime,
        };
        if let Some(listener) = beside {
            let plain = Acceptor {
                tls: None,
                ..acceptor.clone()
            };
            tokio::spawn(plain.run(listener));
        }
        tokio::spawn(acceptor.run(listener));
        Ok(Self {
            http_addr,
            loopback,
            stun_addr,
            secure,
            reload,
            public_url: config.public_url,
            core,
            stopper,
        })
    }

    /// Where it serves HTTP and WebSocket.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where it answers STUN, if it does.
    pub fn stun_addr(&self) -> Option<SocketAddr> {
        self.stun_addr
    }

    /// The URL by which programs on this host reach it, without a slash at the end.
    pub fn local_url(&self) -> String {
        let address = match self.http_addr.ip() {
            // A wildcard of IPv6 takes IPv4 as well, wherever the host has both.
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => loopback(),
            ip => ip,
        };
        let scheme = if self.secure { "https" } else { "http" };
        format!(
            "{scheme}://{}",
            SocketAddr::new(address, self.http_addr.port())
        )
    }

    /// The URL by which the process around it reaches it: where [`Config::loopback`] was set, in
    /// plain HTTP, else [`local_url`](Self::local_url).
    pub fn loopback_url(&self) -> String {
        match self.loopback {
            Some(address) => format!("http://{address}"),
            None => self.local_url(),
        }
    }

    /// The URL it was told it is reached by, else [`local_url`](Self::local_url).
    pub fn url(&self) -> String {
        match &self.public_url {
            Some(url) => url.as_str().to_owned(),
            None => self.local_url(),
        }
    }

    /// Whether it serves HTTPS.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Reads the certificate files again now, instead of when they are seen to have changed. A
    /// pair that cannot be used is logged, and the one before stays in use.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Returns only if the tracker fails by itself, which no input should bring about.
    pub async fn failed(&mut self) {
        // How the task ended makes no difference to whoever waits for it.
        let _ = (&mut self.core).await;
    }

    /// Says good-bye to everybody and stops, within two seconds.
    pub async fn shutdown(self) {
        if !self.stopper.stop(SHUTDOWN).await {
            tracing::debug!("some connections did not end in time");
        }
    }
}

/// An address of this host that reaches a wildcard of IPv6.
fn loopback() -> IpAddr {
    // Hosts without IPv4 exist; there, this bind fails.
    match std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(_) => Ipv4Addr::LOCALHOST.into(),
        Err(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

fn start_stun(
    listen: StunListen,
    metrics: &Arc<Metrics>,
    lifetime: &Lifetime,
) -> anyhow::Result<Option<(SocketAddr, AbortHandle)>> {
    let address = match listen {
        StunListen::Off => return Ok(None),
        StunListen::Default => None,
        StunListen::Address(address) => Some(address),
    };
    let main = listen::udp(address, DEFAULT_STUN_PORT)?;
    let more = listen::next_udp(address, main.local_addr()?.port()).and_then(|second| {
        let quiet = listen::any_udp(address)?;
        Ok(stun::MorePorts { second, quiet })
    });
    let more = match more {
        Ok(more) => Some(more),
        Err(error) => {
            tracing::warn!("STUN has one port only, so peers cannot tell their routers: {error}");
            None
        }
    };
    let ports = stun::Ports { main, more };
    let answerer = stun::Answerer::new(ports, Arc::clone(metrics))
        .context("cannot use the UDP socket for STUN")?;
    let address = answerer.local_addr()?;
    let task = tokio::spawn(answerer.run(lifetime.clone()));
    Ok(Some((address, task.abort_handle())))
}
