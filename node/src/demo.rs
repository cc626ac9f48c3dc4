//! The mesh of `broadcast --demo`: relay processes that live and end with the broadcast.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::config::LAYERS;

/// Relays beside the root: with two slots each, a tree of three levels.
pub const RELAYS: usize = 6;

/// Children that each node of the demo serves.
pub const SLOTS: u16 = 2;

/// Time a relay is given to leave politely.
const GRACE: Duration = Duration::from_secs(1);

/// The relay processes. Those of the second level come when the first one stands: whichever were
/// quicker would make another tree each time.
#[derive(Debug)]
pub struct Relays {
    program: PathBuf,
    link: String,
    udp: Vec<String>,
    running: Vec<Child>,
    /// Children of the root whose links have stood.
    fed: u16,
}

impl Relays {
    /// Starts the first relays on the watch link, on the address the root is on if it has a single
    /// one.
    ///
    /// # Errors
    /// When this program cannot be started a second time.
    pub fn start(link: String, ip: Option<IpAddr>) -> anyhow::Result<Self> {
        let udp: Vec<String> = match ip {
            Some(ip) => vec!["--udp".to_owned(), SocketAddr::new(ip, 0).to_string()],
            None => Vec::new(),
        };
        let mut relays = Self {
            program: std::env::current_exe().context("where this program is")?,
            link,
            udp,
            running: Vec::new(),
            fed: 0,
        };
        relays.grow(SLOTS.into())?;
        Ok(relays)
    }

    /// The root feeds one more child: the others are started once it has no slot left.
    ///
    /// # Errors
    /// When this program cannot be started a second time.
    pub fn child_up(&mut self) -> anyhow::Result<()> {
        self.fed = self.fed.saturating_add(1);
        if self.fed == SLOTS {
            self.grow(RELAYS)?;
        }
        Ok(())
    }

    fn grow(&mut self, count: usize) -> anyhow::Result<()> {
        while self.running.len() < count {
            let mut command = Command::new(&self.program);
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
                    &self.link,
                    "--max-children",
                    &SLOTS.to_string(),
                ])
                .args(&self.udp)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::inherit())
                .kill_on_drop(true)
                .env(FOLLOW_STDIN, "1")
                .spawn()
                .with_context(|| format!("starting {} as a relay", self.program.display()))?;
            self.running.push(child);
        }
        Ok(())
    }

    /// Ends them: closing its standard input tells a relay to leave.
    pub async fn stop(mut self) {
        for relay in &mut self.running {
            drop(relay.stdin.take());
        }
        for relay in &mut self.running {
            if tokio::time::timeout(GRACE, relay.wait()).await.is_err() {
                let _ = relay.kill().await;
            }
        }
    }
}

/// Set for a relay that ends when its standard input does, so that none outlives a broadcaster
/// that was killed.
pub const FOLLOW_STDIN: &str = "BANYAN_FOLLOW_STDIN";
