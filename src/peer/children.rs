//! The links to children: those the tracker announced and players on this machine's own door,
//! never more than there are slots.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::detour::Detour;
use super::liveness::Liveness;
use crate::id::{Epoch, LinkKey, NodeId};
use crate::limits::{
    CONNECT_TIMEOUT, HEARTBEAT_INTERVAL, PARENT_SILENCE, PULSE_INTERVAL, RENEGOTIATION_WAIT,
    STANDBY_HEARTBEAT,
};
use crate::wire::tracker::PeerClass;

/// A child that sent nothing for this long is gone, in case the tracker does not say so first.
const CHILD_SILENCE: Duration = Duration::from_secs(10);

/// One announced child.
#[derive(Debug)]
pub struct Child {
    /// What it is.
    pub class: PeerClass,
    /// Whether it came to this node's own door, and no tracker knows of it.
    pub local: bool,
    /// The epoch whose tracks its link was described for.
    pub described: Option<Epoch>,
    /// Until when it may have it described anew.
    renewal: Option<Instant>,
    /// Its offer of this epoch is taken, and being answered.
    answering: bool,
    /// Whether this node was made its standby.
    standby: bool,
    /// Whether it still is, and feeds it nothing; such a child takes no slot.
    reserve: bool,
    /// The parent it had when it last said so.
    parent: Option<NodeId>,
    /// It fell silent, and its slot is lent to this child of its own.
    lent: Option<LinkKey>,
    /// Whether it is to be told at once that this node lives.
    pulse_now: bool,
    /// How its ends speak before it stands, where they do not by the tracker.
    pub detour: Option<Box<Detour>>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Since when.
    Announced(Instant),
    /// The connection stands, and both ends say so four times a second.
    Beating(Liveness),
    /// The connection of a player stands. It has no channel to say anything on; whether it lives
    /// shows in the connection itself (RFC 7675).
    Playing,
}

/// All announced children.
#[derive(Debug, Default)]
pub struct Children {
    links: BTreeMap<LinkKey, Child>,
}

impl Children {
    /// How many take a slot: all that are announced or connected, but those this node is the
    /// standby of.
    pub fn taken(&self) -> usize {
        let takes = |child: &&Child| !child.reserve && child.lent.is_none();
        self.links.values().filter(takes).count()
    }

    /// How many this node is the standby of.
    pub fn reserves(&self) -> usize {
        self.links.values().filter(|child| child.reserve).count()
    }

    /// Whose slot this child has, if it is lent.
    pub fn lender(&self, to: LinkKey) -> Option<LinkKey> {
        let mut lent = (self.links.iter()).filter(|(_, child)| child.lent == Some(to));
        lent.next().map(|(link, _)| *link)
    }

    /// Whether this child takes a slot.
    pub fn takes(&self, link: LinkKey) -> bool {
        let takes = |child: &Child| !child.reserve && child.lent.is_none();
        self.get(link).is_some_and(takes)
    }

    /// A connected child of that name that takes a slot and has said nothing for `silence`.
    pub fn silent(&self, now: Instant, node: NodeId, silence: Duration) -> Option<LinkKey> {
        let named = self.links.iter().filter(|(link, _)| link.child == node);
        let mut silent = named.filter(|(_, child)| {
            let heard = child.liveness().map(Liveness::last_heard);
            !child.reserve
                && child.lent.is_none()
                && heard.is_some_and(|heard| heard + silence <= now)
        });
        silent.next().map(|(link, _)| *link)
    }

    /// Connected children that can hear and change their parent.
    pub fn movable(&self) -> impl Iterator<Item = LinkKey> {
        let movable = |child: &Child| child.liveness().is_some();
        let links = self.links.iter().filter(move |(_, child)| movable(child));
        links.map(|(link, _)| *link)
    }

    /// Announced children that are connected.
    pub fn connected(&self) -> impl Iterator<Item = LinkKey> {
        self.links
            .iter()
            .filter(|(_, child)| child.is_connected())
            .map(|(link, _)| *link)
    }

    /// Connected children that are fed.
    pub fn fed(&self) -> impl Iterator<Item = LinkKey> {
        self.links
            .iter()
            .filter(|(_, child)| child.is_connected() && !child.reserve)
            .map(|(link, _)| *link)
    }

    /// Those of them that the tracker placed.
    pub fn placed(&self) -> impl Iterator<Item = LinkKey> {
        self.links
            .iter()
            .filter(|(_, child)| child.is_connected() && !child.local && !child.reserve)
            .map(|(link, _)| *link)
    }

    /// How many came to this node's own door, connected or not.
    pub fn local(&self) -> usize {
        self.links.values().filter(|child| child.local).count()
    }

