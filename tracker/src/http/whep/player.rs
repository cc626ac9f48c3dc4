//! A player's session with the core, for as long as the player is there.

use std::sync::Arc;
use std::time::Duration;

use banyan::id::LinkKey;
use banyan::wire::tracker::{ClientMessage, Report, ServerMessage, StreamState};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Players;
use crate::core::{Line, Outgoing};
use crate::lifetime::Lifetime;
use banyan_http::admission::Permit;

/// Time between two signs to the core that this session is not forgotten: a third of the silence
/// it allows a player.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// What keeps a player's session.
pub(super) struct Keeper {
    pub(super) line: Line,
    pub(super) link: LinkKey,
    /// What the player sends by PATCH; over when it has sent DELETE.
    pub(super) candidates: mpsc::Receiver<Vec<String>>,
    pub(super) secret: String,
    pub(super) players: Arc<Players>,
    /// Its place among the connections.
    pub(super) place: Permit,
}

impl Keeper {
    /// Runs until the player, its parent or the tracker ends it.
    pub(super) async fn run(mut self, mut lifetime: Lifetime) {
        tracing::debug!(player = %self.link.child, "a player was placed");
        let cut = self.line.inbox.cut();
        tokio::select! {
            () = lifetime.ended() => {}
            () = cut => {}
            () = self.keep() => {}
        }
        self.players.remove(&self.secret);
        // A session that is over already takes no harm.
        let _ = self.line.outbox.send(ClientMessage::Leave).await;
        tracing::debug!(player = %self.link.child, "a player is gone");
        drop(self.place);
    }

    async fn keep(&mut self) {
        let mut signs = interval_at(Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                said = self.line.inbox.next() => match said {
                    Some(Outgoing::Message(message)) if !self.is_over(&message) => {}
                    _ => return,
                },
                fragment = self.candidates.recv() => match fragment {
                    Some(candidates) => {
                        for candidate in candidates {
                            let link = self.link;
                            if !self.say(ClientMessage::Candidate { link, candidate }).await {
                                return;
                            }
                        }
                    }
                    None => return,
                },
                _ = signs.tick() => {
                    if !self.say(ClientMessage::Report(Report::default())).await {
                        return;
                    }
                }
            }
        }
    }

    /// Whether what the core says ends the session. Another parent is of no use: the player has
    /// its answer, and there is no way to give it another.
    fn is_over(&self, message: &ServerMessage) -> bool {
        match message {
            ServerMessage::Assigned { .. }
            | ServerMessage::Waiting { .. }
            | ServerMessage::Error { .. } => true,
            ServerMessage::Stream(status) => status.state == StreamState::Offline,
            _ => false,
        }
    }

    async fn say(&self, message: ClientMessage) -> bool {
        self.line.outbox.send(message).await.is_ok()
    }
}
