//! Links that stand take other tracks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan::id::Epoch;
use banyan::relay::packet::Packet;
use banyan::wire::announcement::{Codec, StreamInfo};
use banyan_node::rtc::{EngineError, EngineEvent, PeerClass, ReceivedPacket, SdpError};

use crate::media::{packet, packets, same};
use crate::world::{AUDIO, Pair, VIDEO, run, stream, stream_of};

/// The tracks of a life of the stream; every other one is in VP8 and has no sound.
fn tracks_of(epoch: u64) -> StreamInfo {
    let mut stream = match epoch % 2 {
        1 => stream(),
        _ => stream_of(Codec::Vp8, ""),
    };
    stream.epoch = Epoch(epoch);
    for track in &mut stream.tracks {
        track.ssrc += epoch as u32;
    }
    if epoch.is_multiple_of(2) {
        stream.tracks.truncate(1);
    }
    stream
}

impl Pair {
    async fn renew(&mut self, epoch: u64) {
        self.stream = tracks_of(epoch);
        let before = self.renewals;
        self.child.renew(self.link).unwrap();
        self.until(|p| p.renewals > before).await;
    }

    /// What the parent sends now arrives, and nothing else.
    async fn carries(&mut self, sent: &[Arc<Packet>]) {
        let mut got: Vec<ReceivedPacket> = Vec::new();
        self.parent.send_packets(Instant::now(), self.link, sent);
        self.until(|p| {
            got.extend(packets(&mut p.at_child));
            got.len() >= sent.len()
        })
        .await;
        assert!(sent.iter().zip(&got).all(|(sent, got)| same(sent, got)));
        assert_eq!(sent.len(), got.len());
    }

    fn closed(&self) -> bool {
        let ended = |event: &&EngineEvent| matches!(event, EngineEvent::Closed { .. });
        let mut all = self.at_child.iter().chain(&self.at_parent);
        all.any(|event| ended(&event))
    }
}

#[test]
fn tracks_change_twenty_times_on_one_link() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let link = pair.link;
        for epoch in 2..22 {
            // Below the numbers of the tracks before: each source counts for itself.
            let first = 400_000 - epoch * 10_000;
            pair.renew(epoch).await;
            let sent: Vec<_> = (first..first + 300).map(|seq| packet(VIDEO, seq)).collect();
            for group in sent.chunks(20) {
                pair.carries(group).await;
            }
            if epoch % 2 == 1 {
                pair.carries(&[packet(AUDIO, first)]).await;
            }
            let (ntp, rtp) = (epoch << 32, 90_000);
            let now = Instant::now();
            (pair.parent).send_sender_report(now, link, VIDEO, ntp, rtp);
            let told = EngineEvent::SenderReport {
                link,
                track: VIDEO,
                ntp,
                rtp,
            };
            pair.until(|p| p.at_child.contains(&told)).await;
            let seqs = [(first + 7) as u16];
            (pair.child).request_packets(Instant::now(), link, VIDEO, &seqs);
            let asked = EngineEvent::Nack {
                link,
                track: VIDEO,
                seqs: seqs.to_vec(),
            };
            pair.until(|p| p.at_parent.contains(&asked)).await;
        }
        assert!(!pair.closed());
        assert_eq!((pair.child.links(), pair.parent.links()), (1, 1));
    });
}

#[test]
fn packets_of_the_tracks_before_are_none_of_the_new_ones() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        pair.carries(&[packet(VIDEO, 100_000)]).await;
        let link = pair.link;
        pair.child.renew(link).unwrap();
        // The parent has not seen the offer yet.
        let late: Vec<_> = (100_001..100_020).map(|seq| packet(VIDEO, seq)).collect();
        pair.parent.send_packets(Instant::now(), link, &late);
        pair.parent.flush(Instant::now());
        pair.stream = tracks_of(2);
        pair.until(|p| p.renewals == 1).await;
        pair.run_for(Duration::from_millis(100)).await;
        assert_eq!(packets(&mut pair.at_child), []);
        pair.carries(&[packet(VIDEO, 70_000)]).await;
    });
}

#[test]
fn a_source_never_comes_back_on_one_link() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        pair.renew(2).await;
        for epoch in [2, 1] {
            pair.stream = stream();
            pair.stream.tracks[0].ssrc = match epoch {
                2 => tracks_of(2).tracks[0].ssrc,
                _ => stream().tracks[0].ssrc,
            };
            pair.child.renew(pair.link).unwrap();
            pair.until(|p| p.refusal.is_some()).await;
            let refusal = pair.refusal.take();
            assert!(matches!(refusal, Some(EngineError::SourceReused(_))));
        }
        assert!(!pair.closed());
    });
}

#[test]
fn a_child_that_cannot_decode_the_new_tracks_is_refused() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        pair.class = PeerClass::Browser;
        pair.stream = stream_of(Codec::H264, "packetization-mode=1;profile-level-id=f4001f");
        pair.child.renew(pair.link).unwrap();
        pair.until(|p| p.refusal.is_some()).await;
        let codec =
            |error: &EngineError| matches!(error, EngineError::Sdp(SdpError::NoCommonCodec { .. }));
        assert!(pair.refusal.as_ref().is_some_and(codec));
        assert!(!pair.closed());
    });
}

#[test]
fn a_new_description_keeps_to_its_connection() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let mut other = Pair::new("127.0.0.1");
        let mut offer = None;
        while offer.is_none() {
            offer = match other.child.poll_event() {
                Some(EngineEvent::Offer { sdp, .. }) => Some(sdp),
                Some(_) => None,
                None => panic!("no offer"),
            };
        }
        let foreign = offer.unwrap();
        let tracks = tracks_of(2);
        let link = pair.link;
        let class = PeerClass::Native;
        let refused = pair.parent.accept_renewal(link, &foreign, &tracks, class);
        let unsupported =
            |error: &EngineError| matches!(error, EngineError::Sdp(SdpError::Unsupported(_)));
        assert!(refused.is_err_and(|error| unsupported(&error)));
        // Before it is connected, and at the end that answers.
        let early = other.child.renew(other.link);
        assert!(matches!(early, Err(EngineError::NotConnected(_))));
        let parent = pair.parent.renew(link);
        assert!(matches!(parent, Err(EngineError::NotConnected(_))));
        let unasked = pair.child.set_renewal(link, &foreign, &tracks);
        assert!(matches!(unasked, Err(EngineError::NotWaiting(_))));
        let at_child = pair.child.accept_renewal(link, &foreign, &tracks, class);
        assert!(matches!(at_child, Err(EngineError::NotConnected(_))));
        pair.carries(&[packet(VIDEO, 100_000)]).await;
    });
}
