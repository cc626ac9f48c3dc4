//! The one task that owns the tracker core, and the lines that lead to it.
//!
//! Sessions speak through one bounded channel, so a flood waits at its own door. What the core
//! says to a session goes into that session's bounded queue; a session that lets it fill up is
//! cut, so that nobody else ever waits for it.

mod line;
mod run;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banyan::tracker::{SessionId, Tracker, TrackerConfig};
use banyan::wire::tracker::{ClientMessage, IceServer, ServerMessage};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::ice::IceOffer;
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;
use crate::turn::Turn;
pub(crate) use line::{Inbox, Line, Outbox, Outgoing};

/// Commands that wait for the core, from all sessions together: some milliseconds of its work.
const COMMANDS: usize = 1024;

/// The core with the generator the shell gives it.
pub(crate) type Core = Tracker<StdRng>;

/// The core has ended, so the tracker is stopping.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this tracker is stopping")]
pub(crate) struct Stopped;

enum Command {
    Connected {
        outlet: line::Outlet,
        session: SessionId,
        observed: IpAddr,
        authority: String,
    },
    Message {
        session: SessionId,
        message: ClientMessage,
    },
    Disconnected {
        session: SessionId,
    },
    Query(Box<dyn FnOnce(&Core) + Send>),
}

/// How the rest of the shell reaches the core.
#[derive(Clone)]
pub(crate) struct CoreHandle {
    commands: mpsc::Sender<Command>,
    next_session: Arc<AtomicU64>,
    turn: Option<Arc<Turn>>,
}

impl CoreHandle {
    /// Opens a line for a new session.
    pub(crate) async fn connect(
        &self,
        observed: IpAddr,
        authority: String,
        ice_servers: Vec<IceServer>,
    ) -> Result<Line, Stopped> {
        let session = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let (outlet, line) = line::line(
            session,
            self.commands.clone(),
            ice_servers,
            self.turn.clone(),
        );
        self.commands
            .send(Command::Connected {
                outlet,
                session,
                observed,
                authority,
            })
            .await
            .map_err(|_| Stopped)?;
        Ok(line)
    }

    /// Asks the core something.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let query = Command::Query(Box::new(move |core| {
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(question(core));
        }));
        self.commands.send(query).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Starts the task. It ends with `lifetime`, or with an error if the core fails.
pub(crate) fn spawn(
    ice: &IceOffer,
    metrics: Arc<Metrics>,
    lifetime: Lifetime,
) -> anyhow::Result<(CoreHandle, JoinHandle<()>)> {
    let rng = StdRng::try_from_rng(&mut SysRng)?;
    let config = TrackerConfig {
        relays: ice.relays(),
        ..TrackerConfig::default()
    };
    let core = Tracker::new(config, rng);
    let (commands, received) = mpsc::channel(COMMANDS);
    let task = run::Runner::new(core, received, metrics).run(lifetime);
    let handle = CoreHandle {
        commands,
        next_session: Arc::new(AtomicU64::new(1)),
        turn: ice.turn.clone().map(Arc::new),
    };
    Ok((handle, tokio::spawn(task)))
}

/// What a message weighs in a session's queue, in bytes, roughly.
fn weight(message: &ServerMessage) -> usize {
    const ENVELOPE: usize = 256;
    const TREE_PEER: usize = 256;
    ENVELOPE
        + match message {
            ServerMessage::Answer { sdp, .. } => sdp.len(),
            ServerMessage::Expect { offer, .. } => offer.len(),
            ServerMessage::Assigned { info, .. } => info.body.len(),
            ServerMessage::Candidate { candidate, .. } => candidate.len(),
            ServerMessage::Stream(status) => {
                status.title.len() + status.info.as_ref().map_or(0, |info| info.body.len())
            }
            ServerMessage::Tree(update) => TREE_PEER * (update.upsert.len() + update.remove.len()),
            ServerMessage::Error { message, .. } => message.len(),
            _ => 0,
        }
}
