//! What nodes want done, carried over the virtual network.

use std::time::Duration;

use banyan::id::{Epoch, LinkKey, NodeId};
use banyan::node::{Input, Output, PeerInput};
use banyan::relay::packet::Packet;
use banyan::wire::peer::{Channel, PeerMessage};
use banyan::wire::tracker::{ClientMessage, RefuseReason};
use rand::RngExt;

use super::{Happening, SimLink, World};

impl World {
    fn other_end(&self, id: NodeId, link: LinkKey) -> Option<NodeId> {
        let ends = self.links.get(&link).filter(|ends| ends.connected)?;
        if link.child == id {
            ends.parent
        } else {
            Some(link.child)
        }
    }

    /// Sends a datagram that may be lost.
    fn datagram(&mut self, from: NodeId, link: LinkKey, input: Input) {
        let Some(to) = self.other_end(from, link) else {
            return;
        };
        let strayed = self.network.loss > 0.0 && self.rng.random_bool(self.network.loss);
        let waits = self.through_lines(from, to, &input).filter(|_| !strayed);
        if let Input::Packet { packet, .. } = &input {
            let traffic = self.traffic.entry(link).or_default();
            traffic.count(packet.track, packet.seq, waits.is_some());
        }
        let Some(waits) = waits else {
            return;
        };
        if matches!(input, Input::Packet { .. })
            && self.nodes.get(&from).is_some_and(|place| place.liar)
        {
            return;
        }
        let time = self.travel_time(from, to) + waits;
        let happening = match input {
            Input::Control(_) => Happening::ToNode(to, input),
            _ => {
                let ends = self.links.get(&link);
                let epoch = ends.and_then(|ends| ends.tracks_at(from, link));
                Happening::Media(link, to, epoch, input)
            }
        };
        self.schedule(time, happening);
    }

    /// RTP or RTCP arrives: its source tells which epoch's track it is about.
    pub(super) fn media(&mut self, link: LinkKey, to: NodeId, epoch: Option<Epoch>, input: Input) {
        let ends = self.links.get(&link);
        let known = ends.and_then(|ends| ends.tracks_at(to, link));
        if epoch.is_some() && known == epoch {
            if let Input::Packet { packet, .. } = &input
                && let Some(place) = self.nodes.get_mut(&to)
                && !place.frozen
            {
                place
                    .progress
                    .arrived(self.now, packet.track, packet.seq as u16);
            }
            self.feed(to, input);
        }
    }

