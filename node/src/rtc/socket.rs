//! The UDP sockets: one per address family on one port, read in batches and written with
//! generic segmentation offload.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{EngineError, UdpBind, UdpPort};

/// Datagrams read per system call; with receive offload each may be up to 64 joined ones.
const BATCH: usize = 16;

/// Bytes per read buffer: the largest joined datagram the kernel hands out.
const READ_BUFFER: usize = 65_536;

/// Most bytes in one segmented send: the largest UDP payload over IPv4.
const SEND_MAX: usize = 65_000;

/// Wanted size of the kernel's socket buffers: 100 ms of 300 children at 2.5 Mbit/s. The kernel
/// gives what its limits allow.
const KERNEL_BUFFER: usize = 8 * 1024 * 1024;

/// Ports tried from a default port on.
const PORTS_TRIED: u16 = 100;

/// How long segmentation stays off after the kernel refused it. One bad address can look like a
/// missing offload, so it is worth asking again.
const OFFLOAD_RETRY: Duration = Duration::from_secs(10);

/// One datagram to send.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) local: IpAddr,
    pub(super) peer: SocketAddr,
    pub(super) bytes: BytesMut,
}

/// One datagram received.
#[derive(Debug)]
pub(super) struct Received<'a> {
    /// The address it was sent to.
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) bytes: &'a [u8],
}

/// Both sockets.
pub(super) struct Sockets {
    sockets: Vec<Family>,
    port: u16,
    buffers: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    /// Bytes of UDP payload sent and received.
    traffic: (u64, u64),
    /// An address of ours that nothing could be sent from.
    refused: Option<IpAddr>,
}

struct Family {
    socket: UdpSocket,
    state: UdpSocketState,
    /// What it is bound to; unspecified means every address.
    bound: IpAddr,
    /// The kernel's send buffer is full.
    blocked: bool,
    segments: usize,
    offload_off_since: Option<Instant>,
}

