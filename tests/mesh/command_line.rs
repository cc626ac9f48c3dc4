//! What a user may get wrong: a clear sentence and the documented exit code.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use banyan::id::StreamId;
use banyan_tests::binaries::binary;
use banyan_tests::mesh::{Args, Broadcast, Node, START, keygen};
use banyan_tests::process::Process;
use banyan_tests::turn::share_turn;
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
    let _turn = share_turn();
    refused(Args::of(["fly"]), 2, &["fly"]);
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

/// Runs `banyan` to its end with `variables` in its environment; exit code, stdout and stderr.
fn run(args: Args, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut process = Process::start_with("banyan", binary("banyan"), args, |command| {
        command.envs(variables.iter().copied());
    });
    let code = process.wait(START);
    (code, process.stdout(), process.stderr())
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let file = directory.join("node.toml");
    let link = format!("http://127.0.0.1:1/watch/{}", StreamId::from_bytes([7; 32]));
    let text = format!(
        "link = \"{link}\"\nudp = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:1\"\nmax_children = 3\n\
         max_upload = \"5M\"\nlog = \"warn\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let args =
        Args::of(["relay", "--print-config", "--udp", "127.0.0.1:3"]).with("--config", &file);
    let layers = [
        ("BANYAN_UDP", "127.0.0.1:2"),
        ("BANYAN_LISTEN", "127.0.0.1:2"),
        // Of another command, and for all of them.
        ("BANYAN_TITLE", "Friday"),
        ("BANYAN_LOG_FORMAT", "json"),
    ];
    let (code, printed, words) = run(args, &layers);
    assert_eq!(code, Some(0), "{words}");
    for line in [
        "udp = \"127.0.0.1:3\" # from the command line",
        "listen = \"127.0.0.1:2\" # from the environment",
        "max_children = 3",
        "max_upload = \"5M\"",
        "log = \"warn\"",
        "log_format = \"json\" # from the environment",
        &format!("link = \"{link}\""),
        "# record is not set",
    ] {
        assert!(
            printed.lines().any(|found| found == line),
            "{line}: {printed}"
        );
    }
}

#[test]
fn a_mistake_in_a_layer_is_told_with_its_source() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let file = directory.join("node.toml");
    let link = format!("http://127.0.0.1:1/watch/{}", StreamId::from_bytes([7; 32]));
    let relay = || Args::of(["relay", &link]).with("--config", &file);
    for (text, words) in [
        ("upd = \"127.0.0.1:1\"\n", "the key upd"),
        ("title = \"of a broadcast\"\n", "the key title"),
        ("udp = \"here\"\n", "key udp: invalid value 'here'"),
        ("max_children = 1001\n", "key max_children"),
        ("max_upload = \"fast\"\n", "key max_upload"),
        ("udp = 2026-01-01\n", "key udp"),
        ("udp\n", "line 1"),
    ] {
        std::fs::write(&file, text).unwrap();
        refused(relay(), 2, &[words, file.to_str().unwrap()]);
    }
    std::fs::remove_file(&file).unwrap();
    refused(relay(), 2, &["node.toml", "cannot be read"]);
    for (name, value) in [
        ("BANYAN_UDP", "here"),
        ("BANYAN_MAX_CHILDREN", "1001"),
        ("BANYAN_LOG_FORMAT", "xml"),
        ("BANYAN_UPD", "127.0.0.1:1"),
        ("BANYAN_TRACKER_LISTN", "127.0.0.1:1"),
        ("BANYAN_TRACKER_CONFIGS", "tracker.toml"),
        ("BANYAN_WHIP_TOKENS", "a-token-of-mine"),
    ] {
        let (code, _, words) = run(Args::of(["relay", &link]), &[(name, value)]);
        assert_eq!(code, Some(2), "{name}: {words}");
        assert!(words.contains(name), "{words}");
    }
}

