//! Going on at another parent.

use super::*;

/// C leaves A for B after `outage`, with D below it; the first number of the stream decides where
/// the wrap lies.
fn switch(first_seq: ExtSeq, outage: Duration, path: Path, seed: u64) -> World {
    let mut world = World::new(path, first_seq, seed);
    world.run(ms(1200));
    let (a, b) = (world.join(0), world.join(0));
    world.run(ms(300));
    let c = world.join(a);
    world.run(ms(100));
    let d = world.join(c);
    world.run(ms(2000));
    world.nodes[c].parent = None;
    world.run(outage);
    let next = StartFrom::Next(world.nodes[c].relay.next_wanted(world.now));
    let before = world.nodes[c].duplicates;
    world.attach(c, b, 2, &next).unwrap();
    // Said again until media arrives.
    for _ in 0..3 {
        world.run(ms(20));
        world.nodes[b]
            .relay
            .activate(world.now, link(c, 2), &next)
            .unwrap();
    }
    world.run(ms(3000));
    if path.loss == 0.0 {
        assert_eq!(world.nodes[c].duplicates, before, "duplicates");
    }
    for node in [c, d] {
        world.assert_complete(node, link(node, 1), ms(2000));
        assert_eq!(world.lost(node), 0);
    }
    world
}

#[test]
fn nothing_is_missing_wherever_the_wrap_lies() {
    // The gap begins about 480 video packets and 180 sounds after the start.
    for before_wrap in [100, 400, 480, 490, 500, 520, 600, 700, 1100] {
        switch(0x2_0000 - before_wrap, ms(1500), CLEAN, 9);
    }
}

#[test]
fn nothing_is_missing_with_loss_on_the_new_link() {
    for seed in 0..4 {
        let path = Path {
            delay: ms(10),
            jitter: ms(4),
            loss: 0.1,
            duplicates: 0.01,
        };
        switch(0x2_0000 - 500, ms(400), path, seed);
    }
}

#[test]
fn a_resumed_child_is_live_within_a_fraction_of_its_outage() {
    let world = switch(0x1_0000, ms(4000), CLEAN, 3);
    let (root, c) = (&world.nodes[0], &world.nodes[3]);
    assert!(c.relay.head(VIDEO).unwrap() + 10 >= root.relay.head(VIDEO).unwrap());
    // The last packet made before the switch.
    let switched = world.now - ms(3060);
    let backlog = root
        .arrived
        .iter()
        .filter(|(_, (_, made))| *made <= switched);
    let arrivals = backlog.filter_map(|(place, _)| Some(c.arrived.get(place)?.1));
    let last = arrivals.max().unwrap();
    assert!(last - switched < ms(600), "{:?}", last - switched);
}

/// How old the first packet of each track was when it was sent to a child that began now.
fn age_at_start(from: &StartFrom) -> [Duration; 2] {
    let mut world = World::new(CLEAN, 0x1_0000, 5);
    // Most of a group of pictures has passed: a key frame comes each 990 ms.
    world.run(ms(1800));
    let child = world.add_node();
    world.attach(child, 0, 1, from).unwrap();
    let begun = world.now;
    world.run(ms(1500));
    world.assert_complete(child, link(child, 1), ms(100));
    [AUDIO, VIDEO].map(|track| {
        let first = world.first_on_link[&(link(child, 1), track)];
        let made = world.nodes[0].arrived[&(track, first)].1;
        begun.saturating_duration_since(made)
    })
}

#[test]
fn a_player_starts_with_the_newest_key_frame_and_live_sound() {
    let [sound, picture] = age_at_start(&StartFrom::KeyFrame);
    assert!(picture > ms(500), "the key frame is {picture:?} old");
    assert!(sound.abs_diff(picture) <= ms(40), "{sound:?} {picture:?}");
    let [sound, picture] = age_at_start(&StartFrom::Player);
    assert!(picture > ms(500), "the key frame is {picture:?} old");
    assert!(sound <= ms(20), "the sound is {sound:?} old");
}

#[test]
fn who_is_not_ahead_does_not_serve() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let a = world.join(0);
    let b = world.join(a);
    world.run(ms(500));
    world.nodes[a].parent = None;
    world.run(ms(500));
    let next = StartFrom::Next(world.nodes[a].relay.next_wanted(world.now));
    // B has nothing but what it got from A.
    let result = world.attach(a, b, 2, &next);
    assert_eq!(result, Err(ActivateError::NotAhead));
}

#[test]
fn after_too_long_an_outage_the_picture_goes_on_with_a_key_frame() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let a = world.join(0);
    world.run(ms(1000));
    world.nodes[a].parent = None;
    world.run(ms(30_000));
    let next = StartFrom::Next(world.nodes[a].relay.next_wanted(world.now));
    world.attach(a, 0, 2, &next).unwrap();
    world.run(ms(2000));
    let first = world.first_on_link[&(link(a, 2), VIDEO)];
    let (packet, _) = &world.nodes[0].arrived[&(VIDEO, first)];
    assert_eq!(packet.payload[..2], [0x10, 0]);
    world.assert_complete(a, link(a, 2), ms(100));
}

