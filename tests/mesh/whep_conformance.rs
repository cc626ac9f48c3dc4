//! What draft-ietf-wish-whep-03 and RFC 9725 ask of a WHEP endpoint and its sessions, at the
//! tracker and at a node. Section numbers are those of the draft.

use banyan_tests::api::{Response, request, request_with, resolve};
use banyan_tests::mesh::{Broadcast, tracker};
use banyan_tests::turn::share_turn;
use banyan_tests::whep::{FRAGMENT, OFFER, SDP, free_port, post, session};
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, wait_for};

/// Both endpoints of a live broadcast.
struct Doors {
    root: Broadcast,
    endpoints: [String; 2],
    _directory: TempDir,
}

fn doors() -> Doors {
    let directory = TempDir::new();
    let port = free_port();
    let args = Broadcast::args(&directory)
        .with("--max-children", "100")
        .with("--listen", format!("127.0.0.1:{port}"));
    let root = Broadcast::start(&directory, args);
    let endpoints = [
        format!("{}/whep/{}", root.tracker, root.stream),
        format!("http://127.0.0.1:{port}/whep"),
    ];
    for endpoint in &endpoints {
        wait_for("an open door", secs(10), || {
            (post(endpoint, OFFER).status == 201).then_some(())
        });
    }
    Doors {
        root,
        endpoints,
        _directory: directory,
    }
}

/// A refusal says why in one line.
fn assert_refused(answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
    assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
    assert!(answer.body.len() > 10, "{answer:?}");
    assert_open(answer);
}

/// A page of any origin may read it (Fetch, section 3.2).
fn assert_open(answer: &Response) {
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["Location", "ETag", "Link"] {
        assert!(exposed.contains(name), "{exposed}");
    }
}

fn fragment(ufrag: &str, lines: &str) -> String {
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{lines}"
    )
}

#[test]
fn an_offer_is_answered_as_the_draft_says() {
    let _turn = share_turn();
    let doors = doors();
    for endpoint in &doors.endpoints {
        // 4.2.1, and RFC 9725: a length, because some clients cannot read chunks.
        let created = post(endpoint, OFFER);
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.header("content-type"), Some("application/sdp"));
        let length: usize = created.header("content-length").unwrap().parse().unwrap();
        assert_eq!(length, created.body.len());
        assert_eq!(created.header("transfer-encoding"), None);
        assert_open(&created);
        // 4.4.1: a strong entity tag.
        let etag = created.header("etag").unwrap();
        assert!(
            etag.starts_with('"') && etag.ends_with('"') && etag.len() > 8,
            "{etag}"
        );
        // The address of a session cannot be guessed.
        let other = post(endpoint, OFFER);
        let location = created.header("location").unwrap();
        assert!(location.len() > 30, "{location}");
        // It is below the address that was asked, also where a proxy put a path in front of it.
        for seen in [
            endpoint.clone(),
            endpoint.replace("/whep", "/in/front/whep"),
        ] {
            let session = resolve(&seen, location);
            assert!(session.starts_with(&format!("{seen}/")), "{location}");
        }
        assert_ne!(Some(location), other.header("location"));
        assert_ne!(Some(etag), other.header("etag"));
        // 4.2.5, 4.5.1 and 4.5.2: what the answer says.
        let answer = &created.body;
        assert!(answer.starts_with("v=0\r\n") && answer.ends_with("\r\n"));
        let count = |line: &str| answer.lines().filter(|l| l.starts_with(line)).count();
        assert_eq!(count("m="), 2);
        assert_eq!(count("a=sendonly"), 2);
        assert_eq!(count("a=rtcp-mux"), 2);
        assert_eq!(count("a=group:BUNDLE 0 1"), 1);
        assert_eq!((count("a=mid:0"), count("a=mid:1")), (1, 1));
        assert_eq!(
            count("a=setup:active"),
            2,
            "the handshake needs no more round trips"
        );
        let stream = |line: &str| line.split(' ').next().unwrap().to_owned();
        let streams: Vec<String> = answer
            .lines()
            .filter(|l| l.starts_with("a=msid:"))
            .map(stream)
            .collect();
        assert_eq!(streams.len(), 2);
        assert_eq!(streams[0], streams[1]);
        // 4.4.2: all candidates are in it, and it says so.
        assert!(count("a=candidate:") >= 1, "{answer}");
        assert_eq!(count("a=end-of-candidates"), 1);
        let first = answer.find("m=video").unwrap();
        assert!(answer.find("a=end-of-candidates").unwrap() < first);
    }
}