#[test]
fn a_broadcast_takes_every_setting_of_a_tracker() {
    let _turn = share_turn();
    let mut tracker = Process::start("banyan-tracker", binary("banyan-tracker"), ["--help"]);
    tracker.wait(START);
    let of_tracker = tracker.stdout();
    let (_, of_broadcast, _) = run(Args::of(["broadcast", "--help"]), &[]);
    let flags = of_tracker
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--")?.split(' ').next());
    let own = [
        "help",
        "version",
        "log",
        "log-format",
        "config",
        "print-config",
    ];
    let mut count = 0;
    for flag in flags.filter(|flag| !own.contains(flag) && !flag.is_empty()) {
        let prefixed = format!("--tracker-{flag} ");
        assert!(
            of_broadcast.contains(&prefixed),
            "{prefixed}: {of_broadcast}"
        );
        count += 1;
    }
    assert!(count >= 9, "{of_tracker}");

    let half = Args::of(["broadcast", "--demo"]).with("--tracker-tls-cert", "chain.pem");
    refused(half, 2, &["tls_key is missing"]);
    let args = Args::of(["broadcast", "--demo", "--print-config"])
        .with("--tracker-ice-server", "turn:me:pass@turn.example:3478")
        .with("--tracker-trusted-proxy", "10.0.0.0/8");
    let (code, printed, words) = run(args, &[("BANYAN_TRACKER_MAX_CONNECTIONS", "7")]);
    assert_eq!(code, Some(0), "{words}");
    for line in [
        "tracker_ice_server = [\"turn:me:***@turn.example:3478\"]",
        "tracker_trusted_proxy = [\"10.0.0.0/8\"]",
        "tracker_max_connections = 7",
        "tracker_max_connections_per_address = 1024",
    ] {
        assert!(
            printed.lines().any(|found| found.starts_with(line)),
            "{line}: {printed}"
        );
    }
    refused(
        Args::of(["broadcast", "--demo"]).with("--tracker-max-connections", "0"),
        2,
        &["--tracker-max-connections"],
    );
}

/// The sample files of the packages, as they are and with every example in them switched on.
#[test]
fn sample_configurations_are_right() {
    let _turn = share_turn();
    let directory = TempDir::new();
    for (program, command, name) in [
        ("banyan", &["relay"][..], "relay.toml"),
        ("banyan-tracker", &[], "tracker.toml"),
    ] {
        let sample = repository(&format!("packaging/systemd/{name}"));
        let text = std::fs::read_to_string(sample).unwrap();
        let switched_on: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(example) if example.starts_with(char::is_alphabetic) => example,
                _ => line,
            })
            .collect();
        assert_ne!(switched_on.join("\n"), text.trim_end());
        for text in [&text, &switched_on.join("\n")] {
            let file = directory.join(name);
            std::fs::write(&file, text).unwrap();
            let args = Args::of(command.iter().copied())
                .flag("--print-config")
                .with("--config", &file);
            let mut process = Process::start(program, binary(program), args);
            let code = process.wait(START);
            assert_eq!(code, Some(0), "{name}: {}", process.stderr());
        }
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let _turn = share_turn();
    let directory = TempDir::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, text, words) = run(Args::of(["completions", shell]), &[]);
        assert_eq!(code, Some(0), "{words}");
        assert!(text.contains("max-upload"), "{shell}: {text}");
    }
    refused(Args::of(["completions", "cmd"]), 2, &["cmd", "bash"]);
    let (code, text, _) = run(Args::of(["man"]), &[]);
    assert!(
        code == Some(0) && text.contains("banyan\\-broadcast(1)"),
        "{text}"
    );
    let pages = Args::of(["man".into(), directory.path().as_os_str().to_owned()]);
    let (code, _, words) = run(pages, &[]);
    assert_eq!(code, Some(0), "{words}");
    let page = std::fs::read_to_string(directory.join("banyan-relay.1")).unwrap();
    assert!(page.contains("BANYAN_MAX_UPLOAD"), "{page}");
    refused(Args::of(["man", "/no/such/directory"]), 1, &[]);
}

#[test]
fn files_that_cannot_be_broadcast() {
    let _turn = share_turn();
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
    let _turn = share_turn();
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
    let _turn = share_turn();
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
    let _turn = share_turn();
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
