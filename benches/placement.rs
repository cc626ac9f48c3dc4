//! What the tracker pays for a peer: CPU time per join and per departure, memory, and how deep
//! the tree gets.
//!
//! `cargo bench -p banyan --bench placement -- [PEERS]...` (default 10000 100000 1000000). The
//! first table is the tree alone: insert, query, reserve, attach, and the same for whoever is displaced; then a tenth of all peers leave
//! at once and their orphans are placed again. The second is a whole tracker, messages included,
//! up to the most peers it takes for one stream. Classes and their shares are those of a large
//! audience: one peer in five relays.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark reads the clock and may stop at the first surprise"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use banyan::id::{Epoch, LinkId, NodeId};
use banyan::limits::MAX_STREAM_PEERS;
use banyan::tracker::{Input, Output, SessionId, Tracker, TrackerConfig};
use banyan::tree::{Class, Handle, Newcomer, Placement, Spare, Tree, Wish};
use banyan::wire::PROTOCOL_VERSION;
use banyan::wire::announcement::{
    CHALLENGE_DOMAIN, Codec, SignedStreamInfo, StreamInfo, TrackInfo, sign, stream_id,
};
use banyan::wire::tracker::{
    ClientMessage, Hello, Join, PeerClass, Publish, ServerMessage, challenge_text,
};
use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ROOT_SLOTS: u16 = 8;

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let counts = if counts.is_empty() {
        vec![10_000, 100_000, 1_000_000]
    } else {
        counts
    };
    println!("tree        peers   us/join  us/departure  bytes/peer  mean depth  deepest");
    for &count in &counts {
        tree(count);
    }
    println!("tracker     peers   us/join");
    for count in counts {
        tracker(count.min(MAX_STREAM_PEERS));
    }
}

/// Slots and class of the next peer.
fn audience(rng: &mut StdRng) -> (Class, u16) {
    match rng.random_range(0..100) {
        0..6 => (Class::Native, 20),
        6..20 => (Class::Native, 5),
        _ => (Class::Browser, 0),
    }
}

fn place(tree: &mut Tree, joiner: Handle, rng: &mut StdRng) -> bool {
    let wish = Wish {
        joiner,
        keep_last: false,
        spare: Spare::Last,
        excluded: &|_, _| false,
    };
    let regime = tree.regime();
    let (parent, victim) = match tree.find_place(&wish, regime, rng) {
        Some(Placement::Slot(parent)) => (parent, None),
        Some(Placement::Displace(place)) => (place.parent, Some(place.victim)),
        None => return false,
    };
    tree.reserve(joiner, parent).unwrap();
    tree.attach(joiner, parent).unwrap();
    tree.confirm(joiner);
    if let Some(victim) = victim {
        tree.attach(victim, joiner).unwrap();
        tree.confirm(victim);
    }
    true
}

fn tree(count: usize) {
    let mut rng = StdRng::seed_from_u64(1);
    let memory = resident();
    let mut tree = Tree::new();
    let mut peers = Vec::with_capacity(count);
    let now = Instant::now();
    let name = NodeId::random(&mut rng);
    let root = tree.insert(Newcomer::new(name, Class::Native, ROOT_SLOTS, now));
    tree.set_root(root).unwrap();
    let mut placed = 0;
    for _ in 0..count {
        let (class, slots) = audience(&mut rng);
        let joiner = tree.insert(Newcomer::new(NodeId::random(&mut rng), class, slots, now));
        placed += usize::from(place(&mut tree, joiner, &mut rng));
        peers.push(joiner);
    }
    let join = now.elapsed();
    let memory = resident().saturating_sub(memory);
    let levels = tree.per_depth();
    let sum: usize = (0..)
        .zip(levels)
        .map(|(depth, &n)| depth * n as usize)
        .sum();
    let mean = sum as f64 / f64::from(tree.attached());
    let deepest = levels.len() - 1;

    let begun = Instant::now();
    let mut orphans = Vec::new();
    let leaving = count / 10;
    for _ in 0..leaving {
        let peer = peers.swap_remove(rng.random_range(0..peers.len()));
        orphans.extend(tree.remove(peer));
    }
    for orphan in orphans {
        if tree.get(orphan).is_some() {
            place(&mut tree, orphan, &mut rng);
        }
    }
    let departure = begun.elapsed();
    println!(
        "{count:>17}  {:>8.2}  {:>12.2}  {:>10}  {mean:>10.2}  {deepest:>7}  ({placed} placed)",
        micros(join, count),
        micros(departure, leaving),
        memory / count,
    );
}

