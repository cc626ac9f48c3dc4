//! Everything a known peer may ask: a parent above all, and what comes of it.

use std::time::Instant;

use rand::Rng;

use super::{SessionId, Tracker};
use crate::broadcast::{Arrival, Broadcast};
use crate::id::StreamId;
use crate::reachability::Reachability;
use crate::wire::tracker::{ClientMessage, ErrorCode, Join, Report};

impl<R: Rng> Tracker<R> {
    /// A message of a session that has said Hello.
    pub(super) fn request(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        message: ClientMessage,
    ) {
        let node = arrival.node;
        let stream = self.sessions.get(&id).and_then(|session| session.stream);
        if let Some(broadcast) = stream.and_then(|stream| self.streams.get_mut(&stream)) {
            broadcast.heard(now, node);
        }
        match message {
            ClientMessage::Hello(_) => {}
            ClientMessage::Publish(publish) => self.publish(id, arrival, stream, publish),
            ClientMessage::Prove { signature } => self.prove(now, id, arrival, &signature),
            ClientMessage::Join(join) => self.join(now, id, arrival, stream, join),
            ClientMessage::Report(report) => self.report(now, id, arrival, stream, report),
            ClientMessage::Leave => self.leave(now, id, arrival, stream),
            ClientMessage::Info(signed) => self.with(now, id, stream, |broadcast| {
                broadcast.set_info(now, node, signed);
            }),
            ClientMessage::Answer { link, sdp } => self.with(now, id, stream, |broadcast| {
                broadcast.answer(node, link, sdp);
            }),
            ClientMessage::Refuse { link, reason } => self.with(now, id, stream, |broadcast| {
                broadcast.refuse(now, node, link, reason);
            }),
            ClientMessage::Candidate { link, candidate } => {
                self.with(now, id, stream, |broadcast| {
                    broadcast.candidate(node, link, candidate);
                });
            }
            ClientMessage::Attached { link, generation } => {
                self.with(now, id, stream, |broadcast| {
                    broadcast.attached(node, link, generation);
                });
            }
            ClientMessage::Reachability(reachability) => {
                self.reachability(now, id, arrival, stream, reachability);
            }
            ClientMessage::StandBy(join) => self.with(now, id, stream, |broadcast| {
                broadcast.stand_by(now, arrival, join);
            }),
            ClientMessage::Standing { link, host } => self.with(now, id, stream, |broadcast| {
                broadcast.standing(now, node, link, host);
            }),
            ClientMessage::Switched { link, parent, lost } => {
                self.with(now, id, stream, |broadcast| {
                    broadcast.switched(now, node, link, parent, lost);
                });
            }
            ClientMessage::Drain => self.with(now, id, stream, |broadcast| {
                broadcast.drain(now, node);
            }),
            ClientMessage::FollowTree { follow } => self.with(now, id, stream, |broadcast| {
                broadcast.follow(node, follow);
            }),
        }
    }

    fn with(
        &mut self,
        now: Instant,
        id: SessionId,
        stream: Option<StreamId>,
        act: impl FnOnce(&mut Broadcast),
    ) {
        match stream.and_then(|stream| Some((stream, self.streams.get_mut(&stream)?))) {
            Some((stream, broadcast)) => {
                act(broadcast);
                self.settle(now, stream);
            }
            None => self.unexpected(id, "this session belongs to no stream"),
        }
    }

    fn join(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        stream: Option<StreamId>,
        join: Join,
    ) {
        if stream.is_some_and(|stream| stream != join.stream) {
            self.unexpected(id, "leave the other stream before you join this one");
            return;
        }
        let stream = join.stream;
        let Some(broadcast) = self.streams.get_mut(&stream) else {
            let text = "this tracker knows no such stream";
            self.send_error(id, ErrorCode::UnknownStream, text, false);
            return;
        };
        broadcast.join(now, arrival, join);
        self.belongs(id, arrival, stream);
        self.settle(now, stream);
    }

    /// Notes the stream of a session, if its node is a peer there.
    fn belongs(&mut self, id: SessionId, arrival: Arrival, stream: StreamId) {
        let joined = self
            .streams
            .get(&stream)
            .is_some_and(|b| b.contains(&arrival.node));
        if let Some(session) = self.sessions.get_mut(&id).filter(|_| joined) {
            session.stream = Some(stream);
            self.arm(id);
        }
    }

    fn report(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        stream: Option<StreamId>,
        report: Report,
    ) {
        if let Some(stream) = stream {
            self.with(now, id, Some(stream), |broadcast| {
                broadcast.report(now, arrival.node, report);
            });
            return;
        }
        // A peer whose session or whose tracker was away: its parent's session tells the stream.
        let parent = report.parent.and_then(|parent| self.nodes.get(&parent));
        let parent = parent.and_then(|parent| self.sessions.get(parent));
        let Some(stream) = parent.and_then(|session| session.stream) else {
            return;
        };
        let Some(broadcast) = self.streams.get_mut(&stream) else {
            return;
        };
        if broadcast.take_back(now, arrival, &report) {
            broadcast.report(now, arrival.node, report);
            self.belongs(id, arrival, stream);
            self.settle(now, stream);
        }
    }

    fn reachability(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        stream: Option<StreamId>,
        reachability: Reachability,
    ) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.hello = Some(Arrival {
                reachability,
                ..arrival
            });
        }
        if stream.is_some() {
            self.with(now, id, stream, |broadcast| {
                broadcast.set_reachability(arrival.node, reachability);
            });
        }
    }

    fn leave(&mut self, now: Instant, id: SessionId, arrival: Arrival, stream: Option<StreamId>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.proving = None;
        session.stream = None;
        let Some(stream) = stream else {
            return;
        };
        if let Some(broadcast) = self.streams.get_mut(&stream) {
            if broadcast.is_root(&arrival.node) {
                broadcast.root_leaves(now);
            } else {
                broadcast.leave(now, arrival.node);
            }
            self.settle(now, stream);
        }
    }
}
