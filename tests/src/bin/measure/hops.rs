//! How much later the same packet is at the end of each hop of a chain.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, wait_for};

/// Time between two looks at the packet logs, and so the error of each figure.
const LOOK: Duration = Duration::from_micros(100);

/// Builds a chain of `length` relays and listens for `time`; per hop, how much later than the root
/// a relay had each video packet, in milliseconds.
pub(crate) fn measure(length: usize, time: Duration) -> Vec<Vec<f64>> {
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 1);
    let chain: Vec<Node> = (1..=length)
        .map(|hop| {
            let node = Node::relay(&directory, &format!("hop-{hop}"), &root.link, 1);
            node.wait_for_media(secs(10));
            // The next one hangs under this one only when the tracker knows that it stands.
            root.wait_for_peers(hop + 1, secs(10));
            node
        })
        .collect();
    let deepest = wait_for("a chain", secs(10), || {
        root.tree().iter().map(|peer| peer.depth).max()
    });
    assert_eq!(deepest as usize, length, "the tree is no chain");

    let paths = std::iter::once(root.packets.as_path()).chain(chain.iter().map(|n| &*n.packets));
    let mut logs: Vec<Tail> = paths.map(Tail::open).collect();
    // What was there before nobody has seen arrive.
    for log in &mut logs {
        log.skip();
    }
    let end = Instant::now() + time;
    while Instant::now() < end {
        for log in &mut logs {
            log.look();
        }
        sleep(LOOK);
    }
    let (at_root, hops) = logs.split_first().expect("the root's log");
    hops.iter()
        .map(|hop| {
            hop.seen
                .iter()
                .filter_map(|(seq, at)| {
                    let later = at.checked_duration_since(*at_root.seen.get(seq)?)?;
                    Some(later.as_secs_f64() * 1000.0)
                })
                .collect()
        })
        .collect()
}

/// The end of a packet log that grows, and when each of its lines was seen.
struct Tail {
    file: File,
    rest: String,
    seen: HashMap<u64, Instant>,
}

impl Tail {
    fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self {
            file,
            rest: String::new(),
            seen: HashMap::new(),
        }
    }

    fn skip(&mut self) {
        self.look();
        self.seen.clear();
    }

    fn look(&mut self) {
        self.file
            .read_to_string(&mut self.rest)
            .expect("a packet log");
        let now = Instant::now();
        let Some(end) = self.rest.rfind('\n') else {
            return;
        };
        for line in self.rest[..end].lines() {
            let mut fields = line.split(' ').skip(1);
            let (track, seq) = (fields.next(), fields.next().and_then(|s| s.parse().ok()));
            if let (Some("0"), Some(seq)) = (track, seq) {
                self.seen.insert(seq, now);
            }
        }
        self.rest.drain(..=end);
    }
}
