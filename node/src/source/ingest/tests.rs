use bytes::Bytes;
use rand::SeedableRng;

use super::*;

fn h264(fmtp: &str, repairs: bool) -> PublishedTrack {
    PublishedTrack {
        codec: Codec::H264,
        fmtp: fmtp.into(),
        parameter_sets: Vec::new(),
        repairs,
    }
}

fn opus() -> PublishedTrack {
    PublishedTrack {
        codec: Codec::Opus,
        fmtp: String::new(),
        parameter_sets: Vec::new(),
        repairs: false,
    }
}

const BASELINE: &str = "packetization-mode=1;profile-level-id=42e01f";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct World {
    ingest: Ingest,
    now: Instant,
    seq: u16,
    sound_seq: u16,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let rng = StdRng::seed_from_u64(1);
        Self {
            ingest: Ingest::new(now, 9 << 32, Epoch(50), rng),
            now,
            seq: 65_530,
            sound_seq: 9,
        }
    }

    fn drain(&mut self) -> Vec<IngestOutput> {
        std::iter::from_fn(|| self.ingest.poll_output()).collect()
    }

    /// A picture in one packet: a key frame with its sets, or another.
    fn picture(&mut self, timestamp: u32, key: bool) -> ReceivedPacket {
        self.seq = self.seq.wrapping_add(1);
        let payload: &[u8] = if key {
            &[
                0x78, 0, 3, 0x67, 0x42, 1, 0, 2, 0x68, 0xce, 0, 2, 0x65, 0x88,
            ]
        } else {
            &[0x41, 0x9a, 1]
        };
        ReceivedPacket {
            track: 0,
            seq: self.seq,
            timestamp,
            marker: true,
            extensions: Vec::new(),
            payload: Bytes::from_static(payload),
        }
    }

    fn sound(&mut self, timestamp: u32) -> Vec<IngestOutput> {
        self.sound_seq = self.sound_seq.wrapping_add(1);
        let packet = ReceivedPacket {
            track: 1,
            seq: self.sound_seq,
            timestamp,
            marker: false,
            extensions: Vec::new(),
            payload: Bytes::from_static(&[0xfc, 1]),
        };
        self.ingest.packet(self.now, packet);
        self.drain()
    }

    fn send(&mut self, timestamp: u32, key: bool) -> Vec<IngestOutput> {
        let packet = self.picture(timestamp, key);
        self.ingest.packet(self.now, packet);
        self.drain()
    }
}

fn packets(outputs: &[IngestOutput]) -> Vec<Packet> {
    let packets = outputs.iter().filter_map(|output| match output {
        IngestOutput::Packets(packets) => Some(packets.clone()),
        _ => None,
    });
    packets.flatten().collect()
}

#[test]
fn the_stream_begins_with_the_first_key_frame() {
    let mut world = World::new();
    world
        .ingest
        .begin(Epoch(60), &[h264(BASELINE, true), opus()]);
    assert!(world.drain().is_empty(), "nobody connects for nothing");
    assert!(packets(&world.send(0, false)).is_empty());
    let outputs = world.send(3_000, true);
    let IngestOutput::Tracks(info) = &outputs[0] else {
        panic!("{outputs:?}");
    };
    assert_eq!((info.epoch, info.tracks.len()), (Epoch(50), 2));
    assert!(matches!(outputs[1], IngestOutput::Clock { track: 0, ntp, .. } if ntp >> 32 == 9));
    assert_eq!(packets(&outputs).len(), 1);
}

#[test]
fn a_publisher_that_returns_goes_on_with_the_same_tracks() {
    let mut world = World::new();
    world.ingest.begin(Epoch(60), &[h264(BASELINE, true)]);
    let first = packets(&world.send(0, true))[0].timestamp;
    world.ingest.end();
    assert_eq!(world.drain(), [IngestOutput::Idle(true)]);
    assert_eq!(world.ingest.deadline(), None);
    world.now += ms(5_000);
    // Another level is no other stream.
    let level = "packetization-mode=1;profile-level-id=42E034";
    world.ingest.begin(Epoch(70), &[h264(level, true)]);
    world.seq = 7;
    assert!(
        packets(&world.send(900_000, false)).is_empty(),
        "not before a key frame"
    );
    let outputs = world.send(903_000, true);
    assert!(!outputs.iter().any(|o| matches!(o, IngestOutput::Tracks(_))));
    assert_eq!(
        packets(&outputs)[0].timestamp,
        first.wrapping_add(5 * 90_000)
    );
}