    pub(super) fn carry_out(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Tracker(mut message) => {
                if let (ClientMessage::Report(report), Some(slots)) =
                    (&mut message, self.boasters.get(&id))
                {
                    report.slots = *slots;
                }
                if let Some(session) = self.nodes.get(&id).and_then(|place| place.session) {
                    let time = self.tracker_time(id);
                    self.schedule(time, Happening::ToTracker(session, message));
                }
            }
            Output::Learn { .. } => {
                if let Some(reachability) = self.reachability(id) {
                    let learnt = Input::Control(PeerInput::Reachability(reachability));
                    let time = self.tracker_time(id) * 4;
                    self.schedule(time, Happening::ToNode(id, learnt));
                }
            }
            Output::Connect { link, .. } => {
                let ends = SimLink {
                    parent: None,
                    answered: false,
                    connected: false,
                    sends: None,
                    takes: None,
                };
                self.links.insert(link, ends);
                self.offer(id, link);
            }
            Output::Accept { link, info, .. } => {
                if let Some(ends) = self.links.get_mut(&link) {
                    ends.parent = Some(id);
                    ends.sends = Some(info.epoch);
                }
                self.answer(id, link, info.epoch);
            }
            Output::Renew { link } => {
                if let Some(ends) = self.links.get_mut(&link) {
                    ends.takes = None;
                }
                self.offer(id, link);
            }
            Output::AcceptRenewal { link, .. } if self.unwilling.contains(&id) => {
                self.reject(id, link);
            }
            Output::AcceptRenewal { link, info, .. } => {
                if let Some(ends) = self.links.get_mut(&link) {
                    ends.sends = Some(info.epoch);
                }
                self.answer(id, link, info.epoch);
            }
            Output::SetRenewal { link, sdp, info } => {
                if sdp != describe(info.epoch) {
                    return self.reject(id, link);
                }
                if let Some(ends) = self.links.get_mut(&link) {
                    ends.takes = Some(info.epoch);
                }
            }
            Output::SetAnswer { link, .. } if self.links.get(&link).is_some_and(|l| l.answered) => {
                // WebRTC takes one answer to an offer.
                self.reject(id, link);
            }
            // Sources that the stream does not have.
            Output::SetAnswer { link, sdp, info } if sdp != describe(info.epoch) => {
                self.links.remove(&link);
                self.reject(id, link);
            }
            Output::SetAnswer { link, info, .. } => {
                if let Some(ends) = self.links.get_mut(&link)
                    && !std::mem::replace(&mut ends.answered, true)
                {
                    ends.takes = Some(info.epoch);
                    // ICE and DTLS take about three round trips.
                    let parent = self.links.get(&link).and_then(|ends| ends.parent);
                    let time = self.travel_time(id, parent.unwrap_or(id)) * 6;
                    self.schedule(time, Happening::Connect(link));
                }
            }
            Output::Close { link } => {
                let other = self.other_end(id, link);
                self.links.remove(&link);
                self.traffic.remove(&link);
                if let Some(other) = other {
                    self.closed += 1;
                    let time = self.travel_time(id, other);
                    let closed = PeerInput::Closed {
                        link,
                        reached: true,
                    };
                    self.schedule(time, Happening::ToNode(other, Input::Control(closed)));
                }
            }
            Output::Message { link, message } => {
                let channel = message.channel();
                if let PeerMessage::Offer { .. } = message {
                    self.offers += 1;
                    if (self.other_end(id, link)).is_some_and(|to| self.older.contains(&to)) {
                        return;
                    }
                }
                let input = Input::Control(PeerInput::Message { link, message });
                if channel == Channel::Pulse {
                    self.datagram(id, link, input);
                } else if let Some(to) = self.other_end(id, link) {
                    let time = self.stream_time(id, to);
                    self.schedule(time, Happening::ToNode(to, input));
                }
            }
            Output::Packets { link, packets } => {
                for packet in packets {
                    let seq = packet.seq & 0xffff;
                    let packet = Packet {
                        seq,
                        ..(*packet).clone()
                    };
                    self.datagram(id, link, Input::Packet { link, packet });
                }
            }
            Output::RequestPackets { link, track, seqs } => {
                self.datagram(id, link, Input::Nack { link, track, seqs });
            }
            Output::RequestKeyFrame { link, track } => {
                self.datagram(id, link, Input::KeyFrameRequest { link, track });
            }
            Output::SenderReport {
                link,
                track,
                ntp,
                rtp,
            } => {
                self.datagram(
                    id,
                    link,
                    Input::SenderReport {
                        link,
                        track,
                        ntp,
                        rtp,
                    },
                );
            }
            Output::Deliver(packet) => {
                let hash = fnv(&packet);
                if let Some(place) = self.nodes.get_mut(&id) {
                    place.delivered.push((packet.track, packet.seq, hash));
                }
            }
            Output::Event(event) => {
                let now = self.now;
                if let Some(place) = self.nodes.get_mut(&id) {
                    place.events.push((now, event));
                }
            }
            _ => {}
        }
    }

    fn offer(&mut self, id: NodeId, link: LinkKey) {
        let sdp = "offer".to_owned();
        let offer = Input::Control(PeerInput::Offer { link, sdp });
        self.schedule(Duration::ZERO, Happening::ToNode(id, offer));
    }

    fn answer(&mut self, id: NodeId, link: LinkKey, epoch: Epoch) {
        let sdp = describe(epoch);
        let answer = Input::Control(PeerInput::Answer { link, sdp });
        self.schedule(Duration::ZERO, Happening::ToNode(id, answer));
    }

    fn reject(&mut self, id: NodeId, link: LinkKey) {
        let reason = RefuseReason::Offer;
        let rejected = Input::Control(PeerInput::Rejected { link, reason });
        self.schedule(Duration::ZERO, Happening::ToNode(id, rejected));
    }

    pub(super) fn connect(&mut self, link: LinkKey) {
        let Some(parent) = self.links.get(&link).and_then(|ends| ends.parent) else {
            return;
        };
        let frozen = |id: &NodeId| self.nodes.get(id).is_none_or(|place| place.frozen);
        if !self.meet(link.child, parent) || frozen(&parent) || frozen(&link.child) {
            // Nothing comes: both ends find that out by their own timers.
            return;
        }
        if let Some(ends) = self.links.get_mut(&link) {
            ends.connected = true;
        }
        self.feed(parent, Input::Control(PeerInput::Connected { link }));
        self.feed(link.child, Input::Control(PeerInput::Connected { link }));
    }
}

impl SimLink {
    /// The epoch whose tracks a node sends or takes over its link.
    fn tracks_at(&self, id: NodeId, link: LinkKey) -> Option<Epoch> {
        if link.child == id {
            self.takes
        } else {
            self.sends
        }
    }
}

/// An answer, which names the sources of an epoch's tracks.
fn describe(epoch: Epoch) -> String {
    format!("answer of {epoch}")
}

/// FNV-1a over everything that travels bit for bit.
fn fnv(packet: &Packet) -> u64 {
    let head = [
        &packet.timestamp.to_be_bytes()[..],
        &[u8::from(packet.marker)],
    ]
    .concat();
    head.iter()
        .chain(packet.payload.iter())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}
