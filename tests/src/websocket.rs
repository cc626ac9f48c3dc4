//! A tracker session by hand, for sending what no honest peer sends.

use std::net::TcpStream;

use banyan::id::NodeId;
use banyan::wire::PROTOCOL_VERSION;
use banyan::wire::tracker::{ClientMessage, ErrorCode, Hello, PeerClass, ServerMessage};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use crate::api;

/// One WebSocket to a tracker, in JSON.
#[derive(Debug)]
pub struct Session {
    socket: WebSocket<TcpStream>,
}

/// How a session came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The tracker's error message before the end, if it sent one.
    pub error: Option<(ErrorCode, String)>,
    /// Code of the close frame, if there was one.
    pub close: Option<u16>,
}

impl Session {
    /// Connects to the tracker at `http://...`.
    pub fn open(tracker: &str) -> Self {
        let (authority, _) = api::split(tracker);
        let mut request = format!("ws://{authority}/ws")
            .into_client_request()
            .unwrap();
        let protocol = HeaderValue::from_static("banyan.1.json");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let stream = api::connect(authority);
        let (socket, _) = tungstenite::client(request, stream).unwrap();
        Self { socket }
    }

    /// Connects and says hello as a leaf of this class.
    pub fn greet(tracker: &str, node: u8) -> Self {
        let mut session = Self::open(tracker);
        session.tell(&ClientMessage::Hello(Hello {
            version: PROTOCOL_VERSION,
            node: NodeId::from_bytes([node; 16]),
            class: PeerClass::Browser,
            agent: "a test".into(),
            slots: 0,
        }));
        session.hear(|message| matches!(message, ServerMessage::Welcome(_)).then_some(()));
        session
    }

    /// Sends a message.
    pub fn tell(&mut self, message: &ClientMessage) {
        self.send(serde_json::to_string(message).unwrap());
    }

    /// Sends any text frame; a tracker that has closed the session already is no failure.
    pub fn send(&mut self, text: impl Into<String>) {
        let _ = self.socket.send(Message::text(text.into()));
    }

    /// Sends any binary frame.
    pub fn send_binary(&mut self, bytes: Vec<u8>) {
        let _ = self.socket.send(Message::binary(bytes));
    }

    /// Sends bytes that need not be a WebSocket frame.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = std::io::Write::write_all(self.socket.get_mut(), bytes);
    }

    /// Reads until a message satisfies `wanted`.
    ///
    /// # Panics
    /// When the session ends or falls silent before.
    #[track_caller]
    pub fn hear<T>(&mut self, mut wanted: impl FnMut(ServerMessage) -> Option<T>) -> T {
        loop {
            let text = match self.socket.read() {
                Ok(Message::Text(text)) => text,
                Ok(_) => continue,
                Err(error) => panic!("the session ended or is silent: {error}"),
            };
            let message = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            if let Some(found) = wanted(message) {
                return found;
            }
        }
    }

    /// The next error, fatal or not.
    #[track_caller]
    pub fn error(&mut self) -> (ErrorCode, String) {
        self.hear(|message| match message {
            ServerMessage::Error { code, message, .. } => Some((code, message)),
            _ => None,
        })
    }

    /// Reads to the end of the session.
    ///
    /// # Panics
    /// When the tracker does not end it within 5 s.
    #[track_caller]
    pub fn refusal(mut self) -> Refusal {
        let mut refusal = Refusal {
            error: None,
            close: None,
        };
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    if let Ok(ServerMessage::Error { code, message, .. }) =
                        serde_json::from_str(&text)
                    {
                        refusal.error = Some((code, message));
                    }
                }
                Ok(Message::Close(frame)) => refusal.close = frame.map(|f| f.code.into()),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    panic!("the tracker keeps the session: {refusal:?}");
                }
                Err(_) => return refusal,
            }
        }
    }
}
