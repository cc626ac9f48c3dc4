//! CPU time and memory of a process on this machine, as `/proc` tells them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// Clock ticks per second in `/proc`: USER_HZ, 100 on every Linux that Rust runs on (proc(5)).
const TICKS: u64 = 100;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pid: u32,
    name: String,
}

/// What a process used: a sample, or the difference of two.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Usage {
    /// Which process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// CPU time in seconds.
    pub cpu_s: f64,
    /// The same as a share of one core's time; 0 in a sample.
    pub cpu_percent: f64,
    /// CPU time in microseconds for each packet that a viewer received; 0 in a sample.
    pub cpu_us_per_packet: f64,
    /// Memory in use (resident), in kilobytes.
    pub memory_kb: u64,
}

impl Process {
    /// The process with this number.
    ///
    /// # Errors
    /// When there is none, or this system has no `/proc`.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"))
            .with_context(|| format!("there is no process {pid}"))?;
        Ok(Self {
            pid,
            name: name.trim().to_owned(),
        })
    }

    /// The process that listens on a TCP port of this machine, if it may be looked at.
    pub fn listening_on(port: u16) -> Option<Self> {
        let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| listeners(&table, port))
            .collect();
        let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse::<u32>().ok()
        });
        pids.into_iter()
            .find(|pid| owns_one(*pid, &sockets))
            .and_then(|pid| Self::of(pid).ok())
    }

    /// What it used since it started; none once it has ended.
    pub fn usage(&self) -> Option<Usage> {
        let folder = format!("/proc/{}", self.pid);
        let ticks = ticks(&fs::read_to_string(format!("{folder}/stat")).ok()?)?;
        let memory_kb = resident_kb(&fs::read_to_string(format!("{folder}/status")).ok()?)?;
        Some(Usage {
            pid: self.pid,
            name: self.name.clone(),
            cpu_s: ticks as f64 / TICKS as f64,
            cpu_percent: 0.0,
            cpu_us_per_packet: 0.0,
            memory_kb,
        })
    }
}

impl Usage {
    /// What was used since an earlier sample, in which viewers received `packets`.
    pub fn since(&self, before: &Self, time: Duration, packets: u64) -> Self {
        let cpu_s = (self.cpu_s - before.cpu_s).max(0.0);
        Self {
            cpu_s,
            cpu_percent: cpu_s / time.as_secs_f64().max(0.001) * 100.0,
            cpu_us_per_packet: cpu_s * 1e6 / packets.max(1) as f64,
            ..self.clone()
        }
    }
}

/// Inodes of the sockets that listen on a port, from a table like `/proc/net/tcp`.
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (_, hex) = fields.get(1)?.rsplit_once(':')?;
            let listens =
                u16::from_str_radix(hex, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
            listens.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
        })
        .collect()
}

fn owns_one(pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files.filter_map(Result::ok).any(|file| {
        fs::read_link(file.path())
            .is_ok_and(|to| sockets.iter().any(|socket| to == Path::new(socket)))
    })
}

/// User and system time from `/proc/PID/stat`: fields 14 and 15, counted behind the name, which
/// may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_kb(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_by_its_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
            \x20  1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n";
        assert_eq!(listeners(table, 8080), ["socket:[4711]"]);
        assert!(listeners(table, 8081).is_empty());
    }

    #[test]
    fn the_times_stand_behind_any_name() {
        let stat = "12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(resident_kb("Name:\tx\nVmRSS:\t  1234 kB\n"), Some(1234));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found_where_it_listens() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let process = Process::listening_on(port).unwrap();
        assert_eq!(process.pid, std::process::id());
        assert!(process.usage().unwrap().memory_kb > 0);
        drop(socket);
        assert_eq!(Process::listening_on(port), None);
    }
}