    /// How many came to this node's own door and are not connected yet.
    pub fn arriving(&self) -> usize {
        let arriving = |child: &&Child| child.local && !child.is_connected();
        self.links.values().filter(arriving).count()
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
        self.get(link).is_some_and(Child::is_connected)
    }

    /// Whether this child is a player.
    pub fn is_player(&self, link: LinkKey) -> bool {
        self.get(link)
            .is_some_and(|child| child.class == PeerClass::Player)
    }

    /// Whether this child came to this node's own door.
    pub fn is_local(&self, link: LinkKey) -> bool {
        self.get(link).is_some_and(|child| child.local)
    }

    /// A child is announced, or came by itself. `described`: the epoch of its answer.
    pub fn insert(
        &mut self,
        now: Instant,
        link: LinkKey,
        class: PeerClass,
        local: bool,
        described: Option<Epoch>,
    ) {
        let child = Child {
            class,
            local,
            described,
            renewal: None,
            answering: false,
            standby: false,
            reserve: false,
            parent: None,
            lent: None,
            pulse_now: false,
            detour: None,
            stage: Stage::Announced(now),
        };
        self.links.insert(link, child);
    }

    /// This node is the standby of that child.
    pub fn set_reserve(&mut self, link: LinkKey) {
        if let Some(child) = self.links.get_mut(&link) {
            child.standby = true;
            child.reserve = true;
        }
    }

    /// The child at this link.
    pub fn get(&self, link: LinkKey) -> Option<&Child> {
        self.links.get(&link)
    }

    /// The child at this link.
    pub fn get_mut(&mut self, link: LinkKey) -> Option<&mut Child> {
        self.links.get_mut(&link)
    }

    /// Children that came without the tracker.
    pub fn detours_mut(&mut self) -> impl Iterator<Item = (LinkKey, &mut Detour)> {
        let links = self.links.iter_mut();
        links.filter_map(|(link, child)| Some((*link, child.detour.as_deref_mut()?)))
    }

    /// The child of that name which came without the tracker.
    pub fn unannounced(&self, node: NodeId) -> Option<LinkKey> {
        let mut links = self
            .links
            .iter()
            .filter(|(_, child)| child.detour.is_some());
        links
            .find(|(link, _)| link.child == node)
            .map(|(link, _)| *link)
    }

    /// When the answers to those are to go.
    pub fn parcels_due(&self) -> impl Iterator<Item = Instant> {
        let detours = self
            .links
            .values()
            .filter_map(|child| child.detour.as_ref());
        detours.filter_map(|detour| detour.parcel.deadline())
    }

    /// Forgets a child.
    pub fn remove(&mut self, link: LinkKey) -> Option<Child> {
        self.links.remove(&link)
    }

    /// Connected children whose heartbeat is due, and the epoch their links were described for.
    pub fn beats_due(
        &mut self,
        now: Instant,
    ) -> impl Iterator<Item = (LinkKey, Option<Epoch>, &mut Liveness)> {
        self.links
            .iter_mut()
            .filter_map(|(link, child)| {
                let described = child.described;
                let liveness = child.liveness_mut()?;
                Some((*link, described, liveness))
            })
            .filter(move |(_, _, liveness)| liveness.next_beat() <= now)
    }

    /// Fed children that were sent nothing for a while.
    pub fn pulses_due(
        &mut self,
        now: Instant,
    ) -> impl Iterator<Item = (LinkKey, Option<Epoch>, &mut Liveness)> {
        self.links.iter_mut().filter_map(move |(link, child)| {
            let at = child.pulse_at()?;
            let due = std::mem::take(&mut child.pulse_now) || at <= now;
            let described = child.described;
            let liveness = child.liveness_mut()?;
            due.then_some((*link, described, liveness))
        })
    }

    /// All of them are told at once how this node is.
    pub fn beat_now(&mut self, now: Instant) {
        for liveness in self.links.values_mut().filter_map(Child::liveness_mut) {
            liveness.beat_by(now);
        }
    }

    /// Fed children are told at once in a few words.
    pub fn pulse_now(&mut self) {
        for child in self.links.values_mut().filter(|child| !child.reserve) {
            child.pulse_now = true;
        }
    }

    /// This node itself was held up until `now`: what it did not hear is nobody's fault.
    pub fn excuse(&mut self, now: Instant) {
        for child in self.links.values_mut() {
            if let Some(by) = &mut child.renewal {
                *by = now + RENEGOTIATION_WAIT;
            }
            match &mut child.stage {
                Stage::Beating(liveness) => liveness.heard(now),
                Stage::Announced(since) => *since = now,
                Stage::Playing => {}
            }
        }
    }