fn tracker(count: usize) {
    let mut tracker = Tracker::new(TrackerConfig::default(), StdRng::seed_from_u64(1));
    let mut rng = StdRng::seed_from_u64(2);
    let mut now = Instant::now();
    let key = SigningKey::from_bytes(&[1; 32]);
    let stream = stream_id(&key);
    let root = NodeId::random(&mut rng);
    let hello = |node, class, slots| {
        ClientMessage::Hello(Hello {
            version: PROTOCOL_VERSION,
            node,
            class,
            agent: "bench".into(),
            slots,
        })
    };
    connect(&mut tracker, now, 0);
    say(
        &mut tracker,
        now,
        0,
        hello(root, PeerClass::Native, ROOT_SLOTS),
    );
    let publish = Publish {
        stream,
        epoch: Epoch(1),
        title: String::new(),
        listed: false,
    };
    let challenge = say(&mut tracker, now, 0, ClientMessage::Publish(publish));
    let Some(ServerMessage::Challenge { nonce }) = challenge.last() else {
        panic!("no challenge");
    };
    let text = challenge_text(nonce, "bench", &root);
    let signature = sign(&key, CHALLENGE_DOMAIN, text.as_bytes());
    say(&mut tracker, now, 0, ClientMessage::Prove { signature });
    let info = StreamInfo {
        epoch: Epoch(1),
        tracks: vec![TrackInfo {
            codec: Codec::Vp8,
            fmtp: String::new(),
            ssrc: 1,
            first_seq: 1,
        }],
        cname: "bench".into(),
    };
    let signed = SignedStreamInfo::sign(&info, &key).unwrap();
    say(&mut tracker, now, 0, ClientMessage::Info(signed));

    let begun = Instant::now();
    let count = count.saturating_sub(2);
    for session in 1..=count as u64 {
        // 100,000 joins in 60 s, the steepest flash crowd to be expected; reports left out.
        now += Duration::from_micros(20);
        let (class, slots) = audience(&mut rng);
        let node = NodeId::random(&mut rng);
        connect(&mut tracker, now, session);
        say(&mut tracker, now, session, hello(node, class.into(), slots));
        let join = Join {
            stream,
            link: LinkId(1),
            offer: "v=0".repeat(1000),
            lost: None,
        };
        let heard = say(&mut tracker, now, session, ClientMessage::Join(join));
        let order = heard.into_iter().find_map(|message| match message {
            ServerMessage::Assigned {
                link, generation, ..
            } => Some(ClientMessage::Attached { link, generation }),
            _ => None,
        });
        if let Some(attached) = order {
            say(&mut tracker, now, session, attached);
        }
    }
    println!("{count:>17}  {:>8.2}", micros(begun.elapsed(), count));
}

fn connect(tracker: &mut Tracker<StdRng>, now: Instant, session: u64) {
    let input = Input::Connected {
        session: SessionId(session),
        observed: IpAddr::V4(Ipv4Addr::LOCALHOST),
        authority: "bench".into(),
    };
    tracker.handle(now, input);
}

/// Says something and returns what that session is told.
fn say(
    tracker: &mut Tracker<StdRng>,
    now: Instant,
    session: u64,
    message: ClientMessage,
) -> Vec<ServerMessage> {
    let speaker = SessionId(session);
    let session = speaker;
    tracker.handle(now, Input::Message { session, message });
    let mut heard = Vec::new();
    while let Some(output) = tracker.poll_output() {
        if let Output::Send { session, message } = output
            && session == speaker
        {
            heard.push(message);
        }
    }
    heard
}

fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// Resident memory of this process in bytes; 0 where it cannot be read.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}
