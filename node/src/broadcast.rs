//! `banyan broadcast`: the root of a stream.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use banyan::id::Epoch;
use banyan::node::Role;
use banyan::relay::clock::ntp_duration;
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::{StreamInfo, TrackInfo, stream_id};
use banyan::wire::tracker::IceServer;
use ed25519_dalek::SigningKey;
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::Url;

use crate::config::Broadcast;
use crate::demo;
use crate::driver::publisher::PublisherConfig;
use crate::driver::{Command, Sink};
use crate::embedded_tracker::{EmbeddedTracker, Kill};
use crate::http::Listen;
use crate::invitation::{self, Publish};
use crate::rtc::UdpPort;
use crate::session::{Happened, IngestSetup, NodeSetup, Session};
use crate::sink::recorder::{self, Recorder};
use crate::source::ingest;
use crate::source::{MediaClock, PlayEvent, Playback, Source, TrackPacket, play};
use crate::stream_key;
use crate::whip_token::Token;

/// UDP port for media where none is given.
pub(crate) const DEFAULT_UDP_PORT: u16 = 7144;

/// HTTP port for publishers where none is given.
const WHIP_PORT: u16 = 7145;

/// A source that gives nothing for this long has paused, and its viewers are told so.
const SOURCE_IDLE: Duration = Duration::from_secs(1);

/// Frames that may wait between the source and the media thread.
const FRAME_QUEUE: usize = 8;

/// Time the last packets are given to be repaired downstream before the root leaves.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Seconds between the NTP epoch (1900) and the Unix epoch (RFC 5905 section 6).
const NTP_UNIX_OFFSET: u64 = 2_208_988_800;

/// Runs until the file ends or the user ends it.
///
/// # Errors
/// When the file cannot be played, a port or key cannot be had, or the tracker refuses.
pub async fn run(options: Broadcast) -> anyhow::Result<()> {
    let source = match &options.file {
        Some(file) => Some(open(file, options.looped).await?),
        None if options.demo => Some(Source::demo()?),
        None => None,
    };
    let key_file = match &options.key {
        Some(path) => path.clone(),
        None => stream_key::default_path()?,
    };
    let key = stream_key::load_or_create(&key_file, &mut rand::rng())?;

    let mut tracker = match &options.tracker {
        Some(_) => None,
        None => Some(EmbeddedTracker::start(&options.embedded, options.demo).await?),
    };
    let kills = tracker.as_mut().and_then(EmbeddedTracker::take_kills);
    let input = match source {
        Some(source) => Media::File(Box::new(source)),
        None => {
            let file = options.whip_token_file.as_deref();
            let token = Token::load(file, &key_file, &mut rand::rng())?;
            Media::Publisher(Arc::new(token))
        }
    };
    let reloading = async {
        if let Some(tracker) = &tracker {
            tracker.reload_on_hang_up().await;
        }
        std::future::pending().await
    };
    let result = tokio::select! {
        result = broadcast(&options, input, key, tracker.as_ref(), kills) => result,
        never = reloading => never,
    };
    if let Some(tracker) = tracker {
        tracker.stop().await;
    }
    result
}

async fn open(file: &Path, looped: bool) -> anyhow::Result<Source> {
    let path = file.to_owned();
    let playback = if looped {
        Playback::Looped
    } else {
        Playback::Once
    };
    let opened = tokio::task::spawn_blocking(move || Source::open(&path, playback));
    let opened = opened.await.context("opening the file")?;
    opened.with_context(|| format!("cannot broadcast {}", file.display()))
}

/// Where a broadcast's media comes from.
enum Media {
    /// A file, played by the clock.
    File(Box<Source>),
    /// Whoever shows this token at the WHIP endpoint.
    Publisher(Arc<Token>),
}

