//! How long the tasks of a tracker live, and who waits for their end.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Held by every task: tells it when to end, and the server when it has.
#[derive(Clone)]
pub(crate) struct Lifetime {
    stop: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl Lifetime {
    /// Whether the tracker is stopping.
    pub(crate) fn is_over(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns once the tracker stops, or was dropped.
    pub(crate) async fn ended(&mut self) {
        // An error says that the other half is gone, which is an end as well.
        let _ = self.stop.wait_for(|stopped| *stopped).await;
    }
}

/// The server's half.
pub(crate) struct Stopper {
    stop: watch::Sender<bool>,
    alive: mpsc::Receiver<()>,
}

impl Stopper {
    /// Ends all tasks and waits for them, at most for `patience`. Says whether all have ended.
    pub(crate) async fn stop(mut self, patience: Duration) -> bool {
        self.stop.send_replace(true);
        tokio::time::timeout(patience, self.alive.recv())
            .await
            .is_ok()
    }
}

/// A new lifetime and the half that ends it.
pub(crate) fn lifetime() -> (Stopper, Lifetime) {
    let (stop, stopped) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    let lifetime = Lifetime {
        stop: stopped,
        _alive: alive,
    };
    (Stopper { stop, alive: ended }, lifetime)
}
