//! The WHIP endpoint as a resource: methods, status codes, fields and bodies of RFC 9725.

use std::io::{Read, Write};
use std::net::UdpSocket;

use banyan_tests::api::{connect, resolve, split};
use banyan_tests::publisher::{Whip, waiting, waiting_args};
use banyan_tests::secs;
use banyan_tests::turn::share_turn;
use banyan_tests::workspace::TempDir;

/// What a publisher that never connects offers: one H.264 and one Opus track.
pub(super) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\n\
    a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\n";

const SDP: &str = "Content-Type: application/sdp";
const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag";

/// An answer with its header fields.
#[derive(Debug)]
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(n, _)| n == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

fn ask(method: &str, url: &str, fields: &[&str], body: &str) -> Answer {
    let (authority, path) = split(url);
    let mut stream = connect(authority);
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses a large body need not read all of it.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Answer {
        status: status.parse().unwrap(),
        fields: fields.collect(),
        body: body.to_owned(),
    }
}

/// A broadcast whose endpoint is asked.
struct Endpoint {
    _root: banyan_tests::mesh::Broadcast,
    _directory: TempDir,
    whip: Whip,
    bearer: String,
}

impl Endpoint {
    fn start() -> Self {
        let directory = TempDir::new();
        let args = waiting_args(&directory).with("--tracker-ice-server", "stun:192.0.2.9:3478");
        let (root, whip) = waiting(&directory, args);
        let bearer = format!("Authorization: Bearer {}", whip.token);
        Self {
            _root: root,
            _directory: directory,
            whip,
            bearer,
        }
    }

    fn post(&self, offer: &str) -> Answer {
        ask("POST", &self.whip.url, &[&self.bearer, SDP], offer)
    }

    fn resource(&self, answer: &Answer) -> String {
        resolve(&self.whip.url, answer.field("location").unwrap())
    }
}

#[test]
fn a_session_is_made_trickled_to_and_ended_once() {
    let _turn = share_turn();
    let endpoint = Endpoint::start();
    let made = endpoint.post(OFFER);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.field("content-type"), Some("application/sdp"));
    // Where a proxy puts a path in front, the session is below that too.
    let location = made.field("location").unwrap();
    let seen = resolve("http://proxy.example/live/whip", location);
    assert!(
        seen.starts_with("http://proxy.example/live/whip/"),
        "{location}"
    );
    // ffmpeg fails on a chunked answer.
    let length = made.body.len().to_string();
    assert_eq!(made.field("content-length"), Some(length.as_str()));
    assert_eq!(made.field("transfer-encoding"), None);
    assert_eq!(made.field("access-control-allow-origin"), Some("*"));
    let exposed = made.field("access-control-expose-headers").unwrap();
    assert!(exposed.contains("Location") && exposed.contains("ETag"));
    let link = "<stun:192.0.2.9:3478>; rel=\"ice-server\"";
    assert_eq!(made.field("link"), Some(link));
    let tag = made.field("etag").unwrap();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    // OBS neither sends candidates nor takes them later.
    assert!(made.body.contains("\r\na=candidate:"), "{}", made.body);
    assert!(made.body.contains("\r\na=end-of-candidates\r\n"));
    assert!(made.body.contains("\r\na=setup:active\r\n"));
    assert_eq!(made.body.matches("\r\na=recvonly\r\n").count(), 2);

    let resource = endpoint.resource(&made);
    let bearer = endpoint.bearer.as_str();
    let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
        m=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n";
    let matching = format!("If-Match: {tag}");
    let patch = |fields: &[&str], body: &str| ask("PATCH", &resource, fields, body);
    let taken = patch(&[bearer, FRAGMENT, &matching], fragment);
    assert_eq!((taken.status, taken.body.as_str()), (204, ""));
    assert_eq!(patch(&[bearer, FRAGMENT], fragment).status, 428);
    let stale = patch(&[bearer, FRAGMENT, "If-Match: \"other\""], fragment);
    assert_eq!(stale.status, 412);
    let nonsense = patch(&[bearer, FRAGMENT, &matching], "hello");
    assert_eq!(nonsense.status, 400);
    assert!(nonsense.body.contains("line 1"), "{nonsense:?}");
    assert_eq!(patch(&[bearer, SDP, &matching], fragment).status, 415);
    assert_eq!(patch(&[FRAGMENT, &matching], fragment).status, 401);
    let restart = fragment.replace("abcd\r\n", "efgh\r\n");
    assert_eq!(patch(&[bearer, FRAGMENT], &restart).status, 428);
    let stale = patch(&[bearer, FRAGMENT, "If-Match: \"other\""], &restart);
    assert_eq!(stale.status, 412);
    // A restart needs a session that stands, and leaves this one as it is.
    for any in ["If-Match: *", "If-Match: \"*\""] {
        let early = patch(&[bearer, FRAGMENT, any], &restart);
        assert_eq!(early.status, 409, "{early:?}");
        assert!(early.body.contains("never connected"), "{early:?}");
    }
    assert_eq!(patch(&[bearer, FRAGMENT, &matching], fragment).status, 204);

    for method in ["GET", "HEAD"] {
        let answer = ask(method, &resource, &[], "");
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{method}");
    }
    assert_eq!(ask("DELETE", &resource, &[], "").status, 401);
    assert_eq!(ask("DELETE", &resource, &[bearer], "").status, 200);
    assert_eq!(ask("DELETE", &resource, &[bearer], "").status, 404);
    assert_eq!(patch(&[bearer, FRAGMENT, &matching], fragment).status, 404);
}

