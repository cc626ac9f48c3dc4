//! Our engine as a parent: children join, are sent the stream, and what that costs is counted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use banyan::id::LinkKey;
use banyan_node::rtc::{Engine, EngineEvent, PeerClass};

use crate::cpu::{Cpu, Spent};
use crate::pipe::{Children, News, Order};
use crate::stream::{FRAME, engine, key, number, packets, stream};

/// Longest that children may take to join.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of the first child that only comes and goes.
pub(crate) const NEWCOMERS: u16 = 1000;

/// A parent and its children's process.
pub(crate) struct Parent {
    pub(crate) engine: Engine,
    pub(crate) children: Children,
    /// The connected links of `children`.
    pub(crate) links: Vec<LinkKey>,
    /// Children that come and go, numbered from [`NEWCOMERS`] on.
    pub(crate) newcomers: Option<Children>,
    /// How many of them got in.
    pub(crate) joined: u64,
    frame: u32,
}

/// What a stretch of forwarding cost.
pub(crate) struct Run {
    pub(crate) cpu: Spent,
    /// Packets times children.
    pub(crate) sent: u64,
}

impl Parent {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            engine: engine()?,
            children: Children::start()?,
            links: Vec::new(),
            newcomers: None,
            joined: 0,
            frame: 0,
        })
    }

    /// Has `count` more children join; returns the CPU time that took here.
    pub(crate) async fn join(&mut self, count: u16) -> Result<Spent> {
        let begin = Instant::now();
        let cpu = Cpu::thread()?;
        let first = u16::try_from(self.links.len())? + 1;
        let wanted = self.links.len() + usize::from(count);
        self.children.tell(&Order::Join { first, count })?;
        while self.links.len() < wanted {
            anyhow::ensure!(
                begin.elapsed() < PATIENCE,
                "only {} of {wanted} joined",
                self.links.len()
            );
            self.turn(Instant::now() + Duration::from_millis(50))
                .await?;
        }
        Ok(Cpu::thread()?.since(cpu))
    }

    /// Sends the stream to the first `count` children for `time`.
    pub(crate) async fn forward(&mut self, count: usize, time: Duration) -> Result<Run> {
        let begin = Instant::now();
        let cpu = Cpu::thread()?;
        let (mut frames, mut sent) = (0, 0);
        while begin.elapsed() < time {
            if FRAME * frames <= begin.elapsed() {
                let group = packets(self.frame);
                let now = Instant::now();
                for link in self.links.iter().take(count) {
                    self.engine.send_packets(now, *link, &group);
                    sent += group.len() as u64;
                }
                self.frame += 1;
                frames += 1;
            }
            self.turn((begin + FRAME * frames).min(begin + time))
                .await?;
        }
        let cpu = Cpu::thread()?.since(cpu);
        Ok(Run { cpu, sent })
    }

    /// Lets what is under way arrive.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            self.turn(end).await?;
        }
        Ok(())
    }

    /// One turn of a node's loop: waits until `until` at most.
    async fn turn(&mut self, until: Instant) -> Result<()> {
        self.engine.flush(Instant::now());
        let newcomers = async {
            match &mut self.newcomers {
                Some(newcomers) => newcomers.news.recv().await,
                None => std::future::pending().await,
            }
        };
        let news = tokio::select! {
            news = self.children.news.recv() => Some(news.context("the children ended")?),
            news = newcomers => Some(news.context("the newcomers ended")?),
            () = self.engine.wait(Some(until)) => None,
        };
        let now = Instant::now();
        match news {
            Some(News::Offer { child, sdp }) => {
                let class = PeerClass::Native;
                self.engine
                    .accept(now, key(child), &sdp, &stream(), class, &[])?;
            }
            Some(News::Candidate { child, candidate }) => {
                // A child of a storm may be gone already.
                let _ = self.engine.add_candidate(now, key(child), &candidate);
            }
            _ => {}
        }
        self.engine.receive(now);
        if self.engine.deadline().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
        }
        while let Some(event) = self.engine.poll_event() {
            match event {
                EngineEvent::Answer { link, sdp } => {
                    let child = number(link);
                    self.tell(child, &Order::Answer { child, sdp })?;
                }
                EngineEvent::LocalCandidate { link, candidate } => {
                    let child = number(link);
                    self.tell(child, &Order::Candidate { child, candidate })?;
                }
                EngineEvent::Connected { link } if number(link) < NEWCOMERS => {
                    self.links.push(link);
                }
                EngineEvent::Connected { .. } => self.joined += 1,
                EngineEvent::Closed { link, .. } => self.links.retain(|l| *l != link),
                _ => {}
            }
        }
        self.engine.flush(now);
        Ok(())
    }

    fn tell(&mut self, child: u16, order: &Order) -> Result<()> {
        match &mut self.newcomers {
            Some(newcomers) if child >= NEWCOMERS => newcomers.tell(order),
            _ => self.children.tell(order),
        }
    }
}