#[test]
fn what_is_no_offer_is_refused_with_a_reason() {
    let _turn = share_turn();
    let doors = doors();
    for endpoint in &doors.endpoints {
        // 4.2.4: the media type, and the form.
        let typed = |kind| request_with("POST", endpoint, &[("Content-Type", kind)], OFFER);
        assert_refused(&request("POST", endpoint, OFFER), 415);
        assert_refused(&typed("text/plain"), 415);
        assert_refused(&typed("application/trickle-ice-sdpfrag"), 415);
        assert_eq!(typed("application/sdp; charset=utf-8").status, 201);
        assert_refused(&post(endpoint, ""), 400);
        assert_refused(&post(endpoint, "{\"sdp\":\"v=0\"}"), 400);
        assert_refused(&post(endpoint, "v=0\r\ns=-\r\n"), 400);
        assert_refused(&post(endpoint, &OFFER.replace("a=rtcp-mux\r\n", "")), 400);
        assert_refused(
            &post(endpoint, &OFFER.replace("a=fingerprint:", "a=x:")),
            400,
        );
        assert_refused(&post(endpoint, &OFFER.repeat(40)), 413);
        // No common codec. Not 406, which would carry an offer of the server (4.2.2).
        let other = OFFER
            .replace("VP8/90000", "H265/90000")
            .replace("H264/", "H263/");
        assert_refused(&post(endpoint, &other), 422);
    }
    let unknown = format!("{}/whep/{}", doors.root.tracker, "a".repeat(52));
    assert_refused(&post(&unknown, OFFER), 404);
    assert_refused(
        &post(&format!("{}/whep/hello", doors.root.tracker), OFFER),
        404,
    );
}

#[test]
fn methods_have_their_answers() {
    let _turn = share_turn();
    let doors = doors();
    for endpoint in &doors.endpoints {
        let created = post(endpoint, OFFER);
        let session = session(endpoint, &created);
        for url in [endpoint, &session] {
            // 4.1: nothing to see, and no error.
            for method in ["GET", "HEAD"] {
                let seen = request(method, url, "");
                assert_eq!(
                    (seen.status, seen.body.as_str()),
                    (204, ""),
                    "{method} {url}"
                );
            }
            // 4.3: preflights, with 200, and the media type of a POST.
            let preflight = [
                ("Origin", "https://page.example"),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "content-type"),
            ];
            let open = request_with("OPTIONS", url, &preflight, "");
            assert_eq!(open.status, 200);
            assert_open(&open);
            assert_eq!(open.header("accept-post"), Some("application/sdp"));
            let headers = open.header("access-control-allow-headers").unwrap();
            for header in ["Content-Type", "If-Match", "Authorization"] {
                assert!(headers.contains(header), "{headers}");
            }
            let allowed = open
                .header("access-control-allow-methods")
                .unwrap()
                .to_owned();
            let all = ["GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE", "PUT"];
            for method in all.into_iter().filter(|method| !allowed.contains(method)) {
                let refused = request_with(method, url, &[SDP], OFFER);
                assert_refused(&refused, 405);
                assert_eq!(refused.header("allow"), Some(allowed.as_str()));
            }
        }
    }
}

