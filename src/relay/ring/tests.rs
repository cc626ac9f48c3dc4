use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::relay::tests::beginning;

/// VP8 payloads of `size` bytes: a key frame's first packet, or the middle of any frame.
fn vp8(seq: ExtSeq, timestamp: u32, key: bool, size: usize) -> Arc<Packet> {
    let mut payload = vec![0; size.max(2)];
    payload[0] = if key { 0x10 } else { 0x00 };
    Arc::new(Packet {
        track: 0,
        seq,
        timestamp,
        marker: false,
        extensions: Vec::new(),
        payload: Bytes::from(payload),
    })
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn keeps_the_newest_group_of_pictures_and_five_seconds() {
    let start = beginning();
    let mut ring = Ring::new(Codec::Vp8);
    // Ten packets a second, a key frame every 8 s.
    for i in 0..200u64 {
        let packet = vp8(100_000 + i, i as u32 * 9000, i % 80 == 0, 100);
        ring.insert(start + millis(100 * i), &packet);
        let age = (ring.head().unwrap() - ring.oldest().unwrap()) / 10;
        let since_key = i % 80 / 10;
        assert!(age >= since_key.min(5), "packet {i} leaves {age} s");
        assert!(age <= since_key.max(5), "packet {i} leaves {age} s");
    }
    assert_eq!(ring.fast_start(|_| false), Some(100_160));
}

#[test]
fn a_group_longer_than_the_maximum_is_let_go() {
    let start = beginning();
    let mut ring = Ring::new(Codec::Vp8);
    for i in 0..300u64 {
        let packet = vp8(100_000 + i, i as u32 * 9000, i == 0, 100);
        ring.insert(start + millis(100 * i), &packet);
    }
    assert_eq!(ring.fast_start(|_| false), None);
    assert!(ring.head().unwrap() - ring.oldest().unwrap() <= 120);
}

#[test]
fn bytes_and_packets_are_bounded() {
    let now = beginning();
    let mut ring = Ring::new(Codec::Vp8);
    for i in 0..RING_PACKETS_MAX as u64 + 100 {
        ring.insert(now, &vp8(100_000 + i, 0, i == 0, 1150));
        assert!(ring.bytes() <= RING_BYTES_MAX);
        assert!(ring.slots.len() <= RING_PACKETS_MAX);
    }
}

#[test]
fn a_far_jump_starts_afresh() {
    let now = beginning();
    let mut ring = Ring::new(Codec::Vp8);
    ring.insert(now, &vp8(100_000, 0, true, 10));
    ring.insert(now, &vp8(1 << 40, 0, true, 10));
    assert_eq!(ring.oldest(), Some(1 << 40));
    assert_eq!(ring.insert(now, &vp8(100_001, 0, true, 10)), Placed::TooOld);
}

#[test]
fn a_gap_in_the_group_prevents_a_fast_start_until_it_is_filled() {
    let now = beginning();
    let mut ring = Ring::new(Codec::Vp8);
    for seq in [70_000, 70_001, 70_003] {
        ring.insert(now, &vp8(seq, 1, seq == 70_000, 10));
    }
    assert_eq!(ring.fast_start(|_| false), None);
    assert_eq!(ring.fast_start(|seq| seq == 70_002), Some(70_000));
    ring.insert(now, &vp8(70_002, 1, false, 10));
    assert_eq!(ring.fast_start(|_| false), Some(70_000));
}

#[test]
fn an_idr_without_parameter_sets_starts_with_its_frame() {
    let now = beginning();
    let mut ring = Ring::new(Codec::H264);
    let nal = |seq, timestamp, header: u8| {
        Arc::new(Packet {
            track: 0,
            seq,
            timestamp,
            marker: false,
            extensions: Vec::new(),
            payload: Bytes::from(vec![header, 0]),
        })
    };
    let none = Placed::New { key_frame: None };
    assert_eq!(ring.insert(now, &nal(70_000, 1, 0x41)), none);
    assert_eq!(ring.insert(now, &nal(70_001, 2, 0x06)), none, "SEI");
    let key_frame = Some(70_001);
    assert_eq!(
        ring.insert(now, &nal(70_002, 2, 0x65)),
        Placed::New { key_frame }
    );
    assert_eq!(
        ring.insert(now, &nal(70_003, 2, 0x65)),
        none,
        "second slice"
    );
    // The packet before may have held the parameter sets.
    assert_eq!(ring.insert(now, &nal(70_005, 3, 0x65)), none);
}

#[test]
fn media_time() {
    let now = beginning();
    let mut ring = Ring::new(Codec::Vp8);
    for i in 0..30u32 {
        let timestamp = (u32::MAX - 45_000).wrapping_add(i * 3000);
        ring.insert(now, &vp8(70_000 + u64::from(i), timestamp, i == 0, 1000));
    }
    assert_eq!(ring.behind_head(70_014), millis(500));
    assert_eq!(ring.at_lag(millis(500)), Some(70_014));
    assert_eq!(ring.at_lag(millis(5000)), Some(70_000));
    assert_eq!(ring.rate(), STREAM_RATE_MIN, "31 kB/s is below the least");
}

proptest! {
    /// Against a map that never forgets: what the ring holds is right, ends where it says, and
    /// its key frames are those of the packets it holds.
    #[test]
    fn agrees_with_a_map(
        packets in prop::collection::vec((0u64..600, any::<bool>(), 0u64..200), 1..300),
    ) {
        let mut now = beginning();
        let mut ring = Ring::new(Codec::Vp8);
        let mut model: BTreeMap<ExtSeq, Arc<Packet>> = BTreeMap::new();
        for (offset, key, pause) in packets {
            now += millis(pause);
            let seq = 100_000 + offset;
            let packet = vp8(seq, offset as u32, key, 10);
            let oldest = ring.oldest();
            match ring.insert(now, &packet) {
                Placed::New { .. } => { model.insert(seq, packet); }
                Placed::Duplicate => prop_assert!(model.contains_key(&seq)),
                Placed::TooOld => prop_assert!(oldest.is_some_and(|oldest| seq < oldest)),
            }
            let (oldest, head) = (ring.oldest().unwrap(), ring.head().unwrap());
            prop_assert_eq!(model.last_key_value().map(|(&seq, _)| seq), Some(head));
            model = model.split_off(&oldest);
            prop_assert!(model.contains_key(&oldest));
            for seq in oldest - 2..head + 2 {
                prop_assert_eq!(ring.get(seq), model.get(&seq));
                prop_assert_eq!(
                    ring.next_present(seq), model.range(seq..).next().map(|(_, packet)| packet)
                );
                prop_assert_eq!(
                    ring.last_present(seq),
                    model.range(..=seq).next_back().map(|(_, packet)| packet)
                );
            }
            let starts: Vec<_> =
                model.values().filter(|p| p.payload[0] == 0x10).map(|p| p.seq).collect();
            prop_assert_eq!(&Vec::from(ring.starts.clone()), &starts);
            prop_assert_eq!(ring.bytes(), model.len() * 10);
            let whole = starts.last().copied()
                .filter(|&start| (start..=head).all(|seq| model.contains_key(&seq)));
            prop_assert_eq!(ring.fast_start(|_| false), whole);
        }
    }
}

#[test]
fn after_a_pause_the_first_packets_may_come_in_disorder() {
    let start = beginning();
    let mut ring = Ring::new(Codec::Vp8);
    for seq in 100..104 {
        ring.insert(start, &vp8(seq, 0, false, 100));
    }
    let later = start + RING_TIME_MAX * 2;
    let placed = |ring: &mut Ring, seq| ring.insert(later, &vp8(seq, 1, false, 100));
    assert_ne!(placed(&mut ring, 106), Placed::TooOld);
    assert_ne!(placed(&mut ring, 104), Placed::TooOld);
    assert_ne!(placed(&mut ring, 105), Placed::TooOld);
    assert_eq!(ring.oldest(), Some(104));
    assert_eq!(placed(&mut ring, 103), Placed::TooOld);
}
