//! STUN over UDP: tells a peer the address its packets come from (RFC 8489 section 2).
//!
//! One socket for both families. The answer leaves from the address the question came to, so that
//! hosts with several addresses work.

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

/// Answers STUN on a socket until the tracker stops.
pub(crate) struct Answerer {
    socket: UdpSocket,
    state: UdpSocketState,
    rate: RateLimit,
    metrics: Arc<Metrics>,
}

impl Answerer {
    /// On `socket`, which is non-blocking.
    pub(crate) fn new(socket: std::net::UdpSocket, metrics: Arc<Metrics>) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
            rate: RateLimit::new(),
            metrics,
        })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Runs until `lifetime` ends.
    pub(crate) async fn run(mut self, mut lifetime: Lifetime) {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        loop {
            tokio::select! {
                () = lifetime.ended() => return,
                received = receive(&self.socket, &self.state, &mut buffer) => match received {
                    Ok(meta) => self.answer_all(&buffer, &meta),
                    // Errors of single peers (ICMP) surface here; the socket stays usable.
                    Err(error) => {
                        tracing::debug!(%error, "STUN receive failed");
                        tokio::task::yield_now().await;
                    }
                },
            }
        }
    }

    fn answer_all(&mut self, buffer: &[u8], meta: &RecvMeta) {
        let received = &buffer[..meta.len.min(buffer.len())];
        for datagram in received.chunks(meta.stride.max(1)) {
            self.answer(datagram, meta);
        }
    }

    fn answer(&mut self, datagram: &[u8], meta: &RecvMeta) {
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
        let response = request.response(meta.addr);
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents: &response,
            segment_size: None,
            src_ip: meta.dst_ip,
        };
        let sent = self.socket.try_io(Interest::WRITABLE, || {
            self.state
                .try_send(UdpSockRef::from(&self.socket), &transmit)
        });
        match sent {
            Ok(()) => self.metrics.stun_answered.add(1),
            // A lost answer is asked for again (RFC 8489 section 6.2.1).
            Err(error) => tracing::debug!(%error, peer = %meta.addr, "STUN answer not sent"),
        }
    }
}

async fn receive(
    socket: &UdpSocket,
    state: &UdpSocketState,
    buffer: &mut [u8],
) -> io::Result<RecvMeta> {
    let mut meta = [RecvMeta::default()];
    socket
        .async_io(Interest::READABLE, || {
            let mut slices = [io::IoSliceMut::new(buffer)];
            state.recv(UdpSockRef::from(socket), &mut slices, &mut meta)
        })
        .await?;
    Ok(meta[0])
}
