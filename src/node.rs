//! One node of the mesh: its place in the tree ([`Peer`]) and its packets ([`Relay`]) composed.
//!
//! Everything that decides at a node is behind [`Node::handle`]; a shell moves bytes between it
//! and sockets, and a simulator between it and other nodes.

mod capacity;
pub mod contract;
mod control;
mod uplink;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::{LinkKey, NodeId, StreamId};
use crate::node::capacity::Capacity;
use crate::peer::{MediaView, Peer};
use crate::relay::clock::TrackClock;
use crate::relay::packet::{ExtSeq, Packet, TrackIndex};
use crate::relay::{Relay, RelayOutput};
use crate::wire::announcement::StreamInfo;
use crate::wire::peer::NextPacket;
use crate::wire::tracker::PeerClass;

pub use self::contract::{Input, NodeConfig, Output, Snapshot};
pub use crate::peer::{PeerConfig, PeerEvent, PeerInput, PlayerNews, PlayerRequest, Role};

/// Time between two sender reports to a child. RFC 3550 section 6.2 asks for at least 5 s on
/// large sessions and less on small ones; players adjust lip sync on each.
const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// One node.
#[derive(Debug)]
pub struct Node {
    peer: Peer,
    relay: Option<Relay>,
    info: Option<StreamInfo>,
    feeding: Option<LinkKey>,
    /// Children that get media, and when each is told the clock next.
    clock_due: BTreeMap<LinkKey, Instant>,
    /// Children that play what they get and pass nothing on.
    players: BTreeSet<LinkKey>,
    clocks: Vec<Option<TrackClock>>,
    /// At the root: the next sequence number of each track.
    source_next: Vec<ExtSeq>,
    source_idle: bool,
    sink_wait: Option<Duration>,
    capacity: Capacity,
    up_bytes: u64,
    reported: Totals,
    /// Until then it offers no slots: it had no picture to pass on.
    poor_until: Option<Instant>,
    outputs: VecDeque<Output>,
}

/// Packet counts at the last report to the tracker.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    received: u64,
    lost: u64,
    up_bytes: u64,
    at: Option<Instant>,
}

impl Node {
    /// A node that has not spoken to anybody.
    pub fn new(now: Instant, mut config: NodeConfig) -> Self {
        let capacity = Capacity::new(config.peer.slots, config.max_upload);
        config.peer.slots = capacity.fitting();
        Self {
            peer: Peer::new(now, config.peer),
            relay: None,
            info: None,
            feeding: None,
            clock_due: BTreeMap::new(),
            players: BTreeSet::new(),
            clocks: Vec::new(),
            source_next: Vec::new(),
            source_idle: false,
            sink_wait: config.sink_wait,
            capacity,
            up_bytes: 0,
            reported: Totals::default(),
            poor_until: None,
            outputs: VecDeque::new(),
        }
    }

