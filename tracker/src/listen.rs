//! Which sockets to open: both address families where the host has them, and a default port that
//! gives way to the next free one.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// How many ports are tried from a default port on.
const DEFAULT_PORT_TRIES: u16 = 20;

/// Connections the kernel completes before they are accepted: a burst of viewers.
const BACKLOG: i32 = 1024;

/// Written data that a peer does not take for this long ends its connection (RFC 793 user
/// timeout), so that a reader that stopped reading holds nothing for ever.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody else has the port that was asked for.
    #[error("cannot listen on {transport} {address}: another program uses this port")]
    Busy {
        /// TCP or UDP.
        transport: &'static str,
        /// What was asked for.
        address: SocketAddr,
    },
    /// Every port that would have done is taken.
    #[error("cannot listen on any {transport} port from {first} to {last}: all are in use")]
    AllBusy {
        /// TCP or UDP.
        transport: &'static str,
        /// The first one tried.
        first: u16,
        /// The last one tried.
        last: u16,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {transport} {address}: {source}")]
    Refused {
        /// TCP or UDP.
        transport: &'static str,
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Listens on `address`; without one, on `default_port` or the next free port of every address.
pub(crate) fn tcp(
    address: Option<SocketAddr>,
    default_port: u16,
) -> Result<TcpListener, ListenError> {
    open(Type::STREAM, address, default_port).map(Into::into)
}

/// Binds `address`; without one, `default_port` or the next free port on every address.
pub(crate) fn udp(
    address: Option<SocketAddr>,
    default_port: u16,
) -> Result<UdpSocket, ListenError> {
    open(Type::DGRAM, address, default_port).map(Into::into)
}

/// Binds the next free port above `port`, on the same address.
pub(crate) fn next_udp(address: Option<SocketAddr>, port: u16) -> Result<UdpSocket, ListenError> {
    let Some(address) = address else {
        return open(Type::DGRAM, None, port.saturating_add(1)).map(Into::into);
    };
    let first = port.saturating_add(1);
    let last = port.saturating_add(DEFAULT_PORT_TRIES);
    for port in first..=last {
        match udp(Some(SocketAddr::new(address.ip(), port)), port) {
            Err(ListenError::Busy { .. }) => {}
            bound => return bound,
        }
    }
    Err(ListenError::AllBusy {
        transport: "UDP",
        first,
        last,
    })
}

/// Binds any free port, on the same address.
pub(crate) fn any_udp(address: Option<SocketAddr>) -> Result<UdpSocket, ListenError> {
    let refused = |source| ListenError::Refused {
        transport: "UDP",
        address: address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into()),
        source,
    };
    let bound = match address {
        Some(address) => bind(Type::DGRAM, SocketAddr::new(address.ip(), 0)),
        None => bind_every_address(Type::DGRAM, 0),
    };
    bound.map(Into::into).map_err(refused)
}

/// Raises the soft limit of file descriptors to the hard one: many systems start programs with
/// 1024. Where that is refused, fewer connections are taken.
pub(crate) fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of file descriptors stays as it is");
        }
    }
}

fn open(kind: Type, address: Option<SocketAddr>, default_port: u16) -> Result<Socket, ListenError> {
    let transport = if kind == Type::STREAM { "TCP" } else { "UDP" };
    if let Some(address) = address {
        return bind(kind, address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Busy { transport, address },
            _ => ListenError::Refused {
                transport,
                address,
                source,
            },
        });
    }
    let last = default_port.saturating_add(DEFAULT_PORT_TRIES - 1);
    for port in default_port..=last {
        match bind_every_address(kind, port) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => {
                return Err(ListenError::Refused {
                    transport,
                    address: (Ipv4Addr::UNSPECIFIED, port).into(),
                    source,
                });
            }
        }
    }
    Err(ListenError::AllBusy {
        transport,
        first: default_port,
        last,
    })
}

/// Both families on one socket; IPv4 alone on a host without IPv6.
fn bind_every_address(kind: Type, port: u16) -> io::Result<Socket> {
    match bind(kind, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind(kind, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        bound => bound,
    }
}

fn bind(kind: Type, address: SocketAddr) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM {
        Protocol::TCP
    } else {
        Protocol::UDP
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // Elsewhere than on Unix this option would let two programs share the port.
    #[cfg(unix)]
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.listen(BACKLOG)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_busy_port_is_an_error_that_names_it() {
        let first = tcp(Some("127.0.0.1:0".parse().unwrap()), 0).unwrap();
        let address = first.local_addr().unwrap();
        let error = tcp(Some(address), 0).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn a_default_port_gives_way_to_the_next_free_one() {
        for open in [
            |port| tcp(None, port).map(|s| s.local_addr().unwrap().port()),
            |port| udp(None, port).map(|s| s.local_addr().unwrap().port()),
        ] {
            // The socket of each turn is closed again, so only the port number is kept.
            let port = open(41_700).unwrap();
            assert!((41_700..41_720).contains(&port));
        }
        let first = tcp(None, 41_730).unwrap();
        let second = tcp(None, 41_730).unwrap();
        assert_ne!(
            first.local_addr().unwrap().port(),
            second.local_addr().unwrap().port()
        );
    }
}
