//! The WebSocket to the tracker: opened again by itself whenever it ends.

use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use banyan::limits::MAX_TRACKER_FRAME;
use banyan::wire::codec::{Encoding, Frame, decode_binary, encode};
use banyan::wire::tracker::{ClientMessage, ServerMessage};
use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};
use url::Url;

use crate::authorities::client_config;

/// What native nodes speak (design: bincode).
const SUBPROTOCOL: &str = "banyan.1.bincode";

/// Longest wait for a connection to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// First pause before a connection is tried again; doubled each time, with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// Longest pause before a connection is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A tracker that sends nothing for this long, not even an answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// Time between two pings on a quiet connection.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// What the link tells the node.
#[derive(Debug)]
pub enum LinkEvent {
    /// The connection stands; the authority is the `Host` the tracker was asked for.
    Up {
        /// Host and port as in the `Host` header.
        authority: String,
    },
    /// The connection ended or could not be made, and is tried again.
    Down {
        /// Why, for people.
        reason: String,
        /// Attempts that failed in a row.
        failures: u32,
    },
    /// The tracker said something.
    Message(ServerMessage),
}

/// Keeps a connection to the tracker until either channel closes.
///
/// `outgoing` is drained while there is no connection: what was meant for a session that ended is
/// of no use to the next one.
pub async fn run(
    tracker: Url,
    mut outgoing: mpsc::Receiver<ClientMessage>,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut failures = 0;
    loop {
        let ended = session(&tracker, &mut outgoing, &events, &mut failures).await;
        let reason = match ended {
            Ok(Ended::NodeStops) => return,
            Ok(Ended::TrackerClosed) => "the tracker closed the connection".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        failures += 1;
        if events
            .send(LinkEvent::Down { reason, failures })
            .await
            .is_err()
        {
            return;
        }
        let backoff = BACKOFF_MIN
            .saturating_mul(1 << failures.min(8))
            .min(BACKOFF_MAX);
        let pause = backoff.mul_f64(rand::rng().random_range(0.5..1.0));
        let until = Instant::now() + pause;
        while let Ok(message) = tokio::time::timeout_at(until, outgoing.recv()).await {
            if message.is_none() {
                return;
            }
        }
    }
}

/// A WebSocket error without the library's own prefix.
fn words(error: tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) => error.to_string(),
        tungstenite::Error::Http(response) => format!(
            "it answers {} to a WebSocket request; is this a tracker?",
            response.status()
        ),
        error => error.to_string(),
    }
}

enum Ended {
    NodeStops,
    TrackerClosed,
}

/// The tracker's WebSocket address and the authority it is asked for.
fn endpoint(tracker: &Url) -> anyhow::Result<(Url, String)> {
    let mut url = tracker.join("ws").context("the tracker's URL")?;
    let scheme = if tracker.scheme() == "https" {
        "wss"
    } else {
        "ws"
    };
    if url.set_scheme(scheme).is_err() {
        bail!("the tracker's URL {tracker} cannot be a WebSocket's");
    }
    let host = url.host_str().context("the tracker's URL names no host")?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Ok((url, authority))
}

/// A WebSocket that stands.
pub(crate) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    authority: String,
    /// The tracker's clock, where it told the time.
    pub(crate) date: Option<SystemTime>,
}

impl Connection {
    /// Sends a message.
    pub(crate) async fn say(&mut self, message: &ClientMessage) -> anyhow::Result<()> {
        let frame = encode_frame(message)?;
        self.socket
            .send(frame)
            .await
            .context("sending to the tracker")
    }

