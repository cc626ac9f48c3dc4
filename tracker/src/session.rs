//! One peer's WebSocket: frames in, messages to the core, and back.

mod end;

use std::sync::Arc;
use std::time::Duration;

use banyan::limits::MAX_TRACKER_FRAME;
use banyan::wire::codec::{self, Encoding, Frame};
use banyan::wire::tracker::{ClientMessage, ErrorCode, ServerMessage};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use crate::core::{Line, Outgoing};
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;
use end::{End, close_code};

/// The subprotocol of browsers.
pub(crate) const JSON_PROTOCOL: &str = "banyan.1.json";

/// The subprotocol of native nodes.
pub(crate) const BINCODE_PROTOCOL: &str = "banyan.1.bincode";

/// Time between two pings; keeps the mappings of routers on the way alive (most forget an idle
/// TCP connection after minutes).
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// A peer that was not heard for this long is gone: three pings.
const IDLE: Duration = Duration::from_secs(45);

/// Longest time one write may take; longer than a mobile network's usual hand-over.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time a session has for its good-bye when the tracker stops.
const STOP_GRACE: Duration = Duration::from_millis(1000);

/// Messages written before the socket is flushed.
const WRITE_BATCH: usize = 32;

/// Bounds of the WebSocket layer. Its buffers are small because there are thousands of them; a
/// frame beyond the limit is refused when its header is read.
pub(crate) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .max_write_buffer_size(16 * MAX_TRACKER_FRAME)
        .max_message_size(Some(MAX_TRACKER_FRAME))
        .max_frame_size(Some(MAX_TRACKER_FRAME))
}

/// One session.
pub(crate) struct Session<S> {
    pub(crate) socket: WebSocketStream<S>,
    pub(crate) encoding: Encoding,
    pub(crate) line: Line,
    pub(crate) metrics: Arc<Metrics>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Runs until the peer leaves, the core ends the session or the tracker stops.
    pub(crate) async fn run(mut self, lifetime: Lifetime) {
        self.metrics.sessions_opened.add(1);
        let metrics = Arc::clone(&self.metrics);
        let cut = self.line.cut();
        let mut late = lifetime.clone();
        // A writer that hangs must not outlive a cut or the tracker.
        tokio::select! {
            () = cut => {}
            () = async { late.ended().await; sleep(STOP_GRACE).await } => {}
            () = async {
                let end = self.converse(lifetime).await;
                // The core learns at once; the good-bye may take its time.
                let Self { socket, line, .. } = self;
                drop(line);
                end::finish(socket, end).await;
            } => {}
        }
        metrics.sessions_closed.add(1);
    }

    async fn converse(&mut self, mut lifetime: Lifetime) -> End {
        let mut pings = interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        // The code of the last fatal error, which explains the close that follows it.
        let mut fatal = None;
        loop {
            let step = tokio::select! {
                () = lifetime.ended() => Err(End::stopping()),
                frame = self.socket.next() => {
                    heard = Instant::now();
                    self.hear(frame).await
                }
                outgoing = self.line.next() => match outgoing {
                    Some(outgoing) => self.say(outgoing, &mut fatal).await,
                    None => Err(End::stopping()),
                },
                _ = pings.tick() => {
                    if heard.elapsed() > IDLE {
                        Err(End::Gone)
                    } else {
                        self.write(Message::Ping(Vec::new().into()), true).await
                    }
                }
            };
            if let Err(end) = step {
                if let End::Refuse { message, .. } = &end {
                    self.refuse(message).await;
                }
                return end;
            }
        }
    }

    async fn hear(&mut self, frame: Option<Result<Message, Error>>) -> Result<(), End> {
        let message = match frame {
            None => return Err(End::Gone),
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(self.unreadable(&error)),
        };
        let decoded = match (&message, self.encoding) {
            (Message::Text(text), Encoding::Json) => {
                codec::decode_text::<ClientMessage>(text, MAX_TRACKER_FRAME)
            }
            (Message::Binary(bytes), Encoding::Bincode) => {
                codec::decode_binary::<ClientMessage>(bytes, MAX_TRACKER_FRAME)
            }
            (Message::Text(_), Encoding::Bincode) => {
                let sentence = format!("{BINCODE_PROTOCOL} has no text frames");
                return Err(self.malformed(sentence));
            }
            (Message::Binary(_), Encoding::Json) => {
                let sentence = format!("{JSON_PROTOCOL} has no binary frames");
                return Err(self.malformed(sentence));
            }
            (Message::Ping(_) | Message::Pong(_) | Message::Frame(_), _) => return Ok(()),
            (Message::Close(_), _) => return Err(End::Gone),
        };
        self.metrics.messages_received.add(1);
        self.metrics.bytes_received.add(message.len() as u64);
        let decoded = decoded.map_err(|error| self.malformed(error.to_string()))?;
        self.line.tell(decoded).await.map_err(|_| End::stopping())
    }

    fn malformed(&self, sentence: String) -> End {
        self.metrics.malformed.add(1);
        End::refuse(end::PROTOCOL, sentence)
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
        End::Refuse {
            close,
            message: sentence,
            unread: true,
        }
    }

    async fn say(
        &mut self,
        first: Outgoing,
        fatal: &mut Option<(ErrorCode, String)>,
    ) -> Result<(), End> {
        let mut outgoing = Some(first);
        for remaining in (0..WRITE_BATCH).rev() {
            match outgoing {
                None => break,
                Some(Outgoing::Message(message)) => {
                    if let ServerMessage::Error {
                        code,
                        message,
                        fatal: true,
                    } = &message
                    {
                        *fatal = Some((*code, message.clone()));
                    }
                    self.write_message(&message, false).await?;
                }
                Some(Outgoing::Close) => {
                    self.flush().await?;
                    let (code, reason) = match fatal.take() {
                        Some((code, message)) => (close_code(code), message),
                        None => (end::NORMAL, String::new()),
                    };
                    return Err(End::Close { code, reason });
                }
            }
            outgoing = (remaining > 0).then(|| self.line.try_next()).flatten();
        }
        self.flush().await
    }

    async fn refuse(&mut self, message: &str) {
        let error = ServerMessage::Error {
            code: ErrorCode::Malformed,
            message: message.to_owned(),
            fatal: true,
        };
        // The session ends either way.
        let _ = self.write_message(&error, true).await;
    }

    async fn write_message(&mut self, message: &ServerMessage, flush: bool) -> Result<(), End> {
        let frame = codec::encode(self.encoding, message).map_err(|error| {
            tracing::error!(%error, "a message cannot be encoded");
            End::Gone
        })?;
        self.metrics.messages_sent.add(1);
        self.metrics.bytes_sent.add(frame.len() as u64);
        let frame = match frame {
            Frame::Text(text) => Message::Text(text.into()),
            Frame::Binary(bytes) => Message::Binary(bytes.into()),
        };
        self.write(frame, flush).await
    }

    async fn write(&mut self, frame: Message, flush: bool) -> Result<(), End> {
        let written = async {
            self.socket.feed(frame).await?;
            if flush {
                self.socket.flush().await?;
            }
            Ok::<_, Error>(())
        };
        match timeout(WRITE_TIMEOUT, written).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        match timeout(WRITE_TIMEOUT, self.socket.flush()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }
}
