//! How a session ends, and its good-bye (RFC 6455 section 7).

use std::time::Duration;

use banyan::wire::codec::Encoding;
use banyan::wire::tracker::{ErrorCode, ServerMessage};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::write;

pub(super) const NORMAL: CloseCode = CloseCode::Normal;
pub(super) const PROTOCOL: CloseCode = CloseCode::Protocol;
pub(super) const NOT_UTF8: CloseCode = CloseCode::Invalid;
pub(super) const TOO_LARGE: CloseCode = CloseCode::Size;

/// Longest reason of a close frame: 125 bytes of a control frame without the code.
const MAX_REASON: usize = 123;

/// Longest sentence about a malformed message; what a parser says can quote the peer.
const MAX_SENTENCE: usize = 300;

/// Time to write the close frame, and again to hear the other's.
const GOOD_BYE: Duration = Duration::from_millis(500);

/// Bytes taken from a peer that is still sending what was refused, so that our good-bye reaches
/// it before the connection is reset.
const DRAIN_BYTES: usize = 4 * 1024 * 1024;

/// Silence after which such a peer has nothing more to send.
const DRAIN_QUIET: Duration = Duration::from_millis(250);

/// Longest time spent on that.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The other side is gone or has said good-bye.
    Gone,
    /// With a close frame.
    Close {
        /// Its code.
        code: CloseCode,
        /// Its words.
        reason: String,
    },
    /// With a malformed-message error, then a close frame.
    Refuse {
        /// The close frame's code.
        close: CloseCode,
        /// What was wrong.
        message: String,
        /// Whether the connection still holds a part that cannot be read as frames.
        unread: bool,
    },
}

impl End {
    /// For a frame that is no message.
    pub(super) fn refuse(close: CloseCode, message: String, unread: bool) -> Self {
        Self::Refuse {
            close,
            message: shortened(message, MAX_SENTENCE),
            unread,
        }
    }

    /// The tracker stops; the peer may come back later.
    pub(super) fn stopping() -> Self {
        Self::Close {
            code: CloseCode::Away,
            reason: "this tracker is stopping".to_owned(),
        }
    }
}

/// The close code that goes with the core's fatal error.
pub(super) fn close_code(error: ErrorCode) -> CloseCode {
    match error {
        ErrorCode::Version | ErrorCode::Malformed | ErrorCode::Unexpected => CloseCode::Protocol,
        ErrorCode::Overloaded => CloseCode::Again,
        ErrorCode::Ended => CloseCode::Normal,
        _ => CloseCode::Policy,
    }
}

/// Says good-bye and waits shortly for the other side to do so.
pub(super) async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    encoding: Encoding,
    end: End,
) {
    let (code, reason, unread) = match end {
        End::Gone => {
            // Answers the other side's close frame, if it sent one.
            let _ = timeout(GOOD_BYE, socket.flush()).await;
            return;
        }
        End::Close { code, reason } => (code, reason, false),
        End::Refuse {
            close,
            message,
            unread,
        } => {
            let error = ServerMessage::Error {
                code: ErrorCode::Malformed,
                message: message.clone(),
                fatal: true,
            };
            if let Some((frame, _)) = write::frame(encoding, &error) {
                let _ = timeout(GOOD_BYE, socket.send(frame)).await;
            }
            (close, message, unread)
        }
    };
    let frame = CloseFrame {
        code,
        reason: shortened(reason, MAX_REASON).into(),
    };
    if !matches!(
        timeout(GOOD_BYE, socket.close(Some(frame))).await,
        Ok(Ok(()))
    ) {
        return;
    }
    if unread {
        let _ = timeout(DRAIN_TIME, drain(socket.get_mut())).await;
    } else {
        let _ = timeout(GOOD_BYE, async {
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
    }
}

async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    let mut total = 0;
    while total < DRAIN_BYTES
        && let Ok(Ok(read @ 1..)) = timeout(DRAIN_QUIET, stream.read(&mut buffer)).await
    {
        total += read;
    }
}

fn shortened(mut text: String, allowed: usize) -> String {
    text.truncate(text.floor_char_boundary(allowed));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_cut_between_characters() {
        assert_eq!(shortened("äö".to_owned(), 3), "ä");
        assert_eq!(shortened("short".to_owned(), 100), "short");
    }
}
