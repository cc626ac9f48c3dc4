//! What strangers and broken peers send.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use banyan::limits::MAX_SDP;
use banyan_node::rtc::{Channel, EngineError, EngineEvent, MessageData, PeerClass, SdpError};

use crate::world::{Pair, engine, key, run, stream};

#[test]
fn garbage_on_the_port_changes_nothing() {
    run(async {
        let mut pair = Pair::new("127.0.0.1").connected().await;
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = pair.parent.port();
        for round in 0..2000u32 {
            let size = 1 + (round * 131 % 1400) as usize;
            // Every kind of first byte: STUN, DTLS, RTP, nothing.
            let mut bytes: Vec<u8> = (0..size)
                .map(|i| (round as usize * 7 + i * 13) as u8)
                .collect();
            bytes[0] = [0, 1, 22, 23, 64, 128, 144, 200][(round % 8) as usize];
            stranger.send_to(&bytes, ("127.0.0.1", port)).unwrap();
            if round % 100 == 0 {
                pair.run_for(Duration::from_millis(2)).await;
            }
        }
        let link = pair.link;
        let data = MessageData::Text("still here".into());
        pair.child
            .send_message(Instant::now(), link, Channel::Control, data.clone())
            .unwrap();
        let expected = EngineEvent::Message {
            link,
            channel: Channel::Control,
            data,
        };
        pair.until(|p| p.at_parent.contains(&expected)).await;
        assert!(
            !pair
                .at_parent
                .iter()
                .any(|e| matches!(e, EngineEvent::Closed { .. }))
        );
        // Nothing is reflected.
        stranger.set_nonblocking(true).unwrap();
        assert!(stranger.recv_from(&mut [0; 2048]).is_err());
    });
}

#[test]
fn wrong_descriptions_are_refused_with_a_reason() {
    run(async {
        let mut parent = engine("127.0.0.1");
        let now = Instant::now();
        let huge = format!("v=0\r\n{}", "a=x\r\n".repeat(MAX_SDP / 5));
        let cases = [
            ("", "empty"),
            ("hello", "line 1"),
            ("s=-\r\n", "begin with v=0"),
            ("v=0\r\nm=video\r\n", "line 2"),
            (
                "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n",
                "lacks any media section",
            ),
            (
                "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n",
                "fingerprint",
            ),
            (huge.as_str(), "more than"),
        ];
        for (offer, reason) in cases {
            let error = parent
                .accept(now, key(2, 1), offer, &stream(), PeerClass::Browser, &[])
                .unwrap_err();
            assert!(error.to_string().contains(reason), "{reason}: {error}");
        }
        assert_eq!(parent.links(), 0);
        assert!(parent.poll_event().is_none());
    });
}

#[test]
fn wrong_answers_and_candidates_are_refused_with_a_reason() {
    run(async {
        let mut child = engine("127.0.0.1");
        let now = Instant::now();
        let link = key(1, 1);
        child.connect(now, link, &[]).unwrap();
        let again = child.connect(now, link, &[]).unwrap_err();
        assert!(matches!(again, EngineError::LinkExists(_)), "{again}");
        let error = child
            .set_answer(now, link, "v=0\r\n", &stream())
            .unwrap_err();
        assert!(
            matches!(error, EngineError::Sdp(SdpError::Missing(_))),
            "{error}"
        );
        let error = child
            .set_answer(now, key(1, 9), "v=0\r\n", &stream())
            .unwrap_err();
        assert!(matches!(error, EngineError::UnknownLink(_)), "{error}");
        for bad in [
            "x",
            "candidate:1 1 udp x 1.2.3.4 5 typ host",
            &"9".repeat(600),
        ] {
            let error = child.add_candidate(now, link, bad).unwrap_err();
            assert!(matches!(error, EngineError::Candidate(_)), "{error}");
        }
        for passed_over in [
            "candidate:1 1 udp 1 c0ffee.local 5000 typ host",
            "candidate:1 1 tcp 1 1.2.3.4 9 typ host tcptype active",
            "candidate:1 1 udp 1 224.0.0.1 5000 typ host",
            "candidate:1 1 udp 1 fe80::1 5000 typ host",
            "",
        ] {
            child.add_candidate(now, link, passed_over).unwrap();
        }
    });
}
