//! Children that stall, flood and ask for too much, and parents that send nonsense.

use proptest::prelude::*;

use super::*;
use crate::limits::{KEY_FRAME_REQUEST_INTERVAL, MAX_PAYLOAD, REPAIR_BURST};

#[test]
fn a_stalled_child_costs_its_siblings_nothing() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let (stalled, sibling) = (world.join(0), world.join(0));
    world.run(ms(2000));
    world.nodes[stalled].stopped = true;
    world.nodes[sibling].relay.reset_gaps();
    world.run(ms(20_000));
    world.assert_complete(sibling, link(sibling, 1), ms(10));
    for (kind, stats) in world.nodes[sibling].relay.stats() {
        assert!(
            stats.largest_gap <= ms(34),
            "{kind:?} {:?}",
            stats.largest_gap
        );
    }
    // Its picture ended after three seconds or so, but for one probe.
    let (to_stalled, to_sibling) = (link(stalled, 1), link(sibling, 1));
    let share = world.media_sent[&to_stalled] as f64 / world.media_sent[&to_sibling] as f64;
    assert!((0.3..0.8).contains(&share), "{share}");
    world.nodes[stalled].stopped = false;
    let back = world.now;
    world.run(ms(3000));
    let head = world.nodes[stalled].relay.head(VIDEO).unwrap();
    assert!(head + 10 >= world.nodes[0].relay.head(VIDEO).unwrap());
    // From the key frame it came back with, nothing is missing.
    let mut after = world.nodes[0].arrived.range((VIDEO, 0)..);
    let key_frame = after
        .find(|(_, (packet, made))| *made > back + ms(1100) && packet.payload[..2] == [0x10, 0]);
    let from = *key_frame.unwrap().0;
    for (place, (packet, made)) in world.nodes[0].arrived.range(from..) {
        if *made + ms(100) < world.now {
            assert_eq!(&world.nodes[stalled].arrived[place].0, packet);
        }
    }
    assert_eq!(world.replaced, []);
}

#[test]
fn a_player_may_say_nothing_for_long() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let (player, other) = (world.join(0), world.join(0));
    let relay = &mut world.nodes[0].relay;
    relay.excuse_silence(link(player, 1));
    world.run(ms(2000));
    world.nodes[player].stopped = true;
    world.run(ms(20_000));
    let (to_player, to_other) = (link(player, 1), link(other, 1));
    let share = world.media_sent[&to_player] as f64 / world.media_sent[&to_other] as f64;
    assert!(share > 0.95, "{share}");
}

#[test]
fn an_unwritable_link_stands_still_and_catches_up() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let a = world.join(0);
    world.run(ms(500));
    let before = world.media_sent[&link(a, 1)];
    world.nodes[0]
        .relay
        .set_writable(world.now, link(a, 1), false);
    world.run(ms(2000));
    assert!(
        world.media_sent[&link(a, 1)] <= before + 20,
        "only the batch at hand"
    );
    world.nodes[0]
        .relay
        .set_writable(world.now, link(a, 1), true);
    world.run(ms(1000));
    world.assert_complete(a, link(a, 1), ms(50));
    assert_eq!(world.nodes[a].duplicates, 0);
    // Longer than the ring holds: a key frame.
    world.nodes[0]
        .relay
        .set_writable(world.now, link(a, 1), false);
    world.run(ms(20_000));
    world.nodes[0]
        .relay
        .set_writable(world.now, link(a, 1), true);
    world.run(ms(2000));
    let head = world.nodes[a].relay.head(VIDEO).unwrap();
    assert!(head + 10 >= world.nodes[0].relay.head(VIDEO).unwrap());
}

#[test]
fn heavy_loss_holds_the_picture_and_spares_the_sound() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let a = world.join(0);
    world.run(ms(500));
    // Between two of the reports that find nothing wrong.
    for _ in 0..2 {
        world.run(ms(400));
        world.nodes[0]
            .relay
            .feedback(world.now, link(a, 1), 0.8, None);
        world.run(ms(450));
    }
    let (sound, picture) = (
        world.nodes[a].relay.head(AUDIO).unwrap(),
        world.nodes[a].relay.head(VIDEO).unwrap(),
    );
    world.run(ms(1400));
    assert!(world.nodes[a].relay.head(AUDIO).unwrap() >= sound + 65);
    assert!(world.nodes[a].relay.head(VIDEO).unwrap() <= picture + 20);
    world.run(ms(2500));
    let head = world.nodes[a].relay.head(VIDEO).unwrap();
    assert!(head + 10 >= world.nodes[0].relay.head(VIDEO).unwrap());
}

#[test]
fn a_flood_of_requests_is_answered_within_a_budget() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let (greedy, sibling) = (world.join(0), world.join(0));
    world.run(ms(2000));
    let before = world.media_sent.clone();
    for _ in 0..1000 {
        let all: Vec<u16> = (0..=u16::MAX).step_by(7).collect();
        world.nodes[0]
            .relay
            .nack(world.now, link(greedy, 1), VIDEO, &all);
        world.drain(0);
        world.run(ms(1));
    }
    let extra = |key| world.media_sent[&key] - before[&key];
    let repairs = extra(link(greedy, 1)) - extra(link(sibling, 1));
    // A budget of 128 KiB at once and the stream's rate after that; packets of 650 bytes.
    assert!(repairs > 50, "{repairs}");
    assert!(
        repairs <= (REPAIR_BURST as u64 + 150_000) / 500,
        "{repairs}"
    );
    world.assert_complete(sibling, link(sibling, 1), ms(20));
}

