//! Reports, departures and returns.

use std::time::Instant;

use super::member::{Edge, Signals};
use super::queue::Rank;
use super::{Arrival, Broadcast, Timer};
use crate::id::{LinkId, LinkKey, NodeId};
use crate::limits::{DELIVERY_SHOWN, MAX_STREAM_PEERS, PLACE_MEMORY};
use crate::wire::tracker::{PeerClass, Report, ServerMessage};

/// The place of a peer whose session ended. Its media may flow on; if it comes back soon and is
/// still fed there, nothing was lost.
#[derive(Debug)]
pub(super) struct Place {
    parent: NodeId,
    link: Option<LinkId>,
    until: Instant,
}

#[cfg(test)]
impl Place {
    pub(super) fn parent(&self) -> NodeId {
        self.parent
    }
}

impl Broadcast {
    /// How a peer is. What a parent and its child report alike is an edge, whatever the tracker
    /// thought.
    pub fn report(&mut self, now: Instant, node: NodeId, report: Report) {
        if self.is_player(&node) {
            return;
        }
        self.note_rate(&node, &report);
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        let packets = u64::from(report.lost) + u64::from(report.received);
        let loss = (u64::from(report.lost) * 1000).checked_div(packets);
        let loss = loss.unwrap_or(0) as u16;
        let mut children = report.children;
        children.sort_unstable();
        children.dedup();
        let handle = member.handle;
        let before = self.tree.get(handle).map_or(0, |peer| peer.delay_ms());
        if member.loss_permille != loss || before != report.delay_ms {
            member.loss_permille = loss;
            self.views.figures_changed = true;
        }
        member.reported = children;
        if report.received > 0 {
            self.flows_at = Some(now);
        }
        let refused = member.full_until.take().is_some();
        let taken = self.strangers_below(node);
        self.tree
            .set_slots(handle, report.slots.saturating_sub(taken));
        self.tree.set_delay(handle, report.delay_ms);
        if refused {
            self.review(now, node);
        }
        if let Some(parent) = report.parent {
            self.adopt(now, node, parent);
        }
        self.note_delivery(now, node, report.parent.filter(|_| report.received > 0));
        self.note_service(now, node, report.received);
        self.place_players(now, node);
        self.revalidate_standby(now, node);
        self.revalidate_cold(now, node);
    }

    /// A child says whether media comes from its parent. When it has said so for long enough, more
    /// of that parent's slots count.
    fn note_delivery(&mut self, now: Instant, child: NodeId, from: Option<NodeId>) {
        let Some(member) = self.members.get_mut(&child) else {
            return;
        };
        let edge = member.edge.as_ref().map(|edge| edge.parent);
        let Some(parent) = from.filter(|_| from == edge) else {
            member.fed = None;
            return;
        };
        match member.fed {
            Some((known, since)) if known == parent => {
                if now >= since + DELIVERY_SHOWN {
                    self.tree.confirm(member.handle);
                }
            }
            _ => {
                member.fed = Some((parent, now));
                self.displace(now, child);
            }
        }
    }

