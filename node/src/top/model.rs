//! What is known about a stream and its tree, snapshot by snapshot. No I/O and no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use banyan::id::NodeId;
use banyan::wire::tracker::{StreamState, TreePeer};
use serde::Deserialize;

/// Most peers kept: more than anybody reads, and a quarter of a megabyte.
pub const MAX_PEERS: usize = 1024;

/// Most events kept.
const MAX_EVENTS: usize = 32;

/// Most events of one kind that a single snapshot tells one by one.
const MAX_TOLD: usize = 4;

/// Letters of a name that people read; the watch page shows the first four of them.
const SHORT: usize = 6;

/// Longest title kept, in characters.
const MAX_TITLE: usize = 120;

/// A stream as the tracker's API tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamFacts {
    /// The broadcaster's words for it.
    pub title: String,
    /// Whether it plays.
    pub state: StreamState,
    /// Peers that watch or relay it.
    pub viewers: u32,
    /// Peers that wait for a slot.
    pub waiting: u32,
    /// Seconds since it began to play.
    pub age: Option<u64>,
    /// About what each viewer receives.
    #[serde(default)]
    pub bits_per_second: Option<u64>,
    /// Lost parents since it began.
    #[serde(default)]
    pub heals: HealCounts,
}

/// How peers that lost their parent got another one.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct HealCounts {
    /// A warm standby took over.
    pub by_standby: u64,
    /// They asked the tracker.
    pub by_tracker: u64,
}

/// A stream and its tree at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The stream.
    pub stream: StreamFacts,
    /// The peers nearest to the root, [`MAX_PEERS`] at most.
    pub peers: Vec<TreePeer>,
    /// All peers of the tree.
    pub total: u32,
    /// How many are at each depth.
    pub per_depth: Vec<u32>,
}

/// A peer, and what happened to it while we looked.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As the newest snapshot shows it.
    pub peer: TreePeer,
    /// How often it got another parent.
    pub moves: u32,
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Model {
    /// The stream, once anything is known.
    pub stream: Option<StreamFacts>,
    /// Peers by name.
    pub peers: BTreeMap<NodeId, Seen>,
    /// All peers of the tree, those not kept here as well.
    pub total: u32,
    /// How many are at each depth.
    pub per_depth: Vec<u32>,
    /// What happened and when, the newest last.
    pub events: VecDeque<(Instant, String)>,
    /// Why what is known is out of date.
    pub trouble: Option<String>,
}

impl Model {
    /// Takes the newest snapshot.
    pub fn apply(&mut self, now: Instant, snapshot: Snapshot) {
        let Snapshot {
            mut stream,
            mut peers,
            total,
            per_depth,
        } = snapshot;
        stream.title = harmless(&stream.title);
        peers.truncate(MAX_PEERS);
        // Of a tree that is cut, a peer that is not seen may be further down.
        let whole = |kept: usize, total: u32| kept as u64 >= u64::from(total);
        let comparable = self.stream.is_some()
            && whole(self.peers.len(), self.total)
            && whole(peers.len(), total);
        let before = std::mem::take(&mut self.peers);
        let (mut came, mut moved) = (Vec::new(), Vec::new());
        for peer in peers {
            let old = before.get(&peer.id);
            let mut moves = old.map_or(0, |old| old.moves);
            match old.map(|old| old.peer.parent) {
                Some(parent) if parent != peer.parent => {
                    moves += 1;
                    moved.push(format!(
                        "{} went from {} to {}",
                        short(&peer.id),
                        named(parent.as_ref()),
                        named(peer.parent.as_ref())
                    ));
                }
                Some(_) => {}
                None => came.push(format!("{} came", short(&peer.id))),
            }
            self.peers.insert(peer.id, Seen { peer, moves });
        }
        let gone = before.keys().filter(|id| !self.peers.contains_key(id));
        let gone: Vec<String> = gone.map(|id| format!("{} left", short(id))).collect();
        self.tell(now, moved, "peers moved");
        if comparable {
            self.tell(now, gone, "peers left");
            self.tell(now, came, "peers came");
        }
        if let Some(old) = &self.stream
            && old.state != stream.state
        {
            let words = format!("the stream is {}", state_word(stream.state));
            self.tell(now, vec![words], "");
        }
        self.stream = Some(stream);
        self.total = total.max(self.peers.len() as u32);
        self.per_depth = per_depth;
        self.trouble = None;
    }

    /// The tracker cannot be asked; what is known stays.
    pub fn fail(&mut self, why: String) {
        self.trouble = Some(harmless(&why));
    }

    /// Peers that are not kept.
    pub fn hidden(&self) -> u32 {
        self.total.saturating_sub(self.peers.len() as u32)
    }

    /// The peers each one feeds, by name; those without a parent that is known here come second.
    pub fn branches(&self) -> (BTreeMap<NodeId, Vec<NodeId>>, Vec<NodeId>) {
        let mut below: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        let mut tops = Vec::new();
        for (&id, seen) in &self.peers {
            match seen.peer.parent {
                Some(parent) if parent != id && self.peers.contains_key(&parent) => {
                    below.entry(parent).or_default().push(id);
                }
                _ => tops.push(id),
            }
        }
        tops.sort_by_key(|id| (self.peers[id].peer.parent.is_some(), *id));
        // Two snapshots that are pages of a tree in motion may show a circle: it is cut anywhere.
        let mut reached = BTreeSet::new();
        let mut open = tops.clone();
        loop {
            while let Some(id) = open.pop() {
                if reached.insert(id) {
                    open.extend(below.get(&id).into_iter().flatten());
                }
            }
            let Some(&lost) = self.peers.keys().find(|id| !reached.contains(id)) else {
                break;
            };
            for children in below.values_mut() {
                children.retain(|child| *child != lost);
            }
            tops.push(lost);
            open.push(lost);
        }
        (below, tops)
    }

    fn tell(&mut self, now: Instant, words: Vec<String>, many: &str) {
        let words = if words.len() > MAX_TOLD {
            vec![format!("{} {many}", words.len())]
        } else {
            words
        };
        self.events
            .extend(words.into_iter().map(|words| (now, words)));
        let over = self.events.len().saturating_sub(MAX_EVENTS);
        self.events.drain(..over);
    }
}

/// The letters of a name that people read.
pub fn short(id: &NodeId) -> String {
    id.to_string().chars().take(SHORT).collect()
}

fn named(id: Option<&NodeId>) -> String {
    id.map_or_else(|| "nobody".to_owned(), short)
}

/// What a publisher or viewer would call a state.
pub fn state_word(state: StreamState) -> &'static str {
    match state {
        StreamState::Waiting => "waiting for its publisher",
        StreamState::Live => "live",
        StreamState::Away => "away, and may return",
        StreamState::Offline => "offline",
    }
}

/// Text from elsewhere without what would steer a terminal or turn its line around.
pub(super) fn harmless(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let kept = text.chars().filter(|&c| !steers(c));
    kept.take(MAX_TITLE).collect()
}
