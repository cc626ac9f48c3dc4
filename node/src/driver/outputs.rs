//! What the node decided, done.

use std::time::Instant;

use banyan::id::LinkKey;
use banyan::node::{Input, Output, PeerInput};
use banyan::wire::codec::{Encoding, Frame, encode};
use banyan::wire::peer::{Channel, PeerMessage};
use banyan::wire::tracker::{ClientMessage, PeerClass, RefuseReason};

use super::turn::{LINGER, Turn};
use crate::rtc::{self, EngineError, MessageData, SdpError};

/// Most events kept for a program that is behind; it is behind by a minute of storms then.
const MAX_UNTOLD: usize = 1024;

impl Turn {
    pub(super) fn carry_out(&mut self, now: Instant, output: Output) {
        self.tally.done(&output);
        match output {
            Output::Packets { link, packets } => {
                self.engine.send_packets(now, link, &packets);
                self.node.recycle(packets);
            }
            Output::Deliver(packet) => {
                for sink in &mut self.sinks {
                    sink.packet(&packet);
                }
            }
            Output::RequestPackets { link, track, seqs } => {
                self.engine.request_packets(now, link, track, &seqs);
            }
            Output::RequestKeyFrame { link, track } => {
                self.engine.request_key_frame(now, link, track);
            }
            Output::SenderReport {
                link,
                track,
                ntp,
                rtp,
            } => {
                self.engine.send_sender_report(now, link, track, ntp, rtp);
            }
            Output::Message { link, message } => self.say(now, link, &message),
            Output::Tracker(message) => self.tell_tracker(message),
            Output::Learn { ice_servers } => self.engine.learn(now, &ice_servers),
            Output::Connect { link, ice_servers } => {
                if let Err(error) = self.engine.connect(now, link, &ice_servers) {
                    self.rejected(now, link, &error);
                }
            }
            Output::Accept {
                link,
                offer,
                class,
                ice_servers,
                info,
            } => {
                let (encoding, class) = class_of(class);
                self.encodings.insert(link, encoding);
                let accepted = self
                    .engine
                    .accept(now, link, &offer, &info, class, &ice_servers);
                if let Err(error) = accepted {
                    self.rejected(now, link, &error);
                }
            }
            Output::Relay { link, servers } => self.engine.relay(now, link, &servers),
            Output::SetAnswer { link, sdp, info } => {
                if let Err(error) = self.engine.set_answer(now, link, &sdp, &info) {
                    self.rejected(now, link, &error);
                }
            }
            Output::Renew { link } => {
                let made = self.engine.renew(link);
                self.renewal(now, link, made);
            }
            Output::AcceptRenewal {
                link,
                offer,
                class,
                info,
            } => {
                let class = class_of(class).1;
                let accepted = self.engine.accept_renewal(link, &offer, &info, class);
                self.renewal(now, link, accepted);
            }
            Output::SetRenewal { link, sdp, info } => {
                let set = self.engine.set_renewal(link, &sdp, &info);
                self.renewal(now, link, set);
            }
            Output::AddCandidate { link, candidate } => {
                if let Err(error) = self.engine.add_candidate(now, link, &candidate) {
                    tracing::debug!(?link, "a candidate was passed over: {error}");
                }
            }
            Output::Close { link } => {
                self.encodings.remove(&link);
                self.engine.close(now, link);
            }
            Output::Tracks(info) => {
                for sink in &mut self.sinks {
                    sink.tracks(&info);
                }
            }
            Output::DeliverClock { track, ntp, rtp } => {
                for sink in &mut self.sinks {
                    sink.clock(track, ntp, rtp);
                }
            }
            Output::Left => {
                self.leaving.get_or_insert(now + LINGER);
            }
            Output::Player { link, news } => self.players.tell(link, news),
            // A file cannot make key frames on request.
            Output::SourceKeyFrame { track } => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.want_key_frame(now, track);
                }
            }
            Output::Event(event) if self.untold.len() < MAX_UNTOLD => {
                self.untold.push_back(event);
            }
            _ => {}
        }
    }

    fn tell_tracker(&mut self, message: ClientMessage) {
        if self.tracker.try_send(message).is_err() {
            self.tally.tracker_messages_lost += 1;
            tracing::warn!("the tracker takes nothing; a message to it is lost");
        }
    }

    fn rejected(&mut self, now: Instant, link: LinkKey, error: &EngineError) {
        self.encodings.remove(&link);
        self.engine.close(now, link);
        self.tell_rejected(now, link, error);
    }

    /// A link that stands goes on whatever became of its new description: the node decides.
    fn renewal(&mut self, now: Instant, link: LinkKey, result: Result<(), EngineError>) {
        if let Err(error) = result {
            self.tell_rejected(now, link, &error);
        }
    }

    fn tell_rejected(&mut self, now: Instant, link: LinkKey, error: &EngineError) {
        tracing::debug!(?link, "a session description was refused: {error}");
        let reason = match error {
            EngineError::Sdp(SdpError::NoCommonCodec { .. }) => RefuseReason::Codec,
            EngineError::Sdp(_) => RefuseReason::Offer,
            // Nothing is wrong with the offer: this node cannot take it.
            _ => RefuseReason::Full,
        };
        self.tally.refused[reason as usize] += 1;
        self.node
            .handle(now, Input::Control(PeerInput::Rejected { link, reason }));
    }

    fn say(&mut self, now: Instant, link: LinkKey, message: &PeerMessage) {
        let encoding = self
            .encodings
            .get(&link)
            .copied()
            .unwrap_or(Encoding::Bincode);
        let data = match encode(encoding, message) {
            Ok(Frame::Text(text)) => MessageData::Text(text),
            Ok(Frame::Binary(bytes)) => MessageData::Binary(bytes.into()),
            Err(error) => {
                tracing::error!("a message could not be written: {error}");
                return;
            }
        };
        let channel = match message.channel() {
            Channel::Control => rtc::Channel::Control,
            Channel::Pulse => rtc::Channel::Pulse,
        };
        if let Err(error) = self.engine.send_message(now, link, channel, data) {
            tracing::debug!(?link, "a message was not sent: {error}");
        }
    }
}

/// What a child's class means to the engine, and how it is written to.
const fn class_of(class: PeerClass) -> (Encoding, rtc::PeerClass) {
    match class {
        PeerClass::Native => (Encoding::Bincode, rtc::PeerClass::Native),
        PeerClass::Browser => (Encoding::Json, rtc::PeerClass::Browser),
        PeerClass::Player => (Encoding::Json, rtc::PeerClass::Player),
    }
}
