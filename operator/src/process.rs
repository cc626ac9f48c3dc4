//! What the process itself uses, for the metrics. Read from Linux's `/proc`; elsewhere those
//! figures are left out.

use std::fs;
use std::time::Instant;

use crate::metrics::Exposition;

/// Ticks a second in which Linux tells CPU time (`USER_HZ`; 100 on every architecture that has a
/// Rust compiler).
const TICKS: f64 = 100.0;

/// The process since it started.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    program: &'static str,
    version: &'static str,
    started: Instant,
}

impl Process {
    /// This process, which started now.
    pub fn started(program: &'static str, version: &'static str) -> Self {
        Self {
            program,
            version,
            started: Instant::now(),
        }
    }

    /// Adds its figures to `text`.
    pub fn write(&self, text: &mut Exposition) {
        text.gauges("build_info", "Always 1; which program this is")
            .sample(&[("program", self.program), ("version", self.version)], 1);
        text.gauge(
            "process_uptime_seconds",
            "Time since the process started",
            self.started.elapsed().as_secs_f64(),
        );
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kilobytes) = number_after(&status, "VmRSS:") {
            text.gauge(
                "process_resident_memory_bytes",
                "Memory the process occupies",
                kilobytes * 1024,
            );
        }
        if let Some(threads) = number_after(&status, "Threads:") {
            text.gauge("process_threads", "Threads of the process", threads);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The listing itself holds one.
            let open = open.count().saturating_sub(1);
            text.gauge("process_open_fds", "File descriptors in use", open);
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(most) = number_after(&limits, "Max open files") {
            text.gauge(
                "process_max_fds",
                "File descriptors the process may use",
                most,
            );
        }
        if let Some(seconds) = cpu_seconds() {
            text.counter(
                "process_cpu_seconds_total",
                "CPU time used, user and system",
                seconds,
            );
        }
    }
}

/// The first number behind `name` at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in parentheses, may hold anything; utime and stime are fields 14 and 15
    // of proc_pid_stat(5), so 11 and 12 behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_tells_what_it_uses() {
        let mut text = Exposition::default();
        Process::started("test", "0.0.0").write(&mut text);
        let text = text.into_text();
        for name in [
            "uptime_seconds",
            "resident_memory_bytes",
            "open_fds",
            "max_fds",
            "threads",
            "cpu_seconds_total",
        ] {
            let line = format!("banyan_process_{name} ");
            let value = text.lines().find_map(|found| found.strip_prefix(&line));
            let value: f64 = value
                .unwrap_or_else(|| panic!("{name}: {text}"))
                .parse()
                .unwrap();
            assert!(value >= 0.0);
        }
        assert!(text.contains("banyan_build_info{program=\"test\",version=\"0.0.0\"} 1"));
    }
}
