//! The tap: takes RTP and RTCP out of the WebRTC crate's pipeline as soon as they are decrypted.
//!
//! The crate's own way to the application maps packets to transceivers and drops what it does not
//! know; the mesh knows its tracks by SSRC.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Position in the chain: behind everything else.
pub(super) const SLOT: usize = 20_000;

/// What the tap took, shared with the link. The lock is never contended: both ends run on the
/// engine's thread, but the crate asks interceptors to be `Sync`.
#[derive(Clone, Default)]
pub(super) struct Inbox(Arc<Mutex<VecDeque<(Instant, Packet)>>>);

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Packet)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything taken since the last call, with its arrival time.
    pub(super) fn take(&self) -> VecDeque<(Instant, Packet)> {
        std::mem::take(&mut *self.lock())
    }
}

pub(super) struct Tap {
    inbox: Inbox,
    outgoing: VecDeque<TaggedPacket>,
}

impl Tap {
    pub(super) fn new(inbox: Inbox) -> Self {
        Self {
            inbox,
            outgoing: VecDeque::new(),
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.inbox
            .lock()
            .push_back((message.now, message.message.packet));
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
