//! Relays on links that lose, delay, reorder and duplicate, on one virtual clock from one seed.

mod chain;
mod conduct;
mod resume;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::packet::{ExtSeq, Packet, TrackIndex};
use super::sequence::wire;
use super::*;
use crate::id::{LinkId, NodeId};
use crate::limits::RING_BYTES_MAX;
use crate::wire::announcement::Codec;

const AUDIO: TrackIndex = 0;
const VIDEO: TrackIndex = 1;

/// Where virtual time begins: nothing but differences matters.
pub(super) fn beginning() -> Instant {
    crate::virtual_clock::start()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn tracks(first_seq: ExtSeq) -> Vec<TrackInfo> {
    [Codec::Opus, Codec::Vp8]
        .map(|codec| TrackInfo {
            codec,
            fmtp: String::new(),
            ssrc: 1,
            first_seq,
        })
        .to_vec()
}

/// The link of node `child` to whatever parent, by its number.
fn link(child: usize, number: u32) -> LinkKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(child as u64).to_be_bytes());
    LinkKey {
        child: NodeId::from_bytes(id),
        link: LinkId(number),
    }
}

/// A stream of 50 sound packets and 30 pictures a second, a key frame each second.
struct Source {
    rng: StdRng,
    next: [ExtSeq; 2],
    elapsed: Duration,
    frame: u32,
    sound: u32,
}

impl Source {
    fn new(first_seq: ExtSeq, seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            next: [first_seq; 2],
            elapsed: Duration::ZERO,
            frame: 0,
            sound: 0,
        }
    }

    fn packet(&mut self, track: TrackIndex, timestamp: u32, first: u8, marker: bool) -> Packet {
        let size = if track == AUDIO {
            80
        } else {
            self.rng.random_range(200..1100)
        };
        let mut payload = vec![0; size];
        self.rng.fill(&mut payload[..]);
        payload[0] = first;
        payload[1] = 0;
        let seq = self.next[usize::from(track)];
        self.next[usize::from(track)] += 1;
        Packet {
            track,
            seq,
            timestamp,
            marker,
            extensions: Vec::new(),
            payload: Bytes::from(payload),
        }
    }

    /// What is made in the next millisecond.
    fn step(&mut self) -> Vec<Packet> {
        let mut made = Vec::new();
        if ms(20) * self.sound <= self.elapsed {
            made.push(self.packet(AUDIO, self.sound * 960, 0, false));
            self.sound += 1;
        }
        if ms(33) * self.frame <= self.elapsed {
            let key = self.frame.is_multiple_of(30);
            let count = if key { 30 } else { self.rng.random_range(1..6) };
            for i in 0..count {
                let first = if i == 0 { 0x10 } else { 0 };
                let mut packet = self.packet(VIDEO, self.frame * 2970, first, i + 1 == count);
                if i == 0 && !key {
                    let mut payload = packet.payload.to_vec();
                    payload[1] = 1;
                    packet.payload = Bytes::from(payload);
                }
                made.push(packet);
            }
            self.frame += 1;
        }
        self.elapsed += ms(1);
        made
    }
}

/// What a path does to datagrams.
#[derive(Clone, Copy)]
struct Path {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    duplicates: f64,
}

const CLEAN: Path = Path {
    delay: Duration::from_millis(5),
    jitter: Duration::ZERO,
    loss: 0.0,
    duplicates: 0.0,
};

enum Datagram {
    /// As on the wire: only 16 bits of the sequence number are valid.
    Media(Packet),
    Nack(TrackIndex, Vec<u16>),
    KeyFrameRequest(TrackIndex),
    Report,
}

struct Node {
    relay: Relay,
    parent: Option<(usize, LinkKey)>,
    /// Links to former parents from which it still takes packets.
    listens_to: Vec<LinkKey>,
    /// Whether its process stands still.
    stopped: bool,
    arrived: BTreeMap<(TrackIndex, ExtSeq), (Packet, Instant)>,
    duplicates: u64,
    delivered: Vec<(TrackIndex, ExtSeq)>,
}

struct World {
    now: Instant,
    rng: StdRng,
    path: Path,
    nodes: Vec<Node>,
    source: Option<Source>,
    source_due: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    /// By number in the queue: receiver, link, content.
    in_flight: BTreeMap<u64, (usize, LinkKey, Datagram)>,
    sent: u64,
    /// First number sent on each link and track.
    first_on_link: BTreeMap<(LinkKey, TrackIndex), ExtSeq>,
    media_sent: BTreeMap<LinkKey, u64>,
    replaced: Vec<LinkKey>,
    key_frame_requests_to_publisher: u64,
    reports_due: Instant,
}