#[test]
fn the_answer_tells_the_address_that_a_stun_server_saw() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(secs(10))).unwrap();
    let url = format!("stun:{}", server.local_addr().unwrap());
    let args = waiting_args(&directory).with("--tracker-ice-server", url);
    let (_root, whip) = waiting(&directory, args);
    let bearer = format!("Authorization: Bearer {}", whip.token);
    let mut request = [0; 256];
    let (_, from) = server.recv_from(&mut request).unwrap();
    // No answer waits for the server.
    let first = ask("POST", &whip.url, &[&bearer, SDP], OFFER);
    assert_eq!(first.status, 201);
    assert!(!first.body.contains("srflx"), "{}", first.body);
    // 203.0.113.7:40000 as an XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
    let mut answer = vec![0x01, 0x01, 0, 12];
    answer.extend(&request[4..20]);
    answer.extend([0, 0x20, 0, 8, 0, 1]);
    answer.extend((40_000_u16 ^ 0x2112).to_be_bytes());
    answer.extend([203 ^ 0x21, 0x12, 113 ^ 0xA4, 7 ^ 0x42]);
    server.send_to(&answer, from).unwrap();
    // The first one never connects and gives way.
    std::thread::sleep(secs(2) + secs(1) / 2);
    let second = ask("POST", &whip.url, &[&bearer, SDP], OFFER);
    assert_eq!(second.status, 201);
    let told = second.body.contains(" 203.0.113.7 40000 typ srflx ");
    assert!(told, "{}", second.body);
}

#[test]
fn who_may_publish_and_how_is_told() {
    let _turn = share_turn();
    let endpoint = Endpoint::start();
    let url = endpoint.whip.url.as_str();
    let bearer = endpoint.bearer.as_str();
    let bare = ask("POST", url, &[SDP], OFFER);
    assert_eq!(bare.status, 401);
    assert_eq!(
        bare.field("www-authenticate"),
        Some("Bearer realm=\"whip\"")
    );
    assert_eq!(bare.field("access-control-allow-origin"), Some("*"));
    for wrong in ["Bearer wrong-token", "Basic dTpw", "Bearer"] {
        let field = format!("Authorization: {wrong}");
        let answer = ask("POST", url, &[&field, SDP], OFFER);
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(answer.field("www-authenticate").is_some(), "{wrong}");
    }
    for kind in [&["Content-Type: text/plain"][..], &[]] {
        let fields: Vec<&str> = [&[bearer], kind].concat();
        let answer = ask("POST", url, &fields, OFFER);
        assert_eq!(answer.status, 415);
        assert_eq!(answer.field("accept-post"), Some("application/sdp"));
    }
    let html = ask("POST", url, &[bearer, SDP, "Accept: text/html"], OFFER);
    assert_eq!(html.status, 406);
    for (offer, status, word) in [
        (String::new(), 400, "empty"),
        ("hello".to_owned(), 400, "line 1"),
        (OFFER.replace("a=ice-pwd", "a=x"), 400, "ICE password"),
        (OFFER.replace("fingerprint", "x"), 400, "fingerprint"),
        (OFFER.replace("H264", "H265"), 422, "H264"),
        (
            OFFER.replace("mode=1", "mode=0"),
            422,
            "packetization-mode 1",
        ),
        (OFFER.replace("opus/48000/2", "PCMU/8000"), 422, "Opus"),
        (
            OFFER.replace("sendonly", "recvonly"),
            422,
            "neither audio nor video",
        ),
        (OFFER.replace("BUNDLE 0 1", "BUNDLE 0"), 422, "BUNDLE"),
        (OFFER.replace("a=rtcp-mux\r\n", ""), 422, "RTCP"),
    ] {
        let answer = endpoint.post(&offer);
        assert_eq!(answer.status, status, "{word}: {answer:?}");
        assert!(answer.body.contains(word), "{word}: {}", answer.body);
        let kind = answer.field("content-type").unwrap();
        assert!(kind.starts_with("text/plain"), "{kind}");
    }
    let long = format!("{OFFER}{}", "a=x:y\r\n".repeat(10_000));
    assert_eq!(endpoint.post(&long).status, 413);
}

