//! A way between a player and its parent that belongs to somebody who misbehaves: it can hold
//! back what passes, and send more in the player's name.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use banyan::wire::announcement::StreamInfo;
use banyan_tests::whep::Player;

use super::stun::candidate_address;

/// The way, and the player at its end.
pub(crate) struct Detour {
    pub(crate) player: Player,
    socket: Arc<UdpSocket>,
    parent: SocketAddr,
    ways: Arc<Ways>,
    thread: Option<JoinHandle<()>>,
}

/// What passes.
#[derive(Default)]
struct Ways {
    /// Nothing but connectivity checks reaches the player.
    deaf: AtomicBool,
    over: AtomicBool,
}

impl Detour {
    /// A player that was let in at `endpoint`, with this way between the two.
    pub(crate) fn start(endpoint: &str, stream: &StreamInfo) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let here = socket.local_addr().unwrap();
        let ways = Arc::new(Ways::default());
        let mut parent = None;
        let mut thread = None;
        let player = Player::start_unnamed(endpoint, stream, |port, answer| {
            let at = candidate_address(&answer);
            parent = Some(at);
            let inside = SocketAddr::from(([127, 0, 0, 1], port));
            let (socket, ways) = (Arc::clone(&socket), Arc::clone(&ways));
            thread = Some(std::thread::spawn(move || {
                carry(&socket, inside, at, &ways)
            }));
            let named = |at: SocketAddr| format!("{} {} typ", at.ip(), at.port());
            answer.replace(&named(at), &named(here))
        });
        Self {
            player,
            socket,
            parent: parent.unwrap(),
            ways,
            thread,
        }
    }

    /// From now on the player gets nothing but connectivity checks.
    pub(crate) fn be_deaf(&self) {
        self.ways.deaf.store(true, Ordering::Relaxed);
    }

    /// Sends the parent a datagram as if it came from the player.
    pub(crate) fn send(&self, datagram: &[u8]) {
        // A full buffer is as good as a loss on the way.
        let _ = self.socket.send_to(datagram, self.parent);
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.ways.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(socket: &UdpSocket, inside: SocketAddr, parent: SocketAddr, ways: &Ways) {
    let mut buffer = [0; 2048];
    while !ways.over.load(Ordering::Relaxed) {
        let Ok((size, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let datagram = &buffer[..size];
        // STUN by its first byte (RFC 7983).
        let held = ways.deaf.load(Ordering::Relaxed) && datagram.first().is_some_and(|b| *b > 3);
        if from == parent && !held {
            let _ = socket.send_to(datagram, inside);
        } else if from == inside {
            let _ = socket.send_to(datagram, parent);
        }
    }
}
