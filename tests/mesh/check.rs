//! `banyan check` in networks of several kinds.

use std::time::Instant;

use banyan_tests::binaries::binary;
use banyan_tests::mesh::{Args, START};
use banyan_tests::nat::{Home, Internet, Router};
use banyan_tests::network::available;
use banyan_tests::process::Process;
use banyan_tests::scattered::Scattered;
use banyan_tests::secs;
use banyan_tests::turn::{share_turn, skip, take_turn};
use serde_json::Value;

/// What it prints there, and its exit code.
fn check(home: &Home, args: Args) -> (String, Option<i32>) {
    home.machine.inside(|| {
        let mut process = Process::start("check", binary("banyan"), args);
        let code = process.wait(START);
        (process.stdout(), code)
    })
}

#[test]
fn it_tells_what_works_and_what_does_not() {
    let _turn = take_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let mut world = Scattered::new();
    let tracker = world.tracker(Internet::V4);
    let cases = [
        (Router::None, 0, "open: "),
        (Router::PortRestricted, 0, "cone: "),
        (Router::Symmetric, 0, "symmetric: "),
        (Router::Blocked, 1, "FAIL  stun"),
    ];
    for (router, expected, words) in cases {
        let home = world.internet.home(router);
        let (text, code) = check(&home, Args::of(["check", &tracker]));
        assert_eq!(code, Some(expected), "{router:?}: {text}");
        assert!(text.contains(words), "{router:?}: {text}");
        assert!(text.contains("ok    tracker"), "{router:?}: {text}");
        assert!(text.contains("ok    clock"), "{router:?}: {text}");
    }
    let home = world.internet.home(Router::None);
    let link = world.link(Internet::V4, &"a".repeat(52));
    let (text, code) = check(&home, Args::of(["check", &link]).flag("--json"));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)));
    let findings = report["findings"].as_array().unwrap();
    let found = |name: &str| findings.iter().find(|f| f["name"] == name).unwrap();
    assert_eq!(found("ipv4")["status"], "ok", "{text}");
    // Nobody listens there.
    let nobody = format!("http://{}:9", Internet::V4);
    let (text, code) = check(&home, Args::of(["check", &nobody]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FAIL  tracker"), "{text}");
    // Without a tracker it says what can be said, at once.
    let began = Instant::now();
    let (text, code) = check(&home, Args::of(["check"]));
    assert!(began.elapsed() < secs(4), "{:?}", began.elapsed());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("name one"), "{text}");
}

#[test]
fn it_tells_whether_the_relay_works() {
    let _turn = share_turn();
    let Some((mut world, coturn)) = Scattered::with_turn() else {
        return;
    };
    let home = world.internet.home(Router::Symmetric);
    let tracker = world.tracker(Internet::V4);
    let (text, code) = check(&home, Args::of(["check", &tracker]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ok    relay"), "{text}");
    drop(coturn);
    let (text, code) = check(&home, Args::of(["check", &tracker]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("note  relay"), "{text}");
}
