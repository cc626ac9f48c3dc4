//! The tree as it is shown: in deltas to the pages that follow it, in pages to the API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::Broadcast;
use crate::id::NodeId;
use crate::limits::{MAX_TREE_PAGE, MAX_TREE_VIEW, TREE_FIGURES_INTERVAL, TREE_INTERVAL};
use crate::tree::Handle;
use crate::wire::tracker::{ServerMessage, TreePeer, TreeUpdate};

/// What a follower has been sent.
#[derive(Debug, Default)]
pub(super) struct Follow {
    sent: BTreeMap<NodeId, TreePeer>,
    per_depth: Vec<u32>,
    hidden: u32,
    begun: bool,
}

/// Who follows the tree, and when they are told.
#[derive(Debug, Default)]
pub(super) struct Views {
    followers: BTreeSet<NodeId>,
    /// Followers that have seen nothing yet.
    fresh: Vec<NodeId>,
    /// Everything may be different.
    pub(super) changed: bool,
    /// Delays or losses are different.
    pub(super) figures_changed: bool,
    /// The tree's count of changes that followers have seen.
    seen: u64,
    shape_due: Option<Instant>,
    figures_due: Option<Instant>,
}

impl Views {
    pub(super) fn due(&self) -> Option<Instant> {
        [self.shape_due, self.figures_due]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn forget(&mut self, node: &NodeId) {
        self.followers.remove(node);
    }
}

/// Which part of a tree is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeQuery {
    /// Only this peer, its path to the root, its siblings and its children.
    pub around: Option<NodeId>,
    /// Only peers at most this deep.
    pub depth: Option<u16>,
    /// Only peers behind this one: [`TreePage::next`] of the page before.
    pub after: Option<NodeId>,
    /// Peers on the page at most; never more than [`MAX_TREE_PAGE`].
    pub limit: Option<usize>,
}

/// Some peers of a tree, ordered by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreePage {
    /// The peers.
    pub peers: Vec<TreePeer>,
    /// Peers in the whole tree, the root included.
    pub total: u32,
    /// How many are at each depth, the root at 0.
    pub per_depth: Vec<u32>,
    /// What to ask for the next page with, if there is one.
    pub next: Option<NodeId>,
}

impl Broadcast {
    /// Begins or ends telling a peer about the tree around it.
    pub fn follow(&mut self, node: NodeId, follow: bool) {
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        if !follow {
            member.follow = None;
            self.views.forget(&node);
        } else if member.follow.is_none() {
            member.follow = Some(Follow::default());
            self.views.followers.insert(node);
            self.views.fresh.push(node);
        }
    }

    /// Whether a peer is told about the tree around it.
    pub(super) fn follows(&self, node: &NodeId) -> bool {
        self.views.followers.contains(node)
    }

    /// One page of the tree.
    pub fn page(&self, now: Instant, query: &TreeQuery) -> TreePage {
        let limit = query.limit.unwrap_or(MAX_TREE_PAGE).clamp(1, MAX_TREE_PAGE);
        let around = match query.around {
            None => None,
            Some(node) => match self.members.get(&node) {
                Some(member) => Some(self.neighbourhood(member.handle)),
                None => return TreePage::default(),
            },
        };
        let names: BTreeSet<NodeId> = around
            .iter()
            .flatten()
            .filter_map(|&handle| self.tree.get(handle).map(|peer| peer.node()))
            .collect();
        let shown = self
            .members
            .range((
                query
                    .after
                    .map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
                std::ops::Bound::Unbounded,
            ))
            .filter(|(node, _)| around.is_none() || names.contains(node))
            .filter_map(|(_, member)| self.tree_peer(now, member.handle))
            .filter(|peer| query.depth.is_none_or(|depth| peer.depth <= depth));
        let mut peers: Vec<TreePeer> = shown.take(limit + 1).collect();
        let more = peers.len() > limit;
        peers.truncate(limit);
        TreePage {
            next: peers.last().filter(|_| more).map(|peer| peer.id),
            peers,
            total: self.tree.attached(),
            per_depth: self.tree.per_depth().to_vec(),
        }
    }

    /// An attached peer as the tree shows it.
    fn tree_peer(&self, now: Instant, handle: Handle) -> Option<TreePeer> {
        let peer = self.tree.get(handle).filter(|peer| peer.attached())?;
        let member = self.members.get(&peer.node())?;
        let parent = self.tree.parent(handle).and_then(|p| self.tree.get(p));
        Some(TreePeer {
            id: peer.node(),
            parent: parent.map(|parent| parent.node()),
            standby: (member.standby.filter(|s| s.until.is_none())).map(|s| s.host),
            depth: peer.depth(),
            class: peer.class().into(),
            slots: peer.declared(),
            used: peer.used(),
            age: now.saturating_duration_since(member.joined).as_secs() as u32,
            delay_ms: peer.delay_ms(),
            loss_permille: member.loss_permille,
            reach: member.reachability.best(),
        })
    }

