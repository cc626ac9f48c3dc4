//! The command line, and the environment behind it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use ipnet::IpNet;

use super::settings::IceUrl;
use super::{
    ConfigError, IceServerEntry, PublicUrl, Settings, StunListen, listen_address, network,
    read_file,
};

/// Signalling, STUN, web pages and API for live broadcast trees.
///
/// Every flag can also be given as an environment variable BANYAN_TRACKER_..., or in the file
/// named by --config; a flag wins over the environment, the environment over the file.
#[derive(Debug, Default, Parser)]
#[command(name = "banyan-tracker", version)]
pub struct Flags {
    /// Address to serve HTTP and WebSocket on [default: port 8080 on all addresses, or the next
    /// free port]
    #[arg(long, env = "BANYAN_TRACKER_LISTEN", value_name = "ADDR", value_parser = listen_address)]
    pub listen: Option<SocketAddr>,

    /// Address to answer STUN on, or "off" [default: port 3478 on all addresses, or the next free
    /// port]
    #[arg(long, env = "BANYAN_TRACKER_STUN", value_name = "ADDR")]
    pub stun: Option<StunListen>,

    /// The address people reach this tracker by, such as `https://tracker.example`
    #[arg(long, env = "BANYAN_TRACKER_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Certificate chain to serve HTTPS with, in PEM
    #[arg(long, env = "BANYAN_TRACKER_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, env = "BANYAN_TRACKER_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Reverse proxy whose X-Forwarded-For is believed, as IP or CIDR; may be repeated
    #[arg(
        long = "trusted-proxy",
        env = "BANYAN_TRACKER_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = network
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// STUN or TURN server for the peers, instead of this tracker's own STUN; may be repeated
    #[arg(
        long = "ice-server",
        env = "BANYAN_TRACKER_ICE_SERVERS",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub ice_servers: Vec<IceUrl>,

    /// Most connections at once
    #[arg(
        long,
        env = "BANYAN_TRACKER_MAX_CONNECTIONS",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_connections: Option<u32>,

    /// Most connections at once from one address
    #[arg(
        long,
        env = "BANYAN_TRACKER_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_connections_per_address: Option<u32>,

    /// What to log to stderr: error, warn, info, debug, trace, or a filter such as
    /// "info,banyan_tracker=debug" [default: $RUST_LOG, or info]
    #[arg(long, env = "BANYAN_TRACKER_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// TOML file with further settings
    #[arg(long, env = "BANYAN_TRACKER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the settings in force as TOML and exit
    #[arg(long)]
    pub print_config: bool,
}

/// What the names of this program's environment variables begin with.
const PREFIX: &str = "BANYAN_TRACKER_";

impl Flags {
    /// The first of `names` that begins like an environment variable of this program and is
    /// none: a misspelt setting, which would otherwise go unnoticed.
    pub fn unknown_variable(mut names: impl Iterator<Item = OsString>) -> Option<OsString> {
        let command = Self::command();
        names.find(|name| {
            name.to_string_lossy().starts_with(PREFIX)
                && !command
                    .get_arguments()
                    .any(|argument| argument.get_env() == Some(name.as_os_str()))
        })
    }

    /// What flags and environment say, and under them the file they name.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be used.
    pub fn settings(self) -> Result<Settings, ConfigError> {
        let file = match &self.config {
            Some(path) => read_file(path)?,
            None => Settings::default(),
        };
        let given = Settings {
            listen: self.listen,
            stun: self.stun,
            public_url: self.public_url,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            trusted_proxies: some_if_any(self.trusted_proxies),
            max_connections: self.max_connections.map(|n| n as usize),
            max_connections_per_address: self.max_connections_per_address.map(|n| n as usize),
            log: self.log,
            ice_servers: some_if_any(self.ice_servers).map(|urls| {
                urls.into_iter()
                    .map(|url| IceServerEntry {
                        urls: vec![url],
                        username: None,
                        credential: None,
                    })
                    .collect()
            }),
        };
        Ok(given.or(file))
    }
}

fn some_if_any<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}
