//! Who stands by for whom, and what happens when a standby takes over.
//!
//! A standby keeps no slot. It is a node that could take one more child when it is asked, and that
//! would not be gone together with the parent it stands in for.

use std::collections::BTreeSet;
use std::time::Instant;

use rand::Rng;

use super::member::{Edge, Member, Signals};
use super::{Arrival, Broadcast, Timer};
use crate::id::{Generation, LinkId, LinkKey, NodeId};
use crate::limits::{
    MAX_SDP, MAX_STANDBY_CLIENTS, PARENT_AVOIDED, RESERVATION, STANDBY_CLIENTS_PER_SLOT,
    STANDBY_REVIEW,
};
use crate::tree::Handle;
use crate::wire::tracker::{Join, Lost, LostReason, PeerClass, ServerMessage};

/// Most standbys that are looked for at a time; who comes beyond asks again.
const MAX_WISHES: usize = 256;

/// How slowly a node without any room takes over.
const NO_ROOM: u8 = 2;

/// A request for a standby that is about to be decided.
#[derive(Debug)]
pub(super) struct Wish {
    node: NodeId,
    offer: String,
}

/// Children that a standby could take in.
#[derive(Debug, Clone, Copy)]
struct Room {
    now: usize,
    /// When the parent that has failed, one of its own children, is gone.
    then: usize,
}

/// A node that stands by for a peer, or is about to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standby {
    pub(super) host: NodeId,
    pub(super) link: LinkId,
    pub(super) generation: Generation,
    /// Whether the connection stands; otherwise until when it has to.
    pub(super) until: Option<Instant>,
    pub(super) signals: Signals,
    /// When it was chosen.
    pub(super) since: Instant,
}

impl Broadcast {
    /// Takes a request for a standby.
    pub fn stand_by(&mut self, now: Instant, arrival: Arrival, join: Join) {
        let node = arrival.node;
        let Some(member) = self.members.get_mut(&node) else {
            self.counters.stale += 1;
            return;
        };
        if member.newest_link.is_some_and(|newest| join.link <= newest) {
            self.counters.stale += 1;
            return;
        }
        let link = LinkKey {
            child: node,
            link: join.link,
        };
        let may = member.may_join(now) && member.class != PeerClass::Player;
        member.newest_link = Some(join.link);
        self.give_up_standby(node);
        if let Some(lost) = join.lost {
            self.avoid_as_standby(now, node, lost);
        }
        let fed = self.members.get(&node).is_some_and(|m| m.edge.is_some());
        if !may || !fed || self.wishes.len() >= MAX_WISHES || join.offer.len() > MAX_SDP {
            self.send(node, ServerMessage::NoStandby { link });
            return;
        }
        self.wishes.push(Wish {
            node,
            offer: join.offer,
        });
    }

    fn avoid_as_standby(&mut self, now: Instant, child: NodeId, lost: Lost) {
        let host = self.members.get(&lost.parent).map(|host| host.handle);
        if let (Some(host), Some(member)) = (host, self.members.get_mut(&child)) {
            let for_good = matches!(lost.reason, LostReason::Unreachable | LostReason::Unusable);
            member.avoid(host, now, (!for_good).then(|| now + PARENT_AVOIDED));
        }
    }

    /// Finds standbys for those who asked.
    pub(super) fn place_standbys(&mut self, now: Instant, rng: &mut impl Rng) {
        self.review_standbys(now, rng);
        for wish in std::mem::take(&mut self.wishes) {
            let Some(member) = self.members.get(&wish.node) else {
                continue;
            };
            let Some(link) = member.newest_link else {
                continue;
            };
            let key = LinkKey {
                child: wish.node,
                link,
            };
            match self.choose_standby(now, wish.node, rng) {
                Some((_, host)) => self.appoint(now, key, host, wish.offer),
                None => self.send(wish.node, ServerMessage::NoStandby { link: key }),
            }
        }
    }