#[test]
fn many_wishes_for_a_key_frame_are_few_requests() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let a = world.join(0);
    world.run(ms(100));
    let children: Vec<usize> = (0..50).map(|_| world.join(a)).collect();
    world.run(ms(500));
    world.nodes[a].parent = None;
    let relay = &mut world.nodes[a].relay;
    let (mut requests, start) = (0, world.now);
    for step in 0..900 {
        let now = start + ms(step);
        for &child in &children {
            relay.key_frame_request(now, link(child, 1), VIDEO);
        }
        relay.handle_tick(now);
        while let Some(output) = relay.poll_output() {
            requests += u64::from(output == RelayOutput::RequestKeyFrame { track: VIDEO });
        }
    }
    assert!((1..=900 / KEY_FRAME_REQUEST_INTERVAL.as_millis() as u64 + 1).contains(&requests));
}

#[test]
fn nothing_is_sent_before_it_is_activated_or_after_it_ended() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let key = link(7, 1);
    world.nodes[0].relay.add_child(world.now, key);
    world.run(ms(1000));
    world.nodes[0].relay.nack(world.now, key, VIDEO, &[0, 1, 2]);
    world.drain(0);
    assert_eq!(world.media_sent.get(&key), None);
    let unknown = world.nodes[0]
        .relay
        .activate(world.now, link(8, 1), &StartFrom::Live);
    assert_eq!(unknown, Err(ActivateError::UnknownLink));
    let a = world.join(0);
    world.run(ms(300));
    world.nodes[0].relay.deactivate(link(a, 1));
    world.run(ms(10));
    let sent = world.media_sent[&link(a, 1)];
    world.run(ms(1000));
    assert_eq!(world.media_sent[&link(a, 1)], sent);
    // And on again, with nothing in between missing.
    let next = StartFrom::Next(world.nodes[a].relay.next_wanted(world.now));
    world.attach(a, 0, 1, &next).unwrap();
    world.run(ms(1000));
    world.assert_complete(a, link(a, 1), ms(50));
}

#[test]
fn impossible_packets_change_nothing() {
    let now = beginning();
    let mut source = Source::new(0x1_0000, 1);
    let mut relay = Relay::new(&tracks(0x1_0000), Epoch(1));
    let packet = source.packet(VIDEO, 0, 0x10, true);
    let mut early = packet.clone();
    early.seq -= 1;
    let mut stray = packet.clone();
    stray.track = 2;
    let mut huge = packet.clone();
    huge.payload = Bytes::from(vec![0; MAX_PAYLOAD + 1]);
    for wrong in [early, stray, huge] {
        assert_eq!(relay.insert(now, wrong), Inserted::Implausible);
    }
    assert_eq!(relay.heads(), []);
    assert_eq!(relay.insert(now, packet.clone()), Inserted::New);
    let mut far = packet;
    far.seq += 20_000;
    assert_eq!(relay.insert(now, far), Inserted::Implausible);
    assert_eq!(relay.heads(), [(VIDEO, 0x1_0000)]);
    assert_eq!(relay.unwrap_seq(9, 0), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any packets and requests in any order: bounded, no panic, never below the first.
    #[test]
    fn survives_anything(
        steps in prop::collection::vec(
            (0u8..9, any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..8)), 1..400
        ),
    ) {
        let mut now = beginning();
        let mut infos = tracks(0x1_0000);
        infos[1].codec = Codec::H264;
        let mut relay = Relay::new(&infos, Epoch(1));
        relay.set_sink(now, Some(ms(300)));
        let mut first: BTreeMap<(LinkKey, TrackIndex), ExtSeq> = BTreeMap::new();
        for (what, seq16, number, bytes) in steps {
            let track = (number % 3) as TrackIndex;
            let key = link(usize::from(seq16 % 3), number / 3 % 2);
            match what {
                0..=3 => {
                    let near = relay.head(track).unwrap_or(0x1_0000);
                    let leap = if what == 0 { u64::from(seq16) } else { u64::from(seq16 % 4) };
                    relay.insert(now, Packet {
                        track,
                        seq: near.saturating_add(leap).saturating_sub(2),
                        timestamp: number,
                        marker: false,
                        extensions: Vec::new(),
                        payload: Bytes::from(bytes),
                    });
                }
                4 => {
                    relay.add_child(now, key);
                    let from = match number % 5 {
                        0 => StartFrom::Live,
                        1 => StartFrom::Next(vec![(track, u64::from(number))]),
                        2 => StartFrom::Next(relay.next_wanted(now)),
                        _ => StartFrom::KeyFrame,
                    };
                    _ = relay.activate(now, key, &from);
                }
                5 => relay.nack(now, key, track, &[seq16, seq16.wrapping_add(1), 0, 1, 2, 3]),
                6 => relay.key_frame_request(now, key, track),
                7 => match number % 6 {
                    0 => relay.deactivate(key),
                    1 => relay.set_writable(now, key, seq16.is_multiple_of(2)),
                    2 => relay.feedback(now, key, f32::from(seq16) / 65_536.0, Some(ms(9))),
                    3 => relay.set_head_hint(now, track, u64::from(number)),
                    4 => relay.upstream_changed(now, Some(ms(number.into()))),
                    _ => {
                        relay.remove_child(key);
                        first.retain(|(link, _), _| *link != key);
                    }
                },
                _ => {
                    now += ms(u64::from(seq16 % 2000));
                    relay.handle_tick(now);
                    prop_assert!(relay.deadline().is_none_or(|due| due > now));
                }
            }
            while let Some(output) = relay.poll_output() {
                if let RelayOutput::Send { child, packets } = output {
                    for packet in &packets {
                        let first = *first.entry((child, packet.track)).or_insert(packet.seq);
                        prop_assert!(packet.seq >= first);
                    }
                    relay.recycle(packets);
                }
            }
        }
    }
}
