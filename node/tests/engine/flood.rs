//! Children and strangers that send too much, or take nothing.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan_node::rtc::{Channel, CloseReason, Engine, EngineEvent, MessageData, PeerClass};
use bytes::Bytes;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;

use crate::foreign::Foreign;
use crate::half_open::of_link;
use crate::spoofing::{Credentials, attribute, check};
use crate::village::Village;
use crate::world::{VIDEO, engine, key, run, stream};

const SECONDS: Duration = Duration::from_secs(3);

/// A child with an engine like anybody's, which its owner uses badly.
struct Nuisance {
    engine: Engine,
    link: LinkKey,
    connected: bool,
}

impl Nuisance {
    async fn join(village: &mut Village) -> Self {
        let link = key(50, 1);
        let mut nuisance = Self {
            engine: engine("127.0.0.1"),
            link,
            connected: false,
        };
        nuisance.engine.connect(village.now, link, &[]).unwrap();
        let begin = Instant::now();
        while !nuisance.connected {
            assert!(begin.elapsed() < Duration::from_secs(10));
            nuisance.turn(village).await;
        }
        nuisance
    }

    /// One turn of everybody; returns what the parent told of this child.
    async fn turn(&mut self, village: &mut Village) -> Vec<EngineEvent> {
        let told = village.turn().await;
        self.engine.wait(Some(Instant::now())).await;
        let now = Instant::now();
        for event in &told {
            match event {
                EngineEvent::Answer { link, sdp } => {
                    self.engine.set_answer(now, *link, sdp, &stream()).unwrap();
                }
                EngineEvent::LocalCandidate { link, candidate } => {
                    self.engine.add_candidate(now, *link, candidate).unwrap();
                }
                _ => {}
            }
        }
        self.engine.receive(now);
        self.engine.handle_timeout(now);
        while let Some(event) = self.engine.poll_event() {
            match event {
                EngineEvent::Offer { link, sdp } => {
                    let class = PeerClass::Native;
                    village
                        .parent
                        .accept(now, link, &sdp, &stream(), class, &[])
                        .unwrap();
                }
                EngineEvent::LocalCandidate { link, candidate } => {
                    village.parent.add_candidate(now, link, &candidate).unwrap();
                }
                EngineEvent::Connected { .. } => self.connected = true,
                _ => {}
            }
        }
        self.engine.flush(now);
        told
    }
}

#[test]
fn a_child_that_misses_everything() {
    run(async {
        let mut village = Village::new().await;
        let mut nuisance = Nuisance::join(&mut village).await;
        let everything: Vec<u16> = (0..4000).collect();
        let end = Instant::now() + SECONDS;
        let mut asked = 0;
        while Instant::now() < end {
            nuisance
                .engine
                .request_packets(Instant::now(), nuisance.link, VIDEO, &everything);
            for event in nuisance.turn(&mut village).await {
                if let EngineEvent::Nack { seqs, .. } = event {
                    asked += seqs.len();
                }
            }
        }
        println!("a child asked for {asked} packets again");
        assert!(asked > 100_000);
        village.judge().await;
    });
}

#[test]
fn a_child_that_wants_key_frames_all_the_time() {
    run(async {
        let mut village = Village::new().await;
        let mut nuisance = Nuisance::join(&mut village).await;
        let end = Instant::now() + SECONDS;
        let mut asked = 0;
        while Instant::now() < end {
            for _ in 0..50 {
                nuisance
                    .engine
                    .request_key_frame(Instant::now(), nuisance.link, VIDEO);
            }
            let told = nuisance.turn(&mut village).await;
            asked += told
                .iter()
                .filter(|e| matches!(e, EngineEvent::KeyFrameRequest { .. }))
                .count();
        }
        println!("a child asked for {asked} key frames");
        assert!(asked > 1000);
        village.judge().await;
    });
}

#[test]
fn a_child_that_never_reads_its_channels() {
    run(async {
        let mut village = Village::new().await;
        let link = key(50, 1);
        let mut child = Foreign::new(vec![Profile::Srtp_Aead_Aes_128_Gcm]);
        child.join(&mut village.parent, link, PeerClass::Native);
        let begin = Instant::now();
        let mut connected = false;
        let mut sent = 0;
        loop {
            assert!(begin.elapsed() < Duration::from_secs(20), "{sent} messages");
            let told = village.turn().await;
            connected |= told.contains(&EngineEvent::Connected { link });
            let stalled = EngineEvent::Closed {
                link,
                reason: CloseReason::Stalled,
            };
            if told.contains(&stalled) {
                break;
            }
            // It keeps its path alive, and that is all.
            child.deaf = connected;
            child.turn(&of_link(&told, link));
            if connected {
                let data = MessageData::Binary(Bytes::from(vec![1; 16_000]));
                village
                    .parent
                    .send_message(village.now, link, Channel::Control, data)
                    .unwrap();
                sent += 1;
            }
        }
        println!("given up after {sent} messages of 16 kB");
        assert!(sent < 200, "{sent} messages were kept for it");
        village.judge().await;
    });
}

#[test]
fn strangers_that_send_all_sorts_of_things() {
    run(async {
        let mut village = Village::new().await;
        let sockets: Vec<UdpSocket> = (0..8)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
        }
        // The name of a link that is there, as only its child should know it.
        let now = village.now;
        let class = PeerClass::Native;
        let offer = crate::reflection::offer();
        village
            .parent
            .accept(now, key(60, 1), &offer, &stream(), class, &[])
            .unwrap();
        let told = village.turn().await;
        let answer = told
            .iter()
            .find_map(|e| match e {
                EngineEvent::Answer { sdp, .. } => Some(sdp.clone()),
                _ => None,
            })
            .unwrap();
        let forged = check(&Credentials {
            ours: attribute(&offer, "ice-ufrag"),
            theirs: attribute(&answer, "ice-ufrag"),
            pwd: "not the password of anybody".to_owned(),
        });
        let port = village.parent.port();
        let mut seed = 1u64;
        let mut random = move || {
            // xorshift64: the same noise in every run.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut sent = 0u32;
        village
            .run(SECONDS, |_| {
                for socket in &sockets {
                    for _ in 0..4 {
                        let size = 1 + (random() % 1400) as usize;
                        let mut noise: Vec<u8> = (0..size).map(|_| random() as u8).collect();
                        let datagram = match sent % 4 {
                            0 => &noise[..],
                            1 => {
                                noise.resize(size.max(40), 1);
                                noise[..2].copy_from_slice(&[0x80, 96]);
                                &noise[..]
                            }
                            2 => {
                                noise.resize(size.max(20), 1);
                                noise[..2].copy_from_slice(&[0, 1]);
                                noise[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
                                &noise[..]
                            }
                            _ => &forged[..],
                        };
                        let _ = socket.send_to(datagram, ("127.0.0.1", port));
                        sent += 1;
                    }
                }
            })
            .await;
        println!("{sent} datagrams of strangers");
        let mut answered = 0;
        for socket in &sockets {
            while socket.recv_from(&mut [0; 2048]).is_ok() {
                answered += 1;
            }
        }
        assert_eq!(answered, 0, "strangers were answered");
        village.judge().await;
    });
}
