//! What must never stand in a log, however talkative it is set: ICE passwords, the stream's key,
//! TURN credentials, the publisher's token.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use banyan_tests::binaries::binary;
use banyan_tests::mesh::{Args, START, keygen};
use banyan_tests::process::Process;
use banyan_tests::publisher::{Whip, can_publish, publish, waiting_args};
use banyan_tests::turn::{share_turn, skip};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, secs, stats};

/// The password of a TURN server that nobody runs.
const TURN_PASSWORD: &str = "oh-so-secret-turn-credential";

/// Takes connections for a tracker, and keeps what the tracker says on them. Those frames are not
/// masked (RFC 6455 section 5.1), so the session descriptions in them can be read.
struct Tap {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn before(tracker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let tracker = tracker.strip_prefix("http://").unwrap().to_owned();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&tracker).unwrap());
                pass(
                    client.try_clone().unwrap(),
                    server.try_clone().unwrap(),
                    None,
                );
                pass(server, client, Some(Arc::clone(&kept)));
            }
        });
        Self { address, heard }
    }

    /// The ICE passwords that came by, each once.
    fn passwords(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let text = String::from_utf8_lossy(&heard);
        let mut found: Vec<String> = text
            .split("a=ice-pwd:")
            .skip(1)
            .map(|rest| rest.split(['\r', '\n']).next().unwrap().to_owned())
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, kept: Option<Arc<Mutex<Vec<u8>>>>) {
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if let Some(kept) = &kept {
                kept.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// Starts a program that logs everything into a file.
fn talkative(name: &str, program: &str, args: Args, log: &Path) -> Process {
    let args = args.with("--log", "trace");
    Process::start_with(name, binary(program), args, |command| {
        command.stderr(File::create(log).unwrap());
    })
}

/// The ways in which a library might print `secret`.
fn disguises(secret: &[u8]) -> [String; 4] {
    let list = |format: fn(&u8) -> String, between: &str| {
        let bytes: Vec<String> = secret.iter().map(format).collect();
        bytes.join(between)
    };
    [
        String::from_utf8_lossy(secret).into_owned(),
        list(|byte| byte.to_string(), ", "),
        list(|byte| format!("{byte:02x}"), ""),
        list(|byte| format!("{byte:02x}"), " "),
    ]
}

#[test]
fn no_secret_is_logged_at_the_most_talkative_level() {
    let _turn = share_turn();
    let directory = TempDir::new();
    for format in ["text", "json"] {
        let logs: Vec<PathBuf> = ["tracker", "root", "relay"]
            .iter()
            .map(|name| directory.join(format!("{name}-{format}.log")))
            .collect();
        let tracker_args = Args::of(["--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0"])
            .with(
                "--ice-server",
                format!("turn:me:{TURN_PASSWORD}@127.0.0.1:9"),
            )
            .with("--log-format", format);
        let mut tracker = talkative("tracker", "banyan-tracker", tracker_args, &logs[0]);
        let tap = Tap::before(tracker.line("tracker: ", START).trim_end_matches('/'));

        let key = directory.join(format!("{format}.key"));
        keygen(&key);
        let root_args = Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .flag("--loop")
            .with("--udp", "127.0.0.1:0")
            .with("--tracker", &tap.address)
            .with("--key", &key)
            .with("--log-format", format);
        let mut root = talkative("root", "banyan", root_args, &logs[1]);
        let link = root.line("watch: ", START);
        let file = directory.join(format!("{format}.stats"));
        let relay_args = Args::of(["relay", &link])
            .with("--udp", "127.0.0.1:0")
            .with("--stats", &file)
            .with("--log-format", format);
        let mut relay = talkative("relay", "banyan", relay_args, &logs[2]);
        stats::wait_until(&file, "media", secs(30), |s| {
            s.tracks.iter().any(|track| track.packets > 0)
        });
        assert_eq!(relay.interrupt(), Some(0));
        assert_eq!(root.interrupt(), Some(0));
        assert_eq!(tracker.interrupt(), Some(0));

        let mut secrets: Vec<Vec<u8>> = tap
            .passwords()
            .into_iter()
            .map(String::into_bytes)
            .collect();
        assert!(
            secrets.len() >= 2,
            "an offer's and an answer's: {secrets:?}"
        );
        secrets.push(TURN_PASSWORD.into());
        let key = std::fs::read_to_string(&key).unwrap();
        secrets.extend(
            key.split_whitespace()
                .filter(|word| word.len() >= 32)
                .map(|word| word.as_bytes().to_vec()),
        );
        assert!(secrets.len() >= 4, "the key file holds a key");
        for log in &logs {
            assert_silent(log, &secrets);
            if format == "json" {
                let text = std::fs::read_to_string(log).unwrap();
                let first = text.lines().next().unwrap();
                assert!(first.starts_with("{\"timestamp\""), "{first}");
            }
        }
    }
}

#[test]
fn a_publishers_secrets_are_not_logged_either() {
    let _turn = share_turn();
    let Some(ffmpeg) = media::ffmpeg().filter(|ffmpeg| can_publish(ffmpeg)) else {
        return skip("there is no ffmpeg that publishes through WHIP");
    };
    let directory = TempDir::new();
    let log = directory.join("root.log");
    let file = directory.join("root.stats");
    let mut root = talkative("root", "banyan", waiting_args(&directory), &log);
    let endpoint = root.line("whip: ", START);
    let token = root.line("token: ", START);

    let tap = Tap::before(endpoint.strip_suffix("/whip").unwrap());
    let whip = |token: &str| Whip {
        url: format!("{}/whip", tap.address),
        token: token.to_owned(),
    };
    let guess = "a-token-that-somebody-guessed-at";
    let mut stranger = publish(&ffmpeg, &whip(guess), &media::clip_mp4());
    assert_ne!(stranger.wait(secs(20)), Some(0));
    let publisher = publish(&ffmpeg, &whip(&token), &media::clip_mp4());
    stats::wait_until(&file, "media", secs(30), |s| {
        s.tracks.iter().any(|track| track.packets > 0)
    });
    drop(publisher);
    assert_eq!(root.interrupt(), Some(0));

    let mut secrets: Vec<Vec<u8>> = tap
        .passwords()
        .into_iter()
        .map(String::into_bytes)
        .collect();
    assert!(!secrets.is_empty(), "the answer's password was not heard");
    secrets.extend([token.into_bytes(), guess.into()]);
    assert_silent(&log, &secrets);
}

/// A log says much, and none of `secrets`.
fn assert_silent(log: &Path, secrets: &[Vec<u8>]) {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).to_lowercase();
    assert!(text.len() > 500, "{} is short: {text}", log.display());
    for disguise in secrets.iter().flat_map(|secret| disguises(secret)) {
        let found = text
            .lines()
            .find(|line| line.contains(&disguise.to_lowercase()));
        assert!(found.is_none(), "{}: {found:?}", log.display());
    }
}
