//! One turn of the loop: what comes in, what is due, what goes out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use banyan::id::LinkKey;
use bytes::BytesMut;

use super::{Engine, Handshake, MAX_EVENTS};
use crate::rtc::demux::{is_dtls, is_stun};
use crate::rtc::socket::Datagram;
use crate::rtc::{CloseReason, EngineEvent};

/// Batches read in one turn, so that a flood on the port does not keep timers from running.
const BATCHES_PER_TURN: usize = 8;

/// DTLS handshake datagrams handled in one turn: about 2 ms of public-key work, so that a storm
/// of joins does not delay the packets of those who are there.
const HANDSHAKES_PER_TURN: usize = 4;

/// Handshake datagrams that wait for their turn. A handshake has ten, and retransmits.
const MAX_HANDSHAKES_WAITING: usize = 4096;

impl Engine {
    /// Waits until there is something to do: a datagram, room in a socket that was full, a timer
    /// of the engine, or `deadline`. May be dropped at any point.
    pub async fn wait(&mut self, deadline: Option<Instant>) {
        let until = [deadline, self.deadline()].into_iter().flatten().min();
        if until.is_some_and(|t| t <= Instant::now()) || !self.events.is_empty() {
            // Lets the runtime look at the sockets.
            tokio::task::yield_now().await;
            return;
        }
        let timer = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let name = tokio::select! {
            () = self.sockets.ready() => None,
            () = timer => None,
            name = self.reflexive.resolved() => Some(name),
        };
        if let Some(name) = name {
            self.reflexive.handle_resolved(Instant::now(), name);
        }
    }

    /// Reads what the sockets have, up to a turn's worth.
    pub fn receive(&mut self, now: Instant) {
        for index in 0..self.sockets.count() {
            for _ in 0..BATCHES_PER_TURN {
                if self.events.len() >= MAX_EVENTS / 2 {
                    return;
                }
                let Self {
                    sockets,
                    links,
                    demux,
                    dirty,
                    handshakes,
                    reflexive,
                    events,
                    ..
                } = self;
                let mut found = Vec::new();
                let more = sockets.read(index, |datagram| {
                    let Some(link) = demux.route(datagram.peer, datagram.bytes) else {
                        if is_stun(datagram.bytes) {
                            let (peer, bytes) = (datagram.peer, datagram.bytes);
                            found.extend(reflexive.handle_response(now, peer, bytes));
                        }
                        return;
                    };
                    let Some(entry) = links.get_mut(&link) else {
                        return;
                    };
                    if demux.received(now, datagram.peer, datagram.bytes) {
                        entry.targets.answered(datagram.peer);
                    }
                    if !entry.admits(datagram.bytes) {
                        return;
                    }
                    if is_dtls(datagram.bytes) && entry.handshaking() {
                        if handshakes.len() < MAX_HANDSHAKES_WAITING {
                            let (local, peer) = (datagram.local, datagram.peer);
                            let bytes = BytesMut::from(datagram.bytes);
                            handshakes.push_back(Handshake {
                                link,
                                local,
                                peer,
                                bytes,
                            });
                        }
                        return;
                    }
                    entry.read(now, datagram.local, datagram.peer, datagram.bytes);
                    if entry.connected() {
                        dirty.push(link);
                    } else {
                        // The next datagram may need the keys that this one completes.
                        entry.service(now, &mut |event| events.push_back(event));
                        dirty.push(link);
                    }
                });
                for found in found {
                    self.handle_found(found);
                }
                self.service(now);
                if !more {
                    break;
                }
            }
        }
        self.shake_hands(now);
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<LinkKey> = self
            .links
            .values()
            .filter(|l| l.deadline.is_some_and(|t| t <= now))
            .map(|l| l.key)
            .collect();
        for link in due {
            if let Some(entry) = self.links.get_mut(&link) {
                entry.handle_timeout(now);
                self.mark(link);
            }
        }
        let farewell = &mut self.farewell;
        let found = self.reflexive.poll(now, |peer, bytes| {
            let local = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            farewell.push_back(Datagram {
                local,
                peer,
                bytes: BytesMut::from(bytes),
            });
        });
        if let Some(found) = found {
            self.handle_found(found);
        }
        self.service(now);
    }

    /// Sends what is queued. Call it once per turn, after the orders of the turn.
    pub fn flush(&mut self, now: Instant) {
        self.service(now);
        if !self.farewell.is_empty() {
            self.sockets.send(now, &mut self.farewell);
            self.farewell.truncate(MAX_HANDSHAKES_WAITING);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        // A socket that is full most of the time must not serve the same links first each time.
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % dirty.len().max(1);
        dirty.rotate_left(first);
        for link in dirty {
            if let Some(entry) = self.links.get_mut(&link) {
                if entry.dirty {
                    entry.drain(now, &mut self.demux, &mut self.budget);
                }
                entry.queued -= self.sockets.send(now, &mut entry.queue);
                if !entry.queue.is_empty() || entry.ended.is_some() {
                    self.dirty.push(link);
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; may lie in the past.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.handshakes.is_empty() {
            return Some(Instant::now());
        }
        let links = self.links.values().filter_map(|l| l.deadline).min();
        [links, self.reflexive.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Handles some of the handshake datagrams that wait.
    fn shake_hands(&mut self, now: Instant) {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(next) = self.handshakes.pop_front() else {
                break;
            };
            if let Some(entry) = self.links.get_mut(&next.link) {
                entry.read(now, next.local, next.peer, &next.bytes);
                let events = &mut self.events;
                entry.service(now, &mut |event| events.push_back(event));
                self.dirty.push(next.link);
            }
        }
        self.service(now);
    }

    /// Drains the links that something happened to.
    pub(super) fn service(&mut self, now: Instant) {
        let mut gone = Vec::new();
        self.dirty.sort_unstable();
        self.dirty.dedup();
        for link in &self.dirty {
            if let Some(entry) = self.links.get_mut(link) {
                if entry.fed {
                    let events = &mut self.events;
                    entry.service(now, &mut |event| {
                        // Only a flood of datagrams in one turn comes here; what is dropped is
                        // media, which repairs itself.
                        if events.len() < MAX_EVENTS || !matches!(event, EngineEvent::Packet { .. })
                        {
                            events.push_back(event);
                        }
                    });
                }
                gone.extend(entry.ended.map(|reason| (*link, reason)));
            }
        }
        for (link, reason) in gone {
            self.end(now, link, reason);
        }
    }

    fn end(&mut self, now: Instant, link: LinkKey, reason: CloseReason) {
        self.close(now, link);
        self.emit(EngineEvent::Closed { link, reason });
    }
}
