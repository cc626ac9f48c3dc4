//! Packets, repair, reports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::relay::packet::{EndToEndExtension, Packet};
use banyan_node::rtc::{CloseReason, EngineEvent, ReceivedPacket};
use bytes::Bytes;

use crate::world::{AUDIO, Pair, VIDEO, run};

pub(crate) fn packet(track: u8, seq: u64) -> Arc<Packet> {
    let size = 40 + (seq * 37 % 1100) as usize;
    let extensions = match seq % 5 {
        0 => vec![(
            EndToEndExtension::VideoOrientation,
            Bytes::from_static(&[3]),
        )],
        1 => vec![
            (
                EndToEndExtension::AbsCaptureTime,
                Bytes::from(vec![seq as u8; 16]),
            ),
            (
                EndToEndExtension::AudioLevel,
                Bytes::from_static(&[0x80 | 30]),
            ),
        ],
        2 => vec![(
            EndToEndExtension::DependencyDescriptor,
            Bytes::from(vec![7; 40]),
        )],
        _ => vec![],
    };
    Arc::new(Packet {
        track,
        seq,
        timestamp: (seq as u32).wrapping_mul(3000),
        marker: seq.is_multiple_of(3),
        extensions,
        payload: (0..size)
            .map(|i| (i as u64 ^ seq) as u8)
            .collect::<Vec<u8>>()
            .into(),
    })
}

pub(crate) fn same(sent: &Packet, got: &ReceivedPacket) -> bool {
    got.track == sent.track
        && u64::from(got.seq) == sent.seq & 0xFFFF
        && got.timestamp == sent.timestamp
        && got.marker == sent.marker
        && got.extensions == sent.extensions
        && got.payload == sent.payload
}

pub(crate) fn packets(events: &mut Vec<EngineEvent>) -> Vec<ReceivedPacket> {
    let mut out = Vec::new();
    events.retain(|event| match event {
        EngineEvent::Packet { packet, .. } => {
            out.push(packet.clone());
            false
        }
        _ => true,
    });
    out
}

#[test]
fn every_packet_arrives_bit_for_bit() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        // Across the 16-bit wrap, in groups as a ring sends them.
        let sent: Vec<Arc<Packet>> = (0..2000)
            .map(|i| {
                if i % 4 == 0 {
                    packet(AUDIO, 130_500 + i)
                } else {
                    packet(VIDEO, 130_500 + i)
                }
            })
            .collect();
        let mut got = Vec::new();
        for group in sent.chunks(20) {
            pair.parent.send_packets(Instant::now(), link, group);
            let want = got.len() + group.len();
            pair.until(|p| {
                got.extend(packets(&mut p.at_child));
                got.len() >= want
            })
            .await;
        }
        assert_eq!(got.len(), sent.len());
        for (sent, got) in sent.iter().zip(&got) {
            assert!(same(sent, got), "{sent:?} {got:?}");
        }
    });
}

#[test]
fn an_old_packet_is_repaired() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        let mut got = Vec::new();
        for seq in 100_000..101_000 {
            pair.parent
                .send_packets(Instant::now(), link, &[packet(VIDEO, seq)]);
            if seq % 20 == 0 {
                pair.run_for(Duration::from_millis(1)).await;
            }
        }
        pair.until(|p| {
            got.extend(packets(&mut p.at_child));
            got.len() >= 1000
        })
        .await;
        // Never sent before, and 1001 behind the newest.
        pair.parent
            .send_packets(Instant::now(), link, &[packet(VIDEO, 99_999)]);
        pair.until(|p| {
            got.extend(packets(&mut p.at_child));
            got.iter().any(|g| same(&packet(VIDEO, 99_999), g))
        })
        .await;
    });
}

#[test]
fn requests_travel_upstream() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        let now = Instant::now();
        let seqs: Vec<u16> = vec![65_530, 65_535, 3, 4, 5, 400, 40_000];
        pair.child.request_packets(now, link, VIDEO, &seqs);
        pair.child.request_packets(now, link, AUDIO, &[9]);
        pair.child.request_key_frame(now, link, VIDEO);
        let expected = [
            EngineEvent::Nack {
                link,
                track: VIDEO,
                seqs,
            },
            EngineEvent::Nack {
                link,
                track: AUDIO,
                seqs: vec![9],
            },
            EngineEvent::KeyFrameRequest { link, track: VIDEO },
        ];
        pair.until(|p| expected.iter().all(|e| p.at_parent.contains(e)))
            .await;
    });
}

