//! A chain of nodes: completeness under loss, joining anywhere.

use super::*;

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
