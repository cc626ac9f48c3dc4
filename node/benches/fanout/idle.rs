//! CPU of a node that has no stream: the program itself, looking for a tracker that is away.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cpu::Cpu;

/// Time before counting begins, so that the start of the program is not in it.
const START: Duration = Duration::from_secs(2);

/// A stream that nobody broadcasts, at a tracker that nobody runs.
const LINK: &str = "http://127.0.0.1:9/watch/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The share of one CPU, in per cent, that `banyan relay` uses during `time`.
pub(crate) fn measure(time: Duration) -> Result<f64> {
    let mut node = Command::new(env!("CARGO_BIN_EXE_banyan"))
        .args(["relay", LINK, "--udp", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let used = (|| {
        std::thread::sleep(START);
        let begin = Instant::now();
        let before = Cpu::process(node.id())?;
        std::thread::sleep(time);
        anyhow::ensure!(node.try_wait()?.is_none(), "the idle node ended");
        let spent = Cpu::process(node.id())?.since(before);
        Ok(spent.total().as_secs_f64() * 100.0 / begin.elapsed().as_secs_f64())
    })();
    let _ = node.kill();
    let _ = node.wait();
    used
}