    /// Children a parent reports that are nobody here, like players a tracker before this one
    /// placed: their slots are taken. A kept place is not, since it goes to whoever needs it.
    fn strangers_below(&self, parent: NodeId) -> u16 {
        let reported = self.members.get(&parent).map(|member| &member.reported);
        let stranger =
            |node: &&NodeId| !self.members.contains_key(node) && !self.places.contains_key(node);
        let count = reported.map_or(0, |children| children.iter().filter(stranger).count());
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// Takes in a peer that is no member but, by its own report and its parent's, hangs in the
    /// tree: its session or this tracker was away. Whether it is a member now.
    pub fn take_back(&mut self, now: Instant, arrival: Arrival, report: &Report) -> bool {
        let node = arrival.node;
        let Some(parent) = report.parent else {
            return false;
        };
        if self.members.contains_key(&node) || self.members.len() >= MAX_STREAM_PEERS {
            return false;
        }
        let known = self.members.get(&parent).is_some_and(|member| {
            let attached = self.tree.get(member.handle).is_some_and(|p| p.attached());
            attached && member.reported.binary_search(&node).is_ok()
        });
        let kept = self
            .places
            .get(&node)
            .is_some_and(|place| place.parent == parent);
        if !known && !kept {
            return false;
        }
        self.enter(now, arrival);
        self.adopt(now, node, parent);
        let placed = self.members.get(&node).is_some_and(|m| m.edge.is_some());
        if placed {
            let status = self.status();
            self.send(node, ServerMessage::Stream(status));
        } else if let Some(member) = self.exit(&node) {
            self.tree.remove(member.handle);
        }
        placed
    }

    /// Puts a peer without parent under the one it reports, if there is evidence for it.
    pub(super) fn adopt(&mut self, now: Instant, child: NodeId, parent: NodeId) {
        let (Some(member), Some(above)) = (self.members.get(&child), self.members.get(&parent))
        else {
            return;
        };
        let attached = self
            .tree
            .get(above.handle)
            .is_some_and(|peer| peer.attached());
        let asks = member.attempt.as_ref();
        let evicted = member
            .evicted
            .is_some_and(|(from, until)| from == parent && now < until);
        if !attached
            || member.edge.is_some()
            || asks.is_some_and(|a| a.heals || a.assigned.is_some())
            || evicted
        {
            return;
        }
        let former = member.former.as_ref().filter(|edge| edge.parent == parent);
        let place = self
            .places
            .get(&child)
            .filter(|place| place.parent == parent);
        let link = match (former, place) {
            (Some(edge), _) => edge.link,
            (None, Some(place)) => place.link,
            (None, None) if above.reported.binary_search(&child).is_ok() => None,
            (None, None) => return,
        };
        if self.tree.adopt(member.handle, above.handle).is_err() {
            return;
        }
        self.counters.adopted += 1;
        self.forget_place(child);
        let Some(member) = self.members.get_mut(&child) else {
            return;
        };
        member.former = None;
        // Its candidates and its answer have passed long ago.
        let signals = Signals {
            answered: true,
            ..Signals::default()
        };
        member.edge = Some(Edge {
            parent,
            link,
            signals,
        });
        member.newest_link = member.newest_link.max(link);
        if let Some(attempt) = &mut member.attempt {
            self.queue.remove(attempt.turn);
            attempt.turn = self.queue.turn(Rank::Moves);
            self.queue.push(attempt.turn, child);
        }
    }

    /// A peer leaves on purpose.
    pub fn leave(&mut self, now: Instant, node: NodeId) {
        self.depart(now, node, false);
    }

    /// A peer's session ended without a word. Its children stay together and notice by themselves
    /// whether media still flows.
    pub fn session_lost(&mut self, now: Instant, node: NodeId) {
        if self.is_root(&node) {
            self.root_session_lost(now);
            return;
        }
        self.counters.lost += 1;
        // Whoever speaks for a player is gone for good.
        let may_return = !self.is_player(&node);
        self.depart(now, node, may_return);
    }

    pub(super) fn depart(&mut self, now: Instant, node: NodeId, keep_place: bool) {
        self.take_attempt(node, true);
        if keep_place {
            // Those connections stand whatever becomes of this session.
            self.forget_standby(node);
        } else {
            self.give_up_standby(node);
            self.dismiss_clients(node);
        }
        // It may need them the more while its session is away.
        self.forget_cold(node, !keep_place);
        self.cancel_plan(node);
        self.release_dependents(node);
        let Some(member) = self.exit(&node) else {
            return;
        };
        self.views.forget(&node);
        if let Some(edge) = &member.edge {
            self.bereave(now, edge.parent);
        }
        match member.edge {
            Some(edge) if keep_place => self.keep_place(now, node, &edge),
            Some(edge) => self.release_edge(node, &edge),
            None if keep_place => {}
            None => self.release_place(node),
        }
        let mut strong = false;
        let mut players = Vec::new();
        for orphan in self.tree.remove(member.handle) {
            strong |= self.tree.brings_room(orphan);
            let orphan = self.tree.get(orphan).map(|peer| peer.node());
            let Some((orphan, member)) =
                orphan.and_then(|node| Some((node, self.members.get_mut(&node)?)))
            else {
                continue;
            };
            member.former = member.edge.take();
            if member.class == PeerClass::Player {
                players.push(orphan);
            }
            // A request to move has become one to live.
            if let Some(attempt) = &mut member.attempt
                && attempt.turn.rank == Rank::Moves
            {
                let waits = attempt.assigned.is_none();
                self.queue.remove(attempt.turn);
                attempt.turn = self.queue.turn(Rank::Heals);
                if waits {
                    self.queue.push(attempt.turn, orphan);
                }
            }
        }
        for player in players {
            self.orphan_player(now, player, keep_place);
        }
        if strong {
            self.keep_last_slot(now);
        }
    }

    /// Finds other parents for the children on their way to a peer that goes, and forgets the
    /// places kept under it.
    fn release_dependents(&mut self, node: NodeId) {
        let Some(member) = self.members.get_mut(&node) else {
            return;
        };
        let (expected, kept) = (
            std::mem::take(&mut member.expected),
            std::mem::take(&mut member.kept),
        );
        for child in expected {
            self.cancel_plan(child);
            self.withdraw(child);
            self.requeue(child);
        }
        for child in kept {
            self.forget_place(child);
        }
    }

    fn forget_place(&mut self, child: NodeId) -> Option<Place> {
        let place = self.places.remove(&child)?;
        self.timers.remove(&(place.until, Timer::Place(child)));
        if let Some(parent) = self.members.get_mut(&place.parent) {
            parent.kept.remove(&child);
        }
        Some(place)
    }

    /// Keeps the place of a child that fell silent, for a moment.
    pub(super) fn keep_place(&mut self, now: Instant, child: NodeId, edge: &Edge) {
        self.forget_place(child);
        let Some(parent) = self.members.get_mut(&edge.parent) else {
            return;
        };
        parent.kept.insert(child);
        let until = now + PLACE_MEMORY;
        let place = Place {
            parent: edge.parent,
            link: edge.link,
            until,
        };
        self.places.insert(child, place);
        self.timers.insert((until, Timer::Place(child)));
    }

    /// Gives up the place kept for a child, and has its parent let it go.
    pub(super) fn release_place(&mut self, child: NodeId) {
        let Some(place) = self.forget_place(child) else {
            return;
        };
        if let Some(member) = self.members.get_mut(&child) {
            // Its old parent lets it go now, whatever its next report still says.
            member.former.take_if(|edge| edge.parent == place.parent);
        }
        if let Some(link) = place.link {
            let link = LinkKey { child, link };
            self.send(place.parent, ServerMessage::Release { link });
        }
    }

    /// A child is gone for good: its parent lets it go.
    fn release_edge(&mut self, child: NodeId, edge: &Edge) {
        if let Some(link) = edge.link {
            let link = LinkKey { child, link };
            self.send(edge.parent, ServerMessage::Release { link });
        }
    }

    /// Time is up for a place that is kept. While its parent still feeds the child, the media of
    /// a peer that cannot reach its tracker goes on, until somebody needs the slot.
    pub(super) fn give_up_place(&mut self, now: Instant, child: NodeId) {
        let Some(place) = self
            .places
            .get_mut(&child)
            .filter(|place| place.until <= now)
        else {
            return;
        };
        let parent = self.members.get(&place.parent);
        if parent.is_some_and(|parent| parent.reported.binary_search(&child).is_ok()) {
            place.until = now + PLACE_MEMORY;
            self.timers.insert((place.until, Timer::Place(child)));
        } else {
            self.release_place(child);
        }
    }

    /// A slot was given away: a place that is kept beyond the parent's slots goes now.
    pub(super) fn make_room(&mut self, parent: NodeId) {
        while let Some(member) = self.members.get(&parent)
            && let Some(&child) = member.kept.first()
            && let Some(peer) = self.tree.get(member.handle)
        {
            let taken = usize::from(peer.used()) + usize::from(peer.reserved());
            if taken + member.kept.len() <= usize::from(peer.slots()) {
                break;
            }
            self.release_place(child);
        }
    }
}
