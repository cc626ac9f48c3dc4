//! Programs started by a test, read line by line, and ended with it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait_for;

/// A running program. It is killed, by its id, when this is dropped, and what it said is printed
/// when the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

type Lines = Arc<Mutex<Vec<String>>>;

impl Process {
    /// Starts `program` with `args`; `name` is for people.
    pub fn start(
        name: &str,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        Self::start_with(name, program, args, |_| {})
    }

    /// Starts `program` after `change` has set its environment or directory.
    pub fn start_with(
        name: &str,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let stdout = collect(child.stdout.take().unwrap());
        // None where `change` has sent it elsewhere.
        let stderr = child.stderr.take().map(collect).unwrap_or_default();
        Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    /// Its name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The rest of the first line on standard output that begins with `prefix`.
    ///
    /// # Panics
    /// After `timeout`, or at once when the program has ended without such a line.
    pub fn line(&mut self, prefix: &str, timeout: Duration) -> String {
        let what = format!("'{prefix}' from {}", self.name);
        let stdout = Arc::clone(&self.stdout);
        let stderr = Arc::clone(&self.stderr);
        wait_for(&what, timeout, || {
            // Whether it has ended is asked first, so that its last words are not missed.
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                thread::sleep(Duration::from_millis(50));
            }
            let found = stdout
                .lock()
                .unwrap()
                .iter()
                .find_map(|line| line.strip_prefix(prefix).map(|rest| rest.trim().to_owned()));
            if let (None, Some(status)) = (&found, ended) {
                let words = stderr.lock().unwrap().join("\n");
                panic!(
                    "{} ended with {status} before it said '{prefix}':\n{words}",
                    self.name
                );
            }
            found
        })
    }

    /// Everything it said on standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().join("\n")
    }

    /// Everything it said on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    /// Waits for it to end; its exit code, or none where a signal ended it.
    ///
    /// # Panics
    /// After `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<i32> {
        let what = format!("the end of {}", self.name);
        let status = wait_for(&what, timeout, || self.child.try_wait().unwrap());
        // Its pipes are read by threads of their own, which see the end a little later.
        thread::sleep(Duration::from_millis(50));
        status.code()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as Ctrl-C does; its exit code.
    pub fn interrupt(&mut self) -> Option<i32> {
        self.signal(Signal::INT);
        self.wait(Duration::from_secs(10))
    }

    /// Open descriptors, from Linux's `/proc`.
    pub fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap();
        files.count()
    }

    /// CPU time of all its threads that live, from Linux's `/proc`.
    pub fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let times = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(times.sum())
    }

    /// Resident memory in bytes, from Linux's `/proc`.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap();
        kilobytes * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process, too, ends on SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let stderr = self.stderr.lock().unwrap();
            let from = stderr.len().saturating_sub(30);
            eprintln!("--- {}: the end of its log", self.name);
            for line in &stderr[from..] {
                eprintln!("    {line}");
            }
        }
    }
}

/// Most lines kept of each of a program's outputs.
const MAX_LINES: usize = 20_000;

fn collect(pipe: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let collected = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            let mut lines = collected.lock().unwrap();
            if lines.len() < MAX_LINES {
                lines.push(line);
            }
        }
    });
    lines
}

/// Runs a program to its end and returns its standard output.
///
/// # Panics
/// When it cannot be started, fails, or takes more than a minute.
pub fn run(program: &str, args: &[&str]) -> String {
    let began = Instant::now();
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{program} took too long"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
