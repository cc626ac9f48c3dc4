//! One peer of a broadcast.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use crate::id::{Generation, LinkId, NodeId};
use crate::limits::{
    JOIN_BURST, JOIN_INTERVAL, MAX_CANDIDATES, MAX_EXCLUSIONS, MAX_FAILED_MOVES,
    PARENT_AVOIDED_ALONE,
};
use crate::reachability::Reachability;
use crate::tree::Handle;
use crate::wire::tracker::PeerClass;

use super::Arrival;
use super::cold::Cold;
use super::queue::Turn;
use super::service::{Doubt, Service};
use super::standby::Standby;
use super::view::Follow;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) handle: Handle,
    pub(super) class: PeerClass,
    pub(super) joined: Instant,
    /// The address the tracker sees it at.
    pub(super) seen: IpAddr,
    /// As it says itself.
    pub(super) reachability: Reachability,
    /// When it spoke last.
    pub(super) heard: Instant,
    /// How early its next request for a parent may come: never later than now, for one that
    /// makes few.
    next_join: Instant,
    /// Of the newest order about it.
    pub(super) generation: Generation,
    /// The highest number it gave a connection.
    pub(super) newest_link: Option<LinkId>,
    /// The connection to its parent in the tree.
    pub(super) edge: Option<Edge>,
    /// The connection to a parent that vanished from the tracker, and may feed it still.
    pub(super) former: Option<Edge>,
    /// Its unfinished request for a parent.
    pub(super) attempt: Option<Attempt>,
    /// Children on their way to it.
    pub(super) expected: BTreeSet<NodeId>,
    /// Departed children whose place is kept for a moment.
    pub(super) kept: BTreeSet<NodeId>,
    avoided: Vec<Avoided>,
    /// Children that lost it, and when they said so.
    pub(super) complaints: Vec<(NodeId, Instant)>,
    /// It refused a child: no others before its next report, or this time.
    pub(super) full_until: Option<Instant>,
    /// Several children lost it: no others before this time.
    pub(super) shunned_until: Option<Instant>,
    /// Who takes over when its parent fails.
    pub(super) standby: Option<Standby>,
    /// Whom it may ask without the tracker.
    pub(super) cold: Option<Box<Cold>>,
    /// How many may ask it.
    pub(super) granted: u16,
    /// It is about to leave.
    pub(super) draining: bool,
    /// The children it reports, sorted.
    pub(super) reported: Vec<NodeId>,
    /// The parent a slot is kept at for it while it asks for one.
    pub(super) planned: Option<Plan>,
    /// Whose place it was given: that one goes below it once it is fed.
    pub(super) displaces: Option<NodeId>,
    /// When it last lost a child: that one's own children may be about to take the slot.
    pub(super) bereaved_at: Option<Instant>,
    /// When it was told to move last.
    pub(super) moved_at: Option<Instant>,
    /// Parents it could not be moved to, the oldest first.
    failed_moves: Vec<Handle>,
    /// The parent whose slot another peer got in its stead, and until when reports that say it has
    /// it still are not believed.
    pub(super) evicted: Option<(NodeId, Instant)>,
    /// When it last took a place by force.
    pub(super) evicted_at: Option<Instant>,
    /// The parent that feeds it by its own reports, and since when.
    pub(super) fed: Option<(NodeId, Instant)>,
    /// Lost packets per thousand, as it reports.
    pub(super) loss_permille: u16,
    /// What it receives.
    pub(super) service: Service,
    /// Whether it carries less than it says.
    pub(super) doubt: Option<Doubt>,
    pub(super) follow: Option<Follow>,
}

/// A connection in the tree.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) parent: NodeId,
    /// Unknown where the edge is only known from reports.
    pub(super) link: Option<LinkId>,
    pub(super) signals: Signals,
}

/// What the two ends of a connection have said to each other.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signals {
    pub(super) answered: bool,
    pub(super) from_parent: Candidates,
    pub(super) from_child: Candidates,
}

/// Counts candidates of one end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Candidates {
    count: usize,
    ended: bool,
}

