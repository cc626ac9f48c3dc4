//! What nodes want done, carried over the virtual network.

use std::time::Duration;

use banyan::id::{LinkKey, NodeId};
use banyan::node::{Input, Output, PeerInput};
use banyan::relay::packet::Packet;
use banyan::wire::peer::Channel;
use banyan::wire::tracker::RefuseReason;
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
        if self.network.loss > 0.0 && self.rng.random_bool(self.network.loss) {
            return;
        }
        let time = self.travel_time();
        self.schedule(time, Happening::ToNode(to, input));
    }

    pub(super) fn carry_out(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Tracker(message) => {
                if let Some(session) = self.nodes.get(&id).and_then(|place| place.session) {
                    let time = self.stream_time();
                    self.schedule(time, Happening::ToTracker(session, message));
                }
            }
            Output::Connect { link, .. } => {
                let ends = SimLink {
                    parent: None,
                    answered: false,
                    connected: false,
                };
                self.links.insert(link, ends);
                let offer = PeerInput::Offer {
                    link,
                    sdp: "offer".into(),
                };
                self.schedule(Duration::ZERO, Happening::ToNode(id, Input::Control(offer)));
            }
            Output::Accept { link, .. } => {
                if let Some(ends) = self.links.get_mut(&link) {
                    ends.parent = Some(id);
                }
                let answer = PeerInput::Answer {
                    link,
                    sdp: "answer".into(),
                };
                self.schedule(
                    Duration::ZERO,
                    Happening::ToNode(id, Input::Control(answer)),
                );
            }
            Output::SetAnswer { link, .. } if self.links.get(&link).is_some_and(|l| l.answered) => {
                // WebRTC takes one answer to an offer.
                let reason = RefuseReason::Offer;
                let rejected = Input::Control(PeerInput::Rejected { link, reason });
                self.schedule(Duration::ZERO, Happening::ToNode(id, rejected));
            }
            Output::SetAnswer { link, .. } => {
                if let Some(ends) = self.links.get_mut(&link)
                    && !std::mem::replace(&mut ends.answered, true)
                {
                    // ICE and DTLS take about three round trips.
                    let time = self.travel_time() * 6;
                    self.schedule(time, Happening::Connect(link));
                }
            }
            Output::Close { link } => {
                let other = self.other_end(id, link);
                self.links.remove(&link);
                if let Some(other) = other {
                    let time = self.travel_time();
                    let closed = PeerInput::Closed {
                        link,
                        reached: true,
                    };
                    self.schedule(time, Happening::ToNode(other, Input::Control(closed)));
                }
            }
            Output::Message { link, message } => {
                let channel = message.channel();
                let input = Input::Control(PeerInput::Message { link, message });
                if channel == Channel::Pulse {
                    self.datagram(id, link, input);
                } else if let Some(to) = self.other_end(id, link) {
                    let time = self.stream_time();
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

    pub(super) fn connect(&mut self, link: LinkKey) {
        let Some(parent) = self.links.get(&link).and_then(|ends| ends.parent) else {
            return;
        };
        let frozen = |id: &NodeId| self.nodes.get(id).is_none_or(|place| place.frozen);
        if self.unreachable.contains(&(link.child, parent))
            || frozen(&parent)
            || frozen(&link.child)
        {
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
