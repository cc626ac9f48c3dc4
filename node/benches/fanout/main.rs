//! What a parent costs per forwarded packet and per child, beside the floor that the cipher and
//! the kernel set, with real children on the loopback interface.
//!
//! `cargo bench -p banyan-node --bench fanout -- [--json FILE] [--seconds N] [--only TABLE]...
//! [CHILDREN]...` (default 10 50 100 200). The parent runs on one thread; the children are a
//! process of their own. Linux only: it reads CPU clocks from `/proc`.

mod children;
mod cpu;
mod floor;
mod foreign;
mod idle;
mod parent;
mod pipe;
mod stream;
mod table;

use std::time::Duration;

use anyhow::{Context, Result};

use cpu::{Spent, resident};
use parent::{NEWCOMERS, Parent};
use pipe::{Children, Order};
use table::{Table, as_json};

/// Children while others join, and in the table of memory.
const STANDARD: u16 = 50;

/// Joins per second in the storm.
const JOINS_PER_SECOND: u16 = 100;

/// Names of the tables, in the order they are measured.
const TABLES: [&str; 5] = ["per_child", "cpu", "webrtc", "joins", "idle"];

struct Options {
    children: Vec<u16>,
    tables: Vec<String>,
    time: Duration,
    json: Option<String>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        children: Vec::new(),
        tables: Vec::new(),
        time: Duration::from_secs(6),
        json: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--children" => return children::run(),
            // Cargo says this to every benchmark.
            "--bench" => {}
            "--json" => options.json = Some(value()?),
            "--seconds" => options.time = Duration::from_secs(value()?.parse()?),
            "--only" => options.tables.push(value()?),
            number => options.children.push(number.parse().with_context(|| {
                format!("{number}: neither an option nor a number of children")
            })?),
        }
    }
    if options.children.is_empty() {
        options.children = vec![10, 50, 100, 200];
    }
    if let Some(unknown) = options
        .tables
        .iter()
        .find(|t| !TABLES.contains(&t.as_str()))
    {
        anyhow::bail!(
            "there is no table {unknown}; there are {}",
            TABLES.join(", ")
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> Result<()> {
    let wanted =
        |table: &str| options.tables.is_empty() || options.tables.iter().any(|t| t == table);
    let mut tables = Vec::new();
    // Memory first, while this process has none that it would use again.
    if wanted("per_child") {
        tables.push(per_child(options).await?);
    }
    if wanted("cpu") {
        tables.extend(cpu(options).await?);
    }
    if wanted("webrtc") {
        tables.push(webrtc(options).await?);
    }
    if wanted("joins") {
        tables.push(joins(options).await?);
    }
    if wanted("idle") {
        let mut table = Table::new("idle", "A node without a stream", &["cpu_percent"]);
        table.rows.push(vec![idle::measure(options.time)?]);
        tables.push(table);
    }
    for table in &tables {
        table.print();
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&as_json(&tables))?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {path}"))?;
    }
    Ok(())
}

/// Microseconds per packet.
fn each(time: Duration, packets: u64) -> f64 {
    time.as_secs_f64() * 1e6 / packets.max(1) as f64
}

fn user_and_system(cpu: Spent, packets: u64) -> [f64; 2] {
    [each(cpu.user, packets), each(cpu.system, packets)]
}

/// What one more child takes: CPU for its handshake, memory while it is fed.
async fn per_child(options: &Options) -> Result<Table> {
    let mut table = Table::new(
        "per_child",
        "One more child: CPU of its handshake, memory beyond the shared ring",
        &["children", "handshake_ms", "memory_kb"],
    );
    let mut parent = Parent::start()?;
    // What the first children bring into memory, all share.
    parent.join(5).await?;
    parent.forward(5, Duration::from_secs(1)).await?;
    let before = resident()?;
    let cpu = parent.join(2 * STANDARD).await?;
    let all = parent.links.len();
    parent.forward(all, options.time).await?;
    let grown = resident()?.saturating_sub(before);
    let count = f64::from(2 * STANDARD);
    table.rows.push(vec![
        count,
        cpu.total().as_secs_f64() * 1000.0 / count,
        grown as f64 / 1024.0 / count,
    ]);
    Ok(table)
}

async fn cpu(options: &Options) -> Result<[Table; 2]> {
    let mut costs = Table::new(
        "cpu",
        "CPU per forwarded packet of 1200 bytes in us, beside the floor (AES-GCM and GSO send); \
         delay added in ms",
        &[
            "children",
            "user",
            "system",
            "total",
            "floor_user",
            "floor_system",
            "floor",
            "ratio",
            "delay_p50",
            "delay_p99",
            "delivered_percent",
        ],
    );
    let mut parts = Table::new(
        "parts",
        "What it is spent on, in us: the cipher, the kernel, everything else",
        &["children", "protect", "kernel", "rest"],
    );
    for &count in &options.children {
        let floor = floor::measure(count, options.time).await?;
        anyhow::ensure!(
            floor.report.packets * 100 >= floor.sent * 99,
            "only {} of {} packets of the floor arrived",
            floor.report.packets,
            floor.sent
        );
        let mut parent = Parent::start()?;
        parent.join(count).await?;
        let all = parent.links.len();
        parent.forward(all, Duration::from_secs(1)).await?;
        parent.settle().await?;
        parent.children.tell(&Order::Reset)?;
        let run = parent.forward(all, options.time).await?;
        parent.settle().await?;
        let report = parent.children.report().await?;
        let [user, system] = user_and_system(run.cpu, run.sent);
        let [floor_user, floor_system] = user_and_system(floor.cpu, floor.sent);
        let (total, least) = (user + system, floor_user + floor_system);
        costs.rows.push(vec![
            count.into(),
            user,
            system,
            total,
            floor_user,
            floor_system,
            least,
            total / least,
            report.delay_p50,
            report.delay_p99,
            report.packets as f64 * 100.0 / run.sent as f64,
        ]);
        let protect = each(floor.protect, floor.protected);
        parts.rows.push(vec![
            count.into(),
            protect,
            system,
            (user - protect).max(0.0),
        ]);
    }
    Ok([costs, parts])
}

async fn webrtc(options: &Options) -> Result<Table> {
    let mut table = Table::new(
        "webrtc",
        "The same on the webrtc crate's async layer, in us; delay added in ms",
        &[
            "children",
            "user",
            "system",
            "total",
            "delay_p50",
            "delay_p99",
            "delivered_percent",
        ],
    );
    for &count in &options.children {
        let (run, report) = foreign::measure(count, options.time).await?;
        let [user, system] = user_and_system(run.cpu, run.sent);
        table.rows.push(vec![
            count.into(),
            user,
            system,
            user + system,
            report.delay_p50,
            report.delay_p99,
            report.packets as f64 * 100.0 / run.sent as f64,
        ]);
    }
    Ok(table)
}

/// Forwarding to some children while others join at a rate.
async fn joins(options: &Options) -> Result<Table> {
    let mut table = Table::new(
        "joins",
        "Delay at 50 children in ms while others join",
        &[
            "joins_per_second",
            "joined",
            "delay_p50",
            "delay_p99",
            "delay_max",
            "delivered_percent",
        ],
    );
    for rate in [0, JOINS_PER_SECOND] {
        let mut parent = Parent::start()?;
        parent.join(STANDARD).await?;
        let fed = parent.links.len();
        parent.forward(fed, Duration::from_secs(1)).await?;
        parent.settle().await?;
        parent.children.tell(&Order::Reset)?;
        let mut newcomers = Children::start()?;
        if rate > 0 {
            newcomers.tell(&Order::Storm {
                first: NEWCOMERS,
                count: rate * u16::try_from(options.time.as_secs())?,
                every_us: 1_000_000 / u64::from(rate),
            })?;
        }
        parent.newcomers = Some(newcomers);
        let run = parent.forward(fed, options.time).await?;
        parent.settle().await?;
        let report = parent.children.report().await?;
        table.rows.push(vec![
            rate.into(),
            parent.joined as f64,
            report.delay_p50,
            report.delay_p99,
            report.delay_max,
            report.packets as f64 * 100.0 / run.sent as f64,
        ]);
    }
    Ok(table)
}
