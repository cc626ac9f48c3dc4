//! The ingest, opened for the fuzz target in `fuzz/`: behind the feature `fuzzing`.

use std::time::{Duration, Instant};

use banyan::id::Epoch;
use banyan::limits::MAX_PAYLOAD;
use banyan::relay::packet::EndToEndExtension;
use banyan::wire::announcement::Codec;
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Ingest, IngestOutput};
use crate::rtc::{PublishedTrack, ReceivedPacket};

/// Bytes before each packet's payload.
const HEAD: usize = 4;

/// Ticks when nothing more arrives.
const TICKS: usize = 1000;

/// Least time they take: two thousand missing packets share the times at which they are asked for,
/// and at last nothing is repeated but the wish for a key frame.
const REST: Duration = Duration::from_secs(60);

/// A publisher with these tracks, or with some of its own choice, sends packets. Before each one
/// stand four bytes: its track and what it does besides, the low bytes of its number and its
/// timestamp, and its length.
pub fn packets(tracks: Option<Vec<PublishedTrack>>, mut bytes: &[u8]) {
    let now = Instant::now();
    let mut world = World {
        ingest: Ingest::new(now, 9 << 32, Epoch(1), StdRng::seed_from_u64(1)),
        now,
    };
    let choice = bytes.get(1).copied().unwrap_or_default();
    world
        .ingest
        .begin(Epoch(2), &tracks.unwrap_or_else(|| made_up(choice)));
    let (mut seq, mut timestamp) = (65_500_u16, 0_u32);
    while let Some((head, rest)) = bytes.split_at_checked(HEAD) {
        let flags = head[0];
        // Payloads up to twice what fits.
        let length = (usize::from(head[3]) * 10).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        bytes = rest;
        // Mostly the next one, sometimes far away.
        seq = seq.wrapping_add(match head[1] {
            step @ 0..200 => u16::from(step % 8),
            step => u16::from(step).wrapping_mul(300),
        });
        timestamp = timestamp.wrapping_add(u32::from(head[2]).pow(3));
        world.now += Duration::from_millis(u64::from(head[2] & 63));
        let track = flags & 1;
        match flags >> 1 & 7 {
            0 => world.ingest.want_key_frame(world.now, track),
            1 => {
                let ntp = u64::from(timestamp) << 20;
                world.ingest.sender_report(track, ntp, timestamp);
            }
            2 if flags & 16 != 0 => world.ingest.end(),
            3 if flags & 16 != 0 => world.ingest.begin(Epoch(3), &made_up(head[2])),
            _ => {}
        }
        let extensions = match flags >> 5 {
            0 => vec![(
                EndToEndExtension::DependencyDescriptor,
                Bytes::copy_from_slice(&payload[..length.min(8)]),
            )],
            1 => vec![(
                EndToEndExtension::VideoOrientation,
                Bytes::from_static(&[1]),
            )],
            _ => Vec::new(),
        };
        let packet = ReceivedPacket {
            track,
            seq,
            timestamp,
            marker: flags & 16 != 0,
            extensions,
            payload: Bytes::copy_from_slice(payload),
        };
        world.ingest.packet(world.now, packet);
        world.check();
    }
    let last = world.now;
    for _ in 0..TICKS {
        let Some(at) = world.ingest.deadline() else {
            return;
        };
        world.now = world.now.max(at);
        world.ingest.handle_tick(world.now);
        world.check();
    }
    assert!(world.now > last + REST, "the ingest does not come to rest");
}

struct World {
    ingest: Ingest,
    now: Instant,
}

impl World {
    /// Whatever comes in, what goes out is fit for the tree.
    fn check(&mut self) {
        while let Some(output) = self.ingest.poll_output() {
            match output {
                IngestOutput::Packets(packets) => {
                    for packet in packets {
                        let size = packet.payload.len();
                        assert!(
                            (1..=MAX_PAYLOAD).contains(&size),
                            "a payload of {size} bytes"
                        );
                    }
                }
                IngestOutput::RequestPackets { seqs, .. } => {
                    assert!(!seqs.is_empty(), "asks for nothing");
                }
                _ => {}
            }
        }
    }
}

fn made_up(choice: u8) -> Vec<PublishedTrack> {
    let codec = match choice % 4 {
        0 => Codec::H264,
        1 => Codec::Vp8,
        2 => Codec::Vp9,
        _ => Codec::Av1,
    };
    let track = |codec, parameter_sets| PublishedTrack {
        codec,
        fmtp: String::new(),
        parameter_sets,
        repairs: choice & 4 != 0,
    };
    let sets = vec![
        Bytes::from_static(&[0x67, 0x42, 0xE0, 0x1F]),
        Bytes::from_static(&[0x68, 0xCE]),
    ];
    vec![track(codec, sets), track(Codec::Opus, Vec::new())]
}