impl Candidates {
    /// Whether one more may pass.
    pub(super) fn admit(&mut self, candidate: &str) -> bool {
        if candidate.is_empty() {
            return !std::mem::replace(&mut self.ended, true);
        }
        self.count += 1;
        self.count <= MAX_CANDIDATES
    }
}

/// Where a peer that is fed is about to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) parent: NodeId,
    pub(super) until: Instant,
}

/// A request for a parent.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) link: LinkId,
    pub(super) offer: String,
    /// The child's candidates, kept for the parent it gets.
    pub(super) candidates: Vec<String>,
    pub(super) signals: Signals,
    pub(super) turn: Turn,
    pub(super) assigned: Option<Assigned>,
    /// Whether it is made because a parent was lost.
    pub(super) heals: bool,
    /// Whether it was told to make it.
    pub(super) planned: bool,
    /// Parents that could not answer the offer. One parent's word is not enough to end it.
    pub(super) refusals: u8,
}

impl Attempt {
    /// Bytes it keeps.
    pub(super) fn bytes(&self) -> usize {
        self.offer.len() + self.candidates.iter().map(String::len).sum::<usize>()
    }
}

/// A parent that was named and has a slot reserved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assigned {
    pub(super) parent: NodeId,
    /// Whether it was told to use a relay.
    pub(super) relayed: bool,
    pub(super) generation: Generation,
    pub(super) until: Instant,
}

/// A parent that a child should not get. Named by its handle: a node that left and came back is
/// tried again.
#[derive(Debug, Clone, Copy)]
struct Avoided {
    parent: Handle,
    since: Instant,
    /// None: never again.
    until: Option<Instant>,
    /// A relay may lead to it.
    beyond_reach: bool,
}

impl Avoided {
    fn blocks(&self, now: Instant, alone: bool) -> bool {
        self.until
            .is_none_or(|until| now < until && !(alone && now >= self.since + PARENT_AVOIDED_ALONE))
    }
}

impl Member {
    pub(super) fn new(handle: Handle, arrival: &Arrival, joined: Instant) -> Self {
        Self {
            handle,
            class: arrival.class,
            joined,
            seen: arrival.seen,
            reachability: Reachability::default(),
            heard: joined,
            next_join: joined,
            generation: Generation::default(),
            newest_link: None,
            edge: None,
            former: None,
            attempt: None,
            expected: BTreeSet::new(),
            kept: BTreeSet::new(),
            avoided: Vec::new(),
            complaints: Vec::new(),
            full_until: None,
            shunned_until: None,
            standby: None,
            cold: None,
            granted: 0,
            draining: false,
            reported: Vec::new(),
            planned: None,
            displaces: None,
            bereaved_at: None,
            moved_at: None,
            failed_moves: Vec::new(),
            evicted: None,
            evicted_at: None,
            fed: None,
            loss_permille: 0,
            service: Service::default(),
            doubt: None,
            follow: None,
        }
    }

    /// Whether it may ask for a parent now.
    pub(super) fn may_join(&mut self, now: Instant) -> bool {
        let next = self.next_join.max(now);
        if next > now + JOIN_INTERVAL * (JOIN_BURST - 1) {
            return false;
        }
        self.next_join = next + JOIN_INTERVAL;
        true
    }

    /// Forgets its place in a tree that is no more.
    pub(super) fn uproot(&mut self, handle: Handle) {
        self.handle = handle;
        self.edge = None;
        self.former = None;
        self.expected.clear();
        self.kept.clear();
        self.avoided.clear();
        self.complaints.clear();
        self.full_until = None;
        self.shunned_until = None;
        self.standby = None;
        self.cold = None;
        self.granted = 0;
        self.draining = false;
        self.planned = None;
        self.displaces = None;
        self.service = Service::default();
        self.doubt = None;
        self.bereaved_at = None;
        self.moved_at = None;
        self.failed_moves.clear();
        self.evicted = None;
        self.evicted_at = None;
        self.fed = None;
    }