impl Sockets {
    /// Opens the sockets; must run inside a tokio runtime.
    pub(super) fn bind(bind: &UdpBind) -> Result<Self, EngineError> {
        let families: &[IpAddr] = match bind.ip {
            None => &[
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ],
            // Who names all of IPv6 means a host's every address, as with dual-stack sockets.
            Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => &[
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ],
            Some(ref ip) => std::slice::from_ref(ip),
        };
        // A port that was named is taken where it can be had.
        let partly = bind.ip.is_some() && matches!(bind.port, UdpPort::Exactly(_));
        let (first, tries) = match bind.port {
            UdpPort::Exactly(port) => (port, 1),
            UdpPort::From(port) => (port, PORTS_TRIED),
            UdpPort::Any => (0, PORTS_TRIED),
        };
        for attempt in 0..tries {
            let port = match bind.port {
                UdpPort::Any => 0,
                _ => match first.checked_add(attempt) {
                    Some(port) => port,
                    None => break,
                },
            };
            match bind_all(families, port, partly) {
                Ok((sockets, port)) => {
                    return Ok(Self {
                        sockets,
                        port,
                        buffers: vec![vec![0; READ_BUFFER]; BATCH],
                        scratch: Vec::with_capacity(SEND_MAX),
                        traffic: (0, 0),
                        refused: None,
                    });
                }
                Err((ip, error)) if error.kind() == io::ErrorKind::AddrInUse => {
                    if let UdpPort::Exactly(port) = bind.port {
                        return Err(EngineError::PortBusy { ip, port });
                    }
                }
                Err((ip, source)) => return Err(EngineError::Bind { ip, port, source }),
            }
        }
        Err(EngineError::NoFreePort { first, tries })
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The address each socket is bound to.
    pub(super) fn bound(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.sockets.iter().map(|s| s.bound)
    }

    /// Waits until a socket has something to read, or can be written again after it was full.
    pub(super) async fn ready(&self) {
        match self.sockets.as_slice() {
            [one] => one.ready().await,
            [one, two, ..] => {
                tokio::select! {
                    () = one.ready() => {}
                    () = two.ready() => {}
                }
            }
            [] => std::future::pending().await,
        }
    }

    /// Reads one batch from socket `index` and hands each datagram on; false when it had none.
    pub(super) fn read(&mut self, index: usize, mut each: impl FnMut(Received<'_>)) -> bool {
        let port = self.port;
        let Some(family) = self.sockets.get(index) else {
            return false;
        };
        let mut slices: [IoSliceMut<'_>; BATCH] = {
            let mut buffers = self.buffers.iter_mut();
            std::array::from_fn(|_| {
                IoSliceMut::new(buffers.next().map_or(&mut [][..], Vec::as_mut_slice))
            })
        };
        let mut metas = [RecvMeta::default(); BATCH];
        let read = family.socket.try_io(Interest::READABLE, || {
            family
                .state
                .recv((&family.socket).into(), &mut slices, &mut metas)
        });
        let count = match read {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                // A peer's closed port comes back as an error of the socket on some systems.
                tracing::trace!(%error, "receive");
                return true;
            }
        };
        for (meta, buffer) in metas.iter().zip(&slices).take(count) {
            let local = meta.dst_ip.unwrap_or(family.bound);
            let bytes = &buffer[..meta.len.min(buffer.len())];
            self.traffic.1 += bytes.len() as u64;
            for bytes in bytes.chunks(meta.stride.max(1)) {
                let local = SocketAddr::new(local.to_canonical(), port);
                each(Received {
                    local,
                    peer: plain(meta.addr),
                    bytes,
                });
            }
        }
        true
    }

    /// Bytes of UDP payload sent and received so far.
    pub(super) fn traffic(&self) -> (u64, u64) {
        self.traffic
    }

    /// How many sockets there are.
    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// An address of ours that nothing could be sent from since this was asked last: it may be gone.
    pub(super) fn take_refused(&mut self) -> Option<IpAddr> {
        self.refused.take()
    }

    /// Sends from the front of `queue` until it is empty or the kernel is full; returns the bytes
    /// taken off the queue.
    pub(super) fn send(&mut self, now: Instant, queue: &mut VecDeque<Datagram>) -> usize {
        let mut taken = 0;
        while let Some(first) = queue.front() {
            let (local, peer, size) = (first.local, first.peer, first.bytes.len());
            let family = self
                .sockets
                .iter_mut()
                .find(|s| s.bound.is_ipv4() == peer.is_ipv4());
            let Some(family) = family.filter(|_| size > 0 && sendable(local, peer.ip())) else {
                queue.pop_front();
                taken += size;
                continue;
            };
            let limit = family.segments(now).min(SEND_MAX / size).max(1);
            let mut run = 0;
            let mut bytes = 0;
            for next in queue.iter().take(limit) {
                let fits = next.peer == peer && next.local == local && next.bytes.len() <= size;
                if !fits || next.bytes.is_empty() {
                    break;
                }
                run += 1;
                bytes += next.bytes.len();
                if next.bytes.len() < size {
                    break;
                }
            }
            self.scratch.clear();
            let contents: &[u8] = if run == 1 {
                &first.bytes
            } else {
                for next in queue.iter().take(run) {
                    self.scratch.extend_from_slice(&next.bytes);
                }
                &self.scratch
            };
            let transmit = Transmit {
                destination: peer,
                ecn: None,
                contents,
                segment_size: (run > 1).then_some(size),
                src_ip: (family.bound.is_unspecified() && !local.is_unspecified()).then_some(local),
            };
            let sent = family.socket.try_io(Interest::WRITABLE, || {
                family.state.try_send((&family.socket).into(), &transmit)
            });
            match sent {
                Ok(()) => {
                    family.blocked = false;
                    self.traffic.0 += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    family.blocked = true;
                    return taken;
                }
                Err(error) => {
                    tracing::trace!(%error, %peer, "send");
                    if run > 1 && family.state.max_gso_segments() == 1 {
                        // Segmentation was refused: the same datagrams again, one by one.
                        continue;
                    }
                    let gone = [
                        io::ErrorKind::AddrNotAvailable,
                        io::ErrorKind::InvalidInput,
                        io::ErrorKind::NetworkUnreachable,
                    ];
                    if gone.contains(&error.kind()) {
                        self.refused = transmit.src_ip;
                    }
                }
            }
            queue.drain(..run);
            taken += bytes;
        }
        taken
    }
}

impl Family {
    async fn ready(&self) {
        let interest = if self.blocked {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        // An error of the socket shows itself again at the next read.
        let _ = self.socket.ready(interest).await;
    }

    /// Segments the kernel takes in one send.
    fn segments(&mut self, now: Instant) -> usize {
        let segments = self.state.max_gso_segments();
        if segments > 1 || self.segments == 1 {
            self.offload_off_since = None;
            return segments;
        }
        let since = *self.offload_off_since.get_or_insert(now);
        if now.saturating_duration_since(since) > OFFLOAD_RETRY
            && let Ok(state) = UdpSocketState::new((&self.socket).into())
        {
            self.state = state;
            self.offload_off_since = None;
        }
        self.state.max_gso_segments()
    }
}

/// A loopback address reaches only loopback addresses; the kernel answers such a send like a
/// missing offload, which would slow down everybody.
fn sendable(local: IpAddr, peer: IpAddr) -> bool {
    local.is_unspecified() || local.is_loopback() == peer.is_loopback()
}

/// Without flow label and scope, which would make one peer look like several.
fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0)),
    }
}

/// Opens `port` for each of `families`; the first is needed. `partly`: the others may be in use.
fn bind_all(
    families: &[IpAddr],
    port: u16,
    partly: bool,
) -> Result<(Vec<Family>, u16), (IpAddr, io::Error)> {
    let mut sockets = Vec::new();
    let mut port = port;
    for ip in families {
        match bind_one(*ip, port) {
            Ok(family) => {
                port = family.socket.local_addr().map_err(|e| (*ip, e))?.port();
                sockets.push(family);
            }
            Err(error) if !sockets.is_empty() && partly => {
                tracing::warn!("UDP port {port} on {ip} cannot be had: {error}; going on without");
            }
            // A host without IPv6 still has IPv4.
            Err(error) if !sockets.is_empty() && error.kind() != io::ErrorKind::AddrInUse => {
                tracing::debug!(%error, %ip, "no socket of this family");
            }
            Err(error) => return Err((*ip, error)),
        }
    }
    Ok((sockets, port))
}

fn bind_one(ip: IpAddr, port: u16) -> io::Result<Family> {
    let addr = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // The kernel's limits may be lower; then it gives what it has.
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    socket.bind(&addr.into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    let state = UdpSocketState::new((&socket).into())?;
    let segments = state.max_gso_segments();
    Ok(Family {
        socket,
        state,
        bound: ip,
        blocked: false,
        segments,
        offload_off_since: None,
    })
}
