//! Whom a peer may ask to be its parent while this tracker is away: both ends know a token.
//!
//! Such a pair keeps no slot and no connection. It is looked at with each report of the child, so that
//! it never outlives a move of one of them for long, and ends by itself.

use std::time::Instant;

use rand::Rng;

use super::Broadcast;
use super::member::Member;
use crate::id::{GrantToken, NodeId};
use crate::limits::{
    COLD_REVIEW, ENOUGH_COLD_PARENTS, GRANT_LIFETIME, MAX_COLD_PARENTS, MAX_GRANTS,
    SIGNAL_FIRST_HOPS,
};
use crate::tree::{Class, Handle};
use crate::wire::tracker::{ColdParent, PeerClass, ServerMessage};

/// Most peers that are given such parents at a time; the others' next reports are soon.
const MAX_REVIEWS: usize = 256;

/// The nodes that a peer may ask.
#[derive(Debug)]
pub(super) struct Cold {
    parents: Vec<(Handle, GrantToken)>,
    /// When their lifetime is over.
    until: Instant,
    /// When it is looked whether there are better ones, if these do not do.
    look_at: Instant,
}

#[cfg(test)]
impl Cold {
    pub(super) fn hosts(&self) -> impl Iterator<Item = Handle> {
        self.parents.iter().map(|(host, _)| *host)
    }
}

impl Broadcast {
    /// A peer has reported: are those it may ask still of use?
    pub(super) fn revalidate_cold(&mut self, now: Instant, node: NodeId) {
        let Some(member) = self.members.get(&node) else {
            return;
        };
        // Who has lost its parent needs those it has.
        if member.class != PeerClass::Native || member.edge.is_none() {
            return;
        }
        let due = match &member.cold {
            None => self.tree.get(member.handle).is_some_and(|p| p.depth() >= 2),
            Some(cold) => {
                let serves = |&(host, _): &(Handle, GrantToken)| self.may_serve(now, member, host);
                let free = |&(host, _): &(Handle, GrantToken)| {
                    self.tree.get(host).is_some_and(|peer| peer.has_room())
                };
                let hubs = self.hubs(member);
                let near = |&(host, _): &(Handle, GrantToken)| self.is_near(host, &hubs);
                let few = cold.parents.len() < ENOUGH_COLD_PARENTS
                    || !cold.parents.iter().any(free)
                    || !(hubs.is_empty() || cold.parents.iter().any(near));
                !cold.parents.iter().all(serves)
                    || cold.until <= now + GRANT_LIFETIME / 2
                    || (few && cold.look_at <= now)
            }
        };
        if due && self.cold_reviews.len() < MAX_REVIEWS {
            self.cold_reviews.push(node);
        }
    }

    /// Whether a node could take in this one if its parent failed, as far as the tree tells: it is
    /// neither above nor below, and would not fail as well.
    fn may_serve(&self, now: Instant, member: &Member, host: Handle) -> bool {
        let (Some(peer), Some(parent)) = (self.tree.get(host), self.tree.parent(member.handle))
        else {
            return false;
        };
        let Some(other) = self.members.get(&peer.node()) else {
            return false;
        };
        let own = self.tree.get(member.handle).map(|peer| peer.node());
        let strangers =
            |own| !self.stands_by(own, peer.node()) && !self.stands_by(peer.node(), own);
        let mut above = self.tree.ancestry(host);
        peer.attached()
            && peer.class() == Class::Native
            && peer.slots() > 0
            && !other.draining
            && own.is_some_and(strangers)
            && !above.any(|at| at == member.handle || at == parent)
            && self.meet(member, other)
            && !member.avoids(host, now, true)
    }

