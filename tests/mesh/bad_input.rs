//! What strangers send to a tracker, and that the stream beside it does not notice.

use banyan::id::{Epoch, LinkId, StreamId};
use banyan::limits::{MAX_SDP, MAX_TRACKER_FRAME};
use banyan::wire::announcement::SignatureBytes;
use banyan::wire::tracker::{ClientMessage, ErrorCode, Join, Publish, ServerMessage};
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::turn::take_turn;
use banyan_tests::websocket::Session;
use banyan_tests::workspace::TempDir;
use banyan_tests::{api, secs, stats};

fn join(stream: &str, offer: String) -> ClientMessage {
    ClientMessage::Join(Join {
        stream: stream.parse().unwrap(),
        link: LinkId(1),
        offer,
        lost: None,
    })
}

/// A description of an offer that looks right from afar.
fn offer(middle: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n{middle}\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\n\
         a=rtpmap:96 H264/90000\r\na=rtcp-mux\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00\r\n"
    )
}

#[test]
fn what_strangers_send_disturbs_no_stream() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let mut root = Broadcast::with_slots(&directory, 8);
    let viewer = Node::relay(&directory, "viewer", &root.link, 2);
    viewer.wait_for_media(secs(10));
    std::thread::sleep(secs(1));
    let before = stats::read_all(&viewer.stats).len();

    frames_that_are_no_messages(&root.tracker);
    messages_out_of_turn(&root);
    others_streams(&root);
    descriptions_that_are_none(&root);
    requests_that_lead_nowhere(&root.tracker);

    viewer.wait_for_more_media(secs(5));
    assert!(root.process.is_running(), "{}", root.process.stderr());
    let lines = stats::read_all(&viewer.stats);
    let newest = &lines[lines.len() - 1];
    assert_eq!((newest.lost(), newest.heals), (0, 0), "{newest:?}");
    let gap = stats::largest_gap_ms(&lines[before..]);
    assert!(gap <= 150.0, "a gap of {gap} ms");
    // Nobody of them hangs in the tree.
    root.wait_for_peers(2, secs(10));
    for word in ["panicked", "RUST_BACKTRACE"] {
        assert!(
            !root.process.stderr().contains(word),
            "{}",
            root.process.stderr()
        );
    }
}

