//! What an operator may set, and the configuration it makes.

use std::net::SocketAddr;
use std::path::PathBuf;

use banyan::wire::tracker::IceServer;
use banyan_operator::config::{self, Options};
use banyan_operator::manual::Manual;
use clap::{Args, Parser};
use ipnet::IpNet;

use super::ice::{IceServerUrl, turn_url};
use super::{
    Config, ConfigError, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_CONNECTIONS_PER_ADDRESS, PublicUrl,
    StunListen, TlsFiles, TurnServers, listen_address, network,
};

/// Signalling, STUN, web pages and API for live broadcast trees.
///
/// Every flag can also be given as an environment variable BANYAN_TRACKER_..., or in the file
/// named by --config; a flag wins over the environment, the environment over the file.
#[derive(Debug, Parser)]
#[command(name = "banyan-tracker", version)]
pub struct Cli {
    /// Manual pages and completions, instead of a tracker.
    #[command(subcommand)]
    pub manual: Option<Manual>,
    /// The tracker's own settings.
    #[command(flatten)]
    pub tracker: Settings,
    /// What every program takes.
    #[command(flatten)]
    pub options: Options,
}

/// How the settings of `banyan-tracker` are layered.
pub const LAYERS: config::Settings = config::Settings {
    prefix: "BANYAN_TRACKER_",
    foreign: &[],
    shown,
};

/// A secret setting as far as it may be shown: TURN servers without their passwords.
pub fn shown(key: &str, value: &str) -> Option<String> {
    match key {
        "ice_server" => value.parse().ok().map(|url: IceServerUrl| url.discreet()),
        _ => None,
    }
}

/// The settings of a tracker.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address to serve HTTP and WebSocket on [default: port 8080 on all addresses, or the next
    /// free port]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub listen: Option<SocketAddr>,

    /// Address to answer STUN on, "off", or "default": port 3478 on all addresses, or the next
    /// free port
    #[arg(long, value_name = "ADDR", default_value = "default")]
    pub stun: StunListen,

    /// The address people reach this tracker by, such as `https://tracker.example`
    #[arg(long, value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Certificate chain to serve HTTPS with, in PEM; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Reverse proxy whose X-Forwarded-For is believed, as IP or CIDR; may be repeated
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub trusted_proxy: Vec<IpNet>,

    /// STUN or TURN server for the peers, instead of this tracker's own STUN, as stun:HOST:PORT or
    /// turn:USER:PASSWORD@HOST:PORT; may be repeated
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub ice_server: Vec<IceServerUrl>,

    /// TURN server that relays for peers who cannot connect otherwise, as turn:HOST:PORT, its
    /// passwords made from the secret it shares with this tracker; may be repeated
    #[arg(long, value_name = "URL", value_delimiter = ',', value_parser = turn_url)]
    pub turn: Vec<String>,

    /// File with that secret (coturn: static-auth-secret)
    #[arg(long, value_name = "FILE")]
    pub turn_secret_file: Option<PathBuf>,

    /// Most connections at once
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Most connections at once from one address
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS_PER_ADDRESS,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_address: u32,
}

impl Settings {
    /// The configuration these settings make.
    ///
    /// # Errors
    /// [`ConfigError`] if they contradict each other.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => return Err(ConfigError::Tls { missing: "tls_key" }),
            (None, Some(_)) => {
                return Err(ConfigError::Tls {
                    missing: "tls_cert",
                });
            }
        };
        let turn = match (self.turn, self.turn_secret_file) {
            (urls, None) if urls.is_empty() => None,
            (urls, Some(_)) if urls.is_empty() => {
                return Err(ConfigError::Turn { missing: "turn" });
            }
            (urls, Some(secret_file)) => Some(TurnServers { urls, secret_file }),
            (_, None) => {
                return Err(ConfigError::Turn {
                    missing: "turn_secret_file",
                });
            }
        };
        let ice_servers: Vec<IceServer> =
            self.ice_server.into_iter().map(IceServer::from).collect();
        Ok(Config {
            listen: self.listen,
            stun: self.stun,
            public_url: self.public_url,
            ice_servers: (!ice_servers.is_empty()).then_some(ice_servers),
            turn,
            trusted_proxies: self.trusted_proxy,
            tls,
            loopback: false,
            demo: None,
            max_connections: self.max_connections as usize,
            max_connections_per_address: self.max_connections_per_address as usize,
        })
    }
}
