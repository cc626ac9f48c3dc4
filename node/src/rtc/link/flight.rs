//! The newest flight of the handshake, sent again if nothing comes back.
//!
//! The connection's own timer waits a second, as RFC 6347 section 4.2.4.1 has it, and a viewer
//! whose handshake loses one datagram waits with it. Here the datagrams are repeated sooner, as
//! they were: the network might have done the same, and what the peer has had already its replay
//! window drops (section 4.1.2.6).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;

/// Time until a flight is repeated for the first time, doubled each time: where Chromium begins.
const FIRST: Duration = Duration::from_millis(50);

/// How often a flight is repeated before the connection's own timer has its turn.
const REPEATS: u32 = 4;

/// Most datagrams of a flight that are kept: a certificate and its company, several times over.
const MAX_DATAGRAMS: usize = 8;

/// Content types of DTLS records that make up a handshake (RFC 5246 section 6.2.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// Length of a record's header, whose last two bytes are that of its content (RFC 6347 section
/// 4.1).
const RECORD_HEADER: usize = 13;

/// A datagram, where it leaves from and where it goes.
pub(super) type Sent = (IpAddr, SocketAddr, BytesMut);

/// What was sent since the peer's last word in the handshake.
#[derive(Debug, Default)]
pub(super) struct Flight {
    datagrams: Vec<Sent>,
    repeated: u32,
    due: Option<Instant>,
    /// The peer has answered it: what is sent next is another one.
    answered: bool,
    last_once: bool,
}

impl Flight {
    /// The flight that ends our part of the handshake is left to the connection's own timer. What
    /// comes after its end makes ffmpeg 8 (with GnuTLS) block: from then on it sends a packet only
    /// when it gets one.
    pub(super) const fn last_once() -> Self {
        Self {
            datagrams: Vec::new(),
            repeated: 0,
            due: None,
            answered: false,
            last_once: true,
        }
    }

    /// A datagram goes to the peer.
    pub(super) fn sent(&mut self, now: Instant, local: IpAddr, peer: SocketAddr, bytes: &BytesMut) {
        if !is_handshake(bytes) {
            return;
        }
        if std::mem::take(&mut self.answered) {
            self.datagrams.clear();
        }
        if self.datagrams.is_empty() {
            self.repeated = 0;
            self.due = Some(now + FIRST);
        }
        if self.last_once && ends_handshake(bytes) {
            self.due = None;
        }
        if self.datagrams.len() < MAX_DATAGRAMS {
            self.datagrams.push((local, peer, bytes.clone()));
        }
    }

    /// A datagram came. `over`: the handshake has ended here, so if the peer goes on with it, the
    /// last flight is what it lacks.
    pub(super) fn received(&mut self, now: Instant, bytes: &[u8], over: bool) {
        if !is_handshake(bytes) {
            return;
        }
        self.answered = true;
        // Before the end it may be half an answer, or one that came before: the flight stays due
        // until another one is sent.
        if over {
            let wanting = !self.last_once && self.repeated < REPEATS;
            self.due = wanting.then_some(now);
        }
    }

    /// When [`repeat`](Self::repeat) has something to say.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be sent again now.
    pub(super) fn repeat(&mut self, now: Instant, over: bool) -> &[Sent] {
        if self.due.is_none_or(|due| due > now) {
            return &[];
        }
        self.repeated += 1;
        let again = !over && self.repeated < REPEATS;
        self.due = again.then(|| now + FIRST * (1 << self.repeated));
        &self.datagrams
    }

    /// The handshake has ended here: nothing more is repeated unless the peer asks.
    pub(super) const fn over(&mut self) {
        self.due = None;
        self.repeated = 0;
    }
}

fn is_handshake(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(&(CHANGE_CIPHER_SPEC | HANDSHAKE)))
}

/// Whether the peer needs nothing more of us than this.
fn ends_handshake(mut datagram: &[u8]) -> bool {
    while let Some((head, rest)) = datagram.split_at_checked(RECORD_HEADER) {
        if head[0] == CHANGE_CIPHER_SPEC {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([head[11], head[12]]));
        datagram = rest.get(length..).unwrap_or(&[]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kind: u8, length: usize) -> BytesMut {
        let mut bytes = BytesMut::zeroed(length);
        bytes[0] = kind;
        bytes
    }

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_HEADER + length];
        bytes[0] = kind;
        bytes[12] = length as u8;
        bytes
    }

    fn lengths(sent: &[Sent]) -> Vec<usize> {
        sent.iter().map(|(_, _, bytes)| bytes.len()).collect()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn peer() -> SocketAddr {
        (LOCAL, 9).into()
    }

    #[test]
    fn an_unanswered_flight_is_repeated_four_times() {
        let start = Instant::now();
        let mut flight = Flight::default();
        flight.sent(start, LOCAL, peer(), &datagram(22, 10));
        flight.sent(start, LOCAL, peer(), &datagram(20, 11));
        // Data of applications is not part of it.
        flight.sent(start, LOCAL, peer(), &datagram(23, 12));
        assert!(flight.repeat(start + ms(49), false).is_empty());
        let mut times = Vec::new();
        while let Some(due) = flight.deadline() {
            assert_eq!(lengths(flight.repeat(due, false)), [10, 11]);
            times.push(due - start);
        }
        assert_eq!(times, [ms(50), ms(150), ms(350), ms(750)]);
    }

    #[test]
    fn an_answer_ends_it_and_begins_the_next() {
        let start = Instant::now();
        let mut flight = Flight::default();
        flight.sent(start, LOCAL, peer(), &datagram(22, 10));
        flight.received(start + ms(5), &datagram(22, 50), false);
        assert_eq!(flight.deadline(), Some(start + ms(50)), "half an answer");
        flight.sent(start + ms(6), LOCAL, peer(), &datagram(22, 20));
        assert_eq!(flight.deadline(), Some(start + ms(56)));
        // The peer repeats its own flight: it has not had ours.
        flight.received(start + ms(55), &datagram(22, 50), false);
        assert_eq!(lengths(flight.repeat(start + ms(56), false)), [20]);
    }

    #[test]
    fn the_last_flight_is_repeated_only_for_a_peer_that_goes_on() {
        let start = Instant::now();
        let mut flight = Flight::default();
        flight.received(start, &datagram(22, 50), false);
        flight.sent(start, LOCAL, peer(), &datagram(22, 20));
        flight.over();
        assert_eq!(flight.deadline(), None);
        for _ in 0..10 {
            flight.received(start + ms(90), &datagram(22, 50), true);
            flight.repeat(start + ms(90), true);
        }
        assert_eq!(flight.repeated, REPEATS, "a peer that asks again and again");
    }

    #[test]
    fn a_publisher_gets_the_last_flight_once() {
        let start = Instant::now();
        let mut flight = Flight::last_once();
        flight.sent(start, LOCAL, peer(), &datagram(22, 10));
        assert_eq!(flight.repeat(start + ms(50), false).len(), 1);
        flight.received(start + ms(60), &datagram(22, 50), false);
        let last = [record(22, 66), record(20, 1), record(22, 40)].concat();
        let last = BytesMut::from(&last[..]);
        flight.sent(start + ms(61), LOCAL, peer(), &last);
        assert_eq!(flight.deadline(), None);
        flight.over();
        flight.received(start + ms(90), &datagram(22, 50), true);
        assert!(flight.repeat(start + ms(90), true).is_empty());
    }
}
