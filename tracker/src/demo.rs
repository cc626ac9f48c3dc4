//! What the watch page of a demonstration may ask for and no other page: the death of a relay.

use banyan::id::NodeId;
use tokio::sync::{mpsc, oneshot};

/// Kills that may wait.
const WAITING: usize = 4;

/// A wish to see a relay die.
#[derive(Debug)]
pub struct Kill {
    /// The relay.
    pub node: NodeId,
    done: oneshot::Sender<bool>,
}

impl Kill {
    /// Says whether there was such a relay, and is no more.
    pub fn done(self, killed: bool) {
        // Whoever asked may have gone meanwhile.
        let _ = self.done.send(killed);
    }
}

/// Where a tracker hands such wishes in.
#[derive(Debug, Clone)]
pub struct Demo(mpsc::Sender<Kill>);

impl Demo {
    /// A demonstration, and what its pages ask for.
    pub fn new() -> (Self, mpsc::Receiver<Kill>) {
        let (wishes, asked) = mpsc::channel(WAITING);
        (Self(wishes), asked)
    }

    /// Asks for the death of `node`; whether it was a relay of the demonstration.
    pub(crate) async fn kill(&self, node: NodeId) -> bool {
        let (done, answer) = oneshot::channel();
        let asked = self.0.send(Kill { node, done }).await;
        asked.is_ok() && answer.await.unwrap_or(false)
    }
}
