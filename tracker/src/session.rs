//! One peer's WebSocket: frames in, messages to the core, and back.
//!
//! Reading and writing do not wait for each other: a peer whose downlink is busy with what it was
//! sent is still heard.

mod end;
mod read;
mod write;

use std::sync::Arc;
use std::time::Duration;

use banyan::limits::MAX_TRACKER_FRAME;
use banyan::wire::codec::Encoding;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::core::Line;
use crate::lifetime::Lifetime;
use crate::metrics::Metrics;
use read::Reader;
use write::Writer;

/// The subprotocol of browsers.
pub(crate) const JSON_PROTOCOL: &str = "banyan.1.json";

/// The subprotocol of native nodes.
pub(crate) const BINCODE_PROTOCOL: &str = "banyan.1.bincode";

/// Time a session has for its good-bye when the tracker stops.
const STOP_GRACE: Duration = Duration::from_millis(1000);

/// Bounds of the WebSocket layer. Its buffers are small because there are thousands of them; a
/// frame beyond the limit is refused when its header is read.
pub(crate) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
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
    pub(crate) async fn run(self, lifetime: Lifetime) {
        let metrics = Arc::clone(&self.metrics);
        metrics.sessions_opened.add(1);
        let cut = self.line.inbox.cut();
        let mut late = lifetime.clone();
        // A write that hangs must not outlive a cut or the tracker.
        tokio::select! {
            () = cut => {}
            () = async { late.ended().await; sleep(STOP_GRACE).await } => {}
            () = self.converse(lifetime) => {}
        }
        metrics.sessions_closed.add(1);
    }

    async fn converse(self, lifetime: Lifetime) {
        let Line { outbox, mut inbox } = self.line;
        let (mut sink, mut stream) = self.socket.split();
        let reader = Reader {
            stream: &mut stream,
            encoding: self.encoding,
            outbox: &outbox,
            metrics: &self.metrics,
        };
        let writer = Writer {
            sink: &mut sink,
            encoding: self.encoding,
            inbox: &mut inbox,
            metrics: &self.metrics,
        };
        let end = tokio::select! {
            end = reader.run() => end,
            end = writer.run(lifetime) => end,
        };
        // The core learns at once; the good-bye may take its time.
        drop(outbox);
        // The two halves are of one socket.
        if let Ok(socket) = sink.reunite(stream) {
            end::finish(socket, self.encoding, end).await;
        }
    }
}
