//! What the kernel counts for a thread and for a process: CPU time and memory (Linux only).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Bytes per page of the resident set size.
const PAGE: u64 = 4096;

/// CPU time used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Exact.
    total: Duration,
    /// In ticks, as the kernel samples it: good for the ratio of the two.
    user: u64,
    system: u64,
}

/// CPU time used between two moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Spent {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Cpu {
    /// Of this thread.
    pub(crate) fn thread() -> Result<Self> {
        Self::read(Path::new("/proc/thread-self"))
    }

    /// Of all threads of a process that live now.
    pub(crate) fn process(id: u32) -> Result<Self> {
        let mut sum = Self::default();
        for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
            // A thread may end while its neighbours are read.
            let Ok(one) = Self::read(&task?.path()) else {
                continue;
            };
            sum.total += one.total;
            sum.user += one.user;
            sum.system += one.system;
        }
        Ok(sum)
    }

    fn read(task: &Path) -> Result<Self> {
        let schedstat = std::fs::read_to_string(task.join("schedstat"))?;
        let nanoseconds = schedstat.split_whitespace().next().context("schedstat")?;
        let stat = std::fs::read_to_string(task.join("stat"))?;
        // The name in parentheses may hold anything; fields 14 and 15 of proc(5) follow it.
        let (_, fields) = stat.rsplit_once(')').context("stat")?;
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse);
        let mut tick = || -> Result<u64> { Ok(ticks.next().context("stat")??) };
        Ok(Self {
            total: Duration::from_nanos(nanoseconds.parse()?),
            user: tick()?,
            system: tick()?,
        })
    }

    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Spent {
        let total = self.total.saturating_sub(before.total);
        let user = self.user.saturating_sub(before.user) as f64;
        let system = self.system.saturating_sub(before.system) as f64;
        let share = if user + system > 0.0 {
            user / (user + system)
        } else {
            1.0
        };
        let user = total.mul_f64(share);
        Spent {
            user,
            system: total.saturating_sub(user),
        }
    }
}

/// Bytes of memory this process has in use.
pub(crate) fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text
        .split_whitespace()
        .nth(1)
        .context("statm")?
        .parse()
        .context("statm")?;
    Ok(pages * PAGE)
}
