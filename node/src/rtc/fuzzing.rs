//! The parsers a stranger's bytes meet, opened for the fuzz targets in `fuzz/`. Not part of any
//! program: behind the feature `fuzzing`.

use std::time::{Duration, Instant};

use banyan::id::{Epoch, LinkId, LinkKey, NodeId};
use banyan::relay::packet::Packet;
use banyan::wire::announcement::{Codec, StreamInfo, TrackInfo};
use bytes::Bytes;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::shared::marshal::{Marshal, Unmarshal};

use super::demux::{Demux, Stun};
use super::gate::Gate;
use super::media::Media;
use super::sdp::{Description, LocalTransport, Setup, TrackLine, answer, ingest, transport_only};
use super::{EngineEvent, PublishedTrack, candidate, feedback};

const LINK: LinkKey = LinkKey {
    child: NodeId::from_bytes([1; 16]),
    link: LinkId(1),
};

/// A source that packets in the seeds name.
const SSRC: u32 = 0x1111_1111;

fn stream(codec: Codec) -> StreamInfo {
    let track = |codec, fmtp: &str, ssrc| TrackInfo {
        codec,
        fmtp: fmtp.into(),
        ssrc,
        first_seq: 70_000,
    };
    StreamInfo {
        epoch: Epoch(1),
        tracks: vec![
            track(codec, "packetization-mode=1;profile-level-id=42e01f", SSRC),
            track(Codec::Opus, "", 0x2222_2222),
        ],
        cname: "banyan".into(),
    }
}

fn media() -> Media {
    Media::new(lines())
}

fn lines() -> Vec<TrackLine> {
    let lines = (0..).zip([SSRC, 0x2222_2222]);
    lines
        .map(|(track, ssrc)| TrackLine {
            track,
            ssrc,
            clock_rate: 90_000,
            payload_type: 96,
            extensions: (1..)
                .zip(banyan::relay::packet::EndToEndExtension::ALL)
                .collect(),
            mixed_extensions: true,
        })
        .collect()
}

/// An offer or an answer: read, answered, taken as an answer, and what is handed to the WebRTC
/// crate read by it.
pub fn session_description(text: &str) {
    let Ok(description) = Description::parse(text) else {
        return;
    };
    let Ok(remote) = description.remote() else {
        return;
    };
    for codec in [Codec::H264, Codec::Vp8] {
        for decodes in [false, true] {
            let stream = stream(codec);
            let written = answer::answer(
                &description,
                &remote,
                &stream,
                decodes,
                &local(),
                Setup::Active,
            );
            if let Ok((text, _)) = written {
                assert!(Description::parse(&text).is_ok(), "our own answer: {text}");
            }
            let _ = answer::tracks(&description, &remote, &stream);
        }
    }
    let _ = RTCSessionDescription::offer(transport_only(&remote, remote.setup));
    for line in &remote.candidates {
        let _ = candidate::remote(line);
    }
}

/// A publisher's offer, answered; the tracks that were agreed on, video first.
pub fn published(text: &str) -> Option<Vec<PublishedTrack>> {
    let description = Description::parse(text).ok()?;
    let mut remote = description.remote().ok()?;
    remote.channels = None;
    let candidates = ["candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host".to_owned()];
    let agreed =
        ingest::answer(&description, &remote, &local(), Setup::Passive, &candidates).ok()?;
    let answer = Description::parse(&agreed.sdp);
    assert!(answer.is_ok(), "our own answer: {}", agreed.sdp);
    let _ = RTCSessionDescription::offer(transport_only(&remote, remote.setup));
    Some(agreed.tracks)
}

/// DTLS, SRTP and SRTCP datagrams of a peer, in one piece.
pub fn gate(datagram: &[u8]) {
    let mut gate = Gate::default();
    for secure in [false, true] {
        let _ = gate.dtls(datagram, secure);
    }
    let _ = gate.rtcp(datagram);
    let _ = gate.rtp(datagram);
}

fn local() -> LocalTransport {
    LocalTransport {
        ufrag: "ufrag".into(),
        pwd: "password".into(),
        fingerprint: "AA:BB".into(),
        session: 1,
    }
}

/// A candidate that was trickled.
pub fn candidate(text: &str) {
    let _ = candidate::remote(text);
}

/// Datagrams that look like STUN, from a peer and from this node.
pub fn stun(datagram: &[u8]) {
    let from = ([127, 0, 0, 1], 9).into();
    let mut demux = Demux::default();
    demux.insert("ours", LINK);
    demux.route(from, datagram);
    let now = Instant::now();
    demux.sent(now, LINK, 1, from, datagram);
    demux.received(now, from, datagram);
    demux.route(from, datagram);
    if let Some(stun) = Stun::parse(datagram) {
        let mut message = rtc::stun::message::Message::new();
        message.raw = datagram.to_vec();
        let read = message.decode();
        assert!(
            stun.transaction.len() == 12 && datagram.len() >= 20,
            "{read:?}"
        );
    }
}

/// Decrypted RTP packets, each behind its length in two bytes.
pub fn rtp(mut datagrams: &[u8]) {
    let mut now = Instant::now();
    let mut media = media();
    let mut publisher = Media::published(now, lines(), Some(9));
    while let Some((length, rest)) = datagrams.split_at_checked(2) {
        let length = usize::from(u16::from_be_bytes([length[0], length[1]])).min(rest.len());
        let (datagram, rest) = rest.split_at(length);
        datagrams = rest;
        now += Duration::from_millis(length as u64);
        let mut bytes = Bytes::copy_from_slice(datagram);
        let Ok(packet) = rtc::rtp::Packet::unmarshal(&mut bytes) else {
            continue;
        };
        publisher.receive(now, packet.clone());
        if let Some(arrivals) = &mut publisher.arrivals {
            let _ = arrivals.feedback(now, 1, SSRC);
        }
        let Some(received) = media.receive(now, packet) else {
            continue;
        };
        // And on to a child, which must understand it.
        let sent = media.send(&Packet {
            track: received.track,
            seq: 70_000 + u64::from(received.seq),
            timestamp: received.timestamp,
            marker: received.marker,
            extensions: received.extensions,
            payload: received.payload.clone(),
        });
        if let Some(sent) = sent {
            let again = sent
                .marshal()
                .and_then(|written| rtc::rtp::Packet::unmarshal(&mut written.freeze()));
            assert!(
                again.is_ok_and(|again| again.payload == received.payload),
                "a packet of ours must be readable"
            );
        }
        let _ = feedback::reception(now, 1, &mut media);
    }
}

/// A decrypted compound RTCP packet.
pub fn rtcp(datagram: &[u8]) {
    let mut media = media();
    let mut bytes = Bytes::copy_from_slice(datagram);
    let Ok(packets) = rtc::rtcp::packet::unmarshal(&mut bytes) else {
        return;
    };
    let now = Instant::now();
    feedback::read(now, LINK, &mut media, &packets, |event| {
        if let EngineEvent::Nack { seqs, .. } = event {
            let _ = feedback::nacks(1, SSRC, &seqs);
        }
    });
}
