//! The mesh of `broadcast --demo`: relay processes that live and end with the broadcast.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::config::LAYERS;

/// Relays beside the root: with two slots each, a tree of depth 3.
pub const RELAYS: usize = 6;

/// Children that each node of the demo serves.
pub const SLOTS: u16 = 2;

/// Time a relay is given to leave politely.
const GRACE: Duration = Duration::from_secs(1);

/// The relay processes.
#[derive(Debug)]
pub struct Relays(Vec<Child>);

impl Relays {
    /// Starts the relays on the watch link, on the address the root is on if it has a single one.
    ///
    /// # Errors
    /// When this program cannot be started a second time.
    pub fn start(link: &str, ip: Option<IpAddr>) -> anyhow::Result<Self> {
        let program: PathBuf = std::env::current_exe().context("where this program is")?;
        let udp: Vec<String> = match ip {
            Some(ip) => vec!["--udp".to_owned(), SocketAddr::new(ip, 0).to_string()],
            None => Vec::new(),
        };
        let mut relays = Vec::new();
        for _ in 0..RELAYS {
            let mut command = Command::new(&program);
            // The broadcaster's own settings are not the relays'.
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with(LAYERS.prefix) {
                    command.env_remove(name);
                }
            }
            let child = command
                .args([
                    "--log",
                    "warn",
                    "relay",
                    link,
                    "--max-children",
                    &SLOTS.to_string(),
                ])
                .args(&udp)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::inherit())
                .kill_on_drop(true)
                .env(FOLLOW_STDIN, "1")
                .spawn()
                .with_context(|| format!("starting {} as a relay", program.display()))?;
            relays.push(child);
        }
        Ok(Self(relays))
    }

    /// Ends them: closing its standard input tells a relay to leave.
    pub async fn stop(mut self) {
        for relay in &mut self.0 {
            drop(relay.stdin.take());
        }
        for relay in &mut self.0 {
            if tokio::time::timeout(GRACE, relay.wait()).await.is_err() {
                let _ = relay.kill().await;
            }
        }
    }
}

/// Set for a relay that ends when its standard input does, so that none outlives a broadcaster
/// that was killed.
pub const FOLLOW_STDIN: &str = "BANYAN_FOLLOW_STDIN";