async fn broadcast(
    options: &Broadcast,
    media: Media,
    key: SigningKey,
    embedded: Option<&EmbeddedTracker>,
    kills: Option<mpsc::Receiver<Kill>>,
) -> anyhow::Result<()> {
    let stream = stream_id(&key);
    let trackers = match (embedded, &options.tracker) {
        (Some(own), _) => Trackers {
            public: own.url().clone(),
            local: own.local_url().clone(),
            lan: own.lan_url(),
            kills,
        },
        (None, Some(url)) => Trackers {
            public: url.clone(),
            local: url.clone(),
            lan: None,
            kills: None,
        },
        (None, None) => bail!("there is no tracker to announce the stream at"),
    };
    let epoch = epoch_now();
    let tracks = match &media {
        Media::File(source) => {
            let tracks = source.tracks().iter();
            let codings = tracks.map(|track| (track.codec, track.fmtp.clone()));
            Some(ingest::describe(epoch, codings, &mut rand::rng()))
        }
        Media::Publisher(_) => None,
    };
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    let mut recording = None;
    if let Some(path) = &options.node.record {
        let known = tracks.as_ref().map(|info| info.tracks.as_slice());
        let (recorder, outcome) = Recorder::new(path, known.unwrap_or_default())?;
        sinks.push(Box::new(recorder));
        recording = Some(outcome);
    }
    let setup = NodeSetup {
        role: Role::Root {
            key: Box::new(key),
            epoch,
            title: options.title.clone(),
            listed: options.listed,
        },
        tracker: trackers.local.clone(),
        verb: "broadcast",
        default_port: UdpPort::From(DEFAULT_UDP_PORT),
        sinks,
        ingest: match &media {
            Media::File(_) => None,
            Media::Publisher(token) => Some(IngestSetup {
                listen: Listen::From(SocketAddr::from((Ipv4Addr::UNSPECIFIED, WHIP_PORT))),
                token: Arc::clone(token),
                ice_servers: vec![IceServer {
                    urls: options.embedded.stun_servers(),
                    username: None,
                    credential: None,
                }],
                publisher: PublisherConfig {
                    epoch,
                    ntp: ntp_of(since_unix_epoch()),
                    rng_seed: rand::random(),
                    ice_servers: options.embedded.stun_servers(),
                },
            }),
        },
    };
    let mut node = options.node.clone();
    if options.demo {
        node.max_children.get_or_insert(demo::SLOTS);
    }
    let mut session = Session::start(&node, setup).await?;
    let ended = tokio::select! {
        ended = conduct(options, &mut session, media, tracks, trackers) => ended,
        failed = recorder::failed(recording.as_mut()) => {
            recording = None;
            Err(failed)
        }
    };
    if ended.is_ok() {
        tokio::time::sleep(LAST_WORDS).await;
    }
    session.leave().await;
    match recording {
        Some(outcome) => ended.and(outcome.finished().await),
        None => ended,
    }
    .with_context(|| format!("the broadcast of {stream} failed"))
}

/// The addresses of the broadcast's tracker.
struct Trackers {
    /// For everybody.
    public: Url,
    /// For nodes of this machine.
    local: Url,
    /// For machines of the local network, where `public` is of this machine alone.
    lan: Option<Url>,
    /// What pages of a demonstration ask for.
    kills: Option<mpsc::Receiver<Kill>>,
}

async fn conduct(
    options: &Broadcast,
    session: &mut Session,
    media: Media,
    tracks: Option<StreamInfo>,
    mut trackers: Trackers,
) -> anyhow::Result<()> {
    let commands = session.driver.commands.clone();
    if let Some(tracks) = &tracks {
        commands
            .send(Command::Tracks(tracks.clone()))
            .await
            .context("the media thread has ended")?;
    }
    let mut waiting = Some((media, tracks));
    let mut playing = None;
    let mut relays = None;
    let stream = session.stream();
    let result = loop {
        let happened = tokio::select! {
            happened = session.next() => happened,
            ended = join(&mut playing) => break ended,
            changed = demo::change(relays.as_mut()) => match changed {
                Ok(()) => continue,
                Err(error) => break Err(error),
            },
        };
        match happened {
            Err(error) => break Err(error),
            Ok(Happened::Stop) => break Ok(()),
            // Again after the tracker was away; the show goes on then.
            Ok(Happened::Published) => {
                let Some((media, tracks)) = waiting.take() else {
                    continue;
                };
                let publish = match (&media, session.http) {
                    (Media::Publisher(token), Some(listen)) => Some(Publish {
                        listen,
                        token: token.reveal(),
                    }),
                    _ => None,
                };
                let lan = trackers.lan.as_ref();
                invitation::print(&trackers.public, &stream, lan, publish.as_ref())
                    .context("writing to stdout")?;
                if options.demo {
                    relays = Some({
                        let link = invitation::watch_link(&trackers.local, &stream);
                        let ip = options.node.udp.map(|udp| udp.ip());
                        demo::Relays::start(link, ip, trackers.kills.take())?
                    });
                }
                match (media, tracks) {
                    (Media::File(source), Some(tracks)) => {
                        let feed = feed(*source, tracks, commands.clone());
                        playing = Some(tokio::spawn(feed));
                    }
                    _ => tracing::info!("waiting for a publisher"),
                }
            }
            Ok(Happened::ChildUp) => {
                if let Some(Err(error)) = relays.as_mut().map(demo::Relays::child_up) {
                    break Err(error);
                }
            }
            Ok(_) => {}
        }
    };
    if let Some(task) = playing {
        task.abort();
    }
    if let Some(relays) = relays {
        relays.stop().await;
    }
    result
}

