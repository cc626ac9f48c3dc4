//! STUN over UDP: tells a peer the address its packets come from (RFC 8489 section 2), and lets it find
//! out what its router does to them (RFC 5780): a second port to ask, and answers from a port that
//! nobody asks.
//!
//! One socket per port for both families. The answer leaves from the address the question came to, so
//! that hosts with several addresses work.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod message;
mod rate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::lifetime::Lifetime;
use crate::metrics::Metrics;
use message::{MAX_REQUEST, Request};
use rate::RateLimit;

/// Largest UDP payload, also for several datagrams that the kernel hands over at once.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// The UDP ports of a STUN server, non-blocking.
pub(crate) struct Ports {
    /// The one peers are told.
    pub(crate) main: std::net::UdpSocket,
    /// The other two, if they could be had.
    pub(crate) more: Option<MorePorts>,
}

/// What it takes to tell a peer about its router.
pub(crate) struct MorePorts {
    /// Answers as well, so that a peer can compare how it is seen from both.
    pub(crate) second: std::net::UdpSocket,
    /// Nobody sends to it; what comes from it is unasked for. It could be the second port if peers
    /// asked that one only after they know about their filter, which takes a second of silence.
    pub(crate) quiet: std::net::UdpSocket,
}

/// Answers STUN on its sockets until the tracker stops.
pub(crate) struct Answerer {
    main: Port,
    more: Option<(Port, Port)>,
    rate: RateLimit,
    metrics: Arc<Metrics>,
}

struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    number: u16,
}

impl Answerer {
    /// On these ports.
    pub(crate) fn new(ports: Ports, metrics: Arc<Metrics>) -> io::Result<Self> {
        let more = match ports.more {
            Some(more) => Some((Port::new(more.second)?, Port::new(more.quiet)?)),
            None => None,
        };
        Ok(Self {
            main: Port::new(ports.main)?,
            more,
            rate: RateLimit::new(),
            metrics,
        })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.main.socket.local_addr()
    }

    /// Runs until `lifetime` ends.
    pub(crate) async fn run(mut self, mut lifetime: Lifetime) {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        let mut second_buffer = vec![0; RECEIVE_BUFFER];
        loop {
            let second = async {
                match &self.more {
                    Some((second, _)) => second.receive(&mut second_buffer).await,
                    None => std::future::pending().await,
                }
            };
            let (at_main, received) = tokio::select! {
                () = lifetime.ended() => return,
                received = self.main.receive(&mut buffer) => (true, received),
                received = second => (false, received),
            };
            match received {
                Ok(meta) => {
                    let buffer = if at_main { &buffer } else { &second_buffer };
                    let received = &buffer[..meta.len.min(buffer.len())];
                    for datagram in received.chunks(meta.stride.max(1)) {
                        self.answer(at_main, datagram, &meta);
                    }
                }
                // Errors of single peers (ICMP) surface here; the socket stays usable.
                Err(error) => {
                    tracing::debug!(%error, "STUN receive failed");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn answer(&mut self, at_main: bool, datagram: &[u8], meta: &RecvMeta) {
        if datagram.len() > MAX_REQUEST {
            return;
        }
        let Some(request) = Request::parse(datagram) else {
            return;
        };
        // An answer goes to whoever the source address names, which may be forged: hence the rate.
        if meta.addr.port() == 0 || !self.rate.allow(Instant::now(), meta.addr.ip()) {
            self.metrics.stun_dropped.add(1);
            return;
        }
        let (port, response) = match &self.more {
            None => (&self.main, request.response(meta.addr, None)),
            Some((second, quiet)) => {
                let (asked, other) = if at_main {
                    (&self.main, second)
                } else {
                    (second, &self.main)
                };
                let other = meta.dst_ip.map(|ip| SocketAddr::new(ip, other.number));
                let from = if request.wants_other_port() {
                    quiet
                } else {
                    asked
                };
                (from, request.response(meta.addr, other))
            }
        };
        match port.send(&response, meta) {
            Ok(()) => self.metrics.stun_answered.add(1),
            // A lost answer is asked for again (RFC 8489 section 6.2.1).
            Err(error) => tracing::debug!(%error, peer = %meta.addr, "STUN answer not sent"),
        }
    }
}

impl Port {
    fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let number = socket.local_addr()?.port();
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
            number,
        })
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<RecvMeta> {
        let mut meta = [RecvMeta::default()];
        self.socket
            .async_io(Interest::READABLE, || {
                let mut slices = [io::IoSliceMut::new(buffer)];
                self.state
                    .recv(UdpSockRef::from(&self.socket), &mut slices, &mut meta)
            })
            .await?;
        Ok(meta[0])
    }

    /// Sends an answer to whoever asked, from the address that was asked.
    fn send(&self, response: &[u8], asked: &RecvMeta) -> io::Result<()> {
        let transmit = Transmit {
            destination: asked.addr,
            ecn: None,
            contents: response,
            segment_size: None,
            src_ip: asked.dst_ip,
        };
        self.socket.try_io(Interest::WRITABLE, || {
            self.state
                .try_send(UdpSockRef::from(&self.socket), &transmit)
        })
    }
}
