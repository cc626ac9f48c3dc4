//! What happens on a node's links, counted for whoever watches over it.

use std::collections::HashSet;
use std::time::Duration;

use banyan::id::LinkKey;
use banyan::node::Output;
use banyan::reachability::Reachability;
use banyan::wire::tracker::RefuseReason;

use crate::driver::Command;
use crate::rtc::{CloseReason, EngineEvent};
use crate::tracker_link::LinkEvent;

/// Why a link ended, as an index and a name for the metrics.
fn close_reason(reason: CloseReason) -> usize {
    match reason {
        CloseReason::IceFailed => 0,
        CloseReason::DtlsFailed => 1,
        CloseReason::Remote => 2,
        CloseReason::Stalled => 3,
        CloseReason::Unreadable => 4,
    }
}

/// The names of the reasons why a link ended.
pub const CLOSE_REASONS: [&str; 5] = ["ice", "dtls", "remote", "stalled", "unreadable"];

/// Counts since the start, and the state of what is not the core's.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Links whose connection stands.
    open: HashSet<LinkKey>,
    /// Links whose connection stood.
    pub connected: u64,
    /// Links that ended before their connection stood, in the order of [`CLOSE_REASONS`].
    pub failed: [u64; CLOSE_REASONS.len()],
    /// Links that the other side, or the network, ended, in the order of [`CLOSE_REASONS`].
    pub closed: [u64; CLOSE_REASONS.len()],
    /// Session descriptions that could not be used, in the order of [`RefuseReason::ALL`].
    pub refused: [u64; RefuseReason::ALL.len()],
    /// Packets that children asked for again.
    pub nacked: u64,
    /// Packets that were asked for again at parents.
    pub nacks_sent: u64,
    /// Requests for a key frame by children.
    pub key_frames_asked: u64,
    /// Requests for a key frame to a parent.
    pub key_frames_sent: u64,
    /// Messages to the tracker that found its queue full.
    pub tracker_messages_lost: u64,
    /// Whether the connection to the tracker stands.
    pub tracker_up: bool,
    /// At a root that waits for publishers.
    pub publisher: Option<Publishing>,
    /// How far strangers' packets come, once that is known.
    pub reachability: Option<Reachability>,
}

/// What has come from publishers since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Publishing {
    /// Whether one is connected.
    pub connected: bool,
    /// Offers that were answered.
    pub sessions: u64,
    /// Packets that arrived.
    pub packets: u64,
    /// Packets that never did.
    pub lost: u64,
    /// Packets that were asked for again.
    pub nacks_sent: u64,
    /// Requests for a key frame.
    pub key_frames_sent: u64,
    /// ICE restarts that came to their end.
    pub restarts: u64,
    /// Since the newest packet, once there was one.
    pub silent: Option<Duration>,
}

impl Tally {
    /// Links whose connection stands.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// What the engine says.
    pub fn heard(&mut self, event: &EngineEvent) {
        match event {
            EngineEvent::Nack { seqs, .. } => self.nacked += seqs.len() as u64,
            EngineEvent::KeyFrameRequest { .. } => self.key_frames_asked += 1,
            EngineEvent::Connected { link } if self.open.insert(*link) => self.connected += 1,
            EngineEvent::Closed { link, reason } => {
                let ends = match self.open.remove(link) {
                    true => &mut self.closed,
                    false => &mut self.failed,
                };
                ends[close_reason(*reason)] += 1;
            }
            _ => {}
        }
    }

    /// What the node wants done.
    pub fn done(&mut self, output: &Output) {
        match output {
            Output::RequestPackets { seqs, .. } => self.nacks_sent += seqs.len() as u64,
            Output::RequestKeyFrame { .. } => self.key_frames_sent += 1,
            Output::Close { link } => self.ended_here(*link),
            _ => {}
        }
    }

    /// This side ends a link.
    pub fn ended_here(&mut self, link: LinkKey) {
        self.open.remove(&link);
    }

    /// What the program says.
    pub fn told(&mut self, command: &Command) {
        match command {
            Command::TrackerLink(LinkEvent::Up { .. }) => self.tracker_up = true,
            Command::TrackerLink(LinkEvent::Down { .. }) => self.tracker_up = false,
            _ => {}
        }
    }
}
