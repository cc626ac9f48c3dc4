//! What peers cost a tracker: CPU time of a join, memory and messages of one that only watches.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use banyan_tests::api;
use banyan_tests::mesh::{Args, tracker_with};
use banyan_tests::process::Process;
use banyan_tests::secs;
use banyan_tests::sessions::Audience;
use serde_json::{Value, json};

/// Joins in a second.
const RATE: u32 = 1000;

/// Time in which a tree comes to rest at most, and in which it is watched then.
const REST: Duration = secs(90);
const WATCHED: Duration = secs(20);

/// Messages to all peers in a second for each of them, below which a tree rests.
const RESTS: f64 = 0.02;

/// Lets `count` peers come, join and watch; prints what that costs, and returns it.
pub fn measure(count: usize) -> Value {
    let most = "20000";
    let args = Args::default()
        .with("--max-connections", most)
        .with("--max-connections-per-address", most);
    let (process, address) = tracker_with("127.0.0.1:0", args);
    let look = || Look::at(&process, &address);
    let peers = count as f64;
    let empty = look();
    let audience = Audience::gather(&address, count);
    let connected = look();
    audience.join(RATE);
    let reports = audience.reports() as f64;
    let joined = look();
    audience.settle();
    let rests = rest(peers, look);
    let quiet = look();
    let before = audience.reports() as f64;
    sleep(WATCHED);
    let end = look();
    let report = quiet.micros(&end) / (audience.reports() as f64 - before);
    drop(audience);

    let minutes = peers * quiet.seconds(&end) / 60.0;
    let connection = empty.micros(&connected) / peers;
    let with_reports = connected.micros(&joined) / peers;
    let join = with_reports - report * reports / peers;
    let memory = |look: &Look| (look.memory as f64 - empty.memory as f64) / peers / 1e3;
    let (idle, attached) = (memory(&connected), memory(&end));
    let quiet_rate = |name: &str| (end.counters[name] - quiet.counters[name]) / minutes;
    let (heard, said) = (quiet_rate("messages_received"), quiet_rate("messages_sent"));
    let all = |name: &str| quiet_rate(name) * peers / 60.0 / 1e3;
    println!("{count} peers over WebSocket, 7 of 10 pages that follow the tree:");
    println!("  CPU of a connection with its hello: {connection:.0} us");
    println!(
        "  CPU of a join with session descriptions both ways: {join:.0} us (target 150); \
         {with_reports:.0} with {:.1} reports of each peer meanwhile, at {report:.0} us",
        reports / peers
    );
    println!(
        "  memory of a peer: {idle:.1} KB when it has said hello (target 10), {attached:.1} KB in \
         the tree, with a standby and a view of the tree"
    );
    if !rests {
        println!("  the tree has not come to rest in {} s", REST.as_secs());
    }
    println!(
        "  control messages of a peer in a minute of quiet: {heard:.1} to the tracker (target 3), \
         {said:.1} from it"
    );
    println!(
        "  all of them in quiet: {:.0} KB/s to the tracker, {:.0} KB/s from it; CPU {:.1} %",
        all("bytes_received"),
        all("bytes_sent"),
        quiet.micros(&end) / quiet.seconds(&end) / 1e4,
    );
    json!({
        "peers": count,
        "connection_us": connection,
        "join_us": join,
        "report_us": report,
        "idle_kilobytes": idle,
        "attached_kilobytes": attached,
        "messages_per_peer_minute": heard,
    })
}

/// Waits until the tracker has little to say; whether it came to that.
fn rest(peers: f64, look: impl Fn() -> Look) -> bool {
    let deadline = Instant::now() + REST;
    let mut before = look();
    while Instant::now() < deadline {
        sleep(secs(5));
        let now = look();
        let said = now.counters["messages_sent"] - before.counters["messages_sent"];
        if said / before.seconds(&now) < RESTS * peers {
            return true;
        }
        before = now;
    }
    false
}

/// A tracker at one time.
struct Look {
    at: Instant,
    cpu: Duration,
    memory: u64,
    counters: HashMap<String, f64>,
}

impl Look {
    fn seconds(&self, to: &Self) -> f64 {
        (to.at - self.at).as_secs_f64()
    }

    fn micros(&self, to: &Self) -> f64 {
        (to.cpu - self.cpu).as_secs_f64() * 1e6
    }

    fn at(process: &Process, address: &str) -> Self {
        // The figures may be a second old.
        sleep(Duration::from_millis(1100));
        let text = api::get(&format!("{address}/metrics")).body;
        let counters = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("banyan_")?.split_once("_total ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self {
            counters: counters.collect(),
            at: Instant::now(),
            cpu: process.cpu_time(),
            memory: process.resident_bytes(),
        }
    }
}