impl World {
    /// A root with a source that begins at `first_seq`.
    fn new(path: Path, first_seq: ExtSeq, seed: u64) -> Self {
        let now = beginning();
        let mut world = Self {
            now,
            rng: StdRng::seed_from_u64(seed),
            path,
            nodes: Vec::new(),
            source: Some(Source::new(first_seq, seed)),
            source_due: now,
            queue: BinaryHeap::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            first_on_link: BTreeMap::new(),
            media_sent: BTreeMap::new(),
            replaced: Vec::new(),
            key_frame_requests_to_publisher: 0,
            reports_due: now,
        };
        world.push_node(Relay::at_root(&tracks(first_seq), Epoch(1)));
        world
    }

    fn push_node(&mut self, relay: Relay) -> usize {
        self.nodes.push(Node {
            relay,
            parent: None,
            listens_to: Vec::new(),
            stopped: false,
            arrived: BTreeMap::new(),
            duplicates: 0,
            delivered: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// A node that is linked to nobody yet.
    fn add_node(&mut self) -> usize {
        let first_seq = 0x1_0000;
        self.push_node(Relay::new(&tracks(first_seq), Epoch(1)))
    }

    /// A node below `parent`, fast-started.
    fn join(&mut self, parent: usize) -> usize {
        let node = self.add_node();
        self.attach(node, parent, 1, &StartFrom::KeyFrame).unwrap();
        node
    }

    fn attach(
        &mut self,
        node: usize,
        parent: usize,
        number: u32,
        from: &StartFrom,
    ) -> Result<(), ActivateError> {
        let key = link(node, number);
        let (now, rtt) = (self.now, self.path.delay * 2);
        self.tell_heads(node, parent);
        self.nodes[node].relay.upstream_changed(now, Some(rtt));
        self.nodes[node].parent = Some((parent, key));
        let relay = &mut self.nodes[parent].relay;
        relay.add_child(now, key);
        relay.feedback(now, key, 0.0, Some(rtt));
        let result = relay.activate(now, key, from);
        self.drain(parent);
        result
    }

    fn tell_heads(&mut self, node: usize, parent: usize) {
        let heads = self.nodes[parent].relay.known_heads();
        for (track, head) in (0..).zip(heads) {
            self.nodes[node].relay.set_head_hint(self.now, track, head);
        }
    }

    fn post(&mut self, to: usize, key: LinkKey, mut make: impl FnMut() -> Datagram) {
        let path = self.path;
        if self.rng.random_bool(path.loss) {
            return;
        }
        let copies = 1 + u64::from(self.rng.random_bool(path.duplicates));
        for _ in 0..copies {
            let at = self.now + path.delay + path.jitter.mul_f64(self.rng.random());
            self.sent += 1;
            self.queue.push(Reverse((at, self.sent)));
            self.in_flight.insert(self.sent, (to, key, make()));
        }
    }

    /// The number of a link's child.
    fn child_of(key: LinkKey) -> usize {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&key.child.as_bytes()[..8]);
        u64::from_be_bytes(bytes) as usize
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].relay.poll_output() {
            match output {
                RelayOutput::Send { child, packets } => self.send(child, &packets),
                RelayOutput::RequestPackets { track, seqs } => {
                    if let Some((parent, key)) = self.nodes[node].parent {
                        let seqs: Vec<u16> = seqs.into_iter().map(wire).collect();
                        self.post(parent, key, || Datagram::Nack(track, seqs.clone()));
                    }
                }
                RelayOutput::RequestKeyFrame { track } => match self.nodes[node].parent {
                    Some((parent, key)) => {
                        self.post(parent, key, || Datagram::KeyFrameRequest(track));
                    }
                    None => self.key_frame_requests_to_publisher += 1,
                },
                RelayOutput::Deliver(packet) => {
                    self.nodes[node].delivered.push((packet.track, packet.seq));
                }
                RelayOutput::ReplaceLink { child } => self.replaced.push(child),
                RelayOutput::Picture { .. } => {}
            }
        }
    }

    fn send(&mut self, key: LinkKey, packets: &[Arc<Packet>]) {
        assert!(!packets.is_empty());
        for packet in packets {
            let first = self.first_on_link.entry((key, packet.track));
            let first = *first.or_insert(packet.seq);
            assert!(packet.seq >= first, "below the first packet of the session");
            *self.media_sent.entry(key).or_default() += 1;
            let mut on_wire = Packet::clone(packet);
            on_wire.seq = ExtSeq::from(wire(packet.seq));
            self.post(Self::child_of(key), key, || {
                Datagram::Media(on_wire.clone())
            });
        }
    }

    fn receive(&mut self, node: usize, key: LinkKey, datagram: Datagram) {
        let now = self.now;
        let at = &mut self.nodes[node];
        if at.stopped {
            return;
        }
        match datagram {
            Datagram::Media(packet) => {
                let from_parent = at.parent.is_some_and(|(_, current)| current == key);
                if !from_parent && !at.listens_to.contains(&key) {
                    return;
                }
                let seq = at.relay.unwrap_seq(packet.track, wire(packet.seq));
                match at.relay.receive(now, packet.clone()) {
                    Inserted::New => {
                        let seq = seq.unwrap();
                        let place = (packet.track, seq);
                        let packet = Packet { seq, ..packet };
                        assert!(at.arrived.insert(place, (packet, now)).is_none());
                    }
                    Inserted::Duplicate | Inserted::TooOld => at.duplicates += 1,
                    Inserted::Unnumbered => {}
                    Inserted::Implausible => panic!("{} is implausible", packet.seq),
                }
            }
            Datagram::Nack(track, seqs) => at.relay.nack(now, key, track, &seqs),
            Datagram::KeyFrameRequest(track) => at.relay.key_frame_request(now, key, track),
            Datagram::Report => {
                let rtt = self.path.delay * 2;
                at.relay.feedback(now, key, 0.0, Some(rtt));
            }
        }
        self.drain(node);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.nodes.iter().filter(|node| !node.stopped);
            let mut next = end.min(self.reports_due).min(
                due.filter_map(|node| node.relay.deadline())
                    .min()
                    .unwrap_or(end),
            );
            if let Some(Reverse((at, _))) = self.queue.peek() {
                next = next.min(*at);
            }
            if self.source.is_some() {
                next = next.min(self.source_due);
            }
            self.now = self.now.max(next);
            if self.now >= end {
                return;
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        let now = self.now;
        if now >= self.source_due {
            self.source_due = now + ms(1);
            if let Some(source) = &mut self.source {
                for packet in source.step() {
                    let place = (packet.track, packet.seq);
                    self.nodes[0].arrived.insert(place, (packet.clone(), now));
                    assert_eq!(self.nodes[0].relay.insert(now, packet), Inserted::New);
                }
            }
            self.drain(0);
        }
        while let Some(&Reverse((at, number))) = self.queue.peek() {
            if at > now {
                break;
            }
            self.queue.pop();
            if let Some((to, key, datagram)) = self.in_flight.remove(&number) {
                self.receive(to, key, datagram);
            }
        }
        for node in 0..self.nodes.len() {
            let at = &mut self.nodes[node];
            if !at.stopped && at.relay.deadline().is_some_and(|due| due <= now) {
                at.relay.handle_tick(now);
                assert!(
                    at.relay.deadline().is_none_or(|due| due > now),
                    "the deadline stands still"
                );
                self.drain(node);
            }
            assert!(self.nodes[node].relay.ring_bytes() <= 2 * RING_BYTES_MAX);
        }
        if now >= self.reports_due {
            self.reports_due = now + ms(1000);
            for node in 0..self.nodes.len() {
                let at = &self.nodes[node];
                if let Some((parent, key)) = at.parent.filter(|_| !at.stopped) {
                    self.post(parent, key, || Datagram::Report);
                }
            }
        }
    }

    /// Every packet from the first one sent to the node on `key` until `recent` ago is here, bit
    /// for bit.
    fn assert_complete(&self, node: usize, key: LinkKey, recent: Duration) {
        for track in [AUDIO, VIDEO] {
            let first = self.first_on_link[&(key, track)];
            let mut count = 0;
            for (place, (packet, made)) in self.nodes[0].arrived.range((track, first)..) {
                if place.0 != track || *made + recent > self.now {
                    break;
                }
                let here = self.nodes[node]
                    .arrived
                    .get(place)
                    .map(|(packet, _)| packet);
                assert!(
                    here == Some(packet),
                    "node {node} lacks or altered {place:?}, first on its link is {first}"
                );
                count += 1;
            }
            assert!(count > 20, "node {node} has only {count} of track {track}");
        }
    }

    fn lost(&self, node: usize) -> u64 {
        let stats = self.nodes[node].relay.stats();
        stats.iter().map(|(_, stats)| stats.lost).sum()
    }
}
