//! Peers that misbehave at a real root, and honest children beside them who must not notice.

mod detour;
mod half_open;
mod nonsense;
mod stun;
mod village;

use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use banyan::limits::{MAX_CANDIDATES, RESERVATION};
use banyan_tests::api::request_with;
use banyan_tests::turn::take_turn;
use banyan_tests::whep::{FRAGMENT, OFFER, Player, post, session};
use banyan_tests::{secs, wait_for};

use detour::Detour;
use half_open::{Conduct, knock};
use nonsense::Noise;
use stun::{Credentials, candidate_address, check};
use village::Village;

/// How long each of them goes on.
const TIME: Duration = secs(2);

/// Bytes the root may take for those who are let in and do what they should not: their queues, and
/// the noise of an allocator.
const MEMORY: u64 = 16 * 1024 * 1024;

/// The same for a thousand that stay half open: 120 kB for each, as for a child.
const THOUSAND: u64 = 120 * 1024 * 1024;

/// Pause between two turns of who asks for too much: it does not have a CPU of its own.
const PACE: Duration = Duration::from_millis(2);

#[test]
fn children_that_ask_for_too_much_or_take_nothing() {
    let _turn = take_turn();
    let mut village = Village::new();
    village.bear("asks for every packet again", MEMORY, |village| {
        let mut player = Player::start(&village.door, &village.info);
        player.wait_for_media();
        let end = Instant::now() + TIME;
        let mut asked = 0;
        while Instant::now() < end {
            for track in 0..village.info.tracks.len() as u8 {
                let newest = player.packets.iter().rfind(|p| p.track == track);
                let newest = newest.map_or(0, |p| p.seq);
                let all: Vec<u16> = (0..1000).map(|n| newest.wrapping_sub(999 - n)).collect();
                player.ask_again(track, &all);
                asked += all.len();
            }
            player.turn(PACE);
            player
                .packets
                .drain(..player.packets.len().saturating_sub(100));
        }
        assert!(asked > 100_000, "asked for {asked} packets");
        assert_eq!(player.ended, None);
    });
    village.bear("asks for key frames all the time", MEMORY, |village| {
        let mut player = Player::start(&village.door, &village.info);
        player.wait_for_media();
        let end = Instant::now() + TIME;
        while Instant::now() < end {
            for _ in 0..50 {
                player.ask_for_key_frame(0);
            }
            player.turn(PACE);
        }
        assert_eq!(player.ended, None);
    });
    village.bear("never reads", MEMORY, |village| {
        let mut absent = Player::start(&village.door, &village.info);
        absent.wait_for_media();
        let mut deaf = Detour::start(&village.door, &village.info);
        deaf.player.wait_for_media();
        deaf.be_deaf();
        let end = Instant::now() + TIME;
        while Instant::now() < end && deaf.player.ended.is_none() {
            deaf.player.turn(Duration::from_millis(20));
        }
        drop(absent);
    });
    village.judge();
}

#[test]
fn a_thousand_handshakes_that_never_end() {
    use Conduct::{Absent, Babbling, Mute, Waiting};
    let _turn = take_turn();
    let mut village = Village::new();
    // The second thousand gets what the first one left.
    for (name, memory) in [
        ("a thousand half-open handshakes", THOUSAND),
        ("a thousand more", MEMORY),
    ] {
        let conduct = [Absent, Mute, Waiting];
        // A node's own door keeps half of its slots for those who connect.
        let outcome = village.bear(name, memory, |v| {
            knock(&[&v.door, &v.facade], 1000, &conduct, secs(1))
        });
        println!("{outcome:?}");
        assert!(outcome.begun > 900, "{outcome:?}");
        assert!(outcome.dtls > 600, "the handshakes began: {outcome:?}");
        // All of them are forgotten: there is room again, also where the tracker kept a slot.
        sleep(RESERVATION);
        wait_for("room at the door", secs(10), || {
            (village.root.tree()[0].slots >= 998).then_some(())
        });
    }
    let babble = village.bear("handshakes full of nonsense", MEMORY, |village| {
        knock(&[&village.door], 8, &[Babbling], TIME)
    });
    println!("{babble:?}");
    assert!(babble.babbled > 3000, "{babble:?}");
    village.judge();
}

