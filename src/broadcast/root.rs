//! The broadcaster: it comes, describes its tracks, goes and returns.

use std::time::Instant;

use super::member::Member;
use super::status::Status;
use super::{Arrival, Broadcast, BroadcastCounters, Timer};
use crate::id::{LinkKey, NodeId, StreamId};
use crate::limits::{MEDIA_SEEN, PROVEN_AGE, RENEWAL, ROOT_AWAY, ROOT_GRACE};
use crate::tree::{Round, Tree};
use crate::wire::announcement::SignedStreamInfo;
use crate::wire::tracker::{ErrorCode, IceServer, Publish, Report, ServerMessage, StreamState};

#[derive(Debug)]
pub(super) struct Root {
    node: NodeId,
    /// Since when its session is gone.
    lost_at: Option<Instant>,
    /// What each of its children receives.
    bits_per_second: Option<u64>,
}

#[cfg(test)]
impl Root {
    pub(super) fn node(&self) -> NodeId {
        self.node
    }
}

/// Why a node does not become the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Another node is.
    #[error("another node is broadcasting this stream")]
    Busy,
    /// The stream has lived a later life already.
    #[error("a later broadcast of this stream has been here already")]
    Outdated,
}

impl Broadcast {
    /// A stream nobody broadcasts yet. `relays` are the TURN servers for peers that cannot connect
    /// without one.
    pub fn new(stream: StreamId, relays: Vec<IceServer>) -> Self {
        Self {
            relays,
            stream,
            title: String::new(),
            listed: false,
            epoch: Default::default(),
            state: StreamState::Offline,
            info: None,
            started: None,
            root: None,
            away: false,
            flows_at: None,
            offline_since: None,
            tree: Tree::new(),
            members: Default::default(),
            wishes: Vec::new(),
            reviews: Vec::new(),
            cold_reviews: Vec::new(),
            clients: Default::default(),
            queue: Default::default(),
            places: Default::default(),
            keep_last_until: None,
            stun_answers: false,
            renewed_until: None,
            timers: Default::default(),
            status: Status::default(),
            views: Default::default(),
            healing_at: None,
            rebalance_at: None,
            round: Round::default(),
            counters: BroadcastCounters::default(),
            outputs: Default::default(),
        }
    }

    /// Whether `node` could become the root with this announcement.
    ///
    /// # Errors
    /// [`PublishError`] says why not.
    pub fn may_publish(&self, node: &NodeId, publish: &Publish) -> Result<(), PublishError> {
        let live = self.root.as_ref().filter(|root| root.lost_at.is_none());
        if live.is_some_and(|root| root.node != *node) {
            Err(PublishError::Busy)
        } else if publish.epoch < self.epoch {
            Err(PublishError::Outdated)
        } else {
            Ok(())
        }
    }

    /// A node that has proven the stream's key becomes its root. Whoever hung below another one before
    /// it, or below an earlier process, keeps what hangs below itself and goes to the new root.
    ///
    /// # Errors
    /// As [`may_publish`](Self::may_publish).
    pub fn publish(
        &mut self,
        now: Instant,
        arrival: Arrival,
        publish: Publish,
    ) -> Result<(), PublishError> {
        self.may_publish(&arrival.node, &publish)?;
        self.title = publish.title;
        self.listed = publish.listed;
        self.send(arrival.node, ServerMessage::Published);
        if let Some(root) = &mut self.root
            && root.node == arrival.node
        {
            // A later epoch counts from its tracks on.
            root.lost_at = None;
            self.away &= self.info.is_none();
            if let Some(member) = self.members.get(&arrival.node) {
                self.tree.set_slots(member.handle, arrival.slots);
            }
            self.review(now, arrival.node);
            self.tell_status(now);
            self.queue.retell();
            return Ok(());
        }
        let follows = self.follows(&arrival.node);
        self.replace_root(now);
        if self.members.contains_key(&arrival.node) {
            self.leave(now, arrival.node);
        }
        self.epoch = publish.epoch;
        self.state = StreamState::Waiting;
        self.offline_since = None;
        self.root = Some(Root {
            node: arrival.node,
            lost_at: None,
            bits_per_second: None,
        });
        let handle = self.enter(now, arrival);
        // A peer that was just inserted has no parent, so this does not fail.
        let _ = self.tree.set_root(handle);
        self.tell_status(now);
        self.follow(arrival.node, follows);
        Ok(())
    }

    /// The root that is lost gives way to another. Its children hear that at once.
    fn replace_root(&mut self, now: Instant) {
        let Some(root) = self.root.take() else {
            return;
        };
        let below = self.members.iter().filter_map(|(&child, member)| {
            let edge = member.edge.as_ref().filter(|e| e.parent == root.node)?;
            let link = edge.link?;
            Some(LinkKey { child, link })
        });
        let below: Vec<LinkKey> = below.collect();
        for link in below {
            self.send(link.child, ServerMessage::Release { link });
        }
        self.depart(now, root.node, false);
        self.away = self.info.take().is_some() || self.away;
        self.renewed_until = Some(now + RENEWAL);
    }

