//! Many at a door who begin a handshake and never end it.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use banyan_tests::whep::{OFFER, post};

use super::nonsense::Noise;
use super::stun::{self, Credentials, candidate_address};

/// Threads that knock.
const HANDS: usize = 4;

/// Sockets of each.
const SOCKETS: usize = 32;

/// Checks each of them sends at most.
const CHECKS: u32 = 4;

/// What they do once the door has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// Nothing: not even a check.
    Absent,
    /// Checks and answers to checks, and not a word of DTLS.
    Mute,
    /// The same, and the other end is to begin with DTLS.
    Waiting,
    /// The same, and DTLS that is nothing.
    Babbling,
}

/// One that was let in.
struct Guest {
    parent: SocketAddr,
    socket: usize,
    /// Nominates the pair, which takes effect when the parent has seen an answer of ours.
    check: Vec<u8>,
    /// How often it was sent.
    checks: u32,
    conduct: Conduct,
    babbled: u32,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Let in.
    pub(crate) begun: usize,
    /// Sent away.
    pub(crate) refused: usize,
    /// DTLS datagrams that came.
    pub(crate) dtls: usize,
    /// DTLS datagrams that were sent.
    pub(crate) babbled: u32,
}

/// Lets `count` of them come to `doors` in turn, as they come by `conduct`, and stay for `time` after
/// that.
pub(crate) fn knock(doors: &[&str], count: usize, conduct: &[Conduct], time: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    thread::scope(|scope| {
        let hands: Vec<_> = (0..HANDS)
            .map(|hand| {
                let mine = (hand..count).step_by(HANDS);
                scope.spawn(move || {
                    let mut knocking = Hand::new(hand);
                    for nth in mine {
                        let door = doors[nth / conduct.len() % doors.len()];
                        knocking.knock(door, nth, conduct[nth % conduct.len()]);
                        knocking.turn(0);
                    }
                    let end = Instant::now() + time;
                    while Instant::now() < end {
                        knocking.turn(10);
                        sleep(Duration::from_millis(5));
                    }
                    knocking.outcome
                })
            })
            .collect();
        for hand in hands {
            let of = hand.join().unwrap();
            outcome.begun += of.begun;
            outcome.refused += of.refused;
            outcome.dtls += of.dtls;
            outcome.babbled += of.babbled;
        }
    });
    outcome
}

struct Hand {
    sockets: Vec<UdpSocket>,
    guests: Vec<Guest>,
    /// Where each stands, by its user-name fragment.
    by_ufrag: HashMap<String, usize>,
    noise: Noise,
    outcome: Outcome,
}

impl Hand {
    fn new(hand: usize) -> Self {
        // Each from a host of its own: one host alone is not answered that often.
        let socket = |nth| {
            let host = [127, 0, hand as u8 + 1, nth as u8 + 1];
            let socket = UdpSocket::bind(SocketAddr::from((host, 0))).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self {
            sockets: (0..SOCKETS).map(socket).collect(),
            guests: Vec::new(),
            by_ufrag: HashMap::new(),
            noise: Noise::new(1),
            outcome: Outcome::default(),
        }
    }

    fn knock(&mut self, door: &str, nth: usize, conduct: Conduct) {
        let mut ours = Credentials::of(OFFER);
        let ufrag = format!("a{nth:04}");
        let mut offer = OFFER.replace(&ours.ufrag, &ufrag);
        ours.ufrag = ufrag;
        if conduct == Conduct::Waiting {
            offer = offer.replace("setup:actpass", "setup:passive");
        } else if conduct == Conduct::Babbling {
            offer = offer.replace("setup:actpass", "setup:active");
        }
        let answer = post(door, &offer);
        if answer.status != 201 {
            assert_eq!(answer.status, 503, "{}", answer.body);
            self.outcome.refused += 1;
            return;
        }
        self.outcome.begun += 1;
        let (theirs, parent) = (
            Credentials::of(&answer.body),
            candidate_address(&answer.body),
        );
        let socket = self.guests.len() % SOCKETS;
        let check = stun::check(&ours, &theirs);
        if conduct != Conduct::Absent {
            let _ = self.sockets[socket].send_to(&check, parent);
        }
        self.by_ufrag.insert(ours.ufrag, self.guests.len());
        self.guests.push(Guest {
            parent,
            socket,
            check,
            checks: 1,
            conduct,
            babbled: 0,
        });
    }

    /// Answers the checks that came, and lets those babble who do.
    fn turn(&mut self, words: u32) {
        let pwd = Credentials::of(OFFER).pwd;
        let mut buffer = [0; 2048];
        for socket in &self.sockets {
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                let datagram = &buffer[..size];
                if let Some((ufrag, answer)) = stun::answer(&pwd, datagram, from) {
                    let _ = socket.send_to(&answer, from);
                    let guest = self.by_ufrag.get(&ufrag).map(|at| &mut self.guests[*at]);
                    if let Some(guest) = guest.filter(|guest| guest.checks < CHECKS) {
                        guest.checks += 1;
                        let _ = socket.send_to(&guest.check, from);
                    }
                } else if datagram.first().is_some_and(|b| (20..64).contains(b)) {
                    self.outcome.dtls += 1;
                }
            }
        }
        for guest in &mut self.guests {
            if guest.conduct != Conduct::Babbling {
                continue;
            }
            for _ in 0..words {
                let datagram = if guest.babbled % 2 == 0 {
                    self.noise.fragments(guest.babbled / 2)
                } else {
                    self.noise.sealed_record()
                };
                let _ = self.sockets[guest.socket].send_to(&datagram, guest.parent);
                guest.babbled += 1;
                self.outcome.babbled += 1;
            }
        }
    }
}
