//! A chain of nodes: completeness under loss, joining anywhere.

use super::*;
use crate::limits::{
    CATCH_UP_BURST, CATCH_UP_INTERVAL, CATCH_UP_SPEED_MAX, MAX_PAYLOAD, STREAM_RATE_MIN,
};

fn lossy_chain(loss: f64, seed: u64, first_seq: ExtSeq) {
    let path = Path {
        delay: ms(8),
        jitter: ms(6),
        loss,
        duplicates: 0.02,
    };
    let mut world = World::new(path, first_seq, seed);
    world.run(ms(1500));
    let mut parent = 0;
    for _ in 0..3 {
        parent = world.join(parent);
        world.nodes[parent]
            .relay
            .set_sink(world.now, Some(ms(5000)));
        world.run(ms(300));
    }
    world.run(ms(12_000));
    for node in 1..4 {
        world.assert_complete(node, link(node, 1), ms(3000));
        assert_eq!(world.lost(node), 0, "node {node}");
        let delivered = &world.nodes[node].delivered;
        for track in [AUDIO, VIDEO] {
            let seqs: Vec<_> = delivered.iter().filter(|d| d.0 == track).collect();
            assert!(seqs.windows(2).all(|pair| pair[1].1 == pair[0].1 + 1));
            assert!(seqs.len() > 400, "{} of track {track}", seqs.len());
        }
    }
    // Root to A carries the stream once, what was lost again, and little beside.
    let sent = world.media_sent[&link(1, 1)] as f64;
    let needed = world.nodes[1].arrived.len() as f64 / (1.0 - loss);
    assert!(sent < needed * 1.35 + 100.0, "{sent} sent, {needed} needed");
}

#[test]
fn every_packet_reaches_every_node_through_loss() {
    for (seed, loss) in [(1, 0.0), (2, 0.05), (3, 0.1), (4, 0.2), (5, 0.2)] {
        lossy_chain(loss, seed, 0x1_0000);
    }
}

#[test]
fn and_across_the_wrap() {
    // Sound wraps after 10 s, the picture after 2 s: before, while and after nodes join.
    for before in [200, 250, 300, 500] {
        lossy_chain(0.1, before, 0x2_0000 - before);
    }
}

#[test]
fn a_joiner_sees_a_key_frame_at_once_and_is_live_soon() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(3800));
    let joined = world.now;
    let node = world.join(0);
    world.run(ms(150));
    let videos = world.nodes[node].arrived.range((VIDEO, 0)..);
    let first = videos
        .map(|(_, (packet, at))| (packet, *at))
        .next()
        .unwrap();
    assert!(first.1 - joined <= ms(6));
    assert_eq!(first.0.payload[..2], [0x10, 0]);
    assert!(
        world.nodes[node].relay.head(VIDEO).unwrap() + 10
            >= world.nodes[0].relay.head(VIDEO).unwrap()
    );
    // Sound begins with the picture: the key frame is 0.8 s old, 40 packets.
    let sounds = world.nodes[node].arrived.range(..(VIDEO, 0)).count();
    assert!((38..=52).contains(&sounds), "{sounds} sounds");
    world.run(ms(500));
    world.assert_complete(node, link(node, 1), ms(50));
    assert_eq!(world.nodes[node].duplicates, 0);
}

#[test]
fn a_node_that_just_joined_serves_the_next_one_alike() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(3800));
    let mut parent = 0;
    for depth in 1..=5 {
        parent = world.join(parent);
        // Not even live yet.
        world.run(ms(20));
        assert!(world.nodes[parent].relay.head(VIDEO).is_some(), "{depth}");
    }
    world.run(ms(300));
    let key_frame = world.first_on_link[&(link(1, 1), VIDEO)];
    for node in 1..=5 {
        world.assert_complete(node, link(node, 1), ms(100));
        assert_eq!(world.first_on_link[&(link(node, 1), VIDEO)], key_frame);
        let sounds = world.nodes[node].arrived.range(..(VIDEO, 0)).count();
        assert!(sounds > 35, "node {node} has {sounds} sounds");
    }
}

#[test]
fn before_the_show_viewers_wait() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    let source = world.source.take();
    let a = world.join(0);
    let b = world.join(a);
    world.run(ms(20_000));
    world.source = source;
    world.run(ms(950));
    for node in [a, b] {
        world.assert_complete(node, link(node, 1), ms(50));
        let all = world.nodes[0].arrived.len();
        let here = world.nodes[node].arrived.len();
        assert!(here + 20 > all, "node {node} has {here} of {all}");
    }
}

#[test]
fn catching_up_is_paced() {
    let start = beginning();
    let mut source = Source::new(0x1_0000, 1);
    let mut relay = Relay::at_root(&tracks(0x1_0000), Epoch(1));
    for step in 0..4000 {
        for packet in source.step() {
            relay.insert(start + ms(step), packet);
        }
    }
    let mut now = start + ms(4000);
    let child = link(1, 1);
    relay.add_child(now, child);
    let all = StartFrom::Next(vec![(AUDIO, 0x1_0000), (VIDEO, 0x1_0000)]);
    relay.activate(now, child, &all).unwrap();
    let began = now;
    let (mut turns, mut total) = (Vec::new(), 0);
    while now < began + ms(1000) {
        let mut bytes = 0;
        while let Some(output) = relay.poll_output() {
            if let RelayOutput::Send { packets, .. } = output {
                bytes += packets
                    .iter()
                    .map(|packet| packet.payload.len())
                    .sum::<usize>();
            }
        }
        if bytes > 0 {
            turns.push((now - began, bytes));
            total += bytes;
        }
        now = relay.deadline().unwrap().min(began + ms(1000));
        relay.handle_tick(now);
    }
    assert_eq!(total, relay.ring_bytes());
    assert!(turns[0].1 <= CATCH_UP_BURST + MAX_PAYLOAD, "{turns:?}");
    let rate = (STREAM_RATE_MIN.max(total as u64 / 4) * CATCH_UP_SPEED_MAX) as f64;
    for &(_, bytes) in &turns[1..] {
        let allowed = rate * CATCH_UP_INTERVAL.as_secs_f64() * 1.2;
        assert!(bytes as f64 <= allowed + MAX_PAYLOAD as f64, "{turns:?}");
    }
    let (last, _) = turns[turns.len() - 1];
    assert!((ms(200)..ms(450)).contains(&last), "4 s in {last:?}");
}

#[test]
fn a_join_storm_delays_no_live_child() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1900));
    let live = world.join(0);
    world.run(ms(1000));
    world.nodes[live].relay.reset_gaps();
    let joiners: Vec<usize> = (0..60).map(|_| world.join(0)).collect();
    world.run(ms(1000));
    for (kind, stats) in world.nodes[live].relay.stats() {
        assert!(
            stats.largest_gap <= ms(34),
            "{kind:?} {:?}",
            stats.largest_gap
        );
    }
    let head = world.nodes[0].relay.head(VIDEO).unwrap();
    for node in joiners {
        world.assert_complete(node, link(node, 1), ms(50));
        assert!(world.nodes[node].relay.head(VIDEO).unwrap() + 10 >= head);
    }
}