    /// The root describes its tracks.
    pub fn set_info(&mut self, now: Instant, from: NodeId, signed: SignedStreamInfo) {
        if !self.is_root(&from) || self.root_is_lost() {
            let text = "only the root of a stream describes its tracks";
            self.send_error(from, ErrorCode::Unexpected, text);
            return;
        }
        let info = match signed.verify(&self.stream) {
            Ok(info) => info,
            Err(error) => {
                self.send_error(from, ErrorCode::BadSignature, error.to_string());
                return;
            }
        };
        if info.epoch < self.epoch {
            let text = "the tracks belong to an earlier epoch than the published one";
            self.send_error(from, ErrorCode::Unexpected, text);
            return;
        }
        if self.info.as_ref() == Some(&signed) {
            return;
        }
        // Other tracks: links that stand carry the old ones, so everybody makes a new one.
        if info.epoch > self.epoch || self.info.is_none() {
            self.epoch = info.epoch;
            self.renewed_until = (self.info.is_some() || self.away).then(|| now + RENEWAL);
        }
        self.info = Some(signed);
        if self.state != StreamState::Live {
            self.state = StreamState::Live;
            self.away = false;
            self.started.get_or_insert(now);
            self.keep_last_slot(now);
            self.queue.retell();
        }
        self.tell_status(now);
    }

    /// Takes the stream's bit rate from its root's report.
    pub(super) fn note_rate(&mut self, from: &NodeId, report: &Report) {
        if let Some(root) = self.root.as_mut().filter(|root| root.node == *from) {
            let bits = report.up_bytes_per_second.saturating_mul(8);
            root.bits_per_second = bits.checked_div(report.children.len() as u64);
        }
    }

    /// About how many bits per second a viewer receives, from what the root sends to how many;
    /// none while it feeds nobody.
    pub fn bits_per_second(&self) -> Option<u64> {
        self.root.as_ref().and_then(|root| root.bits_per_second)
    }

    /// The root ends the broadcast.
    pub fn root_leaves(&mut self, now: Instant) {
        self.end(now);
    }

    /// Whether `node` is the root, its session lost or not.
    pub fn is_root(&self, node: &NodeId) -> bool {
        self.root.as_ref().is_some_and(|root| root.node == *node)
    }

    /// Whether the root's session is gone.
    pub(super) fn root_is_lost(&self) -> bool {
        self.root_lost_at().is_some()
    }

    /// Whether there is nobody to feed this one before the root is back: it hung below the root itself, or
    /// it is new. What another that heals might find is still worth a try.
    pub(super) fn waits_for_root(&self, now: Instant, member: &Member) -> bool {
        let Some(root) = self.tree.root().filter(|_| self.root_is_lost()) else {
            return false;
        };
        let heals = member.attempt.as_ref().is_some_and(|a| a.heals);
        (self.away && !heals) || member.avoids(root, now, false)
    }

    fn root_lost_at(&self) -> Option<Instant> {
        self.root.as_ref().and_then(|root| root.lost_at)
    }

    /// When the root's absence has its next consequence.
    pub(super) fn root_deadline(&self) -> Option<Instant> {
        let lost_at = self.root_lost_at()?;
        Some(if self.away {
            lost_at + ROOT_GRACE
        } else {
            self.away_at(lost_at)
        })
    }

    /// When the stream is to be called away.
    fn away_at(&self, lost_at: Instant) -> Instant {
        let root = self.tree.root().and_then(|root| self.tree.get(root));
        let alone = root.is_none_or(|root| root.used() == 0);
        let flows_at = self.flows_at.filter(|_| !alone);
        let seen = flows_at.map_or(lost_at, |at| at + MEDIA_SEEN);
        seen.max(lost_at + ROOT_AWAY).min(lost_at + ROOT_GRACE)
    }

    pub(super) fn root_session_lost(&mut self, now: Instant) {
        let Some(root) = &mut self.root else {
            return;
        };
        root.lost_at = Some(now);
        let node = root.node;
        self.views.forget(&node);
        if let Some(member) = self.members.get_mut(&node) {
            member.follow = None;
            let expected = std::mem::take(&mut member.expected);
            for child in expected {
                self.withdraw(child);
                self.requeue(child);
            }
        }
        self.review(now, node);
    }

    pub(super) fn tick_root(&mut self, now: Instant) {
        let Some(lost_at) = self.root_lost_at() else {
            return;
        };
        if now >= lost_at + ROOT_GRACE {
            self.end(now);
        } else if !self.away && now >= self.away_at(lost_at) {
            self.away = true;
            self.tell_status(now);
            self.queue.retell();
        }
    }

    /// The broadcast is over: the tree is dropped, and everybody is told. Those who waited wait
    /// on; the others ask again.
    fn end(&mut self, now: Instant) {
        let Some(root) = self.root.take() else {
            return;
        };
        self.end_players(now);
        self.members.remove(&root.node);
        self.views.forget(&root.node);
        self.state = StreamState::Offline;
        self.away = false;
        self.offline_since = Some(now);
        self.info = None;
        self.started = None;
        self.keep_last_until = None;
        self.timers.clear();
        self.places.clear();
        self.clients.clear();
        self.wishes.clear();
        self.reviews.clear();
        let old = std::mem::take(&mut self.tree);
        for (&node, member) in &mut self.members {
            if let Some(peer) = old.get(member.handle) {
                let slots = peer.declared();
                let new = crate::tree::Newcomer::new(node, peer.class(), slots, member.joined);
                member.uproot(self.tree.insert(new));
                let proof = (member.joined + PROVEN_AGE).max(now);
                self.timers.insert((proof, Timer::Prove(node)));
            }
            if let Some(attempt) = &mut member.attempt
                && attempt.assigned.take().is_some()
            {
                self.queue.push(attempt.turn, node);
            }
        }
        self.tell_status(now);
        self.queue.retell();
        self.views.changed = true;
    }
}
