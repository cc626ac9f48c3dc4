//! A broadcaster proves its key and becomes the root.

use std::time::Instant;

use data_encoding::BASE32_NOPAD;
use rand::Rng;

use super::{SessionId, Tracker};
use crate::broadcast::{Arrival, Broadcast};
use crate::id::StreamId;
use crate::limits::MAX_STREAMS;
use crate::wire::announcement::{CHALLENGE_DOMAIN, SignatureBytes, verify};
use crate::wire::tracker::{ErrorCode, Publish, ServerMessage, challenge_text};

impl<R: Rng> Tracker<R> {
    /// A broadcaster announces its stream: it gets a nonce to sign.
    pub(super) fn publish(
        &mut self,
        id: SessionId,
        arrival: Arrival,
        stream: Option<StreamId>,
        publish: Publish,
    ) {
        let known = self.streams.get(&publish.stream);
        let is_root = known.is_some_and(|broadcast| broadcast.is_root(&arrival.node));
        if stream.is_some_and(|stream| stream != publish.stream || !is_root) {
            self.unexpected(id, "leave the other stream before you broadcast");
            return;
        }
        if let Some(Err(error)) = known.map(|known| known.may_publish(&arrival.node, &publish)) {
            self.send_error(id, ErrorCode::StreamBusy, error.to_string(), false);
            return;
        }
        let mut bytes = [0; 20];
        self.rng.fill_bytes(&mut bytes);
        let nonce = BASE32_NOPAD.encode(&bytes);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.proving = Some((publish, nonce.clone()));
        self.send(id, ServerMessage::Challenge { nonce });
    }

    /// The signature under the nonce. A nonce is good for one try.
    pub(super) fn prove(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        signature: &SignatureBytes,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some((publish, nonce)) = session.proving.take() else {
            self.unexpected(id, "there is nothing to prove before Publish");
            return;
        };
        let stream = publish.stream;
        if session.stream.is_some_and(|other| other != stream) {
            self.unexpected(id, "leave the other stream before you broadcast");
            return;
        }
        let text = challenge_text(&nonce, &session.authority, &arrival.node);
        if let Err(error) = verify(&stream, CHALLENGE_DOMAIN, text.as_bytes(), signature) {
            self.fail(now, id, ErrorCode::BadSignature, error.to_string());
            return;
        }
        let rooted = self.streams.len() - self.offline.len();
        if rooted >= MAX_STREAMS && !self.streams.contains_key(&stream) {
            let text = "this tracker takes no more streams";
            self.send_error(id, ErrorCode::Overloaded, text, false);
            return;
        }
        let broadcast = self
            .streams
            .entry(stream)
            .or_insert_with(|| Broadcast::new(stream, self.config.relays.clone()));
        if let Err(error) = broadcast.publish(now, arrival, publish) {
            self.send_error(id, ErrorCode::StreamBusy, error.to_string(), false);
            return;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stream = Some(stream);
        }
        self.arm(id);
        self.settle(now, stream);
    }
}