    /// The nodes by which this one reaches others when its parent and its standby are gone: those that
    /// its children are connected to besides.
    fn hubs(&self, member: &Member) -> Vec<Handle> {
        let standby = |member: &Member| member.standby.map(|standby| standby.host);
        let own = standby(member);
        let parent = member.edge.as_ref().map(|edge| edge.parent);
        let children = self.tree.children(member.handle).take(SIGNAL_FIRST_HOPS);
        children
            .filter_map(|child| self.members.get(&self.tree.get(child)?.node()))
            .filter_map(standby)
            .filter(|host| Some(*host) != own && Some(*host) != parent)
            .filter_map(|host| self.members.get(&host))
            .map(|host| host.handle)
            .collect()
    }

    /// Whether a node is one of these, or connected to one.
    fn is_near(&self, host: Handle, hubs: &[Handle]) -> bool {
        let name = |at: Handle| self.tree.get(at).map(|peer| peer.node());
        hubs.iter().any(|&hub| {
            hub == host
                || self.tree.parent(host) == Some(hub)
                || self.tree.parent(hub) == Some(host)
                || name(hub).zip(name(host)).is_some_and(|(hub, host)| {
                    self.stands_by(hub, host) || self.stands_by(host, hub)
                })
        })
    }

    /// Nodes connected to one, a few of each kind.
    fn neighbours(&self, hub: Handle) -> impl Iterator<Item = Handle> + '_ {
        let node = self.tree.get(hub).map(|peer| peer.node());
        let clients = node.and_then(|node| self.clients.get(&node));
        let clients = clients.into_iter().flatten().take(SIGNAL_FIRST_HOPS);
        let standby = node.and_then(|node| self.members.get(&node)?.standby);
        let connected = clients.copied().chain(standby.map(|standby| standby.host));
        let connected = connected.filter_map(|node| Some(self.members.get(&node)?.handle));
        let below = self.tree.children(hub).take(SIGNAL_FIRST_HOPS);
        below.chain(self.tree.parent(hub)).chain(connected)
    }

    /// Gives peers others that they may ask.
    pub(super) fn grant_cold(&mut self, now: Instant, rng: &mut impl Rng) {
        for node in std::mem::take(&mut self.cold_reviews) {
            let Some(member) = self.members.get(&node) else {
                continue;
            };
            if member.edge.is_none() {
                continue;
            }
            let old = member.cold.as_ref().map_or(&[][..], |cold| &cold.parents);
            let chosen = self.choose_cold(now, member, old, rng);
            let parents: Vec<_> = chosen
                .into_iter()
                .map(|host| {
                    let known = old.iter().find(|(other, _)| *other == host);
                    let token = known.map_or_else(|| GrantToken::random(rng), |(_, token)| *token);
                    (host, token)
                })
                .collect();
            self.change_cold(now, node, parents);
        }
    }

    /// Those that may be asked: such as have room, would not be gone with the standby, and can be
    /// reached over others, and of those the ones that may be asked already.
    fn choose_cold(
        &self,
        now: Instant,
        member: &Member,
        old: &[(Handle, GrantToken)],
        rng: &mut impl Rng,
    ) -> Vec<Handle> {
        let standby = member.standby.and_then(|s| self.members.get(&s.host));
        let standby = standby.map(|host| host.handle);
        let known = |host: Handle| old.iter().any(|(other, _)| *other == host);
        let mut candidates = self.tree.standby_candidates(member.handle, rng);
        let hubs = self.hubs(member);
        candidates.extend(old.iter().map(|(host, _)| *host));
        for &hub in &hubs {
            candidates.extend(self.neighbours(hub));
        }
        candidates.extend(&hubs);
        candidates.sort_unstable();
        candidates.dedup();
        let mut ranked: Vec<_> = candidates
            .into_iter()
            .filter(|&host| self.may_serve(now, member, host))
            .filter_map(|host| {
                let peer = self.tree.get(host)?;
                let given = self.members.get(&peer.node())?.granted;
                let full = usize::from(given) >= MAX_GRANTS && !known(host);
                let below = standby.is_some_and(|at| self.tree.ancestry(host).any(|a| a == at));
                let share = given / peer.slots().saturating_sub(peer.used()).max(1);
                let far = !self.is_near(host, &hubs);
                let rank = (
                    !peer.has_room(),
                    below,
                    far,
                    !known(host),
                    share,
                    peer.depth(),
                );
                (!full).then_some((rank, peer.joined(), host))
            })
            .collect();
        ranked.sort_unstable();
        ranked.truncate(MAX_COLD_PARENTS);
        ranked.into_iter().map(|(.., host)| host).collect()
    }

    /// Tells a peer and those it may ask what is new.
    fn change_cold(&mut self, now: Instant, node: NodeId, parents: Vec<(Handle, GrantToken)>) {
        let old = self.members.get_mut(&node).and_then(|m| m.cold.take());
        let renewed = old
            .as_ref()
            .filter(|cold| cold.until > now + GRANT_LIFETIME / 2);
        let until = renewed.map_or(now + GRANT_LIFETIME, |cold| cold.until);
        let renewed = renewed.is_none();
        let old = old.map(|cold| cold.parents).unwrap_or_default();
        let lifetime_ms = until.saturating_duration_since(now).as_millis() as u32;
        for &(host, token) in old.iter().filter(|pair| !parents.contains(pair)) {
            self.count_grant(host, false);
            self.tell_admission(host, node, token, 0);
        }
        for &(host, token) in &parents {
            let known = old.contains(&(host, token));
            if !known {
                self.count_grant(host, true);
            }
            if !known || renewed {
                self.tell_admission(host, node, token, lifetime_ms);
            }
        }
        let same = parents.len() == old.len() && parents.iter().all(|pair| old.contains(pair));
        // Another order is no news.
        let parents = if same { old.clone() } else { parents };
        if !same || renewed {
            let named = parents.iter().filter_map(|&(host, token)| {
                let node = self.tree.get(host)?.node();
                Some(ColdParent { node, token })
            });
            let parents = named.collect::<Vec<_>>();
            if !(parents.is_empty() && old.is_empty()) {
                let told = ServerMessage::ColdParents {
                    lifetime_ms,
                    parents,
                };
                self.send(node, told);
            }
        }
        if let Some(member) = self.members.get_mut(&node) {
            member.cold = Some(Box::new(Cold {
                parents,
                until,
                look_at: now + COLD_REVIEW,
            }));
        }
    }

    fn count_grant(&mut self, host: Handle, more: bool) {
        let host = self.tree.get(host).map(|peer| peer.node());
        if let Some(host) = host.and_then(|node| self.members.get_mut(&node)) {
            host.granted = if more {
                host.granted.saturating_add(1)
            } else {
                host.granted.saturating_sub(1)
            };
        }
    }

    fn tell_admission(&mut self, host: Handle, child: NodeId, token: GrantToken, lifetime_ms: u32) {
        if let Some(host) = self.tree.get(host).map(|peer| peer.node()) {
            let admit = ServerMessage::Admit {
                child,
                token,
                lifetime_ms,
            };
            self.send(host, admit);
        }
    }

    /// Whether a peer may have come to this parent without asking.
    pub(super) fn may_have_come(&self, child: NodeId, parent: NodeId) -> bool {
        let host = self.members.get(&parent).map(|parent| parent.handle);
        let cold = self.members.get(&child).and_then(|c| c.cold.as_ref());
        cold.is_some_and(|cold| cold.parents.iter().any(|(at, _)| Some(*at) == host))
    }

    /// A peer goes. `told`: for good, so that those it might have asked forget it.
    pub(super) fn forget_cold(&mut self, node: NodeId, told: bool) {
        let cold = self.members.get_mut(&node).and_then(|m| m.cold.take());
        for (host, token) in cold.map(|cold| cold.parents).unwrap_or_default() {
            self.count_grant(host, false);
            if told {
                self.tell_admission(host, node, token, 0);
            }
        }
    }
}
