//! Media that comes before the handshake is over.
//!
//! A publisher whose part of the handshake is done sends at once: its first packets may overtake its
//! last flight on the way, and where both are read together they do, because handshakes wait for
//! their turn. Among them is the first key frame, without which there is nothing to see.

use std::net::SocketAddr;

/// Datagrams kept. A key frame of a large picture has about a hundred, and the handshake's end is
/// a round trip away.
const MAX_DATAGRAMS: usize = 256;

/// What cannot be decrypted yet.
#[derive(Debug, Default)]
pub(super) struct Early(Vec<Kept>);

/// Our address, the peer's, and the datagram.
type Kept = (SocketAddr, SocketAddr, Box<[u8]>);

impl Early {
    /// Keeps a datagram if there is room.
    pub(super) fn keep(&mut self, local: SocketAddr, peer: SocketAddr, bytes: &[u8]) {
        if self.0.len() < MAX_DATAGRAMS {
            self.0.push((local, peer, bytes.into()));
        }
    }

    /// All of them, oldest first.
    pub(super) fn take(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.0)
    }
}
