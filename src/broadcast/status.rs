//! What everybody is told about the stream: its title, its state, how many watch and wait.

use std::time::Instant;

use super::Broadcast;
use crate::limits::COUNT_INTERVAL;
use crate::wire::tracker::{ServerMessage, StreamState, StreamStatus};

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Status {
    viewers: u32,
    waiting: u32,
    told: Option<Instant>,
    /// When changed counts are told.
    pub(super) due: Option<Instant>,
}

impl Broadcast {
    /// The stream as people see it.
    pub fn status(&self) -> StreamStatus {
        let (viewers, waiting) = self.counts();
        StreamStatus {
            stream: self.stream,
            title: self.title.clone(),
            state: self.told_state(),
            viewers,
            waiting,
            info: self.info.clone(),
        }
    }

    pub(super) fn told_state(&self) -> StreamState {
        if self.away {
            StreamState::Away
        } else {
            self.state
        }
    }

    /// Viewers, and those of the waiting that are not fed.
    pub fn counts(&self) -> (u32, u32) {
        let waiting = match self.state {
            StreamState::Live => self.queue.unfed() as u32,
            StreamState::Waiting | StreamState::Offline | StreamState::Away => 0,
        };
        (self.tree.attached().saturating_sub(1), waiting)
    }

    /// Tells everybody at once: the state has changed.
    pub(super) fn tell_status(&mut self, now: Instant) {
        let status = self.status();
        (self.status.viewers, self.status.waiting) = (status.viewers, status.waiting);
        self.status.told = Some(now);
        self.status.due = None;
        let message = ServerMessage::Stream(status);
        for &node in self.members.keys() {
            self.outputs.push_back((node, message.clone()));
        }
    }

    /// Tells everybody changed counts, not too often.
    pub(super) fn tell_counts(&mut self, now: Instant) {
        if self.counts() == (self.status.viewers, self.status.waiting) {
            self.status.due = None;
            return;
        }
        let pause = self.pause(COUNT_INTERVAL);
        let due = self.status.told.map_or(now, |told| told + pause);
        if due <= now {
            self.tell_status(now);
        } else {
            self.status.due = Some(due);
        }
    }
}
