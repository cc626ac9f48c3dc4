//! What a user may get wrong: a clear sentence and the documented exit code.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use banyan::id::StreamId;
use banyan_tests::binaries::binary;
use banyan_tests::mesh::{Args, Broadcast, Node, START, keygen};
use banyan_tests::process::Process;
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::{TempDir, repository};
use banyan_tests::{media, secs};

/// Runs `banyan` to its end, with no other program on its `PATH`; checks exit code and sentence.
#[track_caller]
fn refused(args: Args, code: i32, words: &[&str]) {
    let mut process = Process::start_with("banyan", binary("banyan"), args, |command| {
        command.env("PATH", "");
    });
    let ended = process.wait(START);
    let said = process.stderr();
    assert_eq!(ended, Some(code), "{said}");
    for word in words {
        assert!(
            said.to_lowercase().contains(&word.to_lowercase()),
            "'{word}' is not in: {said}"
        );
    }
    for dump in ["panicked", "RUST_BACKTRACE", "Error {", "Os {", "Some("] {
        assert!(!said.contains(dump), "a debug dump: {said}");
    }
}

fn broadcast(file: impl AsRef<Path>, directory: &TempDir) -> Args {
    Broadcast::args_on(directory, "127.0.0.1:0".parse().unwrap(), file.as_ref())
}

#[test]
fn arguments_that_make_no_sense() {
    let _turn = take_turn();
    refused(Args::of(["fly"]), 2, &["fly"]);
    refused(Args::of(["broadcast"]), 2, &["file"]);
    refused(Args::of(["relay"]), 2, &["link"]);
    refused(Args::of(["relay", "nonsense"]), 2, &["nonsense"]);
    refused(
        Args::of(["relay", "http://127.0.0.1:1/watch/abc"]),
        2,
        &["52 characters"],
    );
    let link = format!("http://127.0.0.1:1/watch/{}", StreamId::from_bytes([7; 32]));
    for (flag, value) in [
        ("--udp", "here"),
        ("--max-children", "1000000"),
        ("--max-upload", "fast"),
        ("--no-such-flag", "1"),
    ] {
        refused(Args::of(["relay", &link]).with(flag, value), 2, &[flag]);
    }
}

#[test]
fn files_that_cannot_be_broadcast() {
    let _turn = take_turn();
    let directory = TempDir::new();
    refused(
        broadcast("/no/such/clip.mp4", &directory),
        1,
        &["/no/such/clip.mp4"],
    );
    refused(broadcast(directory.path(), &directory), 1, &[]);
    let readme = repository("README.md");
    refused(broadcast(&readme, &directory), 1, &["README.md"]);
    let empty = directory.join("empty.mp4");
    std::fs::write(&empty, []).unwrap();
    refused(broadcast(&empty, &directory), 1, &["empty.mp4"]);
    let clip = std::fs::read(media::clip_mp4()).unwrap();
    for (name, bytes, word) in [
        ("cut.mp4", &clip[..1000], "it is cut off"),
        ("tail.mp4", &clip[clip.len() / 2..], "not a media file"),
    ] {
        std::fs::write(directory.join(name), bytes).unwrap();
        refused(
            broadcast(directory.join(name), &directory),
            1,
            &[name, word],
        );
    }
    // What WebRTC does not carry needs ffmpeg; without it, the line to type is told.
    let hevc = repository("tests/media/formats/hevc-aac.mp4");
    refused(broadcast(hevc, &directory), 1, &["ffmpeg -i"]);
}

#[test]
fn keys_that_are_none_or_belong_to_somebody_else() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let key = directory.join("my.key");
    keygen(&key);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others may not read a key");
    }
    let before = std::fs::read(&key).unwrap();
    let again = Args::of(["keygen".into(), key.clone().into_os_string()]);
    refused(again, 1, &["my.key"]);
    assert_eq!(
        std::fs::read(&key).unwrap(),
        before,
        "a key is never overwritten"
    );

    let root = Broadcast::start(&directory, Broadcast::args(&directory));
    let garbage = directory.join("garbage.key");
    std::fs::write(&garbage, "not a key").unwrap();
    let args = |key: &Path| {
        Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .with("--udp", "127.0.0.1:0")
            .with("--tracker", &root.tracker)
            .with("--key", key)
    };
    refused(args(&garbage), 1, &["garbage.key"]);
    // A second root for the stream that is on air already.
    refused(
        args(&directory.join("stream.key")),
        1,
        &["another node is broadcasting"],
    );
    let viewer = Node::relay(&directory, "viewer", &root.link, 1);
    viewer.wait_for_media(secs(10));
}

#[test]
fn streams_and_trackers_that_do_not_exist() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let root = Broadcast::start(&directory, Broadcast::args(&directory));
    let unknown = StreamId::from_bytes([7; 32]);
    let link = format!("{}/watch/{unknown}", root.tracker);
    for command in ["watch", "relay"] {
        let args = Node::args(&directory, "lost", command, &link);
        refused(args, 1, &["no such stream"]);
    }
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let link = format!("http://{nobody}/watch/{unknown}");
    refused(
        Node::args(&directory, "lost", "relay", &link),
        1,
        &[&nobody.to_string()],
    );
}

#[test]
fn ports_in_use() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp_address = udp.local_addr().unwrap();
    let tcp_address = tcp.local_addr().unwrap();
    let (udp_port, tcp_port) = (
        udp_address.port().to_string(),
        tcp_address.port().to_string(),
    );
    let args = || {
        Args::of(["broadcast".into(), media::clip_mp4().into_os_string()])
            .with("--key", directory.join("stream.key"))
    };
    let busy_udp = args()
        .with("--udp", udp_address.to_string())
        .with("--tracker-listen", "127.0.0.1:0")
        .with("--tracker-stun", "127.0.0.1:0");
    refused(busy_udp, 1, &[&udp_port, "use"]);
    let busy_tcp = args()
        .with("--udp", "127.0.0.1:0")
        .with("--tracker-listen", tcp_address.to_string())
        .with("--tracker-stun", "127.0.0.1:0");
    refused(busy_tcp, 1, &[&tcp_port, "use"]);
    let busy_stun = args()
        .with("--udp", "127.0.0.1:0")
        .with("--tracker-listen", "127.0.0.1:0")
        .with("--tracker-stun", udp_address.to_string());
    refused(busy_stun, 1, &[&udp_port, "use"]);
}