#[test]
fn candidates_trickle_under_the_sessions_tag() {
    let _turn = share_turn();
    let doors = doors();
    for endpoint in &doors.endpoints {
        let created = post(endpoint, OFFER);
        let session = session(endpoint, &created);
        let etag = created.header("etag").unwrap();
        let candidate = "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n";
        let good = fragment("zjkk", candidate);
        let patch =
            |headers: &[(&str, &str)], body: &str| request_with("PATCH", &session, headers, body);
        let tagged = |tag: &str, body: &str| patch(&[FRAGMENT, ("If-Match", tag)], body);
        // 4.4.2: 204, no body, no tag.
        for body in [good.as_str(), &fragment("zjkk", "a=end-of-candidates\r\n")] {
            let taken = tagged(etag, body);
            assert_eq!((taken.status, taken.body.as_str()), (204, ""), "{taken:?}");
            assert_eq!(taken.header("etag"), None);
            assert_open(&taken);
        }
        assert_eq!(tagged("*", &good).status, 204);
        // 4.4.2: candidates of other kinds are passed over in silence.
        let tcp = "a=candidate:2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n\
                   a=candidate:3 1 udp 1 nowhere.invalid 9 typ host\r\n";
        assert_eq!(tagged(etag, &fragment("zjkk", tcp)).status, 204);
        // 4.4.1: the media type, the form, and the tag.
        assert_refused(&patch(&[SDP, ("If-Match", etag)], &good), 415);
        assert_refused(&patch(&[("If-Match", etag)], &good), 415);
        assert_refused(&tagged(etag, "hello"), 400);
        assert_refused(&tagged(etag, &"a".repeat(20_000)), 413);
        assert_refused(&patch(&[FRAGMENT], &good), 428);
        assert_refused(&tagged("\"another\"", &good), 412);
        // 4.4.1 and 4.4.3: no restarts, and the session stays.
        assert_refused(&tagged("*", &fragment("new1", candidate)), 422);
        assert_refused(&tagged(etag, &fragment("new1", candidate)), 422);
        assert_eq!(tagged(etag, &good).status, 204);
    }
}

#[test]
fn sessions_end_once() {
    let _turn = share_turn();
    let doors = doors();
    for endpoint in &doors.endpoints {
        let created = post(endpoint, OFFER);
        let url = session(endpoint, &created);
        // 4.4.1: a tag means nothing here.
        let ended = request_with("DELETE", &url, &[("If-Match", "\"another\"")], "");
        assert_eq!(ended.status, 200);
        assert_open(&ended);
        assert_refused(&request("DELETE", &url, ""), 404);
        let tag = ("If-Match", created.header("etag").unwrap());
        assert_refused(
            &request_with("PATCH", &url, &[FRAGMENT, tag], &fragment("zjkk", "")),
            404,
        );
        assert_refused(
            &request("DELETE", &format!("{endpoint}/{}", "a".repeat(40)), ""),
            404,
        );
        // A player that never connects is forgotten, and its slot with it.
        let url = session(endpoint, &post(endpoint, OFFER));
        wait_for("the end of a session that nobody uses", secs(12), || {
            (request("GET", &url, "").status == 404).then_some(())
        });
        assert_refused(&request("DELETE", &url, ""), 404);
    }
    // A session of one stream is none of another.
    let endpoint = &doors.endpoints[0];
    let url = session(endpoint, &post(endpoint, OFFER));
    let elsewhere = url.replace(&doors.root.stream, &"a".repeat(52));
    assert_refused(&request("DELETE", &elsewhere, ""), 404);
    assert_eq!(request("DELETE", &url, "").status, 200);
}

#[test]
fn a_stream_that_does_not_play_is_asked_for_again() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let (_tracker, address) = tracker("127.0.0.1:0");
    let args = banyan_tests::mesh::Args::of([
        "broadcast".into(),
        banyan_tests::media::clip_mp4().into_os_string(),
    ])
    .with("--udp", "127.0.0.1:0")
    .with("--tracker", &address)
    .with("--key", directory.join("stream.key"));
    let mut root = Broadcast::start(&directory, args);
    let endpoint = format!("{address}/whep/{}", root.stream);
    assert_eq!(root.process.interrupt(), Some(0));
    // 4.2.8
    let waiting = wait_for("the end of the broadcast", secs(10), || {
        Some(post(&endpoint, OFFER)).filter(|answer| answer.status != 201)
    });
    assert_refused(&waiting, 409);
    let seconds: u32 = waiting.header("retry-after").unwrap().parse().unwrap();
    assert!((1..60).contains(&seconds));
}
