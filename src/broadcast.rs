//! One stream, as its tracker sees it: its root, its tree, and who waits.
//!
//! Each verb of the protocol has a room: `join`, `link` (what the two ends of a connection say to
//! each other), `heal` (reports, departures, returns), `root` (the broadcaster's own messages),
//! `service` (whether parents deliver), `moves` (better places for those who have one), `suspicion` (what children say of a parent),
//! `standby` (who takes over when a parent fails), `cold` (who may be asked without the tracker), `player` (leaves that say nothing themselves),
//! `network` (which pairs can connect). `queue` finds parents for those who wait, `status` and `view`
//! tell people.
//!
//! A broadcast addresses peers by [`NodeId`]; the [`tracker`](crate::tracker) knows their
//! sessions. After each verb it calls [`Broadcast::settle`], which places whoever can be placed.

mod cold;
#[cfg(test)]
mod consistency;
mod heal;
mod join;
mod link;
mod member;
mod moves;
mod network;
mod player;
mod queue;
mod root;
mod service;
mod standby;
mod status;
mod suspicion;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::Rng;

use crate::id::{Epoch, NodeId, StreamId};
use crate::limits::{FAN_OUT_PER_SECOND, LAST_SLOT_KEPT, PROVEN_AGE};
use crate::reachability::Reachability;
use crate::tree::{Class, Handle, Newcomer, Round, Tree};
use crate::wire::announcement::SignedStreamInfo;
use crate::wire::tracker::{
    ErrorCode, IceServer, PeerClass, RefuseReason, ServerMessage, StreamState,
};

use heal::Place;
use member::Member;
use queue::Queue;
pub use root::PublishError;
use root::Root;
use status::Status;
use view::Views;
pub use view::{TreePage, TreeQuery};

/// A peer as its session introduced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its name.
    pub node: NodeId,
    /// What it is.
    pub class: PeerClass,
    /// Children it can serve.
    pub slots: u16,
    /// The address the tracker sees it at.
    pub seen: IpAddr,
    /// How far strangers' packets come to it, as far as it has said.
    pub reachability: Reachability,
}

/// What happens in a broadcast by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A reservation of this child runs out.
    Reservation(NodeId),
    /// A parent this child avoids may be tried again.
    Retry(NodeId),
    /// The place of this departed child is given up.
    Place(NodeId),
    /// This parent may take children again.
    Reopen(NodeId),
    /// This parent was called silent: has the tracker heard of it since?
    Suspect(NodeId),
    /// The parent of this player was lost: has it come back since?
    Orphan(NodeId),
    /// The last slot is kept no longer.
    LastSlot,
    /// Peers that were passed over are tried.
    Resume,
    /// A slot is kept no longer for this peer, which was told to move.
    Plan(NodeId),
    /// This peer has been here for long enough to be trusted to stay.
    Prove(NodeId),
    /// One slot more of this parent is believed, after its children complained.
    Trust(NodeId),
    /// The standby of this child has to be connected by now.
    Standby(NodeId),
}

/// Counts since the broadcast began, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BroadcastCounters {
    /// Requests for a parent.
    pub joins: u64,
    /// Those of them that were made because a parent was lost.
    pub heals: u64,
    /// Parents assigned.
    pub assigned: u64,
    /// Connections that stood.
    pub attached: u64,
    /// Those of them that took the place of another that stood.
    pub moved: u64,
    /// Children refused by their parent, in the order of [`RefuseReason::ALL`].
    pub refused: [u64; RefuseReason::ALL.len()],
    /// Reservations that ran out.
    pub expired: u64,
    /// Standbys that took the place of a parent.
    pub switched: u64,
    /// Peers put back in their place by reports.
    pub adopted: u64,
    /// Peers whose session ended without a word.
    pub lost: u64,
    /// Times a parent was found to carry fewer children than it has.
    pub doubted: u64,
    /// Messages about connections that do not exist, or of nodes that are no end of them.
    pub stale: u64,
}

impl BroadcastCounters {
    /// Adds another broadcast's counts.
    pub fn add(&mut self, other: &Self) {
        self.joins += other.joins;
        self.heals += other.heals;
        self.assigned += other.assigned;
        self.attached += other.attached;
        self.moved += other.moved;
        for (count, more) in self.refused.iter_mut().zip(other.refused) {
            *count += more;
        }
        self.expired += other.expired;
        self.switched += other.switched;
        self.adopted += other.adopted;
        self.lost += other.lost;
        self.doubted += other.doubted;
        self.stale += other.stale;
    }
}

/// One stream, as its tracker sees it.
#[derive(Debug)]
pub struct Broadcast {
    stream: StreamId,
    title: String,
    listed: bool,
    epoch: Epoch,
    state: StreamState,
    info: Option<SignedStreamInfo>,
    started: Option<Instant>,
    root: Option<Root>,
    /// It played, and its root is gone or has no media yet: it is said to be away.
    away: bool,
    /// When anybody reported last that media comes.
    flows_at: Option<Instant>,
    offline_since: Option<Instant>,
    tree: Tree,
    members: BTreeMap<NodeId, Member>,
    queue: Queue,
    /// Requests for a standby that are not decided.
    wishes: Vec<standby::Wish>,
    /// Peers whose standby has become full.
    reviews: Vec<NodeId>,
    /// Peers that need others to ask while this tracker is away.
    cold_reviews: Vec<NodeId>,
    /// By node, those it is the standby of; also while its session is away.
    clients: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// Places of peers whose session ended a moment ago.
    places: BTreeMap<NodeId, Place>,
    keep_last_until: Option<Instant>,
    /// Whether any peer here has been answered by a STUN server.
    stun_answers: bool,
    /// TURN servers, if there are any.
    relays: Vec<IceServer>,
    /// Until then links end because the tracks are others, which is no parent's fault.
    renewed_until: Option<Instant>,
    timers: BTreeSet<(Instant, Timer)>,
    status: Status,
    views: Views,
    counters: BroadcastCounters,
    /// When somebody lost its parent last.
    healing_at: Option<Instant>,
    /// When to look at the shape of the tree again.
    rebalance_at: Option<Instant>,
    round: Round,
    outputs: VecDeque<(NodeId, ServerMessage)>,
}

