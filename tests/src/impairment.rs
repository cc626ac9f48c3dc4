//! A middle of the network that is far away: it passes packets on later than they came, and loses
//! some. What `netem` does in kernels that have it.
//!
//! The kernel of that namespace forwards nothing. A thread reads each IPv4 packet that arrives there
//! from a packet socket, keeps it for as long as it is to be on its way, and writes it to a raw socket,
//! from where it goes by that namespace's routes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket,
    sockopt,
};

use crate::network::Namespace;

/// What a packet meets between two homes, in each direction.
#[derive(Debug, Clone, Copy)]
pub struct Impairment {
    /// Time on the way, on average.
    pub delay: Duration,
    /// Most that a packet is earlier or later than that. It wanders as queues on the way fill and
    /// drain: another value, evenly spread, every [`WANDER`]. Packets do not overtake each other.
    pub jitter: Duration,
    /// Share of packets that is lost, each by itself.
    pub loss: f64,
}

impl Impairment {
    /// A round trip of 40 +- 10 ms, and 1 % loss in each direction.
    pub const FAR: Self = Self {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        loss: 0.01,
    };
}

/// Time in which a path gets from one delay to the next.
pub const WANDER: Duration = Duration::from_millis(100);

/// Packets that are on their way at most: a quarter of a second of 200 Mbit/s.
const MAX_PACKETS: usize = 5000;

/// Largest IPv4 packet on an Ethernet. Senders are told not to leave the cutting to the network
/// card, which a cable without one would never do.
const MTU: usize = 1500;

/// Longest sleep, so that the thread sees its end.
const NAP: Duration = Duration::from_millis(50);

/// `ETH_P_IP` in network byte order.
const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;

/// The thread that forwards; it ends when this is dropped.
#[derive(Debug)]
pub struct Forwarder {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Forwards in `middle`, except to its own address `here`.
    pub fn start(middle: &Namespace, here: Ipv4Addr, impairment: Impairment) -> Self {
        // Sockets stay in the network they were made in.
        let (arriving, leaving) = middle.inside(|| {
            let protocol = Protocol::from_raw(NonZeroU32::new(ETH_P_IP).unwrap());
            let arriving = socket(AddressFamily::PACKET, SocketType::DGRAM, Some(protocol));
            let leaving = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW));
            (arriving.unwrap(), leaving.unwrap())
        });
        sockopt::set_socket_recv_buffer_size_force(&arriving, 1 << 22).unwrap();
        let over = Arc::<AtomicBool>::default();
        let way = Way {
            arriving,
            leaving,
            here,
            impairment,
            queue: BinaryHeap::new(),
            paths: HashMap::new(),
            count: 0,
            rng: StdRng::seed_from_u64(1),
        };
        let until = Arc::clone(&over);
        let thread = thread::Builder::new()
            .name("forwarder".into())
            .spawn(move || way.run(&until))
            .unwrap();
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the forwarder failed");
        }
    }
}

/// Due time, order of arrival, destination, packet.
type Queued = Reverse<(Instant, u64, Ipv4Addr, Vec<u8>)>;

/// How late packets are: from one share of the jitter, -1 to 1, to the next.
struct Path {
    since: Instant,
    from: f64,
    to: f64,
}

impl Path {
    fn share(&mut self, now: Instant, rng: &mut StdRng) -> f64 {
        let passed = now.duration_since(self.since).div_duration_f64(WANDER);
        if passed < 1.0 {
            return self.from + (self.to - self.from) * passed;
        }
        // After a silence nothing is left to be overtaken.
        self.since = now;
        self.from = self.to;
        self.to = rng.random_range(-1.0..=1.0);
        self.from
    }
}

struct Way {
    arriving: OwnedFd,
    leaving: OwnedFd,
    here: Ipv4Addr,
    impairment: Impairment,
    queue: BinaryHeap<Queued>,
    /// By source and destination.
    paths: HashMap<[u8; 8], Path>,
    count: u64,
    rng: StdRng,
}

impl Way {
    fn run(mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            self.take();
            self.pass_on();
            let due = self.queue.peek().map(|Reverse((due, ..))| *due);
            let wait = due.map_or(NAP, |due| {
                due.saturating_duration_since(Instant::now()).min(NAP)
            });
            let wait = Timespec::try_from(wait).unwrap();
            let mut ready = [PollFd::new(&self.arriving, PollFlags::IN)];
            match poll(&mut ready, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
        }
    }

