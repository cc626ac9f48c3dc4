//! The children's process: what it is told and what it tells, a line of JSON each.
//!
//! A process of its own, so that CPU and memory of the parent are the parent's alone.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// To the children.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// So many children join, numbered from `first` on.
    Join { first: u16, count: u16 },
    /// One child joins every `every_us` microseconds, `count` in all, and leaves when it is in.
    Storm {
        first: u16,
        count: u16,
        every_us: u64,
    },
    /// The parent's answer to a child.
    Answer { child: u16, sdp: String },
    /// A candidate of the parent's.
    Candidate { child: u16, candidate: String },
    /// So many plain sockets open that read and count.
    Sink { count: u16 },
    /// Counting begins anew.
    Reset,
    /// What was counted is wanted.
    Report,
}

/// From the children.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum News {
    Offer {
        child: u16,
        sdp: String,
    },
    Candidate {
        child: u16,
        candidate: String,
    },
    Connected {
        child: u16,
    },
    /// The sinks' ports.
    Ports(Vec<u16>),
    Report(Report),
}

/// What the children received since the last reset.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) packets: u64,
    /// From the parent's having a packet to a child's having it, in milliseconds.
    pub(crate) delay_p50: f64,
    pub(crate) delay_p99: f64,
    pub(crate) delay_max: f64,
}

/// A running process of children; it ends when this is dropped.
pub(crate) struct Children {
    process: Child,
    orders: Option<ChildStdin>,
    pub(crate) news: mpsc::UnboundedReceiver<News>,
}

impl Children {
    pub(crate) fn start() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--children")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the children's process")?;
        let orders = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().context("stdout")?).lines();
        let (sender, news) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(news) => drop(sender.send(news)),
                    Err(error) => eprintln!("children: {line}: {error}"),
                }
            }
        });
        Ok(Self {
            process,
            orders,
            news,
        })
    }

    pub(crate) fn tell(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.as_mut().context("stdin")?.write_all(&line)?;
        Ok(())
    }

    /// What was counted; the parent may be still meanwhile.
    pub(crate) async fn report(&mut self) -> Result<Report> {
        self.tell(&Order::Report)?;
        loop {
            if let News::Report(report) = self.news.recv().await.context("the children ended")? {
                return Ok(report);
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        // End of input is the order to leave.
        self.orders = None;
        let _ = self.process.wait();
    }
}