impl Broadcast {
    /// The next message, and for whom.
    pub fn poll_output(&mut self) -> Option<(NodeId, ServerMessage)> {
        self.outputs.pop_front()
    }

    /// When to call [`tick`](Self::tick).
    pub fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|&(at, _)| at);
        [
            timer,
            self.root_deadline(),
            self.status.due,
            self.queue.due(),
            self.views.due(),
            self.rebalance_at.filter(|_| self.may_rebalance()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due by now.
    pub fn tick(&mut self, now: Instant) {
        while let Some(&(at, timer)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Reservation(child) => self.reservation_expired(now, child),
                Timer::Retry(_) | Timer::LastSlot => self.queue.nudge(),
                Timer::Resume => self.queue.resume(),
                Timer::Place(child) => self.give_up_place(now, child),
                Timer::Reopen(parent) => self.review(now, parent),
                Timer::Suspect(parent) => self.look_at_suspect(now, parent),
                Timer::Orphan(player) => self.look_at_orphan(now, player),
                Timer::Prove(node) => self.prove(node),
                Timer::Standby(child) => self.standby_expired(now, child),
                Timer::Plan(child) => self.plan_expired(now, child),
                Timer::Trust(parent) => self.trust(now, parent),
            }
        }
        self.tick_root(now);
        self.tick_views(now);
    }

    /// Places whoever can be placed by now and tells whom it concerns.
    pub fn settle(&mut self, now: Instant, rng: &mut impl Rng) {
        self.admit(now, rng);
        self.rebalance(now, rng);
        self.place_standbys(now, rng);
        self.grant_cold(now, rng);
        self.tell_positions(now);
        self.tell_counts(now);
        self.plan_views(now);
    }

    /// Whether a node is a peer of this stream, its root included.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.members.contains_key(node)
    }

    /// The peers, the root included.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.keys().copied()
    }

    /// Peers, the root included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Counts since it began.
    pub fn counters(&self) -> BroadcastCounters {
        self.counters
    }

    /// When it began to play.
    pub fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Whether it plays.
    pub fn state(&self) -> StreamState {
        self.told_state()
    }

    /// Whether the front page may show it.
    pub fn listed(&self) -> bool {
        self.listed
    }

    /// Since when it has been offline.
    pub fn offline_since(&self) -> Option<Instant> {
        self.offline_since
    }

    fn send(&mut self, to: NodeId, message: ServerMessage) {
        self.outputs.push_back((to, message));
    }

    fn send_error(&mut self, to: NodeId, code: ErrorCode, message: impl Into<String>) {
        let message = message.into();
        let error = ServerMessage::Error {
            code,
            message,
            fatal: false,
        };
        self.send(to, error);
    }

    /// Adds a peer that has no parent.
    fn enter(&mut self, now: Instant, arrival: Arrival) -> Handle {
        // Whatever a player says, it feeds nobody.
        let slots = match arrival.class {
            PeerClass::Player => 0,
            PeerClass::Native | PeerClass::Browser => arrival.slots,
        };
        let new = Newcomer::new(arrival.node, arrival.class.into(), slots, now);
        let handle = self.tree.insert(new);
        let proof = (now + PROVEN_AGE, Timer::Prove(arrival.node));
        self.timers.insert(proof);
        self.members
            .entry(arrival.node)
            .or_insert_with(|| Member::new(handle, &arrival, now));
        self.introduce(&arrival);
        handle
    }

    /// Forgets a peer; its place in the tree is the caller's to clear.
    fn exit(&mut self, node: &NodeId) -> Option<Member> {
        let member = self.members.remove(node)?;
        self.timers
            .remove(&(member.joined + PROVEN_AGE, Timer::Prove(*node)));
        Some(member)
    }

    fn prove(&mut self, node: NodeId) {
        if let Some(member) = self.members.get(&node) {
            self.tree.prove(member.handle);
        }
    }

    /// Keeps the last slot for peers that bring slots, for a while.
    fn keep_last_slot(&mut self, now: Instant) {
        let until = now + LAST_SLOT_KEPT;
        if let Some(before) = self.keep_last_until.replace(until) {
            self.timers.remove(&(before, Timer::LastSlot));
        }
        self.timers.insert((until, Timer::LastSlot));
    }

    /// The pause between two messages to everybody: the given one, longer where there are many.
    fn pause(&self, least: Duration) -> Duration {
        let share = self.members.len() as f64 / FAN_OUT_PER_SECOND as f64;
        least.max(Duration::from_secs_f64(share))
    }
}

impl From<PeerClass> for Class {
    fn from(class: PeerClass) -> Self {
        match class {
            PeerClass::Native => Self::Native,
            PeerClass::Browser => Self::Browser,
            PeerClass::Player => Self::Player,
        }
    }
}

impl From<Class> for PeerClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Native => Self::Native,
            Class::Browser => Self::Browser,
            Class::Player => Self::Player,
        }
    }
}