#[test]
fn methods_and_preflights() {
    let _turn = share_turn();
    let endpoint = Endpoint::start();
    let url = endpoint.whip.url.as_str();
    let bearer = endpoint.bearer.as_str();
    let session = format!("{url}/aaaaaaaaaaaaaaaaaaaaaaaaaa");
    for (target, methods, allowed) in [
        (url, &["PUT", "PATCH", "DELETE"][..], "POST"),
        (session.as_str(), &["PUT", "POST"], "DELETE"),
    ] {
        for method in methods {
            let answer = ask(method, target, &[bearer], "");
            assert_eq!(answer.status, 405, "{method} {target}");
            assert!(answer.body.contains("this address takes"), "{answer:?}");
            let allow = answer.field("allow").unwrap();
            assert!(allow.contains(allowed), "{method} {target}: {allow}");
            assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
        }
        // A browser asks without a token.
        let preflight = ask("OPTIONS", target, &["Origin: https://studio.example"], "");
        assert_eq!(preflight.status, 200);
        let methods = preflight.field("access-control-allow-methods").unwrap();
        assert!(methods.contains(allowed));
        let headers = preflight.field("access-control-allow-headers").unwrap();
        assert!(headers.contains("Authorization") && headers.contains("If-Match"));
    }
    for method in ["GET", "HEAD"] {
        let answer = ask(method, url, &[], "");
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{method}");
        assert_eq!(ask(method, &session, &[], "").status, 404, "{method}");
    }
    let described = ask("OPTIONS", url, &[], "");
    assert_eq!(described.field("accept-post"), Some("application/sdp"));
    let described = ask("OPTIONS", &session, &[], "");
    let patch = described.field("accept-patch");
    assert_eq!(patch, Some("application/trickle-ice-sdpfrag"));
    let long = "a=x:y\r\n".repeat(2_500);
    let answer = ask("PATCH", &session, &[bearer, FRAGMENT], &long);
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(ask("DELETE", &session, &[bearer], "").status, 404);
    assert_eq!(ask("GET", &url.replace("/whip", "/x"), &[], "").status, 404);
}

#[test]
fn one_publishes_at_a_time_and_a_silent_one_gives_way() {
    let _turn = share_turn();
    let endpoint = Endpoint::start();
    let first = endpoint.post(OFFER);
    assert_eq!(first.status, 201);
    assert_eq!(endpoint.post(OFFER).status, 409);
    std::thread::sleep(secs(2) + secs(1) / 2);
    let second = endpoint.post(OFFER);
    assert_eq!(second.status, 201, "the first never sent anything");
    let bearer = endpoint.bearer.as_str();
    let expired = ask("DELETE", &endpoint.resource(&first), &[bearer], "");
    assert_eq!(expired.status, 404);
    // Nor does the second ever connect.
    std::thread::sleep(secs(16));
    let expired = ask("DELETE", &endpoint.resource(&second), &[bearer], "");
    assert_eq!(expired.status, 404);
    assert_eq!(endpoint.post(OFFER).status, 201);
}
