//! What the engine tells, as the node hears it.

use std::time::Instant;

use banyan::limits::MAX_PEER_MESSAGE;
use banyan::node::{Input, PeerInput};
use banyan::relay::packet::Packet;
use banyan::wire::codec::{Frame, decode};
use banyan::wire::peer::PeerMessage;

use super::turn::Turn;
use crate::rtc::{CloseReason, EngineEvent, MessageData};

impl Turn {
    pub(super) fn engine_event(&mut self, now: Instant, event: EngineEvent) {
        self.tally.heard(&event);
        if let Some(publisher) = &mut self.publisher
            && publisher.owns(event.link())
        {
            publisher.event(now, event);
            return;
        }
        let input = match event {
            EngineEvent::Packet { link, packet } => {
                let packet = Packet {
                    track: packet.track,
                    seq: packet.seq.into(),
                    timestamp: packet.timestamp,
                    marker: packet.marker,
                    extensions: packet.extensions,
                    payload: packet.payload,
                };
                Input::Packet { link, packet }
            }
            EngineEvent::Nack { link, track, seqs } => Input::Nack { link, track, seqs },
            EngineEvent::KeyFrameRequest { link, track } => Input::KeyFrameRequest { link, track },
            EngineEvent::ReceiverReport {
                link,
                fraction_lost,
                rtt,
                ..
            } => Input::ReceiverReport {
                link,
                fraction_lost,
                rtt,
            },
            EngineEvent::SenderReport {
                link,
                track,
                ntp,
                rtp,
            } => Input::SenderReport {
                link,
                track,
                ntp,
                rtp,
            },
            EngineEvent::Offer { link, sdp } => Input::Control(PeerInput::Offer { link, sdp }),
            EngineEvent::Answer { link, sdp } => Input::Control(PeerInput::Answer { link, sdp }),
            EngineEvent::LocalCandidate { link, candidate } => {
                Input::Control(PeerInput::Candidate { link, candidate })
            }
            EngineEvent::Connected { link } => Input::Control(PeerInput::Connected { link }),
            EngineEvent::Restarted { .. } => return,
            EngineEvent::Closed { link, reason } => {
                self.encodings.remove(&link);
                let reached = !matches!(reason, CloseReason::IceFailed);
                Input::Control(PeerInput::Closed { link, reached })
            }
            EngineEvent::Message { link, data, .. } => {
                let frame = match data {
                    MessageData::Text(text) => Frame::Text(text),
                    MessageData::Binary(bytes) => Frame::Binary(bytes.into()),
                };
                match decode::<PeerMessage>(&frame, MAX_PEER_MESSAGE) {
                    Ok(message) => Input::Control(PeerInput::Message { link, message }),
                    Err(error) => {
                        tracing::debug!(?link, "a peer's message was dropped: {error}");
                        return;
                    }
                }
            }
        };
        self.node.handle(now, input);
    }
}
