//! The mesh of `broadcast --demo`: relay processes that live and end with the broadcast.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use banyan::id::NodeId;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::LAYERS;
use crate::embedded_tracker::Kill;

/// Relays beside the root: with two slots each, a tree of three levels.
pub const RELAYS: usize = 6;

/// Children that each node of the demo serves.
pub const SLOTS: u16 = 2;

/// How long after one was killed another relay comes: time to see that nobody missed it.
const REPLACEMENT: Duration = Duration::from_secs(5);

/// Time a relay is given to leave politely.
const GRACE: Duration = Duration::from_secs(1);

/// The relay processes. Those of the second level come when the first one stands: whichever were
/// quicker would make another tree each time.
#[derive(Debug)]
pub struct Relays {
    program: PathBuf,
    link: String,
    udp: Vec<String>,
    running: Vec<Relay>,
    /// Children of the root whose links have stood.
    fed: u16,
    /// Who is to die.
    kills: Option<mpsc::Receiver<Kill>>,
    /// When others come in the place of those who died.
    due: VecDeque<Instant>,
}

#[derive(Debug)]
struct Relay {
    node: NodeId,
    process: Child,
}

/// Waits for the next relay that dies or comes, and brings it about; for ever where there are none.
///
/// # Errors
/// When this program cannot be started once more.
pub async fn change(relays: Option<&mut Relays>) -> anyhow::Result<()> {
    match relays {
        Some(relays) => relays.change().await,
        None => std::future::pending().await,
    }
}

impl Relays {
    /// Starts the first relays on the watch link, on the address the root is on if it has a single
    /// one. Those that `kills` names die.
    ///
    /// # Errors
    /// When this program cannot be started a second time.
    pub fn start(
        link: String,
        ip: Option<IpAddr>,
        kills: Option<mpsc::Receiver<Kill>>,
    ) -> anyhow::Result<Self> {
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
            kills,
            due: VecDeque::new(),
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

    async fn change(&mut self) -> anyhow::Result<()> {
        let due = self.due.front().copied();
        tokio::select! {
            Some(kill) = next(self.kills.as_mut()) => {
                self.kill(kill);
                Ok(())
            }
            () = until(due) => {
                self.due.pop_front();
                self.grow(self.running.len() + self.due.len() + 1)
            }
        }
    }

    /// Ends a relay as a crash would: it has no time to say anything.
    fn kill(&mut self, kill: Kill) {
        let found = (self.running.iter()).position(|relay| relay.node == kill.node);
        let Some(found) = found else {
            return kill.done(false);
        };
        let mut relay = self.running.swap_remove(found);
        let killed = relay.process.start_kill().is_ok();
        tracing::info!("relay {} is killed", relay.node);
        tokio::spawn(async move { relay.process.wait().await });
        self.due.push_back(Instant::now() + REPLACEMENT);
        kill.done(killed);
    }

    /// Starts relays until so many run or are about to.
    fn grow(&mut self, count: usize) -> anyhow::Result<()> {
        while self.running.len() + self.due.len() < count {
            let node = NodeId::random(&mut rand::rng());
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
                .env(NODE, node.to_string())
                .spawn()
                .with_context(|| format!("starting {} as a relay", self.program.display()))?;
            self.running.push(Relay {
                node,
                process: child,
            });
        }
        Ok(())
    }

    /// Ends them: closing its standard input tells a relay to leave.
    pub async fn stop(mut self) {
        for relay in &mut self.running {
            drop(relay.process.stdin.take());
        }
        for relay in &mut self.running {
            let ended = tokio::time::timeout(GRACE, relay.process.wait());
            if ended.await.is_err() {
                let _ = relay.process.kill().await;
            }
        }
    }
}

async fn next(kills: Option<&mut mpsc::Receiver<Kill>>) -> Option<Kill> {
    match kills {
        Some(kills) => kills.recv().await,
        None => None,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What a relay of the demo is to call itself.
pub const NODE: &str = "BANYAN_DEMO_NODE";

/// Set for a relay that ends when its standard input does, so that none outlives a broadcaster
/// that was killed.
pub const FOLLOW_STDIN: &str = "BANYAN_FOLLOW_STDIN";
