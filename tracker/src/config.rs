//! What a tracker is told when it starts, and in which layers.
//!
//! A value comes from the command line, else from the environment, else from the TOML file, else
//! from the default. [`Settings`] is what they add up to, [`Config`] what a tracker makes of it.

mod ice;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use axum::http::Uri;
use banyan::wire::tracker::IceServer;
use ipnet::IpNet;

use crate::demo::Demo;

pub use ice::IceServerUrl;
pub use settings::{Cli, LAYERS, Settings, shown};

/// TCP port of the tracker where none is given.
pub const DEFAULT_PORT: u16 = 8080;

/// UDP port of STUN where none is given (RFC 8489 section 18.6).
pub const DEFAULT_STUN_PORT: u16 = 3478;

/// Most connections at once where none is given: below the 20,000 or so that fit into the memory
/// of a small server with their buffers.
pub const DEFAULT_MAX_CONNECTIONS: u32 = 16_384;

/// Most connections from one address where none is given: a lecture hall behind one address.
pub const DEFAULT_MAX_CONNECTIONS_PER_ADDRESS: u32 = 1_024;

/// How a tracker is to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to serve HTTP and WebSocket. None: port 8080, or the next free one, on every address
    /// of both families.
    pub listen: Option<SocketAddr>,
    /// Where to answer STUN.
    pub stun: StunListen,
    /// The address people reach this tracker by, if it is another than they see.
    pub public_url: Option<PublicUrl>,
    /// STUN and TURN servers for the peers. None: the tracker's own STUN.
    pub ice_servers: Option<Vec<IceServer>>,
    /// TURN servers that share a secret with this tracker, which makes their passwords.
    pub turn: Option<TurnServers>,
    /// Reverse proxies whose word about a client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Certificate and key, to serve HTTPS.
    pub tls: Option<TlsFiles>,
    /// Serve plain HTTP on a port of the loopback interface as well: for the process around this
    /// tracker, which no certificate names.
    pub loopback: bool,
    /// For a broadcast that shows what Banyan does: its watch page may ask for a relay's death.
    pub demo: Option<Demo>,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most connections at once from one IPv4 address or IPv6 /64; loopback and trusted proxies
    /// are not counted.
    pub max_connections_per_address: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            stun: StunListen::Default,
            public_url: None,
            ice_servers: None,
            turn: None,
            trusted_proxies: Vec::new(),
            tls: None,
            loopback: false,
            demo: None,
            max_connections: DEFAULT_MAX_CONNECTIONS as usize,
            max_connections_per_address: DEFAULT_MAX_CONNECTIONS_PER_ADDRESS as usize,
        }
    }
}

/// TURN servers and the secret they share with the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnServers {
    /// `turn:HOST:PORT` (RFC 7065).
    pub urls: Vec<String>,
    /// Where the secret is.
    pub secret_file: PathBuf,
}

/// Settings that do not go together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// One half of a pair is missing.
    #[error("tls_cert and tls_key belong together: {missing} is missing")]
    Tls {
        /// The one that is missing.
        missing: &'static str,
    },
    /// The same of another pair.
    #[error("turn and turn_secret_file belong together: {missing} is missing")]
    Turn {
        /// The one that is missing.
        missing: &'static str,
    },
}

/// Where to answer STUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StunListen {
    /// Port 3478, or the next free one, on every address of both families.
    #[default]
    Default,
    /// Exactly here.
    Address(SocketAddr),
    /// Nowhere.
    Off,
}

impl FromStr for StunListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Default),
            "off" => Ok(Self::Off),
            address => listen_address(address)
                .map(Self::Address)
                .map_err(|e| format!("{e}, or \"off\"")),
        }
    }
}

impl std::fmt::Display for StunListen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Address(address) => address.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

/// Reads an address to listen on.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected IP:PORT, such as 0.0.0.0:8080 or [::]:8080".to_owned())
}

/// Reads a network, or a single address as the network of itself.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "expected an IP address or CIDR, such as 10.0.0.0/8".to_owned())
}

/// An `http` or `https` URL without a path, such as `https://tracker.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    scheme_len: usize,
}

impl PublicUrl {
    /// The URL, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Host and, if it has one, port.
    pub fn authority(&self) -> &str {
        &self.url[self.scheme_len..]
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected http://HOST or https://HOST, with no path";
        let uri: Uri = text.parse().map_err(|_| expected.to_owned())?;
        let scheme = uri
            .scheme_str()
            .filter(|scheme| matches!(*scheme, "http" | "https"))
            .ok_or(expected)?;
        let authority = uri
            .authority()
            .map(|authority| authority.as_str())
            .filter(|authority| !authority.is_empty() && !authority.contains('@'))
            .ok_or(expected)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(expected.to_owned());
        }
        Ok(Self {
            url: format!("{scheme}://{}", authority.to_ascii_lowercase()),
            scheme_len: scheme.len() + "://".len(),
        })
    }
}

/// PEM files to serve HTTPS with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_a_scheme_and_a_host() {
        let url: PublicUrl = "https://Tracker.Example:8443/".parse().unwrap();
        assert_eq!(url.as_str(), "https://tracker.example:8443");
        assert_eq!(url.authority(), "tracker.example:8443");
        for bad in [
            "tracker.example",
            "ftp://a",
            "https://a/b",
            "https://u@a",
            "",
        ] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }
}
