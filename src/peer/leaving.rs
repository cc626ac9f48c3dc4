//! Leaving on purpose: the children move first, and lose nothing.

use std::time::Instant;

use super::Peer;
use crate::limits::DRAIN_TIME;
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::ClientMessage;

impl Peer {
    /// Leaves: at once, or after its children hang elsewhere.
    pub(super) fn begin_to_leave(&mut self, now: Instant) {
        let movable: Vec<_> = self.children.movable().collect();
        if self.is_root() || self.standby.is_draining() || movable.is_empty() {
            return self.leave(now);
        }
        self.standby.draining = Some(now + DRAIN_TIME);
        self.tell_tracker(ClientMessage::Drain);
        for link in movable {
            self.send(link, PeerMessage::Drain);
        }
    }

    /// Leaves as soon as nobody hangs here any more.
    pub(super) fn go_on_leaving(&mut self, now: Instant) {
        let Some(until) = self.standby.draining else {
            return;
        };
        if until <= now || self.children.movable().next().is_none() {
            self.leave(now);
        }
    }
}