    /// Children that did not connect or fell silent.
    pub fn expired(&self, now: Instant) -> Vec<LinkKey> {
        self.links
            .iter()
            .filter(|(_, child)| child.gone_at().is_some_and(|at| at <= now))
            .map(|(link, _)| *link)
            .collect()
    }

    /// When a child wants to be looked at again.
    pub fn deadline(&self) -> Option<Instant> {
        self.links
            .values()
            .flat_map(|child| {
                let beat = child.liveness().map(Liveness::next_beat);
                [beat, child.pulse_at(), child.gone_at()]
                    .into_iter()
                    .flatten()
            })
            .min()
    }
}

impl Child {
    /// Its connection stands.
    pub fn connected(&mut self, now: Instant, origin: Instant) {
        let mut liveness = Liveness::new(now, origin);
        if self.reserve {
            liveness.set_interval(STANDBY_HEARTBEAT);
        }
        self.stage = match self.class {
            PeerClass::Player => Stage::Playing,
            PeerClass::Native | PeerClass::Browser => Stage::Beating(liveness),
        };
    }

    /// Whether this node is its standby and feeds it nothing.
    pub fn is_reserve(&self) -> bool {
        self.reserve
    }

    /// This node feeds it from now on, or is its standby again.
    pub fn feed(&mut self, feeds: bool) {
        if !self.standby {
            return;
        }
        self.reserve = !feeds;
        self.pulse_now = feeds;
        if let Stage::Beating(liveness) = &mut self.stage {
            liveness.set_interval(if feeds {
                HEARTBEAT_INTERVAL
            } else {
                STANDBY_HEARTBEAT
            });
        }
    }

    /// Its slot is another's as long as it is silent, or its own again. Whose it was.
    pub fn lend(&mut self, to: Option<LinkKey>) -> Option<LinkKey> {
        std::mem::replace(&mut self.lent, to)
    }

    /// The parent it had when it last said so.
    pub fn parent(&self) -> Option<NodeId> {
        self.parent
    }

    /// It has said from where it is fed.
    pub fn set_path(&mut self, path: &[NodeId]) {
        if let [.., parent, _] = path {
            self.parent = Some(*parent);
        }
    }

    /// When it is to be told that this node lives, if it is sent nothing before.
    fn pulse_at(&self) -> Option<Instant> {
        let spoke = self.liveness().filter(|_| !self.reserve)?.last_spoke();
        Some(if self.pulse_now {
            spoke
        } else {
            spoke + PULSE_INTERVAL
        })
    }

    /// Its link carries the tracks of an epoch before, and may be described anew until `by`.
    pub fn renew(&mut self, by: Instant) {
        self.renewal = Some(by);
        self.answering = false;
    }

    /// It offers anew. False if that was not asked for, or has been done.
    pub fn take_offer(&mut self) -> bool {
        self.renewal.is_some() && !std::mem::replace(&mut self.answering, true)
    }

    /// Whether an offer of its was taken and is not answered yet.
    pub fn answering(&self) -> bool {
        self.answering
    }

    /// Its offer is answered: the link carries the tracks of `epoch`. False if it had not offered.
    pub fn renewed(&mut self, epoch: Option<Epoch>) -> bool {
        if !std::mem::replace(&mut self.answering, false) {
            return false;
        }
        self.renewal = None;
        self.described = epoch;
        true
    }

    /// Whether its connection stands.
    pub fn is_connected(&self) -> bool {
        !matches!(self.stage, Stage::Announced(_))
    }

    fn liveness(&self) -> Option<&Liveness> {
        match &self.stage {
            Stage::Beating(liveness) => Some(liveness),
            Stage::Announced(_) | Stage::Playing => None,
        }
    }

    /// Its heartbeats, once its connection stands and if it has any.
    pub fn liveness_mut(&mut self) -> Option<&mut Liveness> {
        match &mut self.stage {
            Stage::Beating(liveness) => Some(liveness),
            Stage::Announced(_) | Stage::Playing => None,
        }
    }

    fn gone_at(&self) -> Option<Instant> {
        let silent = self.silent_at();
        [silent, self.renewal].into_iter().flatten().min()
    }

    fn silent_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Beating(liveness) if self.lent.is_some() => {
                Some(liveness.last_heard() + PARENT_SILENCE)
            }
            Stage::Beating(liveness) => Some(liveness.last_heard() + CHILD_SILENCE),
            Stage::Announced(since) if self.detour.is_some() => Some(*since + CONNECT_TIMEOUT),
            // The child gives up first, so that its report and not ours decides.
            Stage::Announced(since) => Some(*since + CONNECT_TIMEOUT * 2),
            Stage::Playing => None,
        }
    }
}