    /// A peer, its path to the root, its children and its siblings, the nearest first.
    fn neighbourhood(&self, handle: Handle) -> Vec<Handle> {
        let siblings = self.tree.parent(handle).into_iter();
        let siblings = siblings.flat_map(|parent| self.tree.children(parent));
        self.tree
            .ancestry(handle)
            .chain(self.tree.children(handle))
            .chain(siblings.filter(|&sibling| sibling != handle))
            .collect()
    }

    /// What a follower is shown: a small tree whole, else its own surroundings, else the top.
    fn visible(&self, handle: Handle) -> Vec<Handle> {
        let attached = self.tree.get(handle).is_some_and(|peer| peer.attached());
        if attached && self.tree.attached() as usize > MAX_TREE_VIEW {
            let mut near = self.neighbourhood(handle);
            near.truncate(MAX_TREE_VIEW);
            near
        } else {
            self.tree.breadth_first().take(MAX_TREE_VIEW).collect()
        }
    }

    /// Notes when followers are to be told, and tells new ones at once.
    pub(super) fn plan_views(&mut self, now: Instant) {
        for node in std::mem::take(&mut self.views.fresh) {
            self.tell_view(now, node, true);
        }
        let shape =
            std::mem::take(&mut self.views.changed) || self.tree.changes() != self.views.seen;
        let figures = std::mem::take(&mut self.views.figures_changed);
        self.views.seen = self.tree.changes();
        if self.views.followers.is_empty() {
            return;
        }
        if shape && self.views.shape_due.is_none() {
            self.views.shape_due = Some(now + self.pause(TREE_INTERVAL));
        }
        if figures && self.views.figures_due.is_none() {
            self.views.figures_due = Some(now + self.pause(TREE_FIGURES_INTERVAL));
        }
    }

    pub(super) fn tick_views(&mut self, now: Instant) {
        let figures = self.views.figures_due.take_if(|due| *due <= now).is_some();
        let shape = self.views.shape_due.take_if(|due| *due <= now).is_some();
        if shape || figures {
            let followers: Vec<NodeId> = self.views.followers.iter().copied().collect();
            for node in followers {
                self.tell_view(now, node, figures);
            }
        }
    }

    /// Sends a follower what has changed for it, if anything has.
    fn tell_view(&mut self, now: Instant, node: NodeId, figures: bool) {
        let Some(handle) = self.members.get(&node).map(|member| member.handle) else {
            return;
        };
        let peers: Vec<TreePeer> = self
            .visible(handle)
            .into_iter()
            .filter_map(|peer| self.tree_peer(now, peer))
            .collect();
        let hidden = self.tree.attached() - peers.len() as u32;
        let per_depth = self.tree.per_depth();
        let Some(follow) = self.members.get_mut(&node).and_then(|m| m.follow.as_mut()) else {
            return;
        };
        let visible: BTreeSet<NodeId> = peers.iter().map(|peer| peer.id).collect();
        let remove: Vec<NodeId> = follow
            .sent
            .keys()
            .filter(|node| !visible.contains(node))
            .copied()
            .collect();
        let upsert: Vec<TreePeer> = peers
            .into_iter()
            .filter(|peer| match follow.sent.get(&peer.id) {
                None => true,
                Some(sent) => shape_differs(sent, peer) || (figures && figures_differ(sent, peer)),
            })
            .collect();
        let aside = follow.per_depth != per_depth || follow.hidden != hidden;
        if follow.begun && upsert.is_empty() && remove.is_empty() && !aside {
            return;
        }
        for node in &remove {
            follow.sent.remove(node);
        }
        for peer in &upsert {
            follow.sent.insert(peer.id, peer.clone());
        }
        follow.per_depth = per_depth.to_vec();
        follow.hidden = hidden;
        let update = TreeUpdate {
            reset: !std::mem::replace(&mut follow.begun, true),
            upsert,
            remove,
            per_depth: follow.per_depth.clone(),
            hidden,
        };
        self.send(node, ServerMessage::Tree(update));
    }
}

/// Whether a peer has another place or other slots. Its age is no news.
fn shape_differs(a: &TreePeer, b: &TreePeer) -> bool {
    let shape = |peer: &TreePeer| {
        (
            peer.parent,
            peer.standby,
            peer.depth,
            peer.class,
            peer.slots,
            peer.used,
            peer.reach,
        )
    };
    shape(a) != shape(b)
}

/// Whether delay or loss are different enough for somebody to care.
fn figures_differ(a: &TreePeer, b: &TreePeer) -> bool {
    let step = a.delay_ms / 10 + 2;
    a.delay_ms.abs_diff(b.delay_ms) > step || a.loss_permille.abs_diff(b.loss_permille) > 2
}
