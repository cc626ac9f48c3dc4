//! A tracker behind HTTPS, with a certificate that only those know who were told.

use banyan_tests::binaries::binary;
use banyan_tests::mesh::{Args, Broadcast, Node, START};
use banyan_tests::process::Process;
use banyan_tests::turn::share_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, stats, wait_for};
use rustix::process::Signal;

#[test]
fn a_broadcast_serves_https_to_those_who_know_its_authority() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();

    // The root is not told, and reaches the tracker in its own process all the same.
    let args = Broadcast::args(&directory)
        .with("--tracker-tls-cert", &cert)
        .with("--tracker-tls-key", &key);
    let root = Broadcast::start(&directory, args);
    assert!(root.link.starts_with("https://127.0.0.1:"), "{}", root.link);

    let trusting = |name: &str, args: Args| {
        Process::start_with(name, binary("banyan"), args, |command| {
            command.env("SSL_CERT_FILE", &cert);
        })
    };
    let file = directory.join("relay.stats");
    let relay = trusting(
        "relay",
        Args::of(["relay", &root.link])
            .with("--udp", "127.0.0.1:0")
            .with("--stats", &file),
    );
    stats::wait_until(&file, "media", secs(20), |s| {
        s.tracks.iter().any(|track| track.packets > 0)
    });
    let mut players = trusting(
        "load",
        Args::of(["load", &root.link])
            .with("--viewers", "2")
            .with("--duration", "2"),
    );
    assert_eq!(players.wait(secs(30)), Some(0), "{}", players.stderr());
    drop(relay);
    root.process.signal(Signal::HUP);
    wait_for("the certificate", START, || {
        let words = root.process.stderr();
        words.contains("certificate was read again").then_some(())
    });

    // A program that knows other authorities alone says what is wrong.
    let args = Node::args(&directory, "stranger", "relay", &root.link);
    let mut stranger = Process::start_with("stranger", binary("banyan"), args, |command| {
        command.env_remove("SSL_CERT_FILE");
    });
    wait_for("what is wrong", START, || {
        let words = stranger.stderr();
        words.contains("invalid peer certificate").then_some(())
    });
    assert_eq!(stranger.interrupt(), Some(0));
}
