//! The links to children: only those the tracker announced, never more than there are slots.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::liveness::Liveness;
use crate::id::LinkKey;
use crate::limits::CONNECT_TIMEOUT;

/// A child that sent nothing for this long is gone, in case the tracker does not say so first.
const CHILD_SILENCE: Duration = Duration::from_secs(10);

/// One announced child.
#[derive(Debug)]
pub struct Child {
    /// Since when it is announced.
    pub since: Instant,
    /// Heartbeats, once the connection stands.
    pub liveness: Option<Liveness>,
}

/// All announced children.
#[derive(Debug, Default)]
pub struct Children {
    links: BTreeMap<LinkKey, Child>,
}

impl Children {
    /// How many are announced or connected.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// Announced children that are connected.
    pub fn connected(&self) -> impl Iterator<Item = LinkKey> {
        self.links
            .iter()
            .filter(|(_, child)| child.liveness.is_some())
            .map(|(link, _)| *link)
    }

    /// All links, connected or not.
    pub fn links(&self) -> Vec<LinkKey> {
        self.links.keys().copied().collect()
    }

    /// Whether this link is a child's.
    pub fn contains(&self, link: LinkKey) -> bool {
        self.links.contains_key(&link)
    }

    /// Whether this child's link stands.
    pub fn is_connected(&self, link: LinkKey) -> bool {
        self.links
            .get(&link)
            .is_some_and(|child| child.liveness.is_some())
    }

    /// A child is announced.
    pub fn insert(&mut self, now: Instant, link: LinkKey) {
        self.links.insert(
            link,
            Child {
                since: now,
                liveness: None,
            },
        );
    }

    /// The child at this link.
    pub fn get_mut(&mut self, link: LinkKey) -> Option<&mut Child> {
        self.links.get_mut(&link)
    }

    /// Forgets a child; false if there was none.
    pub fn remove(&mut self, link: LinkKey) -> bool {
        self.links.remove(&link).is_some()
    }

    /// Connected children whose heartbeat is due.
    pub fn beats_due(&mut self, now: Instant) -> impl Iterator<Item = (LinkKey, &mut Liveness)> {
        self.links
            .iter_mut()
            .filter_map(|(link, child)| child.liveness.as_mut().map(|liveness| (*link, liveness)))
            .filter(move |(_, liveness)| liveness.next_beat() <= now)
    }

    /// This node itself was held up until `now`: what it did not hear is nobody's fault.
    pub fn excuse(&mut self, now: Instant) {
        for child in self.links.values_mut() {
            match &mut child.liveness {
                Some(liveness) => liveness.heard(now),
                None => child.since = now,
            }
        }
    }

    /// Children that did not connect or fell silent.
    pub fn expired(&self, now: Instant) -> Vec<LinkKey> {
        self.links
            .iter()
            .filter(|(_, child)| now >= child.gone_at())
            .map(|(link, _)| *link)
            .collect()
    }

    /// When a child wants to be looked at again.
    pub fn deadline(&self) -> Option<Instant> {
        self.links
            .values()
            .map(|child| {
                let beat = child.liveness.as_ref().map(Liveness::next_beat);
                beat.map_or(child.gone_at(), |beat| beat.min(child.gone_at()))
            })
            .min()
    }
}

impl Child {
    fn gone_at(&self) -> Instant {
        match &self.liveness {
            Some(liveness) => liveness.last_heard() + CHILD_SILENCE,
            // The child gives up first, so that its report and not ours decides.
            None => self.since + CONNECT_TIMEOUT * 2,
        }
    }
}
