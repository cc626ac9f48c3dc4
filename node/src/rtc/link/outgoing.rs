//! What a link sends: media, reports and requests, messages, and its last words.

use std::sync::Arc;
use std::time::Instant;

use banyan::limits::MAX_PEER_MESSAGE;
use banyan::relay::packet::{Packet, TrackIndex};
use bytes::BytesMut;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::rtcp::Packet as Rtcp;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::marshal::Marshal;
use rtc::srtp::context::Context;

use super::Link;
use crate::rtc::checks::Budget;
use crate::rtc::demux::Demux;
use crate::rtc::feedback;
use crate::rtc::socket::Datagram;
use crate::rtc::{Channel, CloseReason, EngineError, MessageData};

/// Bytes a link may have waiting for a full socket. Past that, packets are dropped as a full
/// router would: repair and key frames are the node's business.
const MAX_QUEUED: usize = 1024 * 1024;

/// Bytes a link may have unacknowledged on its data channels before it is given up.
const MAX_UNACKNOWLEDGED: usize = 1024 * 1024;

/// The packet as it travels.
fn protect(sender: &mut Context, packet: &rtc::rtp::Packet) -> Result<BytesMut, Error> {
    let plain = packet.marshal()?;
    sender.encrypt_rtp_with_header(&plain, &packet.header)
}

impl Link {
    pub(in crate::rtc) fn send_packets(&mut self, now: Instant, packets: &[Arc<Packet>]) {
        if !self.connected() {
            return;
        }
        for packet in packets {
            let Some(packet) = self.media.send(packet) else {
                continue;
            };
            let Some(sender) = &mut self.sender else {
                self.write(now, RTCMessage::RtpPacket(String::new(), packet));
                continue;
            };
            // Never through the connection as well: the two would use the same nonces.
            let Some((local, peer)) = self.path else {
                continue;
            };
            match protect(sender, &packet) {
                Ok(bytes) => self.enqueue(Datagram { local, peer, bytes }),
                Err(error) => tracing::debug!(%error, "encrypt"),
            }
        }
    }

    /// Has a datagram wait for the socket, unless too much waits already.
    pub(super) fn enqueue(&mut self, datagram: Datagram) {
        if self.queued + datagram.bytes.len() <= MAX_QUEUED {
            self.queued += datagram.bytes.len();
            self.queue.push_back(datagram);
        }
    }

    pub(in crate::rtc) fn send_sender_report(
        &mut self,
        now: Instant,
        track: TrackIndex,
        ntp: u64,
        rtp: u32,
    ) {
        let cname = &self.cname;
        if let Some(track) = self.media.track(track) {
            let report = feedback::sender_report(now, track, ntp, rtp, cname);
            self.send_rtcp(now, report);
        }
    }

    pub(in crate::rtc) fn request_packets(
        &mut self,
        now: Instant,
        track: TrackIndex,
        seqs: &[u16],
    ) {
        if let Some(ssrc) = self.media.track(track).map(|t| t.line.ssrc) {
            for nack in feedback::nacks(self.reporter, ssrc, seqs) {
                self.send_rtcp(now, vec![nack]);
            }
        }
    }

    pub(in crate::rtc) fn request_key_frame(&mut self, now: Instant, track: TrackIndex) {
        if let Some(ssrc) = self.media.track(track).map(|t| t.line.ssrc) {
            self.send_rtcp(now, vec![feedback::picture_loss(self.reporter, ssrc)]);
        }
    }

    pub(super) fn send_rtcp(&mut self, now: Instant, packets: Vec<Box<dyn Rtcp>>) {
        if self.secure {
            self.write(now, RTCMessage::RtcpPacket(String::new(), packets));
        }
    }

    fn write(&mut self, now: Instant, message: RTCMessage) {
        if let Err(error) = self
            .connection
            .handle_write(TaggedRTCMessage { now, message })
        {
            tracing::debug!(%error, "send");
        }
        self.dirty = true;
    }

    /// Sends a message, unless its channel is not open.
    pub(in crate::rtc) fn send_message(
        &mut self,
        now: Instant,
        channel: Channel,
        data: MessageData,
    ) -> Result<(), EngineError> {
        let size = match &data {
            MessageData::Text(text) => text.len(),
            MessageData::Binary(bytes) => bytes.len(),
        };
        if size > MAX_PEER_MESSAGE {
            return Err(EngineError::MessageTooLarge(size));
        }
        let Some(channels) = self.channels.as_ref().filter(|_| self.connected()) else {
            return Ok(());
        };
        let Some(mut channel) = self.connection.data_channel(channels.id(channel)) else {
            return Ok(());
        };
        if channel.outstanding_bytes() > MAX_UNACKNOWLEDGED {
            self.ended.get_or_insert(CloseReason::Stalled);
            return Ok(());
        }
        // Only what goes through the channel itself counts as outstanding.
        let sent = match data {
            MessageData::Text(text) => channel.send_text(now, text),
            MessageData::Binary(bytes) => channel.send(now, BytesMut::from(bytes)),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "message");
        }
        self.dirty = true;
        Ok(())
    }

    /// Says goodbye; what is left to send is in the queue afterwards.
    pub(in crate::rtc) fn close(&mut self, now: Instant, demux: &mut Demux, budget: &mut Budget) {
        if let Err(error) = self.connection.close() {
            tracing::debug!(%error, "close");
        }
        self.drain(now, demux, budget);
    }
}
