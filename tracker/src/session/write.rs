//! From the core's messages to frames.

use std::time::Duration;

use banyan::wire::codec::{self, Encoding, Frame};
use banyan::wire::tracker::{ErrorCode, ServerMessage};
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::end::{self, End, close_code};
use crate::core::{Inbox, Outgoing};
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;

/// Time between two pings; keeps the mappings of routers on the way alive (most forget an idle
/// TCP connection after minutes).
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Longest time one message may take; longer than a mobile network's usual hand-over.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages written before the socket is flushed.
const WRITE_BATCH: usize = 32;

/// The writing half of a session.
pub(super) struct Writer<'a, S> {
    pub(super) sink: &'a mut SplitSink<WebSocketStream<S>, Message>,
    pub(super) encoding: Encoding,
    pub(super) inbox: &'a mut Inbox,
    pub(super) metrics: &'a Metrics,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<'_, S> {
    /// Writes until the session has to end.
    pub(super) async fn run(mut self, mut lifetime: Lifetime) -> End {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The last fatal error, which explains the close that follows it.
        let mut fatal = None;
        loop {
            let written = tokio::select! {
                () = lifetime.ended() => Err(End::stopping()),
                outgoing = self.inbox.next() => match outgoing {
                    Some(outgoing) => self.batch(outgoing, &mut fatal).await,
                    None => Err(End::stopping()),
                },
                _ = pings.tick() => self.ping().await,
            };
            if let Err(end) = written {
                return end;
            }
        }
    }

    async fn ping(&mut self) -> Result<(), End> {
        let sent = timeout(
            WRITE_TIMEOUT,
            self.sink.send(Message::Ping(Vec::new().into())),
        )
        .await;
        self.check(sent)
    }

    /// Writes `first` and what else is there already.
    async fn batch(
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
                    } = &*message
                    {
                        *fatal = Some((*code, message.clone()));
                    }
                    self.write(&message).await?;
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
            outgoing = (remaining > 0).then(|| self.inbox.try_next()).flatten();
        }
        self.flush().await
    }

    async fn write(&mut self, message: &ServerMessage) -> Result<(), End> {
        let Some((frame, len)) = frame(self.encoding, message) else {
            return Err(End::Gone);
        };
        self.metrics.messages_sent.add(1);
        self.metrics.bytes_sent.add(len as u64);
        let fed = timeout(WRITE_TIMEOUT, self.sink.feed(frame)).await;
        self.check(fed)
    }

    async fn flush(&mut self) -> Result<(), End> {
        let flushed = timeout(WRITE_TIMEOUT, self.sink.flush()).await;
        self.check(flushed)
    }

    fn check<T>(&self, written: Result<Result<(), Error>, T>) -> Result<(), End> {
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => {
                self.metrics.sessions_too_slow.add(1);
                Err(End::Gone)
            }
        }
    }
}

/// A message as it is sent, and its length in bytes.
pub(super) fn frame(encoding: Encoding, message: &ServerMessage) -> Option<(Message, usize)> {
    let frame = codec::encode(encoding, message)
        .inspect_err(|error| tracing::error!(%error, "a message cannot be encoded"))
        .ok()?;
    let len = frame.len();
    let frame = match frame {
        Frame::Text(text) => Message::Text(text.into()),
        Frame::Binary(bytes) => Message::Binary(bytes.into()),
    };
    Some((frame, len))
}