#[test]
fn other_tracks_are_a_new_epoch() {
    let mut world = World::new();
    world.ingest.begin(Epoch(60), &[h264(BASELINE, true)]);
    world.send(0, true);
    let high = "packetization-mode=1;profile-level-id=640028";
    world.ingest.begin(Epoch(40), &[h264(high, true)]);
    let outputs = world.send(0, true);
    let epoch = outputs.iter().find_map(|output| match output {
        IngestOutput::Tracks(info) => Some(info.epoch),
        _ => None,
    });
    assert_eq!(
        epoch,
        Some(Epoch(51)),
        "later than the last, whatever the clock says"
    );
}

#[test]
fn a_loss_is_asked_for_then_skipped_up_to_a_key_frame() {
    let mut world = World::new();
    world.ingest.begin(Epoch(60), &[h264(BASELINE, true)]);
    world.send(0, true);
    let lost = world.picture(3_000, false);
    assert!(packets(&world.send(6_000, false)).is_empty());
    world.now += ms(3);
    world.ingest.handle_tick(world.now);
    let asked = IngestOutput::RequestPackets {
        track: 0,
        seqs: vec![lost.seq],
    };
    assert_eq!(world.drain(), [asked]);
    world.now += ms(400);
    world.ingest.handle_tick(world.now);
    let outputs = world.drain();
    assert!(outputs.contains(&IngestOutput::RequestKeyFrame { track: 0 }));
    assert!(packets(&outputs).is_empty());
    assert!(packets(&world.send(9_000, false)).is_empty());
    // Not asked again within a second.
    world.ingest.want_key_frame(world.now, 0);
    assert!(world.drain().is_empty());
    assert_eq!(packets(&world.send(12_000, true)).len(), 1);
    assert_eq!(packets(&world.send(15_000, false)).len(), 1);
}

#[test]
fn silence_is_told_and_so_is_its_end() {
    let mut world = World::new();
    world.ingest.begin(Epoch(60), &[h264(BASELINE, false)]);
    world.send(0, true);
    assert_eq!(world.ingest.deadline(), Some(world.now + IDLE));
    world.now += IDLE;
    world.ingest.handle_tick(world.now);
    assert_eq!(world.drain(), [IngestOutput::Idle(true)]);
    assert!(world.ingest.silent_for(world.now, IDLE));
    let outputs = world.send(90_000, false);
    assert_eq!(outputs[0], IngestOutput::Idle(false));
    assert!(!world.ingest.silent_for(world.now, IDLE));
}

#[test]
fn one_clock_is_told_of_all_tracks() {
    let mut world = World::new();
    world
        .ingest
        .begin(Epoch(60), &[h264(BASELINE, false), opus()]);
    let outputs = world.send(1_000, true);
    let [
        _,
        IngestOutput::Clock { ntp: a, rtp: v, .. },
        IngestOutput::Clock { ntp: b, rtp: s, .. },
        IngestOutput::Packets(_),
    ] = outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(a, b);
    assert_eq!(v, packets(&outputs)[0].timestamp);
    // Sound that comes 30 ms later is 30 ms later.
    world.now += ms(30);
    assert_eq!(
        packets(&world.sound(500))[0].timestamp,
        s.wrapping_add(30 * 48)
    );
}

#[test]
fn reports_bring_sound_and_picture_together() {
    let mut world = World::new();
    world
        .ingest
        .begin(Epoch(60), &[h264(BASELINE, false), opus()]);
    // Pictures take 200 ms longer on their way; the publisher's reports tell.
    let mut offsets = Vec::new();
    for n in 0..200_u32 {
        let (picture, sound) = (n * 1_800, n * 960);
        let heard = packets(&world.sound(sound))[0].timestamp;
        let seen = packets(&world.send(picture.wrapping_sub(200 * 90), n == 0))[0].timestamp;
        offsets.push((seen, heard));
        world.now += ms(20);
        if n % 50 == 49 {
            let ntp = u64::from(100 + n / 50) << 32;
            world.ingest.sender_report(0, ntp, picture);
            world.ingest.sender_report(1, ntp, sound);
        }
    }
    let behind = |(seen, heard): (u32, u32)| {
        let seen = f64::from(seen.wrapping_sub(offsets[0].0)) / 90.0;
        seen - f64::from(heard.wrapping_sub(offsets[0].1)) / 48.0
    };
    assert!((behind(offsets[0]) - behind(offsets[199]) - 200.0).abs() < 2.0);
    assert!(
        offsets
            .windows(2)
            .all(|pair| pair[1].0.wrapping_sub(pair[0].0) < 2_400)
    );
}

#[test]
fn padding_takes_a_number_and_nothing_else() {
    let mut world = World::new();
    world.ingest.begin(Epoch(60), &[h264(BASELINE, true)]);
    world.send(0, true);
    let padding = ReceivedPacket {
        payload: Bytes::new(),
        ..world.picture(0, false)
    };
    world.ingest.packet(world.now, padding);
    assert!(world.drain().is_empty());
    assert_eq!(packets(&world.send(3_000, false)).len(), 1);
}
