//! The two data channels.

use rtc::data_channel::{RTCDataChannelInit, RTCDataChannelMessage};
use rtc::peer_connection::RTCPeerConnection;

use crate::rtc::{Channel, EngineError, MessageData};

pub(super) struct Channels {
    control: usize,
    pulse: usize,
    /// Control and pulse.
    pub(super) open: [bool; 2],
}

impl Channels {
    pub(super) fn create(connection: &mut RTCPeerConnection) -> Result<Self, EngineError> {
        let control = RTCDataChannelInit {
            negotiated: Some(0),
            ..Default::default()
        };
        let pulse = RTCDataChannelInit {
            negotiated: Some(1),
            ordered: false,
            max_retransmits: Some(0),
            ..Default::default()
        };
        Ok(Self {
            control: connection
                .create_data_channel("control", Some(control))?
                .id(),
            pulse: connection.create_data_channel("pulse", Some(pulse))?.id(),
            open: [false; 2],
        })
    }

    pub(super) const fn id(&self, channel: Channel) -> usize {
        match channel {
            Channel::Control => self.control,
            Channel::Pulse => self.pulse,
        }
    }

    pub(super) fn name(&self, id: usize) -> Option<Channel> {
        if id == self.control {
            Some(Channel::Control)
        } else if id == self.pulse {
            Some(Channel::Pulse)
        } else {
            None
        }
    }

    pub(super) fn opened(&mut self, id: usize) {
        match self.name(id) {
            Some(Channel::Control) => self.open[0] = true,
            Some(Channel::Pulse) => self.open[1] = true,
            None => {}
        }
    }
}

pub(super) fn message_data(message: RTCDataChannelMessage) -> Option<MessageData> {
    if message.is_string {
        // RFC 8831 section 6.6: a string is UTF-8; what is not is no message.
        String::from_utf8(message.data.to_vec())
            .ok()
            .map(MessageData::Text)
    } else {
        Some(MessageData::Binary(message.data.freeze()))
    }
}
