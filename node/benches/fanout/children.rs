//! The children's process: engines that join, receive and count, and plain sockets that count.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::IoSliceMut;
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use banyan_node::rtc::{CloseReason, Engine, EngineEvent};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::pipe::{News, Order, Report};
use crate::stream::{engine, key, stamp_age, stream};

/// How long a child of a storm waits for its connection.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Counters {
    packets: u64,
    /// Microseconds.
    delays: Vec<u32>,
}

type Shared = Rc<RefCell<Counters>>;
type Inboxes = HashMap<u16, mpsc::UnboundedSender<Order>>;

/// Obeys the orders on standard input until it ends.
pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (sender, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) => drop(sender.send(order)),
                Err(error) => eprintln!("order: {error}"),
            }
        }
    });
    LocalSet::new().block_on(&runtime, obey(orders))
}

async fn obey(mut orders: mpsc::UnboundedReceiver<Order>) -> Result<()> {
    let counters = Shared::default();
    let inboxes = Rc::new(RefCell::new(Inboxes::new()));
    while let Some(order) = orders.recv().await {
        match order {
            Order::Join { first, count } => {
                for child in first..first + count {
                    join(child, &inboxes, &counters, false)?;
                }
            }
            Order::Storm {
                first,
                count,
                every_us,
            } => {
                let (inboxes, counters) = (Rc::clone(&inboxes), Rc::clone(&counters));
                tokio::task::spawn_local(async move {
                    let begin = Instant::now();
                    for number in 0..count {
                        let due = Duration::from_micros(every_us * u64::from(number));
                        tokio::time::sleep_until((begin + due).into()).await;
                        if let Err(error) = join(first + number, &inboxes, &counters, true) {
                            eprintln!("a child of the storm: {error:#}");
                        }
                    }
                });
            }
            Order::Answer { child, .. } | Order::Candidate { child, .. } => {
                if let Some(inbox) = inboxes.borrow().get(&child) {
                    let _ = inbox.send(order);
                }
            }
            Order::Sink { count } => {
                let mut ports = Vec::new();
                for _ in 0..count {
                    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                    ports.push(socket.local_addr()?.port());
                    tokio::task::spawn_local(sink(socket, Rc::clone(&counters)));
                }
                say(&News::Ports(ports))?;
            }
            Order::Reset => *counters.borrow_mut() = Counters::default(),
            Order::Report => say(&News::Report(report(&mut counters.borrow_mut())))?,
        }
    }
    Ok(())
}

fn report(counters: &mut Counters) -> Report {
    let delays = &mut counters.delays;
    delays.sort_unstable();
    let at = |share: f64| -> f64 {
        let index = (delays.len() as f64 * share) as usize;
        let delay = delays.get(index).or(delays.last());
        f64::from(delay.copied().unwrap_or(0)) / 1000.0
    };
    Report {
        packets: counters.packets,
        delay_p50: at(0.5),
        delay_p99: at(0.99),
        delay_max: at(1.0),
    }
}

fn say(news: &News) -> Result<()> {
    let mut line = serde_json::to_vec(news)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

fn join(
    number: u16,
    inboxes: &Rc<RefCell<Inboxes>>,
    counters: &Shared,
    leaves: bool,
) -> Result<()> {
    let mut engine = engine()?;
    engine.connect(Instant::now(), key(number), &[])?;
    let (sender, inbox) = mpsc::unbounded_channel();
    inboxes.borrow_mut().insert(number, sender);
    let (inboxes, counters) = (Rc::clone(inboxes), Rc::clone(counters));
    tokio::task::spawn_local(async move {
        if let Err(error) = live(number, engine, inbox, &counters, leaves).await {
            eprintln!("child {number}: {error:#}");
        }
        inboxes.borrow_mut().remove(&number);
    });
    Ok(())
}

/// One child's life.
async fn live(
    number: u16,
    mut engine: Engine,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    counters: &Shared,
    leaves: bool,
) -> Result<()> {
    let link = key(number);
    let begin = Instant::now();
    let mut connected = false;
    loop {
        let order = tokio::select! {
            order = inbox.recv() => Some(order.context("nobody is there")?),
            () = engine.wait(None) => None,
        };
        let now = Instant::now();
        match order {
            Some(Order::Answer { sdp, .. }) => engine.set_answer(now, link, &sdp, &stream())?,
            Some(Order::Candidate { candidate, .. }) => {
                engine.add_candidate(now, link, &candidate)?;
            }
            _ => {}
        }
        engine.receive(now);
        if engine.deadline().is_some_and(|at| at <= now) {
            engine.handle_timeout(now);
        }
        while let Some(event) = engine.poll_event() {
            match event {
                EngineEvent::Packet { packet, .. } => {
                    let mut counters = counters.borrow_mut();
                    counters.packets += 1;
                    if let Some(age) = stamp_age(&packet.payload) {
                        counters
                            .delays
                            .push(age.as_micros().try_into().unwrap_or(u32::MAX));
                    }
                }
                EngineEvent::Offer { sdp, .. } => say(&News::Offer { child: number, sdp })?,
                EngineEvent::LocalCandidate { candidate, .. } => say(&News::Candidate {
                    child: number,
                    candidate,
                })?,
                EngineEvent::Connected { .. } => {
                    connected = true;
                    say(&News::Connected { child: number })?;
                }
                EngineEvent::Closed {
                    reason: CloseReason::Remote,
                    ..
                } => return Ok(()),
                EngineEvent::Closed { reason, .. } => anyhow::bail!("closed: {reason:?}"),
                _ => {}
            }
        }
        if leaves && (connected || begin.elapsed() > PATIENCE) {
            engine.close(now, link);
            engine.flush(now);
            return Ok(());
        }
        engine.flush(now);
    }
}

/// Reads a socket as the engine does, with receive offload, and counts datagrams.
async fn sink(socket: UdpSocket, counters: Shared) -> Result<()> {
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_recv_buffer_size(8 << 20)?;
    let state = UdpSocketState::new((&socket).into())?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let mut buffer = vec![0; 65_536];
    loop {
        poll_fn(|context| socket.poll_recv_ready(context)).await?;
        let mut metas = [RecvMeta::default()];
        let read = socket.try_io(Interest::READABLE, || {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            state.recv((&socket).into(), &mut slices, &mut metas)
        });
        if read.is_ok() {
            let [meta] = metas;
            counters.borrow_mut().packets += (meta.len.div_ceil(meta.stride.max(1))) as u64;
        }
    }
}
