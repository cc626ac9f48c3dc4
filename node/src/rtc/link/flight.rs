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

/// Content types of DTLS records that make up a handshake: `change_cipher_spec` and `handshake`
/// (RFC 5246 section 6.2.1).
const HANDSHAKE: [u8; 2] = [20, 22];

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
}

impl Flight {
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
            let wanting = self.repeated < REPEATS;
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
    bytes.first().is_some_and(|kind| HANDSHAKE.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kind: u8, length: usize) -> BytesMut {
        let mut bytes = BytesMut::zeroed(length);
        bytes[0] = kind;
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
}
