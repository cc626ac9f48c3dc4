//! The tracker's API, asked again and again over one connection.

use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use banyan::id::{NodeId, StreamId};
use banyan::wire::tracker::TreePeer;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use super::model::{MAX_PEERS, Snapshot, StreamFacts};
use crate::http_client::Server;

/// Time for one request and its answer.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Largest answer read: a page of 256 peers has about 60 kilobytes.
const MAX_ANSWER: usize = 256 << 10;

/// Most pages of one snapshot.
const MAX_PAGES: usize = 8;

/// A stream at a tracker.
pub struct TrackerApi {
    tracker: Url,
    stream: StreamId,
    connection: Option<Connection>,
    /// The deepest level whose peers, with those above, are few enough.
    depth: Option<usize>,
}

struct Connection {
    server: Server,
    sender: SendRequest<Body>,
}

#[derive(Deserialize)]
struct Page {
    peers: Vec<TreePeer>,
    total: u32,
    #[serde(default)]
    per_depth: Vec<u32>,
    next: Option<NodeId>,
}

impl TrackerApi {
    /// Nothing is asked yet.
    pub fn new(tracker: Url, stream: StreamId) -> Self {
        Self {
            tracker,
            stream,
            connection: None,
            depth: None,
        }
    }

    /// The stream and its tree now.
    ///
    /// # Errors
    /// When the tracker does not answer, or does not know the stream.
    pub async fn snapshot(&mut self) -> anyhow::Result<Snapshot> {
        let stream: StreamFacts = self.get("").await?;
        let mut page = self.tree(None).await?;
        // The first look at a large tree, or at one that has grown.
        let depth = affordable(&page.per_depth);
        if depth != self.depth {
            self.depth = depth;
            page = self.tree(None).await?;
        }
        let mut peers = page.peers;
        for _ in 1..MAX_PAGES {
            let Some(next) = page.next.filter(|_| peers.len() < MAX_PEERS) else {
                break;
            };
            page = self.tree(Some(next)).await?;
            peers.append(&mut page.peers);
        }
        peers.truncate(MAX_PEERS);
        Ok(Snapshot {
            stream,
            peers,
            total: page.total,
            per_depth: page.per_depth,
        })
    }

    async fn tree(&mut self, after: Option<NodeId>) -> anyhow::Result<Page> {
        let mut path = "/tree".to_owned();
        let mut mark = '?';
        if let Some(depth) = self.depth {
            path += &format!("{mark}depth={depth}");
            mark = '&';
        }
        if let Some(after) = after {
            path += &format!("{mark}after={after}");
        }
        self.get(&path).await
    }

    /// What the API tells at a path behind that of the stream.
    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let stream = self.stream;
        let url = self.tracker.join(&format!("api/streams/{stream}{path}"));
        let url = url.context("the tracker's address")?;
        let asked = timeout(REQUEST_TIME, self.ask(&url)).await;
        let answer = asked
            .map_err(|_| anyhow::anyhow!("it says nothing"))
            .and_then(|answer| answer);
        if answer.is_err() {
            self.connection = None;
        }
        let tracker = &self.tracker;
        let (status, text) =
            answer.with_context(|| format!("the tracker {tracker} does not answer"))?;
        if !status.is_success() {
            #[derive(Deserialize)]
            struct Refusal {
                error: String,
            }
            let told = serde_json::from_str(&text).map(|refusal: Refusal| refusal.error);
            let told = told.unwrap_or_else(|_| format!("{status}; is it a tracker?"));
            anyhow::bail!("the tracker {tracker} answers: {told}");
        }
        serde_json::from_str(&text)
            .with_context(|| format!("the tracker {tracker} tells what is no tree"))
    }

    async fn ask(&mut self, url: &Url) -> anyhow::Result<(StatusCode, String)> {
        let kept = self.connection.take_if(|c| c.sender.is_closed());
        drop(kept);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let server = Server::of(url).await?;
                let sender = server.connect().await?;
                self.connection.insert(Connection { server, sender })
            }
        };
        connection.sender.ready().await?;
        let request = Request::get(&url[url::Position::BeforePath..])
            .header(HOST, connection.server.authority())
            .header(ACCEPT, "application/json")
            .body(Body::empty())?;
        let response = connection.sender.send_request(request).await?;
        let status = response.status();
        let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_ANSWER).await?;
        Ok((status, String::from_utf8(body.into())?))
    }
}

/// How deep the tree may be asked for so that not too many peers come; none where all may.
fn affordable(per_depth: &[u32]) -> Option<usize> {
    let mut sum = 0;
    let fit = per_depth.iter().take_while(|count| {
        sum += u64::from(**count);
        sum <= MAX_PEERS as u64
    });
    let fit = fit.count();
    (fit < per_depth.len()).then(|| fit.saturating_sub(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_trees_are_asked_for_from_the_top() {
        assert_eq!(affordable(&[]), None);
        assert_eq!(affordable(&[1, 8, 64]), None);
        assert_eq!(affordable(&[1, 8, 64, 512, 4096]), Some(3));
        // All below one root: the first page of them.
        assert_eq!(affordable(&[1, 5000]), Some(1));
    }
}
