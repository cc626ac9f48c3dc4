//! What is asked of a virtual world: who is fed, and whether anything is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use banyan::id::NodeId;
use banyan::relay::packet::{ExtSeq, TrackIndex};

use super::World;

impl World {
    /// Lets `count` nodes of `slots` join, one each tenth of a second, and waits until all are
    /// fed.
    pub fn grow(&mut self, count: usize, slots: u16) {
        for _ in 0..count {
            self.join(slots);
            self.run(Duration::from_millis(100));
        }
        self.settle();
    }

    /// Waits until everybody is fed.
    ///
    /// # Panics
    /// If that takes more than five seconds.
    pub fn settle(&mut self) {
        let took = self.run_until(Duration::from_secs(5), Self::all_fed);
        assert!(took.is_some(), "somebody is not fed");
    }

    /// Every node below the root.
    pub fn viewers(&self) -> Vec<NodeId> {
        let ids = self.nodes.keys().copied();
        ids.filter(|id| *id != self.root).collect()
    }

    /// The parent that feeds a node.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.nodes.get(&id).and_then(|place| place.node.parent())
    }

    /// Whether every node below the root has a living parent and gets packets.
    pub fn all_fed(&self) -> bool {
        self.nodes
            .iter()
            .filter(|(id, _)| **id != self.root)
            .all(|(_, place)| {
                let snapshot = place.node.snapshot();
                snapshot
                    .parent
                    .is_some_and(|parent| self.nodes.contains_key(&parent))
                    && snapshot.tracks.iter().all(|(_, stats)| stats.packets > 0)
            })
    }

    /// Greatest depth that any node believes to have.
    pub fn depth(&self) -> usize {
        let depths = self
            .nodes
            .values()
            .filter_map(|place| place.node.snapshot().depth);
        depths.max().unwrap_or_default()
    }

    /// Panics unless what a node's sink got is, from its first packet on, exactly what the root's
    /// got: nothing missing, nothing twice, nothing changed.
    pub fn assert_bit_identical(&self, id: NodeId) {
        let truth: BTreeMap<(TrackIndex, ExtSeq), u64> = self.nodes[&self.root]
            .delivered
            .iter()
            .map(|(track, seq, hash)| ((*track, *seq), *hash))
            .collect();
        let mut last = BTreeMap::new();
        let delivered = &self.nodes[&id].delivered;
        assert!(!delivered.is_empty(), "{id:?} got nothing");
        for (track, seq, hash) in delivered {
            assert_eq!(
                truth.get(&(*track, *seq)),
                Some(hash),
                "{id:?}: {track}/{seq} is altered"
            );
            if let Some(before) = last.insert(*track, *seq) {
                assert_eq!(*seq, before + 1, "{id:?}: a hole in track {track}");
            }
        }
    }

    /// [`assert_bit_identical`](Self::assert_bit_identical) for every node below the root.
    pub fn assert_all_bit_identical(&self) {
        for id in self.viewers() {
            self.assert_bit_identical(id);
        }
    }

    /// The node that would take over from a node's parent.
    pub fn standby(&self, id: NodeId) -> Option<NodeId> {
        self.nodes
            .get(&id)
            .and_then(|place| place.node.snapshot().standby)
    }

    /// Links between nodes that live.
    pub fn links(&self) -> usize {
        let lives = |id: NodeId| self.nodes.contains_key(&id);
        let links = self.links.iter();
        let links =
            links.filter(|(link, ends)| lives(link.child) && ends.parent.is_some_and(lives));
        links.count()
    }

    /// From a node's parent up to the root.
    pub fn path(&self, id: NodeId) -> Vec<NodeId> {
        let path = std::iter::successors(self.parent(id), |&above| self.parent(above));
        path.take(40).collect()
    }

    /// Forgets the longest pauses seen so far.
    pub fn reset_gaps(&mut self) {
        for place in self.nodes.values_mut() {
            place.node.reset_gaps();
        }
    }

    /// The longest pause between two packets of one track that a node has seen since.
    pub fn largest_gap(&self, id: NodeId) -> Duration {
        let snapshot = self.nodes[&id].node.snapshot();
        let gaps = snapshot.tracks.iter().map(|(_, stats)| stats.largest_gap);
        gaps.max().unwrap_or_default()
    }

    /// Panics if any node below the root has lost its parent. Moves to a better one are none.
    pub fn assert_nobody_moved(&self) {
        for id in self.viewers() {
            let place = &self.nodes[&id];
            let moved = place.node.snapshot().heals;
            assert_eq!(moved, 0, "{id:?} moved: {:?}", place.events);
        }
    }
}
