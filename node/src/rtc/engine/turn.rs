//! One turn of the loop: what comes in, what is due, what goes out.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use banyan::id::LinkKey;
use bytes::BytesMut;

use super::{Engine, Handshake, MAX_EVENTS};
use crate::rtc::demux::{Demux, is_dtls, is_stun};
use crate::rtc::link::Link;
use crate::rtc::socket::Datagram;
use crate::rtc::{CloseReason, EngineEvent};

/// Batches read in one turn, so that a flood on the port does not keep timers from running.
const BATCHES_PER_TURN: usize = 8;

/// DTLS handshake datagrams handled in one turn: about 2 ms of public-key work, so that a storm
/// of joins does not delay the packets of those who are there.
const HANDSHAKES_PER_TURN: usize = 4;

/// Handshake datagrams that wait for their turn. A handshake has ten, and retransmits.
const MAX_HANDSHAKES_WAITING: usize = 4096;

/// Where datagrams of peers go.
struct Intake<'a> {
    links: &'a mut HashMap<LinkKey, Link>,
    demux: &'a mut Demux,
    dirty: &'a mut Vec<LinkKey>,
    handshakes: &'a mut VecDeque<Handshake>,
    events: &'a mut VecDeque<EngineEvent>,
}

impl Intake<'_> {
    /// Takes a datagram; false if it is no link's.
    fn take(&mut self, now: Instant, local: SocketAddr, peer: SocketAddr, bytes: &[u8]) -> bool {
        let Some(link) = self.demux.route(peer, bytes) else {
            return false;
        };
        let Some(entry) = self.links.get_mut(&link) else {
            return true;
        };
        if self.demux.received(now, peer, bytes) {
            entry.targets.answered(peer);
        }
        if !entry.admits(bytes) {
            return true;
        }
        if is_dtls(bytes) && entry.handshaking() {
            if self.handshakes.len() < MAX_HANDSHAKES_WAITING {
                let bytes = BytesMut::from(bytes);
                self.handshakes.push_back(Handshake {
                    link,
                    local,
                    peer,
                    bytes,
                });
            }
            return true;
        }
        entry.read(now, local, peer, bytes);
        if !entry.connected() {
            // The next datagram may need the keys that this one completes.
            entry.service(now, &mut |event| self.events.push_back(event));
        }
        self.dirty.push(link);
        true
    }
}

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
        tokio::select! {
            () = self.sockets.ready() => {}
            () = timer => {}
            name = self.reflexive.resolved() => {
                self.reflexive.handle_resolved(Instant::now(), name);
            }
            name = self.relayed.resolved() => {
                self.relayed.handle_resolved(Instant::now(), name);
            }
        }
    }

    /// Takes a datagram that was not read from a socket.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        local: SocketAddr,
        peer: SocketAddr,
        bytes: &[u8],
    ) {
        let mut intake = Intake {
            links: &mut self.links,
            demux: &mut self.demux,
            dirty: &mut self.dirty,
            handshakes: &mut self.handshakes,
            events: &mut self.events,
        };
        intake.take(now, local, peer, bytes);
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
                    relayed,
                    events,
                    ..
                } = self;
                let mut intake = Intake {
                    links,
                    demux,
                    dirty,
                    handshakes,
                    events,
                };
                let mut found = Vec::new();
                let more = sockets.read(index, |datagram| {
                    let (local, peer, bytes) = (datagram.local, datagram.peer, datagram.bytes);
                    if relayed.is_server(peer) {
                        relayed.receive(now, bytes);
                    } else if intake.take(now, local, peer, bytes) {
                        return;
                    }
                    if is_stun(bytes) {
                        found.extend(reflexive.handle_response(now, peer, bytes));
                    }
                });
                for found in found {
                    self.handle_found(found);
                }
                self.take_relayed(now);
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
        self.relayed.handle_timeout(now);
        self.take_relayed(now);
        self.service(now);
    }

    /// Sends what is queued. Call it once per turn, after the orders of the turn.
    pub fn flush(&mut self, now: Instant) {
        self.service(now);
        let mut dirty = std::mem::take(&mut self.dirty);
        // A socket that is full most of the time must not serve the same links first each time.
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % dirty.len().max(1);
        dirty.rotate_left(first);
        for link in dirty {
            if let Some(entry) = self.links.get_mut(&link).filter(|entry| entry.dirty) {
                entry.drain(now, &mut self.demux, &mut self.budget);
            }
            self.send_relayed(now, link);
            if let Some(entry) = self.links.get_mut(&link) {
                entry.queued -= self.sockets.send(now, &mut entry.queue);
                if !entry.queue.is_empty() || entry.ended.is_some() {
                    self.dirty.push(link);
                }
            }
        }
        if let Some(refused) = self.sockets.take_refused() {
            self.check_address(now, refused);
        }
        while let Some((peer, bytes)) = self.relayed.poll_send() {
            let local = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            self.farewell.push_back(Datagram { local, peer, bytes });
        }
        if !self.farewell.is_empty() {
            self.sockets.send(now, &mut self.farewell);
            self.farewell.truncate(MAX_HANDSHAKES_WAITING);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; may lie in the past.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.handshakes.is_empty() {
            return Some(Instant::now());
        }
        let links = self.links.values().filter_map(|l| l.deadline).min();
        let relayed = self.relayed.deadline();
        [links, self.reflexive.deadline(), relayed]
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