    /// Takes in whatever has arrived.
    fn take(&mut self) {
        let mut buffer = [0; 1 << 16];
        loop {
            let length = match recv(&self.arriving, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return,
                // An interface came or went.
                Err(Errno::NETDOWN | Errno::INTR) => continue,
                Err(error) => panic!("reading packets: {error}"),
            };
            let packet = &buffer[..length];
            let Some(ends @ &[.., a, b, c, d]) =
                packet.get(12..).and_then(<[u8]>::first_chunk::<8>)
            else {
                continue;
            };
            let (ends, to) = (*ends, Ipv4Addr::new(a, b, c, d));
            if to == self.here || to.is_loopback() || to.is_multicast() || to.is_broadcast() {
                continue;
            }
            assert!(length <= MTU, "a packet of {length} bytes");
            let lost = self.rng.random_bool(self.impairment.loss);
            if lost || self.queue.len() >= MAX_PACKETS {
                continue;
            }
            let Impairment { delay, jitter, .. } = self.impairment;
            let now = Instant::now();
            let path = self.paths.entry(ends).or_insert(Path {
                since: now,
                from: 0.0,
                to: 0.0,
            });
            let share = path.share(now, &mut self.rng);
            let late = delay - jitter + jitter.mul_f64(1.0 + share);
            let mut packet = packet.to_vec();
            fill_checksum(&mut packet);
            self.count += 1;
            self.queue
                .push(Reverse((now + late, self.count, to, packet)));
        }
    }

    /// Lets go what has been on its way for long enough.
    fn pass_on(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, ..))) = self.queue.peek()
            && *due <= now
        {
            let Some(Reverse((_, _, to, packet))) = self.queue.pop() else {
                return;
            };
            // The home may have gone meanwhile, and a full queue loses packets as any queue does.
            let _ = sendto(
                &self.leaving,
                &packet,
                SendFlags::DONTWAIT,
                &SocketAddrV4::new(to, 0),
            );
        }
    }
}

/// Writes the checksum of a UDP or TCP packet, which the sender leaves to a network card that virtual
/// cables do not have.
fn fill_checksum(packet: &mut [u8]) {
    const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
    let fragment = u16::from_be_bytes([packet[6], packet[7]]) & MORE_FRAGMENTS_OR_OFFSET;
    let at = match packet[9] {
        6 => 16,
        17 => 6,
        _ => return,
    };
    let (header, rest) = packet.split_at_mut(usize::from(packet[0] & 15) * 4);
    if fragment != 0 || rest.len() < at + 2 {
        return;
    }
    rest[at..at + 2].fill(0);
    let pseudo = [0, header[9]];
    let length = (rest.len() as u16).to_be_bytes();
    let words = [&header[12..20], &pseudo, &length, rest];
    let sum: u32 = words
        .iter()
        .flat_map(|part| part.chunks(2))
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = match !(folded as u16) {
        // Zero would say that there is none (RFC 768).
        0 => 0xffff,
        checksum => checksum,
    };
    rest[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;
    use crate::nat::{Internet, Router};
    use crate::network::available;
    use crate::turn::{skip, take_turn};

    #[test]
    fn packets_take_their_time_and_some_are_lost() {
        let _turn = take_turn();
        if let Err(reason) = available() {
            return skip(&reason);
        }
        let impairment = Impairment {
            loss: 0.1,
            ..Impairment::FAR
        };
        let mut internet = Internet::impaired(impairment);
        let [a, b] = [0, 1].map(|_| internet.home(Router::None));
        let at = |home: &crate::nat::Home| {
            let address = format!("{}:0", home.address());
            let socket = home.machine.inside(|| UdpSocket::bind(address).unwrap());
            socket
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            socket
        };
        let (here, there) = (at(&a), at(&b));
        let to = there.local_addr().unwrap();
        let mut times = Vec::new();
        for _ in 0..200 {
            let began = Instant::now();
            here.send_to(b"hello", to).unwrap();
            if there.recv(&mut [0; 9]).is_ok() {
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        assert!((150..200).contains(&times.len()), "{} came", times.len());
        times.sort_by(f64::total_cmp);
        let (least, middle) = (times[0], times[times.len() / 2]);
        assert!((14.9..18.0).contains(&least), "{least} ms");
        assert!((18.0..24.0).contains(&middle), "{middle} ms");
    }

    #[test]
    fn a_tcp_connection_gets_through() {
        let _turn = take_turn();
        if let Err(reason) = available() {
            return skip(&reason);
        }
        let mut internet = Internet::impaired(Impairment::FAR);
        let [a, b] = [0, 1].map(|_| internet.home(Router::None));
        let address = format!("{}:0", b.address());
        let listener = b.machine.inside(|| TcpListener::bind(address).unwrap());
        let to = listener.local_addr().unwrap();
        let mut there = a.machine.inside(|| TcpStream::connect(to).unwrap());
        let (mut here, _) = listener.accept().unwrap();
        let sent: Vec<u8> = (0..200_000).map(|n| (n % 251) as u8).collect();
        let mut received = vec![0; sent.len()];
        there
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        thread::scope(|scope| {
            scope.spawn(|| here.write_all(&sent).unwrap());
            there.read_exact(&mut received).unwrap();
        });
        assert!(sent == received, "what arrived is something else");
    }
}
