//! coturn, the TURN server that most people run.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::mesh::{Args, START};
use crate::nat::Internet;
use crate::process::Process;
use crate::wait_for;
use crate::workspace::TempDir;

const SECRET: &str = "north-star";
const PORT: u16 = 3480;

/// A TURN server that shares a secret with a tracker.
#[derive(Debug)]
pub struct Coturn {
    _process: Process,
    secret_file: PathBuf,
    _directory: TempDir,
}

/// Whether it is installed.
pub fn installed() -> bool {
    let runs = Command::new("turnserver")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    runs.is_ok()
}

impl Coturn {
    /// Starts one in the middle of an internet.
    pub fn start(internet: &Internet) -> Self {
        let directory = TempDir::new();
        let secret_file = directory.join("turn.secret");
        std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
        let option = |name: &str, value: &str| format!("--{name}={value}");
        let args = Args::of([
            "-n".to_owned(),
            "--no-tls".to_owned(),
            "--no-dtls".to_owned(),
            "--no-cli".to_owned(),
            "--fingerprint".to_owned(),
            "--use-auth-secret".to_owned(),
            option("static-auth-secret", SECRET),
            option("realm", "turn.test"),
            option("listening-ip", Internet::V4),
            option("relay-ip", Internet::V4),
            option("listening-port", &PORT.to_string()),
            option("log-file", "stdout"),
            option("pidfile", directory.join("turn.pid").to_str().unwrap()),
            option("userdb", directory.join("turn.db").to_str().unwrap()),
        ]);
        let process = (internet.middle).inside(|| Process::start("coturn", "turnserver", args));
        let coturn = Self {
            _process: process,
            secret_file,
            _directory: directory,
        };
        wait_for("coturn to listen", START, || {
            let listens = std::net::SocketAddr::new(Internet::V4.parse().unwrap(), PORT);
            (internet.middle)
                .inside(|| std::net::TcpStream::connect(listens))
                .ok()
                .map(drop)
        });
        coturn
    }

    /// A tracker's arguments that offer it, over UDP and TCP.
    pub fn offer(&self) -> Args {
        let url = format!("turn:{}:{PORT}", Internet::V4);
        Args::default()
            .with("--turn", format!("{url},{url}?transport=tcp"))
            .with("--turn-secret-file", &self.secret_file)
    }
}
