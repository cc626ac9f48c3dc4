//! What must hold between the tree, the members, the queue and the timers; for tests.

use super::{Broadcast, Timer};

impl Broadcast {
    /// Panics if two parts of the state disagree.
    pub(crate) fn assert_consistent(&self) {
        assert_eq!(self.tree.len(), self.members.len());
        let mut waiting = 0;
        let mut bytes = 0;
        for (&node, member) in &self.members {
            let peer = self
                .tree
                .get(member.handle)
                .expect("every member is in the tree");
            assert_eq!(peer.node(), node);
            let above = self.tree.parent(member.handle);
            let parent = above.and_then(|p| self.tree.get(p)).map(|p| p.node());
            assert_eq!(member.edge.as_ref().map(|edge| edge.parent), parent);
            assert_eq!(usize::from(peer.reserved()), member.expected.len());
            for child in &member.expected {
                let child = &self.members[child];
                let assigned = child.attempt.as_ref().and_then(|attempt| attempt.assigned);
                let parent = assigned.map(|assigned| assigned.parent);
                let planned = child.planned.map(|plan| plan.parent);
                assert!(parent.is_none() || planned.is_none());
                assert_eq!(parent.or(planned), Some(node));
            }
            if let Some(plan) = member.planned {
                assert!(self.members[&plan.parent].expected.contains(&node));
                assert!(self.timers.contains(&(plan.until, Timer::Plan(node))));
            }
            if let Some(attempt) = &member.attempt {
                bytes += attempt.bytes();
                assert_eq!(member.newest_link, Some(attempt.link));
                match attempt.assigned {
                    Some(assigned) => {
                        assert!(self.members[&assigned.parent].expected.contains(&node));
                        let timer = (assigned.until, Timer::Reservation(node));
                        assert!(self.timers.contains(&timer));
                    }
                    None => {
                        waiting += 1;
                        assert_eq!(self.queue.who(attempt.turn), Some(node));
                    }
                }
            }
            for child in &member.kept {
                assert_eq!(self.places[child].parent(), node);
            }
        }
        let asked = self
            .members
            .values()
            .filter_map(|member| member.cold.as_ref());
        let mut granted: Vec<_> = asked.flat_map(|cold| cold.hosts()).collect();
        granted.sort_unstable();
        for member in self.members.values() {
            let count = granted
                .iter()
                .filter(|host| **host == member.handle)
                .count();
            assert_eq!(usize::from(member.granted), count);
        }
        assert_eq!(self.queue.len(), waiting);
        assert_eq!(self.queue.bytes, bytes);
        let kept: usize = self.members.values().map(|member| member.kept.len()).sum();
        assert_eq!(self.places.len(), kept);
        let root = self.tree.root().and_then(|root| self.tree.get(root));
        let root = root.map(|root| root.node());
        assert_eq!(root, self.root.as_ref().map(|root| root.node()));
        // Reservations, retries, places and pauses: a few for each peer.
        assert!(self.timers.len() <= 1 + 8 * self.members.len() + self.places.len());
    }
}