#[test]
fn reports_travel_both_ways() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        let (ntp, rtp) = (0xE123_4567_89AB_CDEF, 4242);
        pair.parent
            .send_sender_report(Instant::now(), link, VIDEO, ntp, rtp);
        let report = EngineEvent::SenderReport {
            link,
            track: VIDEO,
            ntp,
            rtp,
        };
        pair.until(|p| p.at_child.contains(&report)).await;
        // Every tenth is missing.
        for seq in (100_000..100_200).filter(|seq| seq % 10 != 5) {
            pair.parent
                .send_packets(Instant::now(), link, &[packet(VIDEO, seq)]);
            pair.run_for(Duration::from_micros(500)).await;
        }
        let mut seen = None;
        pair.until(|p| {
            seen = p.at_parent.iter().find_map(|e| match e {
                EngineEvent::ReceiverReport {
                    track: VIDEO,
                    fraction_lost,
                    rtt,
                    ..
                } => Some((*fraction_lost, *rtt)),
                _ => None,
            });
            seen.is_some()
        })
        .await;
        let (lost, rtt) = seen.unwrap();
        assert!((0.08..0.12).contains(&lost), "{lost}");
        assert!(rtt.unwrap() < Duration::from_millis(200), "{rtt:?}");
    });
}

#[test]
fn both_tracks_are_told_apart_and_others_are_passed_over() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        let group = [
            packet(3, 70_000),
            packet(AUDIO, 70_001),
            packet(VIDEO, 70_002),
        ];
        pair.parent.send_packets(Instant::now(), link, &group);
        let mut got = Vec::new();
        pair.until(|p| {
            got.extend(packets(&mut p.at_child));
            got.len() == 2
        })
        .await;
        assert!(same(&group[1], &got[0]) && same(&group[2], &got[1]));
    });
}

#[test]
fn a_repair_from_before_the_wrap_is_read() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        let missing = [131_050, 131_071, 131_072];
        let mut got = Vec::new();
        for seq in (131_000..131_200).filter(|seq| !missing.contains(seq)) {
            pair.parent
                .send_packets(Instant::now(), link, &[packet(VIDEO, seq)]);
        }
        pair.until(|p| {
            got.extend(packets(&mut p.at_child));
            got.len() == 197
        })
        .await;
        for seq in missing {
            pair.parent
                .send_packets(Instant::now(), link, &[packet(VIDEO, seq)]);
        }
        pair.until(|p| {
            got.extend(packets(&mut p.at_child));
            got.len() == 200
        })
        .await;
        assert!((0..3).all(|i| same(&packet(VIDEO, missing[i]), &got[197 + i])));
    });
}

#[test]
fn a_lost_rollover_ends_the_link() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        // The parent's SRTP counts a rollover that the child never sees.
        pair.parent
            .send_packets(Instant::now(), link, &[packet(VIDEO, 70_000)]);
        pair.run_for(Duration::from_millis(30)).await;
        for jump in [95_000, 120_000, 140_000, 160_000] {
            let lost = packet(VIDEO, jump);
            pair.send_into_the_void(&lost);
        }
        let closed = EngineEvent::Closed {
            link,
            reason: CloseReason::Unreadable,
        };
        let mut seq = 160_001;
        pair.until(|p| {
            for _ in 0..10 {
                p.parent
                    .send_packets(Instant::now(), link, &[packet(VIDEO, seq)]);
                seq += 1;
            }
            p.at_child.contains(&closed)
        })
        .await;
    });
}

#[test]
fn a_burst_arrives_whole() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        // What a child that resumes is sent at once.
        let sent: Vec<Arc<Packet>> = (100_000..100_300).map(|seq| packet(VIDEO, seq)).collect();
        pair.parent.send_packets(Instant::now(), link, &sent);
        pair.parent.flush(Instant::now());
        std::thread::sleep(Duration::from_millis(50));
        let mut got = Vec::new();
        pair.until(|p| {
            got.extend(packets(&mut p.at_child));
            got.len() >= 290
        })
        .await;
        assert!(pair.at_child.len() < 5, "{:?}", pair.at_child);
    });
}