    /// The shallowest node that could feed one more child if this one's parent failed.
    fn choose_standby(
        &self,
        at: Instant,
        node: NodeId,
        rng: &mut impl Rng,
    ) -> Option<(u8, Handle)> {
        let member = self.members.get(&node)?;
        let parent = member.edge.as_ref()?.parent;
        let grandparent = self.members.get(&parent)?.edge.as_ref().map(|e| e.parent);
        let candidates = self.tree.standby_candidates(member.handle, rng);
        let ranked = candidates.into_iter().filter_map(|handle| {
            let peer = self.tree.get(handle)?;
            let host = self.members.get(&peer.node())?;
            let Room { now: free, then } = self.room(handle, grandparent);
            // A full node is better than none: somebody may leave it.
            let room = then.max(1);
            let most = (room * STANDBY_CLIENTS_PER_SLOT).min(MAX_STANDBY_CLIENTS);
            let clients = self.clients.get(&peer.node());
            let shared = clients.map_or(0, |all| self.together(all, parent).count());
            let clients = clients.map_or(0, BTreeSet::len);
            let suits = peer.node() != node
                && peer.node() != parent
                && !host.draining
                && self.meet(member, host)
                && clients < most
                && shared < room
                && host.standby.is_none_or(|standby| standby.host != node)
                && !member.avoids(handle, at, true);
            // Who has a slot to give is quicker than who has to wait until one is free.
            let slow = if shared < free {
                0
            } else if shared < then {
                1
            } else {
                NO_ROOM
            };
            // None that the parent is connected to: when both of its links fail, it has a way left by
            // this node.
            let same = grandparent == Some(peer.node()) || self.stands_by(peer.node(), parent);
            let rank = (slow, same, peer.depth(), clients, peer.delay_ms());
            suits.then_some((rank, handle))
        });
        let best = ranked.min_by_key(|&(rank, _)| rank);
        best.map(|((slow, ..), at)| (slow, at))
    }

    /// Whether that node is the standby of this one.
    pub(super) fn stands_by(&self, host: NodeId, node: NodeId) -> bool {
        let standby = self.members.get(&node).and_then(|member| member.standby);
        standby.is_some_and(|standby| standby.host == host)
    }

    /// Children that a node could take in: at once, and when a child of its own is gone.
    fn room(&self, host: Handle, lost: Option<NodeId>) -> Room {
        let Some(peer) = self.tree.get(host) else {
            return Room { now: 0, then: 0 };
        };
        let free = usize::from(peer.slots().saturating_sub(peer.used()));
        Room {
            now: free,
            then: free + usize::from(lost == Some(peer.node())),
        }
    }

