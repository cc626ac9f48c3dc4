//! Passwords for a TURN server that end by themselves: what coturn calls `use-auth-secret`
//! (draft-uberti-behave-turn-rest-00). The server knows the secret too, and needs no accounts.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use banyan::wire::tracker::IceServer;
use data_encoding::BASE64;
use ring::hmac;

/// How long a password holds. TURN servers look at it whenever a relay is prolonged, so it is as long
/// as a page may be open.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// Largest secret: more is another file by mistake.
const MAX_SECRET: usize = 1024;

/// TURN servers that share a secret with this tracker.
#[derive(Clone)]
pub(crate) struct Turn {
    pub(crate) urls: Vec<String>,
    key: hmac::Key,
}

// Not derived: a log line must never hold the secret.
impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.urls).finish()
    }
}

impl Turn {
    /// Reads the secret.
    pub(crate) fn load(urls: Vec<String>, secret_file: &Path) -> anyhow::Result<Self> {
        let file = secret_file.display();
        let text = std::fs::read_to_string(secret_file)
            .with_context(|| format!("the TURN secret {file} cannot be read"))?;
        let secret = text.trim();
        ensure!(!secret.is_empty(), "the TURN secret {file} is empty");
        ensure!(
            secret.len() <= MAX_SECRET && !secret.contains('\n'),
            "the TURN secret {file} is more than one line of {MAX_SECRET} bytes"
        );
        Ok(Self::new(urls, secret))
    }

    fn new(urls: Vec<String>, secret: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        Self { urls, key }
    }

    /// The servers with a password that begins to hold now.
    pub(crate) fn server(&self) -> IceServer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.server_until(now.unwrap_or_default() + VALIDITY)
    }

    /// Gives a password to a server of ours that has none.
    pub(crate) fn complete(&self, server: &mut IceServer) {
        if server.username.is_none() && server.urls == self.urls {
            *server = self.server();
        }
    }

    fn server_until(&self, since_epoch: Duration) -> IceServer {
        let username = format!("{}:banyan", since_epoch.as_secs());
        let credential = BASE64.encode(hmac::sign(&self.key, username.as_bytes()).as_ref());
        IceServer {
            urls: self.urls.clone(),
            username: Some(username),
            credential: Some(credential),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_what_turn_servers_compute() {
        let turn = Turn::new(vec!["turn:t.example".into()], "north");
        let server = turn.server_until(Duration::from_secs(1_760_000_000));
        assert_eq!(server.username.as_deref(), Some("1760000000:banyan"));
        // printf 1760000000:banyan | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            server.credential.as_deref(),
            Some("FNFt1O4zfuSjb9/K5ikVdMBdDFM=")
        );
        assert!(!format!("{turn:?}").contains("north"));
        let mut bare = IceServer {
            username: None,
            credential: None,
            ..server
        };
        turn.complete(&mut bare);
        assert!(bare.credential.is_some());
    }

    #[test]
    fn a_secret_that_is_none_is_told() {
        let load = |file: &Path| Turn::load(Vec::new(), file).unwrap_err().to_string();
        assert!(load(Path::new("/nonexistent/secret")).contains("cannot be read"));
        assert!(load(Path::new("/dev/null")).contains("is empty"));
    }
}