    /// Waits for the tracker's next message.
    pub(crate) async fn hear(&mut self) -> anyhow::Result<ServerMessage> {
        loop {
            match self.socket.next().await {
                None | Some(Ok(Message::Close(_))) => bail!("the tracker closed the connection"),
                Some(Err(error)) => return Err(error).context("the tracker's connection"),
                Some(Ok(Message::Binary(bytes))) => {
                    return decode_binary(&bytes, MAX_TRACKER_FRAME)
                        .context("the tracker sent what is no message");
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// Closes it, without waiting long.
    pub(crate) async fn hang_up(mut self) {
        let _ = timeout(Duration::from_millis(500), self.socket.close(None)).await;
    }
}

/// Calls a tracker once.
///
/// # Errors
/// Why it cannot be reached, for people.
pub(crate) async fn open(tracker: &Url) -> anyhow::Result<Connection> {
    let (url, authority) = endpoint(tracker)?;
    let mut request = url
        .as_str()
        .into_client_request()
        .context("the tracker's URL")?;
    request.headers_mut().insert(
        "Sec-WebSocket-Protocol",
        HeaderValue::from_static(SUBPROTOCOL),
    );
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_TRACKER_FRAME))
        .max_frame_size(Some(MAX_TRACKER_FRAME));
    let tls = Connector::Rustls(client_config());
    let connect = connect_async_tls_with_config(request, Some(config), true, Some(tls));
    let (socket, response) = timeout(CONNECT_TIMEOUT, connect)
        .await
        .with_context(|| format!("the tracker {tracker} did not answer"))?
        .map_err(|error| anyhow!("the tracker {tracker} cannot be reached: {}", words(error)))?;
    let date = response.headers().get("date");
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Ok(Connection {
        socket,
        authority,
        date,
    })
}

async fn session(
    tracker: &Url,
    outgoing: &mut mpsc::Receiver<ClientMessage>,
    events: &mpsc::Sender<LinkEvent>,
    failures: &mut u32,
) -> anyhow::Result<Ended> {
    let Connection {
        socket, authority, ..
    } = open(tracker).await?;
    if events.send(LinkEvent::Up { authority }).await.is_err() {
        return Ok(Ended::NodeStops);
    }
    let (mut sink, mut stream) = socket.split();
    let mut heard = Instant::now();
    let mut ping = tokio::time::interval(PING_INTERVAL);
    loop {
        tokio::select! {
            message = outgoing.recv() => {
                let Some(message) = message else {
                    // What was said last, a leave among it, is on its way when close returns.
                    let _ = timeout(Duration::from_millis(500), sink.close()).await;
                    return Ok(Ended::NodeStops);
                };
                sink.feed(encode_frame(&message)?).await.context("sending to the tracker")?;
                while let Ok(message) = outgoing.try_recv() {
                    sink.feed(encode_frame(&message)?).await.context("sending to the tracker")?;
                }
                sink.flush().await.context("sending to the tracker")?;
            }
            frame = stream.next() => {
                heard = Instant::now();
                match frame {
                    None => return Ok(Ended::TrackerClosed),
                    Some(Err(error)) => return Err(error).context("the tracker's connection"),
                    Some(Ok(Message::Binary(bytes))) => {
                        let message = decode_binary(&bytes, MAX_TRACKER_FRAME)
                            .context("the tracker sent what is no message")?;
                        // A tracker that hangs up on everybody is called less and less.
                        if matches!(message, ServerMessage::Welcome(_)) {
                            *failures = 0;
                        }
                        if events.send(LinkEvent::Message(message)).await.is_err() {
                            return Ok(Ended::NodeStops);
                        }
                    }
                    Some(Ok(Message::Close(_))) => return Ok(Ended::TrackerClosed),
                    Some(Ok(_)) => {}
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE {
                    bail!("the tracker fell silent");
                }
                sink.send(Message::Ping(Vec::new().into())).await.context("sending to the tracker")?;
            }
        }
    }
}

fn encode_frame(message: &ClientMessage) -> anyhow::Result<Message> {
    match encode(Encoding::Bincode, message).context("writing a message")? {
        Frame::Binary(bytes) => Ok(Message::Binary(bytes.into())),
        Frame::Text(text) => Ok(Message::Text(text.into())),
    }
}
