//! A tracker of one's own, and clients of it that know just enough.

use std::net::SocketAddr;
use std::time::Duration;

use banyan::id::NodeId;
use banyan::wire::PROTOCOL_VERSION;
use banyan::wire::codec::{self, Encoding, Frame};
use banyan::wire::tracker::{ClientMessage, Hello, PeerClass, ServerMessage};
use banyan_tracker::config::StunListen;
use banyan_tracker::{Config, Server};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Longest time anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A tracker on free loopback ports.
pub(crate) fn config() -> Config {
    Config {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        stun: StunListen::Address("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    }
}

pub(crate) async fn start() -> Server {
    Server::start(config()).await.unwrap()
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

pub(crate) async fn get(server: &Server, path: &str) -> Answer {
    request(server.http_addr(), "GET", path, &[]).await
}

pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    exchange(address, method, path, headers, "").await
}

/// A request with a body.
pub(crate) async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let all = [("Host", "tracker.test"), ("Connection", "close")];
    // What a test gives replaces what is usual.
    let given = |name: &str| {
        headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    };
    for (name, value) in all.iter().filter(|(name, _)| !given(name)).chain(headers) {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    head += body;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A peer's WebSocket.
pub(crate) struct Peer {
    pub(crate) socket: WebSocketStream<TcpStream>,
    encoding: Encoding,
}

impl Peer {
    pub(crate) async fn connect(server: &Server, encoding: Encoding) -> Self {
        Self::connect_as(server, encoding, &server.http_addr().to_string()).await
    }

    /// Calls the tracker by another name.
    pub(crate) async fn connect_as(server: &Server, encoding: Encoding, host: &str) -> Self {
        let stream = TcpStream::connect(server.http_addr()).await.unwrap();
        Self::over(stream, encoding, host).await
    }

    /// Over a connection that stands.
    pub(crate) async fn over(stream: TcpStream, encoding: Encoding, host: &str) -> Self {
        let protocol = match encoding {
            Encoding::Json => "banyan.1.json",
            Encoding::Bincode => "banyan.1.bincode",
        };
        let mut request = format!("ws://{host}/ws").into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        Self::request(request, stream, encoding).await
    }

    /// With a request of one's own, which names its subprotocol.
    pub(crate) async fn request(request: Request, stream: TcpStream, encoding: Encoding) -> Self {
        stream.set_nodelay(true).unwrap();
        let protocol = request.headers()["Sec-WebSocket-Protocol"].clone();
        let (socket, response) = client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], protocol);
        Self { socket, encoding }
    }

    /// Connects and introduces itself.
    pub(crate) async fn welcome(server: &Server, encoding: Encoding, node: u8) -> Self {
        let mut peer = Self::connect(server, encoding).await;
        peer.send(&hello(node)).await;
        assert!(matches!(peer.next().await, ServerMessage::Welcome(_)));
        peer
    }

    pub(crate) async fn send(&mut self, message: &ClientMessage) {
        self.try_send(message).await.unwrap();
    }

    /// Sends to a tracker that may have closed the connection.
    pub(crate) async fn try_send(&mut self, message: &ClientMessage) -> Result<(), Error> {
        let frame = match codec::encode(self.encoding, message).unwrap() {
            Frame::Text(text) => Message::Text(text.into()),
            Frame::Binary(bytes) => Message::Binary(bytes.into()),
        };
        self.socket.send(frame).await
    }

    /// The next message that is `wanted`; what comes before it is dropped.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&ServerMessage) -> bool) -> ServerMessage {
        loop {
            let message = self.next().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> ServerMessage {
        loop {
            match self.frame().await {
                Some(Ok(Message::Text(text))) => {
                    return codec::decode_text(&text, 1 << 20).unwrap();
                }
                Some(Ok(Message::Binary(bytes))) => {
                    return codec::decode_binary(&bytes, 1 << 20).unwrap();
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no message: {other:?}"),
            }
        }
    }

    /// The close frame, which must be what comes next.
    pub(crate) async fn closed(&mut self) -> CloseFrame {
        loop {
            match self.frame().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }

    async fn frame(&mut self) -> Option<Result<Message, Error>> {
        timeout(PATIENCE, self.socket.next()).await.unwrap()
    }
}

pub(crate) fn hello(node: u8) -> ClientMessage {
    ClientMessage::Hello(Hello {
        version: PROTOCOL_VERSION,
        node: NodeId::from_bytes([node; 16]),
        class: PeerClass::Native,
        agent: "test".to_owned(),
        slots: 2,
    })
}
