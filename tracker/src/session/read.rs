//! From frames to messages for the core.

use std::time::Duration;

use banyan::limits::MAX_TRACKER_FRAME;
use banyan::wire::codec::{self, Encoding};
use banyan::wire::tracker::ClientMessage;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::Message;

use super::end::{self, End};
use super::{BINCODE_PROTOCOL, JSON_PROTOCOL};
use crate::core::Outbox;
use crate::metrics::Metrics;

/// A peer that was not heard for this long is gone: three pings without an answer.
const IDLE: Duration = Duration::from_secs(45);

/// The reading half of a session.
pub(super) struct Reader<'a, S> {
    pub(super) stream: &'a mut SplitStream<WebSocketStream<S>>,
    pub(super) encoding: Encoding,
    pub(super) outbox: &'a Outbox,
    pub(super) metrics: &'a Metrics,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<'_, S> {
    /// Reads until the session has to end.
    pub(super) async fn run(self) -> End {
        while let Ok(Some(frame)) = timeout(IDLE, self.stream.next()).await {
            let decoded = match frame {
                Ok(frame) => self.decode(&frame),
                Err(error) => Err(self.unreadable(&error)),
            };
            match decoded {
                Ok(None) => {}
                Ok(Some(message)) => {
                    if self.outbox.send(message).await.is_err() {
                        return End::stopping();
                    }
                }
                Err(end) => return end,
            }
        }
        End::Gone
    }

    /// The message in a frame, if the frame is there to carry one.
    fn decode(&self, frame: &Message) -> Result<Option<ClientMessage>, End> {
        let decoded = match (frame, self.encoding) {
            (Message::Text(text), Encoding::Json) => codec::decode_text(text, MAX_TRACKER_FRAME),
            (Message::Binary(bytes), Encoding::Bincode) => {
                codec::decode_binary(bytes, MAX_TRACKER_FRAME)
            }
            (Message::Text(_), Encoding::Bincode) => {
                let sentence = format!("{BINCODE_PROTOCOL} has no text frames");
                return Err(self.malformed(sentence));
            }
            (Message::Binary(_), Encoding::Json) => {
                let sentence = format!("{JSON_PROTOCOL} has no binary frames");
                return Err(self.malformed(sentence));
            }
            (Message::Ping(_) | Message::Pong(_) | Message::Frame(_), _) => return Ok(None),
            (Message::Close(_), _) => return Err(End::Gone),
        };
        self.metrics.messages_received.add(1);
        self.metrics.bytes_received.add(frame.len() as u64);
        match decoded {
            Ok(message) => Ok(Some(message)),
            Err(error) => Err(self.malformed(error.to_string())),
        }
    }

    fn malformed(&self, sentence: String) -> End {
        self.metrics.malformed.add(1);
        End::refuse(end::PROTOCOL, sentence, false)
    }

    fn unreadable(&self, error: &Error) -> End {
        let (close, sentence) = match error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => (
                end::TOO_LARGE,
                format!("a message of {size} bytes is larger than the {max_size} allowed"),
            ),
            Error::Utf8(_) => (end::NOT_UTF8, "a text frame that is not UTF-8".to_owned()),
            // The connection ended without a word.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return End::Gone,
            Error::Protocol(violation) => {
                (end::PROTOCOL, format!("not a WebSocket frame: {violation}"))
            }
            _ => return End::Gone,
        };
        self.metrics.malformed.add(1);
        End::refuse(close, sentence, true)
    }
}
