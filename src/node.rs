//! One node of the mesh: its place in the tree ([`Peer`]) and its packets ([`Relay`]) composed.
//!
//! Everything that decides at a node is behind [`Node::handle`]; a shell moves bytes between it
//! and sockets, and a simulator between it and other nodes.

mod capacity;
mod control;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::{LinkKey, NodeId, StreamId};
use crate::node::capacity::Capacity;
use crate::peer::{MediaView, Peer, PeerConfig, PeerEvent, PeerInput};
use crate::relay::clock::TrackClock;
use crate::relay::packet::{ExtSeq, Packet, TrackIndex};
use crate::relay::{Relay, RelayOutput, TrackStats};
use crate::wire::announcement::{MediaKind, StreamInfo};
use crate::wire::peer::{NextPacket, PeerMessage};
use crate::wire::tracker::{ClientMessage, IceServer, PeerClass};

/// Time between two sender reports to a child. RFC 3550 section 6.2 asks for at least 5 s on
/// large sessions and less on small ones; players adjust lip sync on each.
const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What a node is made with.
#[derive(Debug)]
pub struct NodeConfig {
    /// Its place in the tree.
    pub peer: PeerConfig,
    /// Most bits per second to send, where the operator set a limit.
    pub max_upload: Option<u64>,
    /// Whether packets are also handed out in order on this machine ([`Output::Deliver`]), and
    /// how long one waits at most for those before it.
    pub sink_wait: Option<Duration>,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// Something of the control plane.
    Control(PeerInput),
    /// A packet came from a parent.
    Packet {
        /// Over this link.
        link: LinkKey,
        /// The packet; of its sequence number the low 16 bits are known.
        packet: Packet,
    },
    /// A child misses packets.
    Nack {
        /// Which child.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
        /// These sequence numbers.
        seqs: Vec<u16>,
    },
    /// A child cannot decode before the next key frame.
    KeyFrameRequest {
        /// Which child.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
    },
    /// A child told how it receives (RTCP receiver report).
    ReceiverReport {
        /// Which child.
        link: LinkKey,
        /// Share of packets lost since its last report, 0 to 1.
        fraction_lost: f32,
        /// Round trip, where the report gave one.
        rtt: Option<Duration>,
    },
    /// A parent told the root's clock (RTCP sender report).
    SenderReport {
        /// Over this link.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// At the root: the packets of one frame, in order, without sequence numbers.
    Source(Vec<Packet>),
    /// At the root: which time the source's timestamps stand for.
    SourceClock {
        /// Of this track.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// At the root: the source pauses or goes on.
    SourceIdle(bool),
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Tell the tracker.
    Tracker(ClientMessage),
    /// Begin a link as its child: make an offer.
    Connect {
        /// Its name.
        link: LinkKey,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Answer a child's offer with these tracks.
    Accept {
        /// Its name.
        link: LinkKey,
        /// The child's session description.
        offer: String,
        /// What the child is.
        class: PeerClass,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
        /// The stream.
        info: StreamInfo,
    },
    /// Give a link we began its answer, which carries these tracks.
    SetAnswer {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
        /// The stream.
        info: StreamInfo,
    },
    /// Give a link a candidate of its other end.
    AddCandidate {
        /// Which.
        link: LinkKey,
        /// The candidate line; empty says there are no more.
        candidate: String,
    },
    /// End a link.
    Close {
        /// Which.
        link: LinkKey,
    },
    /// Say something over a link.
    Message {
        /// Which.
        link: LinkKey,
        /// What.
        message: PeerMessage,
    },
    /// Send packets to a child.
    Packets {
        /// Which.
        link: LinkKey,
        /// In this order.
        packets: Vec<Arc<Packet>>,
    },
    /// Tell a child the root's clock.
    SenderReport {
        /// Which.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// Ask a parent for packets again.
    RequestPackets {
        /// Over this link.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
        /// These sequence numbers.
        seqs: Vec<u16>,
    },
    /// Ask a parent for a key frame.
    RequestKeyFrame {
        /// Over this link.
        link: LinkKey,
        /// Of this track.
        track: TrackIndex,
    },
    /// At the root: ask the publisher for a key frame.
    SourceKeyFrame {
        /// Of this track.
        track: TrackIndex,
    },
    /// The stream has these tracks from now on.
    Tracks(StreamInfo),
    /// The next packet in order, for a sink on this machine.
    Deliver(Arc<Packet>),
    /// The clock of a track, for a sink on this machine.
    DeliverClock {
        /// Of this track.
        track: TrackIndex,
        /// NTP time.
        ntp: u64,
        /// RTP timestamp at that time.
        rtp: u32,
    },
    /// For people and statistics.
    Event(PeerEvent),
}

/// A node as statistics show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub node: NodeId,
    /// The parent that feeds it.
    pub parent: Option<NodeId>,
    /// Hops from the root.
    pub depth: Option<usize>,
    /// Children whose links stand.
    pub children: Vec<NodeId>,
    /// Children it can serve.
    pub slots: u16,
    /// Parents it has replaced.
    pub heals: u32,
    /// Delay from the root.
    pub delay: Duration,
    /// Media bytes sent to children, in all.
    pub up_bytes: u64,
    /// Per track, in the stream's order.
    pub tracks: Vec<(MediaKind, TrackStats)>,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    peer: Peer,
    relay: Option<Relay>,
    info: Option<StreamInfo>,
    feeding: Option<LinkKey>,
    /// Children that get media, and when each is told the clock next.
    clock_due: BTreeMap<LinkKey, Instant>,
    clocks: Vec<Option<TrackClock>>,
    /// At the root: the next sequence number of each track.
    source_next: Vec<ExtSeq>,
    source_idle: bool,
    sink_wait: Option<Duration>,
    capacity: Capacity,
    up_bytes: u64,
    reported: Totals,
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
    pub fn new(now: Instant, config: NodeConfig) -> Self {
        let capacity = Capacity::new(config.peer.slots, config.max_upload);
        Self {
            peer: Peer::new(now, config.peer),
            relay: None,
            info: None,
            feeding: None,
            clock_due: BTreeMap::new(),
            clocks: Vec::new(),
            source_next: Vec::new(),
            source_idle: false,
            sink_wait: config.sink_wait,
            capacity,
            up_bytes: 0,
            reported: Totals::default(),
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
        let Some(relay) = &mut self.relay else { return };
        let mut worn = Vec::new();
        while let Some(output) = relay.poll_output() {
            match output {
                RelayOutput::Send { child, packets } => {
                    let bytes = packets.iter().map(|packet| packet.payload.len() as u64);
                    self.up_bytes += bytes.sum::<u64>();
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
            }
        }
        for link in worn {
            self.control(now, PeerInput::Worn { link });
        }
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
            depth: self.peer.depth(),
            children: self.peer.children().map(|link| link.child).collect(),
            slots: self.peer.slots(),
            heals: self.peer.heals(),
            delay: self.peer.delay(),
            up_bytes: self.up_bytes,
            tracks: self.relay.as_ref().map(Relay::stats).unwrap_or_default(),
        }
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
