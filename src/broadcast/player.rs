//! Standard players: leaves without a control channel, which say nothing about themselves. A
//! player hangs where its parent reports it, and is gone when its parent no longer does.

use std::time::Instant;

use super::{Broadcast, Timer};
use crate::id::NodeId;
use crate::limits::PLAYER_ORPHANED;
use crate::wire::tracker::{ErrorCode, PeerClass, ServerMessage};

impl Broadcast {
    pub(super) fn is_player(&self, node: &NodeId) -> bool {
        self.members
            .get(node)
            .is_some_and(|member| member.class == PeerClass::Player)
    }

    /// A parent has reported its children: players on their way to it have arrived, players it
    /// had and does not name are gone, and those a returning parent names are its own again.
    pub(super) fn place_players(&mut self, now: Instant, parent: NodeId) {
        let Some(above) = self.members.get(&parent) else {
            return;
        };
        let is_player = |node: &NodeId| self.is_player(node);
        let named = |node: &NodeId| above.reported.binary_search(node).is_ok();
        let arrived: Vec<NodeId> = above
            .expected
            .iter()
            .filter(|node| named(node) && is_player(node))
            .copied()
            .collect();
        let gone: Vec<NodeId> = self
            .tree
            .children(above.handle)
            .filter_map(|child| self.tree.get(child))
            .map(|child| child.node())
            .filter(|node| !named(node) && is_player(node))
            .collect();
        let orphaned = |node: &&NodeId| {
            let member = self.members.get(node);
            member.is_some_and(|m| m.class == PeerClass::Player && m.edge.is_none())
        };
        let returned: Vec<NodeId> = above
            .reported
            .iter()
            .filter(orphaned)
            .filter(|node| !arrived.contains(node))
            .copied()
            .collect();
        for player in arrived {
            self.attach_expected(player);
            // Nobody else can tell.
            if let Some(member) = self.members.get(&player) {
                self.tree.confirm(member.handle);
            }
        }
        for player in gone {
            self.end_player(now, player, "the player's connection has ended");
        }
        for player in returned {
            self.adopt(now, player, parent);
        }
    }

    /// The parent of a player is gone. One that left took the player's media with it; one whose
    /// session ended may feed it still, and say so when it is back.
    pub(super) fn orphan_player(&mut self, now: Instant, player: NodeId, parent_may_return: bool) {
        if parent_may_return {
            let timer = Timer::Orphan(player);
            self.timers.insert((now + PLAYER_ORPHANED, timer));
        } else {
            self.end_player(now, player, "the player's parent has left");
        }
    }

    pub(super) fn look_at_orphan(&mut self, now: Instant, player: NodeId) {
        let lost = self.members.get(&player);
        if lost.is_some_and(|member| member.edge.is_none() && member.attempt.is_none()) {
            self.end_player(now, player, "the player's parent is gone");
        }
    }

    /// Every player's place is lost with the tree.
    pub(super) fn end_players(&mut self, now: Instant) {
        let players: Vec<NodeId> = self
            .members
            .iter()
            .filter(|(_, member)| member.class == PeerClass::Player)
            .map(|(&node, _)| node)
            .collect();
        for player in players {
            self.end_player(now, player, "the broadcast is over");
        }
    }

    /// Ends a player's place, and with it its session: a player never asks for another one.
    pub(super) fn end_player(&mut self, now: Instant, player: NodeId, why: &str) {
        let error = ServerMessage::Error {
            code: ErrorCode::Ended,
            message: why.to_owned(),
            fatal: true,
        };
        self.send(player, error);
        self.depart(now, player, false);
    }
}