    /// It could not be moved to this parent, so that is not tried again soon.
    pub(super) fn note_failed_move(&mut self, parent: Handle) {
        if self.failed_moves.len() >= MAX_FAILED_MOVES {
            self.failed_moves.remove(0);
        }
        self.failed_moves.push(parent);
    }

    /// Whether it could not be moved to this parent.
    pub(super) fn failed_to_move_to(&self, parent: Handle) -> bool {
        self.failed_moves.contains(&parent)
    }

    /// Keeps it away from a parent until some time, or for good.
    pub(super) fn avoid(&mut self, parent: Handle, now: Instant, until: Option<Instant>) {
        self.avoided
            .retain(|avoided| avoided.until.is_none_or(|until| until > now));
        let known = self.avoided.iter_mut().find(|a| a.parent == parent);
        if let Some(known) = known {
            known.since = now;
            known.until = known.until.and(until);
            known.beyond_reach = false;
            return;
        }
        if self.avoided.len() >= MAX_EXCLUSIONS {
            self.avoided.remove(0);
        }
        self.avoided.push(Avoided {
            parent,
            since: now,
            until,
            beyond_reach: false,
        });
    }

    /// Notes that it found no way to a parent, to which a relay may lead.
    pub(super) fn beyond_reach(&mut self, parent: Handle, now: Instant) {
        self.avoid(parent, now, None);
        if let Some(avoided) = self.avoided.iter_mut().find(|a| a.parent == parent) {
            avoided.beyond_reach = true;
        }
    }

    /// Whether it should not get this parent now, even through a relay.
    pub(super) fn avoids_relayed(&self, parent: Handle, now: Instant) -> bool {
        let mut blocking = self.avoided.iter().filter(|a| a.blocks(now, true));
        blocking.any(|avoided| avoided.parent == parent && !avoided.beyond_reach)
    }

    /// Whether it should not get this parent now; `alone`: if there is no other.
    pub(super) fn avoids(&self, parent: Handle, now: Instant, alone: bool) -> bool {
        self.avoided
            .iter()
            .any(|avoided| avoided.parent == parent && avoided.blocks(now, alone))
    }

    /// Whether it lost this peer a moment ago: what hangs below that may starve as well.
    pub(super) fn lost_lately(&self, above: Handle, now: Instant, alone: bool) -> bool {
        self.avoided
            .iter()
            .any(|a| a.parent == above && a.until.is_some() && a.blocks(now, alone))
    }

    /// Whether it lost any peer a moment ago.
    pub(super) fn lost_any_lately(&self) -> bool {
        self.avoided.iter().any(|avoided| avoided.until.is_some())
    }

    /// When a parent it avoids may be tried again.
    pub(super) fn retry_at(&self, now: Instant) -> Option<Instant> {
        self.avoided
            .iter()
            .filter_map(|avoided| Some((avoided.since, avoided.until?)))
            .flat_map(|(since, until)| [since + PARENT_AVOIDED_ALONE, until])
            .filter(|&at| at > now)
            .min()
    }

    /// The parent of a connection it began, in the tree or on the way.
    pub(super) fn other_end(&self, link: LinkId) -> Option<NodeId> {
        let coming = self.attempt.as_ref().filter(|attempt| attempt.link == link);
        if let Some(attempt) = coming {
            return attempt.assigned.map(|assigned| assigned.parent);
        }
        let standby = self.standby.filter(|standby| standby.link == link);
        let edge = self.edge.as_ref().filter(|edge| edge.link == Some(link));
        let standby = standby.map(|standby| standby.host);
        standby.or_else(|| edge.map(|edge| edge.parent))
    }

    /// What was said on that connection.
    pub(super) fn signals(&mut self, link: LinkId) -> Option<&mut Signals> {
        match (&mut self.attempt, &mut self.edge, &mut self.standby) {
            (Some(attempt), _, _) if attempt.link == link => Some(&mut attempt.signals),
            (_, Some(edge), _) if edge.link == Some(link) => Some(&mut edge.signals),
            (_, _, Some(standby)) if standby.link == link => Some(&mut standby.signals),
            _ => None,
        }
    }
}
