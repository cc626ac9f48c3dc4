//! The depacketizers, opened for the fuzz targets in `fuzz/`: behind the feature `fuzzing`.

use banyan::relay::packet::Packet;
use banyan::wire::announcement::Codec;
use bytes::Bytes;

use super::depacketize::Depacketizer;

/// Packets of one track; before each, one byte for its length and one for how it follows on the
/// one before: marker, new timestamp, a gap.
pub fn payloads(codec: Codec, mut packets: &[u8]) {
    let mut depacketizer = Depacketizer::new(codec);
    let (mut seq, mut timestamp) = (70_000, 0_u32);
    while let Some((head, rest)) = packets.split_at_checked(2) {
        let (payload, rest) = rest.split_at(usize::from(head[0]).min(rest.len()));
        packets = rest;
        seq += 1 + u64::from(head[1] & 4 != 0);
        timestamp = timestamp.wrapping_add(u32::from(head[1] & 2) * 1500);
        let _ = depacketizer.push(&Packet {
            track: 0,
            seq,
            timestamp,
            marker: head[1] & 1 != 0,
            extensions: Vec::new(),
            payload: Bytes::copy_from_slice(payload),
        });
    }
}