    /// Tells the node what happened.
    ///
    /// Packets are cheap here: what they cause is gathered until [`flush`](Self::flush), which a
    /// shell calls once per batch it received.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Packet { link, packet } => self.receive(now, link, packet),
            Input::Control(input) => self.control(now, input),
            Input::Nack { link, track, seqs } => {
                if let Some(relay) = &mut self.relay {
                    relay.nack(now, link, track, &seqs);
                }
            }
            Input::KeyFrameRequest { link, track } => {
                if let Some(relay) = &mut self.relay {
                    relay.key_frame_request(now, link, track);
                }
            }
            Input::ReceiverReport {
                link,
                fraction_lost,
                rtt,
            } => {
                if let Some(relay) = &mut self.relay {
                    relay.feedback(now, link, fraction_lost, rtt);
                }
            }
            Input::SenderReport {
                link,
                track,
                ntp,
                rtp,
            } => {
                if self.peer.is_upstream(link) {
                    self.set_clock(now, track, ntp, rtp);
                }
            }
            Input::Source(packets) => self.source(now, packets),
            Input::SourceClock { track, ntp, rtp } => {
                if self.peer.is_root() {
                    self.set_clock(now, track, ntp, rtp);
                }
            }
            Input::SourceIdle(idle) => self.source_idle = idle,
            Input::Tick => {
                if let Some(relay) = &mut self.relay {
                    relay.handle_tick(now);
                }
                if self.peer.deadline().is_some_and(|at| at <= now) {
                    self.control(now, PeerInput::Tick);
                }
                self.report_clocks(now);
            }
        }
    }

    /// Ends a batch of inputs: what they caused becomes outputs.
    pub fn flush(&mut self, now: Instant) {
        for link in self.drain_relay(now) {
            self.control(now, PeerInput::Worn { link });
        }
        self.drain_peer(now);
    }

    /// What the packets caused becomes outputs. Returns links that can carry no more.
    fn drain_relay(&mut self, now: Instant) -> Vec<LinkKey> {
        let mut worn = Vec::new();
        let mut held_now = Vec::new();
        let Some(relay) = &mut self.relay else {
            return worn;
        };
        while let Some(output) = relay.poll_output() {
            match output {
                RelayOutput::Send { child, packets } => {
                    let bytes = packets.iter().map(|packet| packet.payload.len() as u64);
                    self.up_bytes += bytes.sum::<u64>();
                    self.peer.media_sent(now, child);
                    self.outputs.push_back(Output::Packets {
                        link: child,
                        packets,
                    });
                }
                RelayOutput::RequestPackets { track, seqs } => {
                    if let Some(link) = self.feeding {
                        let seqs = seqs.into_iter().map(|seq| seq as u16).collect();
                        self.outputs
                            .push_back(Output::RequestPackets { link, track, seqs });
                    }
                }
                RelayOutput::RequestKeyFrame { track } => {
                    if self.peer.is_root() {
                        self.outputs.push_back(Output::SourceKeyFrame { track });
                    } else if let Some(link) = self.feeding {
                        self.outputs
                            .push_back(Output::RequestKeyFrame { link, track });
                    }
                }
                RelayOutput::Deliver(packet) => self.outputs.push_back(Output::Deliver(packet)),
                RelayOutput::ReplaceLink { child } => worn.push(child),
                RelayOutput::Picture { child, held } => held_now.push((child, held)),
            }
        }
        for (link, held) in held_now {
            self.peer.tell_picture(link, held);
        }
        worn
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes back the vector of an [`Output::Packets`] that was sent.
    pub fn recycle(&mut self, packets: Vec<Arc<Packet>>) {
        if let Some(relay) = &mut self.relay {
            relay.recycle(packets);
        }
    }

    /// When to call [`handle`](Self::handle) with [`Input::Tick`]. May lie in the past.
    pub fn deadline(&self) -> Option<Instant> {
        let relay = self.relay.as_ref().and_then(Relay::deadline);
        let clock = self.clock_due.values().min().copied();
        [self.peer.deadline(), relay, clock]
            .into_iter()
            .flatten()
            .min()
    }

    /// The node as it is.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: self.peer.node(),
            parent: self.peer.parent(),
            standby: self.peer.standby(),
            cold_parents: self.peer.cold_parents().collect(),
            admitted: self.peer.admitted(),
            depth: self.peer.depth(),
            children: self.peer.children().map(|link| link.child).collect(),
            slots: self.peer.slots(),
            heals: self.peer.heals(),
            delay: self.peer.delay(),
            up_bytes: self.up_bytes,
            falls: self.relay.as_ref().map_or(0, Relay::falls),
            source_idle: self.source_idle,
            players: (self.peer.children())
                .filter(|&link| self.peer.class_of(link) == Some(PeerClass::Player))
                .count(),
            tracks: self.relay.as_ref().map(Relay::stats).unwrap_or_default(),
        }
    }

    /// The node that feeds this one.
    pub fn parent(&self) -> Option<NodeId> {
        self.peer.parent()
    }

    /// Children that have a slot.
    pub fn taken(&self) -> usize {
        self.peer.taken()
    }

    /// Measures the largest gap of each track afresh; for statistics per interval.
    pub fn reset_gaps(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.reset_gaps();
        }
    }

    /// The stream this node belongs to.
    pub fn stream(&self) -> StreamId {
        self.peer.stream()
    }

    fn receive(&mut self, now: Instant, link: LinkKey, packet: Packet) {
        if !self.peer.media_arrived(now, link) {
            return;
        }
        if let Some(relay) = &mut self.relay {
            relay.receive(now, packet);
        }
        self.drain_peer(now);
    }

    fn source(&mut self, now: Instant, packets: Vec<Packet>) {
        let Some(relay) = &mut self.relay else { return };
        for mut packet in packets {
            let Some(next) = self.source_next.get_mut(usize::from(packet.track)) else {
                continue;
            };
            packet.seq = *next;
            *next += 1;
            relay.insert(now, packet);
        }
    }

    fn set_clock(&mut self, now: Instant, track: TrackIndex, ntp: u64, rtp: u32) {
        let Some(info) = &self.info else { return };
        let Some(codec) = info.tracks.get(usize::from(track)).map(|track| track.codec) else {
            return;
        };
        let Some(clock) = self.clocks.get_mut(usize::from(track)) else {
            return;
        };
        let first = clock
            .replace(TrackClock::new(now, ntp, rtp, codec.clock_rate()))
            .is_none();
        if self.sink_wait.is_some() {
            self.outputs
                .push_back(Output::DeliverClock { track, ntp, rtp });
        }
        if first {
            for due in self.clock_due.values_mut() {
                *due = now;
            }
            self.report_clocks(now);
        }
    }

    /// Sends sender reports that are due.
    fn report_clocks(&mut self, now: Instant) {
        for (link, due) in &mut self.clock_due {
            if *due > now {
                continue;
            }
            *due = now + SENDER_REPORT_INTERVAL;
            for (track, clock) in (0..).zip(&self.clocks) {
                if let Some(clock) = clock {
                    let (ntp, rtp) = clock.at(now);
                    let link = *link;
                    self.outputs.push_back(Output::SenderReport {
                        link,
                        track,
                        ntp,
                        rtp,
                    });
                }
            }
        }
    }

    fn media_view(&self, now: Instant) -> MediaView {
        let Some(relay) = &self.relay else {
            return MediaView {
                source_idle: self.source_idle,
                ..MediaView::default()
            };
        };
        let next = relay.next_wanted(now).into_iter();
        MediaView {
            heads: relay.known_heads(),
            next: next.map(|(track, seq)| NextPacket { track, seq }).collect(),
            source_idle: self.source_idle,
        }
    }
}