#[test]
fn strangers_and_who_borrows_an_address() {
    let _turn = take_turn();
    let mut village = Village::new();
    village.bear("strangers that send all sorts of things", MEMORY, |v| {
        strangers(v);
    });
    village.bear("nonsense from a child's own address", MEMORY, |village| {
        let mut detour = Detour::start(&village.door, &village.info);
        detour.player.wait_for_media();
        let mut noise = Noise::new(2);
        let end = Instant::now() + TIME;
        let mut sent = 0;
        while Instant::now() < end {
            for _ in 0..10 {
                detour.send(&noise.rtp());
                detour.send(&noise.rtcp());
                detour.send(&noise.stun());
                detour.send(&noise.fragments(sent));
                detour.send(&noise.sealed_record());
                sent += 1;
            }
            detour.player.turn(PACE);
        }
        assert!(sent > 500, "{sent} rounds");
        assert_eq!(detour.player.ended, None, "it was cut off");
    });
    village.bear("children that name a victim's address", MEMORY, |v| {
        reflection(v);
    });
    village.judge();
}

/// They get no answer.
fn strangers(village: &Village) {
    let sockets: Vec<UdpSocket> = (0..8)
        .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    // The name of a link that is there, as only its child should know it.
    let answer = post(&village.door, OFFER);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let mut theirs = Credentials::of(&answer.body);
    theirs.pwd = "not the password of anybody".to_owned();
    let forged = check(&Credentials::of(OFFER), &theirs);
    let parent = candidate_address(&answer.body);
    let mut noise = Noise::new(3);
    let mut sent = 0_u32;
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        for socket in &sockets {
            for datagram in [
                noise.plain(),
                noise.rtp(),
                noise.rtcp(),
                noise.stun(),
                noise.sealed_record(),
                noise.fragments(sent),
                forged.clone(),
            ] {
                let _ = socket.send_to(&datagram, parent);
                sent += 1;
            }
        }
        std::thread::sleep(PACE);
    }
    assert!(sent > 5_000, "{sent} datagrams");
    let answered: usize = sockets.iter().map(received).sum();
    assert_eq!(answered, 0, "strangers were answered");
}

/// A host that never asked for anything gets little, however many name it.
fn reflection(village: &Village) {
    let facade = format!("{}/whep/{}", village.root.tracker, village.root.stream);
    // A host of its own on every Linux machine.
    let victim: Vec<UdpSocket> = (0..MAX_CANDIDATES + 4)
        .map(|_| UdpSocket::bind("127.0.0.2:0").unwrap())
        .collect();
    let lines: String = victim
        .iter()
        .map(|socket| line(socket.local_addr().unwrap()))
        .collect();
    let began = Instant::now();
    let mut children = 0;
    while began.elapsed() < TIME {
        let ours = format!("v{children:04}");
        let offer = OFFER.replace("zjkk", &ours);
        // At the node's door and at the tracker's, in the offer and after it.
        let endpoint = if children % 2 == 0 {
            &village.door
        } else {
            &facade
        };
        let answer = if children % 4 < 2 {
            post(endpoint, &(offer + &lines))
        } else {
            let answer = post(endpoint, &offer);
            if answer.status == 201 {
                let session = session(endpoint, &answer);
                let pwd = Credentials::of(OFFER).pwd;
                let fragment = format!(
                    "a=ice-ufrag:{ours}\r\na=ice-pwd:{pwd}\r\n\
                     m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{lines}"
                );
                let etag = answer.header("etag").unwrap();
                let headers = [FRAGMENT, ("If-Match", etag)];
                let patched = request_with("PATCH", &session, &headers, &fragment);
                assert_eq!(patched.status, 204, "{}", patched.body);
            }
            answer
        };
        children += usize::from(answer.status == 201);
        std::thread::sleep(Duration::from_millis(30));
    }
    // Until the last of them is given up.
    std::thread::sleep(secs(2));
    let seconds = began.elapsed().as_secs() as usize + 1;
    let arrived: usize = victim.iter().map(received).sum();
    println!("{children} children named a victim, {arrived} datagrams in {seconds} s");
    assert!(children > 10, "{children} were let in");
    assert!(arrived > 0, "the victim's address was not tried at all");
    assert!(arrived <= 100 * (seconds + 1), "{arrived} in {seconds} s");
}

fn line(at: SocketAddr) -> String {
    let (ip, port) = (at.ip(), at.port());
    format!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n")
}

/// Datagrams that wait at a socket.
fn received(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| socket.recv_from(&mut [0; 2048]).ok()).count()
}