#[test]
fn a_node_far_behind_takes_the_numbering_from_its_parent() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let a = world.join(0);
    let b = world.join(a);
    world.run(ms(1000));
    world.nodes[a].parent = None;
    // 70,000 video packets.
    world.run(Duration::from_secs(600));
    assert!(world.nodes[0].relay.head(VIDEO).unwrap() > 0x1_0000 + 70_000);
    let next = StartFrom::Next(world.nodes[a].relay.next_wanted(world.now));
    world.attach(a, 0, 2, &next).unwrap();
    world.run(ms(2000));
    world.assert_complete(a, link(a, 2), ms(100));
    // The link below cannot follow.
    assert_eq!(world.replaced, [link(b, 1)]);
}

#[test]
fn a_child_that_came_before_its_parent_had_anything_waits_for_the_numbering() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(Duration::from_secs(400));
    let (a, b) = (world.add_node(), world.add_node());
    world.attach(b, a, 1, &StartFrom::KeyFrame).unwrap();
    world.attach(a, 0, 1, &StartFrom::KeyFrame).unwrap();
    world.run(ms(100));
    assert_eq!(world.nodes[b].relay.heads(), []);
    // The heartbeat.
    world.tell_heads(b, a);
    let heads = world.nodes[a].relay.heads();
    assert_eq!(world.nodes[b].relay.heads().len(), 2);
    for (track, head) in world.nodes[b].relay.heads() {
        assert!(head + 30 > heads[usize::from(track)].1);
        assert!(head > 0x1_0000 + 15_000);
    }
    let (_, stats) = world.nodes[b].relay.stats()[usize::from(VIDEO)];
    assert!(stats.packets > 29, "the key frame was kept");
    world.run(ms(1000));
    assert_eq!(world.lost(b), 0);
}

#[test]
fn an_old_link_does_not_leap() {
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let a = world.join(0);
    world.run(ms(1000));
    world.nodes[0].relay.deactivate(link(a, 1));
    world.run(Duration::from_secs(200));
    let next = StartFrom::Next(vec![
        (AUDIO, world.nodes[0].relay.head(AUDIO).unwrap()),
        (VIDEO, world.nodes[0].relay.head(VIDEO).unwrap()),
    ]);
    let again = world.attach(a, 0, 1, &next);
    assert_eq!(again, Err(ActivateError::ReplaceLink));
    world.attach(a, 0, 1, &StartFrom::KeyFrame).unwrap();
    assert_eq!(world.replaced, [link(a, 1)]);
    world.attach(a, 0, 2, &StartFrom::KeyFrame).unwrap();
    world.run(ms(1000));
    world.assert_complete(a, link(a, 2), ms(100));
}

#[test]
fn a_first_packet_under_repair_can_still_be_sent_when_it_comes() {
    let now = beginning();
    let mut source = Source::new(0x1_0000, 1);
    let mut relay = Relay::new(&tracks(0x1_0000), Epoch(1));
    let packets: Vec<Packet> = (0..3)
        .map(|i| source.packet(AUDIO, i * 960, 0, false))
        .collect();
    relay.insert(now, packets[0].clone());
    relay.insert(now, packets[2].clone());
    let child = link(1, 1);
    relay.add_child(now, child);
    let next = StartFrom::Next(vec![(AUDIO, packets[1].seq)]);
    relay.activate(now, child, &next).unwrap();
    relay.insert(now + ms(30), packets[1].clone());
    let mut sent = Vec::new();
    while let Some(output) = relay.poll_output() {
        if let RelayOutput::Send { packets, .. } = output {
            sent.extend(packets.iter().map(|packet| packet.seq));
        }
    }
    assert_eq!(sent, [0x1_0000, 0x1_0002, 0x1_0001]);
}

#[test]
fn two_parents_at_once_are_one_stream() {
    // Make before break: for a while both send.
    let mut world = World::new(CLEAN, 0x1_0000, 1);
    world.run(ms(1200));
    let (a, b) = (world.join(0), world.join(0));
    world.run(ms(100));
    let c = world.join(a);
    world.nodes[c].relay.set_sink(world.now, Some(ms(1000)));
    world.run(ms(1500));
    world.nodes[c].listens_to = vec![link(c, 1)];
    // While B has nothing newer it declines; then C says it again.
    let declined = (0..10).take_while(|_| {
        let next = StartFrom::Next(world.nodes[c].relay.next_wanted(world.now));
        let result = world.attach(c, b, 2, &next);
        world.run(ms(7));
        result.is_err()
    });
    assert!(declined.count() < 10);
    world.run(ms(500));
    world.nodes[a].relay.deactivate(link(c, 1));
    world.run(ms(1000));
    assert!(world.nodes[c].duplicates > 50, "both did send");
    world.assert_complete(c, link(c, 1), ms(50));
    let delivered = &world.nodes[c].delivered;
    let mut sorted = delivered.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), delivered.len(), "each once");
}
