//! CPU time a parent spends per forwarded packet, with real children on the loopback interface.
//!
//! `cargo bench -p banyan-node --bench fanout -- [CHILDREN]...` (default 10 50 100). The parent
//! runs on one thread, all children on another; 270 packets of 1150 bytes a second, in frames of
//! nine, as 2.5 Mbit/s video has them. Linux only: it reads the thread's CPU clock from `/proc`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use banyan::id::{Epoch, LinkId, LinkKey, NodeId};
use banyan::relay::packet::Packet;
use banyan::wire::announcement::{Codec, StreamInfo, TrackInfo};
use banyan_node::rtc::{
    Engine, EngineConfig, EngineEvent, LoopbackCandidates, PeerClass, UdpBind, UdpPort,
};
use bytes::Bytes;

const FRAME: Duration = Duration::from_micros(33_333);
const PACKETS_PER_FRAME: u64 = 9;
const MEASURED: Duration = Duration::from_secs(6);

fn main() -> Result<()> {
    let counts: Vec<u16> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let counts = if counts.is_empty() {
        vec![10, 50, 100]
    } else {
        counts
    };
    println!("children  us/packet  us/packet busy+idle  delivered");
    for count in counts {
        measure(count)?;
    }
    Ok(())
}

fn measure(count: u16) -> Result<()> {
    let (to_parent, from_children) = channel();
    let (to_children, from_parent) = channel();
    let children = std::thread::spawn(move || children(count, &to_parent, &from_parent));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (idle, busy, sent) = runtime.block_on(parent(count, &from_children, &to_children))?;
    to_children.send(EngineEvent::Connected { link: key(0) })?;
    let received = children
        .join()
        .map_err(|_| anyhow::anyhow!("the children panicked"))??;
    let per = |time: Duration| time.as_secs_f64() * 1e6 / sent as f64;
    println!(
        "{count:8}  {:9.2}  {:19.2}  {:8.2} %",
        per(busy.saturating_sub(idle)),
        per(busy),
        received as f64 * 100.0 / sent as f64
    );
    Ok(())
}

async fn parent(
    count: u16,
    events: &Receiver<EngineEvent>,
    replies: &Sender<EngineEvent>,
) -> Result<(Duration, Duration, u64)> {
    let mut engine = engine()?;
    let mut links = Vec::new();
    let begin = Instant::now();
    while links.len() < usize::from(count) {
        anyhow::ensure!(
            begin.elapsed() < Duration::from_secs(30),
            "{} joined",
            links.len()
        );
        let now = Instant::now();
        while let Ok(event) = events.try_recv() {
            match event {
                EngineEvent::Offer { link, sdp } => {
                    engine.accept(now, link, &sdp, &stream(), PeerClass::Native, &[])?;
                }
                EngineEvent::LocalCandidate { link, candidate } => {
                    engine.add_candidate(now, link, &candidate)?;
                }
                _ => {}
            }
        }
        turn(
            &mut engine,
            now,
            Some(now + Duration::from_millis(1)),
            |event| match event {
                EngineEvent::Connected { link } => links.push(link),
                other => drop(replies.send(other)),
            },
        )
        .await;
    }
    let idle = run(&mut engine, &[], MEASURED / 3).await?.0 * 3;
    let (busy, sent) = run(&mut engine, &links, MEASURED).await?;
    run(&mut engine, &[], Duration::from_millis(200)).await?;
    Ok((idle, busy, sent))
}

/// Sends frames to `links` for `time`; returns this thread's CPU time and the packets sent.
async fn run(engine: &mut Engine, links: &[LinkKey], time: Duration) -> Result<(Duration, u64)> {
    let begin = Instant::now();
    let cpu = cpu_time()?;
    let (mut frame, mut sent) = (0u32, 0);
    while begin.elapsed() < time {
        let due = begin + FRAME * frame;
        let now = Instant::now();
        if due <= now {
            let group: Vec<Arc<Packet>> = packets(u64::from(frame)).collect();
            for link in links {
                engine.send_packets(now, *link, &group);
                sent += group.len() as u64;
            }
            frame += 1;
        }
        let next = (begin + FRAME * frame).min(begin + time);
        turn(engine, now, Some(next), drop).await;
    }
    Ok((cpu_time()? - cpu, sent))
}

fn packets(frame: u64) -> impl Iterator<Item = Arc<Packet>> {
    (0..PACKETS_PER_FRAME).map(move |i| {
        Arc::new(Packet {
            track: 0,
            seq: 70_000 + frame * PACKETS_PER_FRAME + i,
            timestamp: (frame as u32).wrapping_mul(3000),
            marker: i + 1 == PACKETS_PER_FRAME,
            extensions: Vec::new(),
            payload: Bytes::from_static(&[7; 1150]),
        })
    })
}

async fn turn(
    engine: &mut Engine,
    now: Instant,
    until: Option<Instant>,
    mut each: impl FnMut(EngineEvent),
) {
    engine.flush(now);
    engine.wait(until).await;
    let now = Instant::now();
    engine.receive(now);
    engine.handle_timeout(now);
    while let Some(event) = engine.poll_event() {
        each(event);
    }
    engine.flush(now);
}

fn children(
    count: u16,
    events: &Sender<EngineEvent>,
    replies: &Receiver<EngineEvent>,
) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut engines = Vec::new();
        for number in 1..=count {
            let mut engine = engine()?;
            engine.connect(Instant::now(), key(number), &[])?;
            engines.push(engine);
        }
        let mut received = 0;
        loop {
            let now = Instant::now();
            while let Ok(event) = replies.try_recv() {
                let target = |link: LinkKey| usize::try_from(link.link.0).map(|n| n - 1);
                match event {
                    EngineEvent::Answer { link, sdp } => {
                        engines[target(link)?].set_answer(now, link, &sdp, &stream())?;
                    }
                    EngineEvent::LocalCandidate { link, candidate } => {
                        engines[target(link)?].add_candidate(now, link, &candidate)?;
                    }
                    EngineEvent::Connected { .. } => return Ok(received),
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            for engine in &mut engines {
                let now = Instant::now();
                engine.receive(now);
                engine.handle_timeout(now);
                while let Some(event) = engine.poll_event() {
                    match event {
                        EngineEvent::Packet { .. } => received += 1,
                        other => drop(events.send(other)),
                    }
                }
                engine.flush(now);
            }
        }
    })
}

fn engine() -> Result<Engine> {
    let udp = UdpBind {
        ip: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        port: UdpPort::Any,
    };
    let loopback = LoopbackCandidates::WhenAlone;
    let rng_seed = rand::random();
    Ok(Engine::bind(EngineConfig {
        udp,
        public_addr: None,
        loopback,
        rng_seed,
    })?)
}

fn key(number: u16) -> LinkKey {
    let [high, low] = number.to_be_bytes();
    let mut id = [0; 16];
    (id[0], id[1]) = (high, low);
    LinkKey {
        child: NodeId::from_bytes(id),
        link: LinkId(number.into()),
    }
}

fn stream() -> StreamInfo {
    let track = TrackInfo {
        codec: Codec::Vp8,
        fmtp: String::new(),
        ssrc: 1,
        first_seq: 70_000,
    };
    StreamInfo {
        epoch: Epoch(1),
        tracks: vec![track],
        cname: "bench".into(),
    }
}

fn cpu_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("schedstat")?;
    let nanoseconds = text
        .split_whitespace()
        .next()
        .context("schedstat")?
        .parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}