    /// Those that would all come at once if this parent failed.
    fn together<'a>(
        &'a self,
        clients: &'a BTreeSet<NodeId>,
        parent: NodeId,
    ) -> impl Iterator<Item = &'a NodeId> {
        (clients.iter()).filter(move |client| self.parent_of(client) == Some(parent))
    }

    fn parent_of(&self, node: &NodeId) -> Option<NodeId> {
        Some(self.members.get(node)?.edge.as_ref()?.parent)
    }

    /// Introduces a peer and its standby to each other.
    fn appoint(&mut self, now: Instant, link: LinkKey, host: Handle, offer: String) {
        let (Some(info), Some(peer)) = (self.info.clone(), self.tree.get(host)) else {
            self.send(link.child, ServerMessage::NoStandby { link });
            return;
        };
        let (host, depth) = (peer.node(), peer.depth() + 1);
        let Some(member) = self.members.get_mut(&link.child) else {
            return;
        };
        member.generation = member.generation.next();
        let (generation, class) = (member.generation, member.class);
        let until = now + RESERVATION;
        member.standby = Some(Standby {
            host,
            link: link.link,
            generation,
            until: Some(until),
            signals: Signals::default(),
            since: now,
        });
        self.timers.insert((until, Timer::Standby(link.child)));
        self.clients.entry(host).or_default().insert(link.child);
        let assigned = ServerMessage::Assigned {
            link,
            parent: host,
            generation,
            depth,
            info,
            // A standby over a relay would not be warm for free.
            relay: Vec::new(),
        };
        self.send(link.child, assigned);
        let expect = ServerMessage::ExpectStandby {
            link,
            class,
            offer,
            generation,
        };
        self.send(host, expect);
    }

    /// A connection to a standby stands. Whether it was one.
    pub(super) fn standby_attached(&mut self, link: LinkKey, generation: Generation) -> bool {
        let Some(member) = self.members.get_mut(&link.child) else {
            return false;
        };
        let Some(standby) = member
            .standby
            .as_mut()
            .filter(|standby| standby.link == link.link && standby.generation == generation)
        else {
            return false;
        };
        if let Some(until) = standby.until.take() {
            self.timers.remove(&(until, Timer::Standby(link.child)));
            self.views.changed = true;
        }
        true
    }

    /// A standby that did not connect in time is none.
    pub(super) fn standby_expired(&mut self, now: Instant, child: NodeId) {
        let standby = self.members.get(&child).and_then(|member| member.standby);
        let late = standby.and_then(|s| s.until).is_some_and(|at| at <= now);
        if late {
            self.give_up_standby(child);
        }
    }

    /// A child tells a tracker that may not know it who its standby is.
    pub fn standing(&mut self, now: Instant, node: NodeId, link: LinkKey, host: NodeId) {
        let Some(member) = self.members.get_mut(&node).filter(|_| host != node) else {
            self.counters.stale += 1;
            return;
        };
        if link.child != node || member.standby.is_some() {
            return;
        }
        member.standby = Some(Standby {
            host,
            link: link.link,
            generation: member.generation,
            until: None,
            signals: Signals {
                answered: true,
                ..Signals::default()
            },
            since: now,
        });
        member.newest_link = member.newest_link.max(Some(link.link));
        self.clients.entry(host).or_default().insert(node);
        self.views.changed = true;
    }

    /// A standby feeds its child: that is its parent now, whatever this tracker knew of it.
    pub fn switched(
        &mut self,
        now: Instant,
        node: NodeId,
        link: LinkKey,
        parent: NodeId,
        lost: Option<Lost>,
    ) {
        if link.child != node || parent == node || !self.members.contains_key(&node) {
            self.counters.stale += 1;
            return;
        }
        let host = parent;
        let standby = self.members.get(&node).and_then(|member| member.standby);
        let known = standby.is_some_and(|s| s.link == link.link && s.host == host)
            || self.may_have_come(node, host);
        self.give_up_standby_but(node, link.link);
        self.cancel_plan(node);
        let parent = self.parent_of(&node);
        if let Some(lost) = lost.or_else(|| {
            let reason = LostReason::Leaving;
            Some(Lost {
                parent: parent?,
                reason,
            })
        }) {
            self.parent_lost(now, node, lost);
        }
        self.take_attempt(node, true);
        let reports = |host: &Member| host.reported.binary_search(&node).is_ok();
        if !known && !self.members.get(&host).is_some_and(reports) {
            // Its own word alone gives nobody a place: what both ends report does.
            return;
        }
        let handles = self
            .members
            .get(&node)
            .zip(self.members.get(&host))
            .map(|(child, host)| (child.handle, host.handle));
        let Some((child, above)) = handles else {
            // The session of one of them is away: reports tell when it is back.
            return;
        };
        if self.tree.adopt(child, above).is_err() {
            // As this tracker sees the tree that cannot be: the child asks for a place.
            self.send(node, ServerMessage::Release { link });
            self.send(host, ServerMessage::Release { link });
            return;
        }
        self.counters.switched += 1;
        self.release_place(node);
        if let Some(member) = self.members.get_mut(&node) {
            member.former = None;
            member.newest_link = member.newest_link.max(Some(link.link));
            member.edge = Some(Edge {
                parent: host,
                link: Some(link.link),
                signals: Signals {
                    answered: true,
                    ..Signals::default()
                },
            });
        }
    }

    /// Peers have moved: does this one's standby still make sense? One below its parent does not,
    /// nor one that has filled up and stands by for others of the same parent.
    pub(super) fn revalidate_standby(&mut self, now: Instant, node: NodeId) {
        let Some(member) = self.members.get(&node) else {
            return;
        };
        let (Some(standby), Some(parent)) = (&member.standby, self.tree.parent(member.handle))
        else {
            return;
        };
        let Some(host) = self.members.get(&standby.host) else {
            return;
        };
        if self.tree.ancestry(host.handle).any(|above| above == parent) {
            self.take_standby_back(node);
        } else if standby.since + STANDBY_REVIEW <= now
            && self.crowded(node, standby, host.handle)
            && self.reviews.len() < MAX_WISHES
        {
            self.reviews.push(node);
        }
    }

    /// The standby of this peer does not do any more; both are told.
    fn take_standby_back(&mut self, node: NodeId) {
        let standby = self.members.get(&node).and_then(|member| member.standby);
        if let Some(standby) = standby {
            let link = LinkKey {
                child: node,
                link: standby.link,
            };
            self.give_up_standby(node);
            self.send(node, ServerMessage::NoStandby { link });
        }
    }

    /// Those whose standby has become full get another, if there is one with room.
    fn review_standbys(&mut self, now: Instant, rng: &mut impl Rng) {
        for node in std::mem::take(&mut self.reviews) {
            let present = self.members.get(&node).and_then(|member| member.standby);
            let better = self
                .choose_standby(now, node, rng)
                .is_some_and(|(slow, at)| {
                    let host = self.tree.get(at).map(|peer| peer.node());
                    slow < NO_ROOM && host != present.map(|standby| standby.host)
                });
            if better {
                self.take_standby_back(node);
            } else if let Some(standby) =
                (self.members.get_mut(&node)).and_then(|member| member.standby.as_mut())
            {
                standby.since = now;
            }
        }
    }

    /// Whether a standby has no room for this one of its clients, after those before it.
    fn crowded(&self, node: NodeId, standby: &Standby, host: Handle) -> bool {
        let (Some(clients), Some(parent)) =
            (self.clients.get(&standby.host), self.parent_of(&node))
        else {
            return false;
        };
        let room = self.room(host, self.parent_of(&parent)).then;
        clients.len() > room
            && self
                .together(clients, parent)
                .take(room)
                .all(|client| *client != node)
    }

    /// The standby of this peer is none any more; its node is told, unless the connection is this.
    fn give_up_standby_but(&mut self, child: NodeId, link: LinkId) {
        let standby = self.members.get(&child).and_then(|member| member.standby);
        if standby.is_some_and(|standby| standby.link == link) {
            self.forget_standby(child);
        } else {
            self.give_up_standby(child);
        }
    }

    /// Nobody stands by for this peer any more; who did is told.
    pub(super) fn give_up_standby(&mut self, child: NodeId) {
        if let Some(standby) = self.forget_standby(child) {
            let link = LinkKey {
                child,
                link: standby.link,
            };
            self.send(standby.host, ServerMessage::Release { link });
        }
    }

    pub(super) fn forget_standby(&mut self, child: NodeId) -> Option<Standby> {
        let standby = self.members.get_mut(&child)?.standby.take()?;
        if let Some(until) = standby.until {
            self.timers.remove(&(until, Timer::Standby(child)));
        }
        if let Some(clients) = self.clients.get_mut(&standby.host) {
            clients.remove(&child);
            if clients.is_empty() {
                self.clients.remove(&standby.host);
            }
        }
        self.views.changed = true;
        Some(standby)
    }

    /// A node goes: those it stood by for look for another.
    pub(super) fn dismiss_clients(&mut self, host: NodeId) {
        for child in self.clients.get(&host).cloned().unwrap_or_default() {
            if let Some(standby) = self.forget_standby(child) {
                let link = LinkKey {
                    child,
                    link: standby.link,
                };
                self.send(child, ServerMessage::NoStandby { link });
            }
        }
    }

    /// A peer says that it is about to leave: it gets no more children, and those it has come
    /// before others when they ask for another parent.
    pub fn drain(&mut self, now: Instant, node: NodeId) {
        if self.is_root(&node) {
            return;
        }
        if let Some(member) = self.members.get_mut(&node) {
            member.draining = true;
        }
        self.dismiss_clients(node);
        self.review(now, node);
    }
}