fn frames_that_are_no_messages(tracker: &str) {
    let malformed = |what: &str, send: &dyn Fn(&mut Session)| {
        eprintln!("sending {what}");
        let mut session = Session::open(tracker);
        send(&mut session);
        let refusal = session.refusal();
        let (code, message) = refusal
            .error
            .unwrap_or_else(|| panic!("no reason: {:?}", refusal.close));
        assert_eq!(code, ErrorCode::Malformed, "{message}");
        assert!(!message.is_empty());
        refusal.close
    };
    malformed("nonsense", &|s| s.send("nonsense"));
    malformed("an empty message", &|s| s.send("{}"));
    malformed("half a hello", &|s| s.send(r#"{"hello":{"version":1}}"#));
    malformed("deep brackets", &|s| s.send("[".repeat(MAX_TRACKER_FRAME)));
    malformed("a binary frame", &|s| s.send_binary(vec![0; 100]));
    let close = malformed("a frame too large", &|s| {
        s.send("x".repeat(MAX_TRACKER_FRAME + 1))
    });
    assert_eq!(close, Some(1009), "too large, by RFC 6455");
    // A frame with a reserved bit and a reserved opcode.
    malformed("reserved bits", &|s| s.send_raw(&[0xff; 20]));
    // A header that announces 2^62 bytes.
    malformed("an announced 2^62 bytes", &|s| {
        s.send_raw(&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])
    });
}

fn messages_out_of_turn(root: &Broadcast) {
    let mut session = Session::open(&root.tracker);
    session.tell(&join(&root.stream, offer("")));
    assert_eq!(
        session.error().0,
        ErrorCode::Unexpected,
        "a join before hello"
    );

    let mut session = Session::open(&root.tracker);
    session.send(r#"{"hello":{"version":999,"node":"aaaaaaaaaaaaaaaaaaaaaaaaaa","class":"browser","agent":"","slots":0}}"#);
    let (code, _) = session.refusal().error.unwrap();
    assert_eq!(code, ErrorCode::Version);

    let mut session = Session::greet(&root.tracker, 1);
    for _ in 0..20_000 {
        session.send(r#"{"follow_tree":{"follow":true}}"#);
    }
    let error = session.refusal().error;
    assert!(
        error
            .as_ref()
            .is_none_or(|(code, _)| *code == ErrorCode::Flood),
        "a flood ends the session: {error:?}"
    );
}

fn others_streams(root: &Broadcast) {
    let unknown = StreamId::from_bytes([7; 32]).to_string();
    let mut session = Session::greet(&root.tracker, 2);
    session.tell(&join(&unknown, offer("")));
    assert_eq!(session.error().0, ErrorCode::UnknownStream);

    let publish = |stream: &str| {
        ClientMessage::Publish(Publish {
            stream: stream.parse().unwrap(),
            epoch: Epoch(u64::MAX >> 11),
            title: "mine now".into(),
            listed: true,
        })
    };
    // A stream that is on air.
    let mut session = Session::greet(&root.tracker, 3);
    session.tell(&publish(&root.stream));
    assert_eq!(session.error().0, ErrorCode::StreamBusy);
    // One that is not, with a signature that is not its key's. The stream's name is a valid key:
    // the base point of RFC 8032.
    let mut base_point = [0x66; 32];
    base_point[0] = 0x58;
    let other = StreamId::from_bytes(base_point).to_string();
    let mut session = Session::greet(&root.tracker, 4);
    session.tell(&publish(&other));
    session.hear(|message| matches!(message, ServerMessage::Challenge { .. }).then_some(()));
    session.tell(&ClientMessage::Prove {
        signature: SignatureBytes([7; 64]),
    });
    assert_eq!(session.error().0, ErrorCode::BadSignature);
    let answer = api::get(&format!("{}/api/streams/{other}", root.tracker));
    assert_eq!(answer.status, 404, "{}", answer.body);
    let stream = api::get(&format!("{}/api/streams/{}", root.tracker, root.stream)).json();
    assert_ne!(stream["title"], "mine now");
    assert_eq!(stream["state"], "live", "{stream}");
}

fn descriptions_that_are_none(root: &Broadcast) {
    // Larger than any real one: refused by the tracker, before anybody reads it.
    let mut session = Session::greet(&root.tracker, 5);
    session.tell(&join(&root.stream, "a".repeat(MAX_SDP + 1)));
    let refusal = session.refusal();
    assert_eq!(
        refusal.error.map(|(code, _)| code),
        Some(ErrorCode::Malformed)
    );

    // Refused by the tracker or by the parent that should answer; an error, a wait or silence for
    // the one who sent it, and nothing for anybody else.
    let long_line = format!("a=candidate:{}\r\n", "1".repeat(20_000));
    let many_lines = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n".repeat(400);
    let offers = [
        String::new(),
        "nonsense".to_owned(),
        "\0\u{feff}v=0".to_owned(),
        "v=0\r\n".repeat(1000),
        offer(""),
        offer(&long_line),
        offer(&many_lines),
        offer("m=video 99999 X\r\na=ssrc:x\r\n"),
    ];
    for (number, offer) in (10..).zip(offers) {
        let mut session = Session::greet(&root.tracker, number);
        session.tell(&join(&root.stream, offer));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn requests_that_lead_nowhere(tracker: &str) {
    let unknown = StreamId::from_bytes([7; 32]).to_string();
    for (path, status) in [
        (format!("/api/streams/{unknown}"), 404),
        (format!("/api/streams/{unknown}/tree"), 404),
        ("/nowhere".to_owned(), 404),
        ("/../../etc/passwd".to_owned(), 404),
    ] {
        let answer = api::get(&format!("{tracker}{path}"));
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    let answer = api::get(&format!("{tracker}/api/streams/nonsense"));
    assert!([400, 404].contains(&answer.status), "{}", answer.status);
    let answer = api::get(&format!("{tracker}/ws"));
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    let answer = api::request("DELETE", &format!("{tracker}/api/streams"), "");
    assert_eq!(answer.status, 405);
}
