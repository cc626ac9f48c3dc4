//! Many peers of one tracker that are nothing but their WebSockets: they join, answer, report and
//! follow the tree as nodes and pages do, and carry no media.

mod peer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use banyan::limits::MAX_TRACKER_FRAME;
use banyan::wire::codec::{self, Encoding};
use banyan::wire::tracker::{PeerClass, ServerMessage};
use ed25519_dalek::SigningKey;
use futures_util::{SinkExt, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use self::peer::Peer;
use crate::{api, secs, wait_for};

/// Children of the root.
const ROOT_SLOTS: u16 = 8;

/// Connections being made at a time.
const CONNECTING: usize = 32;

/// One stream's audience.
#[derive(Debug)]
pub struct Audience {
    _runtime: Runtime,
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    count: usize,
}

#[derive(Debug)]
struct Shared {
    authority: String,
    /// Peers that were welcomed, that hang in the tree, and that lost their session.
    welcome: AtomicUsize,
    attached: AtomicUsize,
    lost: AtomicUsize,
    reports: AtomicUsize,
    doors: Semaphore,
}

/// What they do.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// They are connected.
    Wait,
    /// When the first one joins, and how long after it the next.
    Join { at: Instant, gap: Duration },
    /// They get standbys, and pages follow the tree.
    Settle,
}

impl Audience {
    /// A root and `count` viewers in sessions of their own at the tracker `http://...`; of ten, three
    /// are native nodes with eight slots, the others pages. They have not joined yet.
    ///
    /// # Panics
    /// When they are not all welcomed.
    pub fn gather(tracker: &str, count: usize) -> Self {
        let (authority, _) = api::split(tracker);
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, Rlimit { ..limit }).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            authority: authority.to_owned(),
            welcome: AtomicUsize::new(0),
            attached: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            reports: AtomicUsize::new(0),
            doors: Semaphore::new(CONNECTING),
        });
        let (phase, phases) = watch::channel(Phase::Wait);
        let key = SigningKey::from_bytes(&[5; 32]);
        let stream = banyan::wire::announcement::stream_id(&key);
        let root = Peer::root(key, authority, ROOT_SLOTS);
        runtime.spawn(Arc::clone(&shared).run(root, 0, phases.clone()));
        for index in 1..=count {
            let (class, slots) = match index % 10 {
                0..3 => (PeerClass::Native, 8),
                _ => (PeerClass::Browser, 0),
            };
            let viewer = Peer::viewer(index as u64, stream, class, slots);
            runtime.spawn(Arc::clone(&shared).run(viewer, index, phases.clone()));
        }
        let audience = Self {
            _runtime: runtime,
            shared,
            phase,
            count,
        };
        let timeout = secs(10) + Duration::from_millis(5) * count as u32;
        wait_for("all sessions", timeout, || {
            audience.check();
            (audience.shared.welcome.load(Ordering::Relaxed) > count).then_some(())
        });
        audience
    }

    /// All join, so many in a second, and hang in the tree when this returns.
    ///
    /// # Panics
    /// When not all have a parent in time.
    pub fn join(&self, per_second: u32) {
        let gap = secs(1) / per_second;
        let at = Instant::now();
        self.phase.send_replace(Phase::Join { at, gap });
        let timeout = gap * self.count as u32 + secs(30);
        wait_for("parents of all", timeout, || {
            self.check();
            (self.shared.attached.load(Ordering::Relaxed) >= self.count).then_some(())
        });
    }

    /// From now on they have standbys, and the pages among them follow the tree.
    pub fn settle(&self) {
        self.phase.send_replace(Phase::Settle);
    }

    /// Reports of all so far.
    pub fn reports(&self) -> usize {
        self.shared.reports.load(Ordering::Relaxed)
    }

    fn check(&self) {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        assert_eq!(lost, 0, "sessions lost");
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

impl Shared {
    async fn run(self: Arc<Self>, peer: Peer, index: usize, phase: watch::Receiver<Phase>) {
        if let Err(error) = self.converse(peer, index, phase).await {
            eprintln!("session {index}: {error}");
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    async fn connect(
        &self,
        encoding: Encoding,
    ) -> Result<WebSocketStream<TcpStream>, anyhow::Error> {
        let _door = self.doors.acquire().await?;
        let mut request = format!("ws://{}/ws", self.authority).into_client_request()?;
        let protocol = match encoding {
            Encoding::Json => "banyan.1.json",
            Encoding::Bincode => "banyan.1.bincode",
        };
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(socket)
    }

    async fn converse(
        &self,
        mut peer: Peer,
        index: usize,
        mut phase: watch::Receiver<Phase>,
    ) -> Result<(), anyhow::Error> {
        let encoding = match peer.class {
            PeerClass::Native => Encoding::Bincode,
            _ => Encoding::Json,
        };
        let mut socket = self.connect(encoding).await?;
        let mut joins_at = None;
        let mut joined = index == 0;
        let mut attached = false;
        // Reports of all are spread over the interval.
        let first = tokio::time::Instant::now() + Duration::from_millis(index as u64 * 37 % 1000);
        let mut reports = interval_at(first, secs(1));
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            for message in peer.says.drain(..) {
                let frame = codec::encode(encoding, &message)?;
                socket
                    .feed(match frame {
                        codec::Frame::Text(text) => Message::text(text),
                        codec::Frame::Binary(bytes) => Message::binary(bytes),
                    })
                    .await?;
            }
            socket.flush().await?;
            let join = async {
                match joins_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = socket.next() => {
                    let Some(frame) = frame else {
                        anyhow::bail!("the tracker has closed it");
                    };
                    let message = match frame? {
                        Message::Text(text) => codec::decode_text(&text, MAX_TRACKER_FRAME)?,
                        Message::Binary(bytes) => codec::decode_binary(&bytes, MAX_TRACKER_FRAME)?,
                        Message::Close(why) => anyhow::bail!("closed: {why:?}"),
                        _ => continue,
                    };
                    if let ServerMessage::Welcome(_) = message {
                        self.welcome.fetch_add(1, Ordering::Relaxed);
                    }
                    peer.hear(message);
                    if peer.parent.is_some() && !attached {
                        attached = true;
                        self.attached.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ = reports.tick(), if joined => {
                    let settle = matches!(*phase.borrow(), Phase::Settle);
                    peer.report(settle);
                    self.reports.fetch_add(1, Ordering::Relaxed);
                }
                () = join => {
                    joins_at = None;
                    joined = true;
                    peer.join();
                }
                changed = phase.changed(), if !joined && joins_at.is_none() => {
                    changed?;
                    if let Phase::Join { at, gap } = *phase.borrow() {
                        joins_at = Some((at + gap * index as u32).into());
                    }
                }
            }
        }
    }
}
