//! One session's line to the core: a queue in each direction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use banyan::tracker::SessionId;
use banyan::wire::tracker::{ClientMessage, IceServer, ServerMessage};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use super::{Command, Stopped, weight};
use crate::turn::Turn;

/// Messages that wait for one session. One step of the core can say this much to one peer: a
/// root with 1000 slots whose waiting viewers are let in at once, and their candidates.
const QUEUE_MESSAGES: usize = 4096;

/// Bytes that wait for one session, roughly: 1000 offers of 8 KB, and as much again.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// What the core wants of a session.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Send this. Boxed, because every session's queue has room for some of them from the start.
    Message(Box<ServerMessage>),
    /// Say good-bye; nothing follows.
    Close,
}

/// The core's end.
pub(super) struct Outlet {
    queue: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
    ice_servers: Vec<IceServer>,
    turn: Option<Arc<Turn>>,
}

/// The session's end.
pub(crate) struct Line {
    /// What it says.
    pub(crate) outbox: Outbox,
    /// What it is told.
    pub(crate) inbox: Inbox,
}

/// From a session to the core; dropping it tells the core that the session is over.
pub(crate) struct Outbox {
    session: SessionId,
    commands: mpsc::Sender<Command>,
}

/// From the core to a session.
pub(crate) struct Inbox {
    queue: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queued: AtomicUsize,
    cut: Notify,
}

/// The session did not read what it was sent.
pub(super) struct TooSlow;

pub(super) fn line(
    session: SessionId,
    commands: mpsc::Sender<Command>,
    ice_servers: Vec<IceServer>,
    turn: Option<Arc<Turn>>,
) -> (Outlet, Line) {
    let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
    let shared = Arc::<Shared>::default();
    let outlet = Outlet {
        queue: sender,
        shared: Arc::clone(&shared),
        ice_servers,
        turn,
    };
    let line = Line {
        outbox: Outbox { session, commands },
        inbox: Inbox {
            queue: receiver,
            shared,
        },
    };
    (outlet, line)
}

impl Outlet {
    /// Puts a message into the session's queue; a session that is over loses it.
    pub(super) fn send(&self, mut message: ServerMessage) -> Result<(), TooSlow> {
        match (&mut message, &self.turn) {
            (ServerMessage::Welcome(welcome), _) => {
                welcome.ice_servers.clone_from(&self.ice_servers);
            }
            (ServerMessage::Assigned { relay, .. }, Some(turn)) => {
                for server in relay {
                    turn.complete(server);
                }
            }
            _ => {}
        }
        let weight = weight(&message);
        let queued = self.shared.queued.fetch_add(weight, Ordering::Relaxed) + weight;
        if queued > QUEUE_BYTES {
            return Err(TooSlow);
        }
        self.push(Outgoing::Message(Box::new(message)))
    }

    /// Ends the session after what is queued.
    pub(super) fn close(&self) -> Result<(), TooSlow> {
        self.push(Outgoing::Close)
    }

    /// Ends the session at once.
    pub(super) fn cut(&self) {
        self.shared.cut.notify_one();
    }

    fn push(&self, outgoing: Outgoing) -> Result<(), TooSlow> {
        match self.queue.try_send(outgoing) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(TooSlow),
        }
    }
}

impl Outbox {
    /// Passes a message of the peer to the core; waits while the core is busy.
    pub(crate) async fn send(&self, message: ClientMessage) -> Result<(), Stopped> {
        let session = self.session;
        self.commands
            .send(Command::Message { session, message })
            .await
            .map_err(|_| Stopped)
    }
}

impl Inbox {
    /// The next thing the core wants of this session; none once the core is gone. Loses nothing
    /// when it is cancelled.
    pub(crate) async fn next(&mut self) -> Option<Outgoing> {
        let outgoing = self.queue.recv().await?;
        Some(self.taken(outgoing))
    }

    /// The next thing that is already there.
    pub(crate) fn try_next(&mut self) -> Option<Outgoing> {
        let outgoing = self.queue.try_recv().ok()?;
        Some(self.taken(outgoing))
    }

    fn taken(&self, outgoing: Outgoing) -> Outgoing {
        if let Outgoing::Message(message) = &outgoing {
            self.shared
                .queued
                .fetch_sub(weight(message), Ordering::Relaxed);
        }
        outgoing
    }

    /// A future that is ready once the core has cut this session off.
    pub(crate) fn cut(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.cut.notified().await }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let session = self.session;
        let command = Command::Disconnected { session };
        if let Err(TrySendError::Full(command)) = self.commands.try_send(command)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let commands = self.commands.clone();
            runtime.spawn(async move { commands.send(command).await });
        }
    }
}