/// The end of a task that may not have begun.
async fn join(
    task: &mut Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
) -> anyhow::Result<()> {
    match task {
        Some(running) => {
            let ended = running.await;
            *task = None;
            ended.context("the source has failed")?
        }
        None => std::future::pending().await,
    }
}

/// Plays the source into the media thread until it ends.
async fn feed(
    source: Source,
    info: StreamInfo,
    commands: mpsc::Sender<Command>,
) -> anyhow::Result<()> {
    // Random, so that nothing is told about how long the stream runs (RFC 3550 section 5.1).
    let bases: Vec<u32> = info.tracks.iter().map(|_| rand::random()).collect();
    let (events, mut inbox) = mpsc::channel(FRAME_QUEUE);
    tokio::spawn(play(source, bases.clone(), events));
    let mut idle = false;
    loop {
        let event = match timeout(SOURCE_IDLE, inbox.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) => bail!("the source has stopped without a word"),
            Err(_) if idle => continue,
            Err(_) => {
                tracing::warn!("the source gives nothing at the moment");
                idle = true;
                let told = commands.send(Command::SourceIdle(true)).await;
                told.context("the media thread has ended")?;
                continue;
            }
        };
        if idle {
            tracing::info!("the source goes on");
            idle = false;
            let told = commands.send(Command::SourceIdle(false)).await;
            told.context("the media thread has ended")?;
        }
        match event {
            PlayEvent::Clock(clock) => {
                for command in clock_commands(&clock, &info, &bases) {
                    commands
                        .send(command)
                        .await
                        .context("the media thread has ended")?;
                }
            }
            PlayEvent::Frame(packets) => {
                let packets = packets.into_iter().map(packet).collect();
                let sent = commands.send(Command::Source(packets)).await;
                sent.context("the media thread has ended")?;
            }
            PlayEvent::Ended(result) => {
                tracing::info!("the file has ended");
                return result.context("the file");
            }
        }
    }
}

fn packet(packet: TrackPacket) -> Packet {
    Packet {
        track: packet.track,
        seq: 0,
        timestamp: packet.timestamp,
        marker: packet.marker,
        extensions: Vec::new(),
        payload: packet.payload,
    }
}

/// Where each track's timestamps stand now.
fn clock_commands(clock: &MediaClock, info: &StreamInfo, bases: &[u32]) -> Vec<Command> {
    let elapsed = clock.zero.elapsed();
    let wall = clock
        .zero_wall
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        + elapsed;
    let ntp = ntp_of(wall);
    let tracks = (0..).zip(&info.tracks).zip(bases);
    tracks
        .map(|((track, info), base): ((TrackIndex, &TrackInfo), &u32)| {
            let ticks = elapsed.as_nanos() * u128::from(info.codec.clock_rate()) / 1_000_000_000;
            Command::SourceClock {
                track,
                ntp,
                rtp: base.wrapping_add(ticks as u32),
            }
        })
        .collect()
}

/// The epoch of a stream that begins now.
pub(crate) fn epoch_now() -> Epoch {
    Epoch(since_unix_epoch().as_millis() as u64)
}

fn since_unix_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// NTP time (RFC 5905) of a time since the Unix epoch.
fn ntp_of(since_unix_epoch: Duration) -> u64 {
    (NTP_UNIX_OFFSET << 32).wrapping_add(ntp_duration(since_unix_epoch))
}
