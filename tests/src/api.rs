//! The tracker's HTTP API, by a client that knows just enough.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// Body as text.
    pub body: String,
}

impl Response {
    /// The value of a header field; of the first, where there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name)?;
        Some(&found.1)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// `GET` a plain `http://` URL.
///
/// # Panics
/// When no whole answer comes within 5 s.
pub fn get(url: &str) -> Response {
    request("GET", url, "")
}

/// Sends `body` to a plain `http://` URL with `method`.
///
/// # Panics
/// When no whole answer comes within 5 s.
pub fn request(method: &str, url: &str, body: &str) -> Response {
    request_with(method, url, &[], body)
}

/// The same with header fields.
///
/// # Panics
/// When no whole answer comes within 5 s.
pub fn request_with(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let (authority, path) = split(url);
    let mut stream = connect(authority);
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no HTTP answer from {url}: {answer}"));
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status from {url}: {head}"));
    let headers: Vec<(String, String)> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(body)
    } else {
        body.to_owned()
    };
    Response {
        status,
        headers,
        body,
    }
}

/// A TCP connection to `host:port`, with timeouts.
pub fn connect(authority: &str) -> TcpStream {
    let address = authority
        .to_socket_addrs()
        .unwrap_or_else(|e| panic!("{authority}: {e}"))
        .next()
        .unwrap();
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .unwrap_or_else(|e| panic!("{authority}: {e}"));
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
}

/// What a `Location` field means in an answer from `url` (RFC 3986 section 5.2, without dots and
/// queries).
///
/// # Panics
/// As [`split`].
pub fn resolve(url: &str, location: &str) -> String {
    if location.starts_with("http://") {
        return location.to_owned();
    }
    let (authority, path) = split(url);
    let directory = &path[..=path.rfind('/').unwrap()];
    let directory = if location.starts_with('/') {
        ""
    } else {
        directory
    };
    format!("http://{authority}{directory}{location}")
}

/// Authority and path of a plain `http://` URL.
pub fn split(url: &str) -> (&str, &str) {
    let rest = url
        .strip_prefix("http://")
        .unwrap_or_else(|| panic!("no plain HTTP address: {url}"));
    rest.find('/').map_or((rest, "/"), |at| rest.split_at(at))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// One peer in `GET /api/streams/ID/tree`.
#[derive(Debug, Clone, Deserialize)]
pub struct TreePeer {
    /// Its name.
    pub id: String,
    /// Who feeds it; none for the root.
    pub parent: Option<String>,
    /// Hops from the root.
    pub depth: u32,
    /// `native`, `browser` or `player`.
    pub class: String,
    /// Children it can serve.
    pub slots: u32,
    /// Children it serves.
    pub used: u32,
    /// How far strangers' packets come to it.
    pub reach: String,
}

/// The peers of a stream that hang in its tree, the root first.
pub fn tree(tracker: &str, stream: &str) -> Vec<TreePeer> {
    let url = format!(
        "{}/api/streams/{stream}/tree",
        tracker.trim_end_matches('/')
    );
    let answer = get(&url);
    assert_eq!(answer.status, 200, "{url}: {}", answer.body);
    #[derive(Deserialize)]
    struct Tree {
        peers: Vec<TreePeer>,
    }
    let tree: Tree = serde_json::from_str(&answer.body)
        .unwrap_or_else(|e| panic!("{url}: {e}: {}", answer.body));
    let mut peers = tree.peers;
    peers.sort_by_key(|peer| peer.depth);
    peers
}

/// What a tracker counts when a peer asks for a place, gets one or changes it.
///
/// # Panics
/// When it does not tell.
pub fn movements(tracker: &str) -> Vec<String> {
    const COUNTED: [&str; 4] = ["joins", "heals", "moved", "attached"];
    let metrics = get(&format!("{tracker}/metrics")).body;
    let counts = |line: &&str| {
        let mut counted = COUNTED.iter();
        counted.any(|name| line.starts_with(&format!("banyan_{name}_total ")))
    };
    let lines: Vec<String> = metrics.lines().filter(counts).map(str::to_owned).collect();
    assert_eq!(lines.len(), COUNTED.len(), "{metrics}");
    lines
}
