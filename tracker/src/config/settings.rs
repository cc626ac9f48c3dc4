//! One layer of settings, and how layers add up.

use std::net::SocketAddr;
use std::path::PathBuf;

use banyan::wire::tracker::IceServer;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    Config, ConfigError, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_CONNECTIONS_PER_ADDRESS, PublicUrl,
    StunListen, TlsFiles, network,
};

/// What one layer says; the field names are the keys of the TOML file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// [`Config::listen`].
    pub listen: Option<SocketAddr>,
    /// [`Config::stun`] as text: an address, `off` or `default`.
    #[serde(default, with = "stun_text")]
    pub stun: Option<StunListen>,
    /// [`Config::public_url`].
    pub public_url: Option<PublicUrl>,
    /// The certificate of [`Config::tls`].
    pub tls_cert: Option<PathBuf>,
    /// The key of [`Config::tls`].
    pub tls_key: Option<PathBuf>,
    /// [`Config::trusted_proxies`]; a single address stands for the network of itself.
    #[serde(default, deserialize_with = "networks")]
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// [`Config::max_connections`].
    pub max_connections: Option<usize>,
    /// [`Config::max_connections_per_address`].
    pub max_connections_per_address: Option<usize>,
    /// Filter for the log, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: Option<String>,
    /// [`Config::ice_servers`].
    pub ice_servers: Option<Vec<IceServerEntry>>,
}

impl Settings {
    /// These settings, and where they say nothing, those of `lower`.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        Self {
            listen: self.listen.or(lower.listen),
            stun: self.stun.or(lower.stun),
            public_url: self.public_url.or(lower.public_url),
            tls_cert: self.tls_cert.or(lower.tls_cert),
            tls_key: self.tls_key.or(lower.tls_key),
            trusted_proxies: self.trusted_proxies.or(lower.trusted_proxies),
            max_connections: self.max_connections.or(lower.max_connections),
            max_connections_per_address: self
                .max_connections_per_address
                .or(lower.max_connections_per_address),
            log: self.log.or(lower.log),
            ice_servers: self.ice_servers.or(lower.ice_servers),
        }
    }

    /// These settings with every default written out that is a plain value.
    #[must_use]
    pub fn with_defaults(&self) -> Self {
        self.clone().or(Self {
            stun: Some(StunListen::Default),
            trusted_proxies: Some(Vec::new()),
            max_connections: Some(DEFAULT_MAX_CONNECTIONS),
            max_connections_per_address: Some(DEFAULT_MAX_CONNECTIONS_PER_ADDRESS),
            ..Self::default()
        })
    }

    /// The configuration these settings and the defaults make.
    ///
    /// # Errors
    /// [`ConfigError`] if settings contradict each other.
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
        let at_least_one = |key, value: Option<usize>, default| match value.unwrap_or(default) {
            0 => Err(ConfigError::Zero { key }),
            value => Ok(value),
        };
        Ok(Config {
            listen: self.listen,
            stun: self.stun.unwrap_or_default(),
            public_url: self.public_url,
            ice_servers: self
                .ice_servers
                .map(|entries| entries.into_iter().map(IceServer::from).collect()),
            trusted_proxies: self.trusted_proxies.unwrap_or_default(),
            tls,
            max_connections: at_least_one(
                "max_connections",
                self.max_connections,
                DEFAULT_MAX_CONNECTIONS,
            )?,
            max_connections_per_address: at_least_one(
                "max_connections_per_address",
                self.max_connections_per_address,
                DEFAULT_MAX_CONNECTIONS_PER_ADDRESS,
            )?,
        })
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?;
    texts
        .map(|texts| texts.iter().map(|text| network(text)).collect())
        .transpose()
        .map_err(de::Error::custom)
}

/// A STUN or TURN server as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServerEntry {
    /// `stun:`, `stuns:`, `turn:` or `turns:` URIs.
    pub urls: Vec<IceUrl>,
    /// TURN user name.
    pub username: Option<String>,
    /// TURN password.
    pub credential: Option<String>,
}

impl From<IceServerEntry> for IceServer {
    fn from(entry: IceServerEntry) -> Self {
        Self {
            urls: entry.urls.into_iter().map(|url| url.0).collect(),
            username: entry.username,
            credential: entry.credential,
        }
    }
}

/// The URI of a STUN or TURN server (RFC 7064, RFC 7065).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IceUrl(String);

impl std::str::FromStr for IceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = ["stun:", "stuns:", "turn:", "turns:"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        match host {
            Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(Self(text.to_owned())),
            _ => Err("expected stun:HOST:PORT or turn:HOST:PORT".to_owned()),
        }
    }
}

impl TryFrom<String> for IceUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<IceUrl> for String {
    fn from(url: IceUrl) -> Self {
        url.0
    }
}

/// [`StunListen`] as the text people write.
mod stun_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::StunListen;

    pub(super) fn serialize<S: Serializer>(
        value: &Option<StunListen>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(stun) => serializer.collect_str(stun),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<StunListen>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom))
            .transpose()
    }
}
