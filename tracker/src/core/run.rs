//! The core's turn: take a command, let time pass, hand out what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::tracker::{Input, Output, SessionId};
use tokio::sync::mpsc;

use super::line::Outlet;
use super::{Command, Core};
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;

/// Commands taken in one turn, before the clock is looked at again.
const BATCH: usize = 64;

/// Least time between two looks at a deadline, so that a deadline in the past cannot spin.
const TICK: Duration = Duration::from_millis(1);

pub(super) struct Runner {
    core: Core,
    commands: mpsc::Receiver<Command>,
    outlets: HashMap<SessionId, Outlet>,
    metrics: Arc<Metrics>,
}

impl Runner {
    pub(super) fn new(
        core: Core,
        commands: mpsc::Receiver<Command>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            core,
            commands,
            outlets: HashMap::new(),
            metrics,
        }
    }

    pub(super) async fn run(mut self, mut lifetime: Lifetime) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let deadline = self.core.deadline();
            let due = async {
                match deadline {
                    Some(at) => {
                        tokio::time::sleep_until(at.max(Instant::now() + TICK).into()).await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = lifetime.ended() => return,
                taken = self.commands.recv_many(&mut batch, BATCH) => if taken == 0 {
                    return;
                },
                () = due => {}
            }
            for command in batch.drain(..) {
                let began = Instant::now();
                self.take(command);
                self.metrics.handling.observe(began.elapsed());
            }
            let now = Instant::now();
            if self.core.deadline().is_some_and(|at| at <= now) {
                self.core.handle(now, Input::Tick);
            }
            // All at once, so that a session which is told several things writes them together.
            self.hand_out();
        }
    }

    fn take(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Connected {
                outlet,
                session,
                observed,
                authority,
            } => {
                self.outlets.insert(session, outlet);
                self.core.handle(
                    now,
                    Input::Connected {
                        session,
                        observed,
                        authority,
                    },
                );
            }
            Command::Message { session, message } => {
                if self.outlets.contains_key(&session) {
                    self.core.handle(now, Input::Message { session, message });
                }
            }
            Command::Disconnected { session } => {
                if self.outlets.remove(&session).is_some() {
                    self.core.handle(now, Input::Disconnected { session });
                }
            }
            Command::Query(query) => query(&self.core),
        }
    }

    fn hand_out(&mut self) {
        while let Some(output) = self.core.poll_output() {
            let (session, pushed) = match output {
                Output::Send { session, message } => {
                    let Some(outlet) = self.outlets.get(&session) else {
                        continue;
                    };
                    (session, outlet.send(message))
                }
                Output::Close { session } => {
                    // The core has forgotten the session already.
                    let Some(outlet) = self.outlets.remove(&session) else {
                        continue;
                    };
                    if outlet.close().is_err() {
                        outlet.cut();
                    }
                    continue;
                }
            };
            if pushed.is_err() {
                self.cut(session);
            }
        }
    }

    /// What this makes the core say is handed out by the loop that called.
    fn cut(&mut self, session: SessionId) {
        if let Some(outlet) = self.outlets.remove(&session) {
            outlet.cut();
            self.metrics.sessions_too_slow.add(1);
            tracing::info!(
                session = session.0,
                "session cut: it does not read what it is sent"
            );
            self.core
                .handle(Instant::now(), Input::Disconnected { session });
        }
    }
}
