//! The program `banyan-tracker`: layers of configuration, output, exit codes.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyan-tracker"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BANYAN_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A file of this content that goes when the test ends.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("banyan-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = File::new(
        "layers.toml",
        "listen = \"127.0.0.1:1111\"\nstun = \"127.0.0.1:1111\"\nlog = \"warn\"\ntrusted_proxy = [\"10.0.0.1\"]\n\
         ice_server = [\"turn:u:pass@t.test\", \"stun:s.test\"]\n",
    );
    let output = program(&[
        "--print-config",
        "--config",
        file.path(),
        "--listen",
        "127.0.0.1:3333",
    ])
    .env("BANYAN_TRACKER_LISTEN", "127.0.0.1:2222")
    .env("BANYAN_TRACKER_STUN", "127.0.0.1:2222")
    .output()
    .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let printed: toml::Table = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    assert_eq!(printed["listen"].as_str(), Some("127.0.0.1:3333"));
    assert_eq!(printed["stun"].as_str(), Some("127.0.0.1:2222"));
    assert_eq!(printed["log"].as_str(), Some("warn"));
    assert_eq!(printed["ice_server"][0].as_str(), Some("turn:u:***@t.test"));
    assert_eq!(printed["ice_server"][1].as_str(), Some("stun:s.test"));
    assert_eq!(printed["trusted_proxy"][0].as_str(), Some("10.0.0.1"));
    assert_eq!(printed["max_connections"].as_integer(), Some(16_384));
}

#[test]
fn what_is_printed_can_be_read_again() {
    let printed = program(&[
        "--print-config",
        "--stun",
        "off",
        "--trusted-proxy",
        "10.0.0.0/8",
    ])
    .output()
    .unwrap();
    let file = File::new(
        "printed.toml",
        &String::from_utf8(printed.stdout.clone()).unwrap(),
    );
    let again = program(&["--print-config", "--config", file.path()])
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", stderr(&again));
    let read = |text: Vec<u8>| -> toml::Table { String::from_utf8(text).unwrap().parse().unwrap() };
    assert_eq!(read(printed.stdout), read(again.stdout));
}

#[test]
fn a_mistake_in_the_configuration_is_named_and_exits_with_2() {
    let cases = [
        ("listn = \"127.0.0.1:1\"\n", "listn"),
        (
            "listen = \"nowhere\"\n",
            "key listen: invalid value 'nowhere'",
        ),
        ("listen = [\"127.0.0.1:1\"]\n", "listen"),
        ("ice_server = [\"http://x\"]\n", "stun:HOST:PORT"),
        ("[ice_server]\nurl = \"stun:x\"\n", "table"),
        ("trusted_proxy = [\"x\"]\n", "CIDR"),
        ("max_connections = 0\n", "max_connections"),
        ("max_connections = \"many\"\n", "max_connections"),
        ("log_format = \"xml\"\n", "[possible values: text, json]"),
        ("public_url = \"tracker.test\"\n", "public_url"),
        ("config = \"other.toml\"\n", "config"),
        ("listen = \n", "line 1"),
    ];
    for (content, word) in cases {
        let file = File::new("mistake.toml", content);
        let output = program(&["--config", file.path()]).output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{content}: {words}");
        assert!(words.contains(word), "{content}: {words}");
        assert!(words.contains(file.path()), "{content}: {words}");
    }
    for (content, word) in [
        ("tls_cert = \"a.pem\"\n", "tls_key"),
        ("log = \"a=b=c\"\n", "a=b=c"),
    ] {
        let file = File::new("contradiction.toml", content);
        let output = program(&["--config", file.path()]).output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{content}: {words}");
        assert!(words.contains(word), "{content}: {words}");
    }
    let arguments: [&[&str]; 4] = [
        &["--listen", "8080"],
        &["--trusted-proxy", "x"],
        &["--config", "/nonexistent.toml"],
        &["--bogus"],
    ];
    for arguments in arguments {
        let output = program(arguments).output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {words}");
        assert!(words.contains(arguments[arguments.len() - 1]), "{words}");
    }
}

#[test]
fn a_misspelt_environment_variable_is_named_and_exits_with_2() {
    let output = program(&["--print-config"])
        .env("BANYAN_TRACKER_LISTN", "127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = stderr(&output);
    assert!(words.contains("BANYAN_TRACKER_LISTN"), "{words}");
}

#[test]
fn a_wrong_value_in_the_environment_names_the_variable() {
    for (name, value) in [
        ("BANYAN_TRACKER_LISTEN", "here"),
        ("BANYAN_TRACKER_TRUSTED_PROXY", "10.0.0.0/8,there"),
        ("BANYAN_TRACKER_MAX_CONNECTIONS", "0"),
        ("BANYAN_TRACKER_LOG_FORMAT", "xml"),
    ] {
        let output = program(&[]).env(name, value).output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains(name), "{words}");
    }
}

#[test]
fn completions_and_manual_pages_know_the_flags() {
    for (arguments, word) in [
        (&["completions", "bash"][..], "--trusted-proxy"),
        (&["completions", "zsh"], "--trusted-proxy"),
        (&["completions", "fish"], "trusted-proxy"),
        (&["man"], "trusted\\-proxy"),
        (&["man"], "BANYAN_TRACKER_LISTEN"),
    ] {
        let output = program(arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn a_busy_port_exits_with_1_and_a_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program(&["--listen", &address, "--stun", "off"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = stderr(&output);
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains(&address), "{words}");
}

/// Ends its process however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[test]
fn it_prints_its_address_first_and_a_signal_ends_it_well() {
    for signal in ["-INT", "-TERM"] {
        let child = program(&["--listen", "127.0.0.1:0", "--stun", "off"])
            .spawn()
            .unwrap();
        let mut running = Running(child);
        let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("tracker: http://").unwrap();
        // An idle connection must not hold up the end.
        let _idle = std::net::TcpStream::connect(address).unwrap();
        let began = Instant::now();
        Command::new("kill")
            .args([signal, &running.0.id().to_string()])
            .status()
            .unwrap();
        let status = running.0.wait().unwrap();
        let mut log = String::new();
        running
            .0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_mistake_beside_a_password_does_not_show_it() {
    const PASSWORD: &str = "hunter2hunter2";
    for content in [
        format!("ice_server = [\"turn:me:{PASSWORD}@turn.example\n"),
        format!("ice_server = [\"me:{PASSWORD}@turn.example\"]\n"),
        format!("ice_server = [\"turn:me:{PASSWORD}@\"]\n"),
    ] {
        let file = File::new("password.toml", &content);
        let output = program(&["--config", file.path()]).output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{content}: {words}");
        assert!(!words.contains(PASSWORD), "{words}");
    }
    for value in [
        format!("me:{PASSWORD}@turn.example"),
        format!("turn:me:{PASSWORD}@"),
    ] {
        let name = "BANYAN_TRACKER_ICE_SERVER";
        let output = program(&[]).env(name, value).output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains(name), "{words}");
        assert!(!words.contains(PASSWORD), "{words}");
    }
}
