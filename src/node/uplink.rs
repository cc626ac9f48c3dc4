//! How many children the uplink really carries, judged by what the children report.
//!
//! When several children lose packets or wait in a queue at the same time, what they have in common is this
//! node's uplink: fewer children are offered a place, and the tracker moves the others away. When one child
//! does, it is that child's own path.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::id::LinkKey;
use crate::relay::ChildFigures;

/// Share of packets that have to be sent again which a path that is not overloaded seldom has.
const HEAVY_LOSS: f32 = 0.08;

/// Round trip beyond the shortest one of late that means a queue. Queues of access lines hold 50 ms to
/// seconds.
const QUEUE: Duration = Duration::from_millis(200);

/// Looks in a row at which a child has to suffer.
const LOOKS: u8 = 2;

/// Fewer packets within a look say nothing.
const LEAST_PACKETS: u64 = 20;

/// Share of what was delivered that children are given after an overload (rule C1).
const SHARE: f32 = 0.8;

/// Time in which the tracker moves children away, before there is another judgement.
const SETTLING: Duration = Duration::from_secs(8);

/// Time without an overload after which one child more is tried, at first and at most: it doubles with each
/// trial that fails.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_MAX: Duration = Duration::from_secs(600);

/// Shortest round trips are forgotten after this long: paths change.
const BASE_MEMORY: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Path {
    /// Shortest round trip of late, and when it was seen.
    base: Option<(Duration, Instant)>,
    /// Looks in a row at which the child suffered.
    suffered: u8,
}

/// What is known of the uplink.
#[derive(Debug)]
pub struct Uplink {
    paths: BTreeMap<LinkKey, Path>,
    /// Children it carries, once it was seen not to carry more.
    room: Option<u16>,
    /// Until then children move away.
    settles: Option<Instant>,
    /// Since when nothing is wrong.
    calm_since: Option<Instant>,
    /// When one more was tried last.
    tried_at: Option<Instant>,
    patience: Duration,
}

impl Default for Uplink {
    fn default() -> Self {
        Self {
            paths: BTreeMap::new(),
            room: None,
            settles: None,
            calm_since: None,
            tried_at: None,
            patience: PATIENCE,
        }
    }
}

impl Uplink {
    /// Children it carries, if it was ever overloaded.
    pub fn room(&self) -> Option<u16> {
        self.room
    }

    /// Takes in what was seen of each child since the last look, about a second ago. `lost_above`: the
    /// share of packets that this node lacked itself. `players`: children that nobody can move elsewhere,
    /// beside whom there is room for another child at least.
    pub fn look(&mut self, now: Instant, children: &[ChildFigures], lost_above: f32, players: u16) {
        let least = players.saturating_add(1);
        self.room = self.room.map(|room| room.max(least));
        self.paths
            .retain(|link, _| children.iter().any(|child| child.link == *link));
        let mut suffering = 0;
        let mut told = 0;
        let mut carried = 0.0;
        for child in children {
            let path = self.paths.entry(child.link).or_insert(Path {
                base: None,
                suffered: 0,
            });
            let queue = path.queue(now, child.rtt);
            let enough = child.sent >= LEAST_PACKETS;
            // What this node lacked itself its children report as lost, too.
            let lost = (child.fraction_lost.unwrap_or(0.0) - lost_above).max(0.0);
            let repaired = (child.asked as f32 / child.sent.max(1) as f32 - lost_above).max(0.0);
            let suffers =
                child.held || (enough && (lost.max(repaired) > HEAVY_LOSS || queue > QUEUE));
            if suffers {
                path.suffered = path.suffered.saturating_add(1);
            } else if child.fraction_lost.is_some() {
                // Without a report nothing is known to be better.
                path.suffered = 0;
            }
            suffering += u16::from(path.suffered >= LOOKS);
            told += u16::from(enough || child.held);
            let share = if child.held { lost.max(0.5) } else { lost };
            carried += 1.0 - share.min(1.0);
        }
        if self.settles.is_some_and(|until| now < until) {
            return;
        }
        if suffering >= 2 && 2 * suffering >= told {
            self.overloaded(now, children.len() as u16, carried, least);
        } else if suffering <= 1 {
            // One that suffers alone suffers from its own path.
            self.grow(now, children.len() as u16);
        }
    }

    fn overloaded(&mut self, now: Instant, children: u16, carried: f32, least: u16) {
        if self
            .tried_at
            .take()
            .is_some_and(|at| now < at + 2 * self.patience)
        {
            self.patience = (2 * self.patience).min(PATIENCE_MAX);
        }
        let room = (SHARE * carried) as u16;
        let room = room.min(children.saturating_sub(1)).max(least);
        self.room = Some(self.room.map_or(room, |before| before.min(room)));
        self.settles = Some(now + SETTLING);
        self.calm_since = None;
    }

    fn grow(&mut self, now: Instant, children: u16) {
        // What is not used shows nothing. Some slots are kept free for heals.
        let used = |room: &u16| children + (room / 10).max(1) >= *room;
        let Some(room) = self.room.filter(used) else {
            return;
        };
        let since = *self.calm_since.get_or_insert(now);
        if now >= since + self.patience {
            self.room = Some(room.saturating_add(1));
            self.calm_since = Some(now);
            self.tried_at = Some(now);
        }
    }
}

impl Path {
    /// Time that packets wait on the way, by a round trip that was measured.
    fn queue(&mut self, now: Instant, rtt: Option<Duration>) -> Duration {
        let Some(rtt) = rtt else {
            return Duration::ZERO;
        };
        match self.base {
            Some((base, at)) if rtt > base && now < at + BASE_MEMORY => rtt - base,
            _ => {
                self.base = Some((rtt, now));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{LinkId, NodeId};

    fn child(n: u8, fraction_lost: f32, rtt_ms: u64) -> ChildFigures {
        let child = NodeId::from_bytes([n; 16]);
        let link = LinkId::default().next();
        ChildFigures {
            link: LinkKey { child, link },
            sent: 200,
            asked: 0,
            fraction_lost: Some(fraction_lost),
            rtt: Some(Duration::from_millis(rtt_ms)),
            held: false,
        }
    }

    fn at(s: u64) -> Instant {
        crate::virtual_clock::start() + Duration::from_secs(s)
    }

    #[test]
    fn what_several_children_lose_is_the_uplinks() {
        let mut uplink = Uplink::default();
        let all: Vec<_> = (0..8).map(|n| child(n, 0.6, 30)).collect();
        uplink.look(at(0), &all, 0.0, 0);
        assert_eq!(uplink.room(), None, "one look can be one burst");
        uplink.look(at(1), &all, 0.0, 0);
        assert_eq!(
            uplink.room(),
            Some(2),
            "eight times 0.4, and a fifth is kept"
        );
        uplink.look(at(2), &all, 0.0, 0);
        assert_eq!(uplink.room(), Some(2), "the others are on their way");
        let few: Vec<_> = (0..2).map(|n| child(n, 0.6, 30)).collect();
        uplink.look(at(10), &few, 0.0, 0);
        assert_eq!(uplink.room(), Some(1), "never none");
    }

    #[test]
    fn a_queue_is_an_overload_before_anything_is_lost() {
        let mut uplink = Uplink::default();
        let all = |rtt| (0..4).map(|n| child(n, 0.0, rtt)).collect::<Vec<_>>();
        uplink.look(at(0), &all(30), 0.0, 0);
        uplink.look(at(1), &all(400), 0.0, 0);
        uplink.look(at(2), &all(400), 0.0, 0);
        assert_eq!(uplink.room(), Some(3));
    }

    #[test]
    fn one_childs_path_and_what_comes_from_above_say_nothing_of_the_uplink() {
        let mut uplink = Uplink::default();
        let mut one: Vec<_> = (0..4).map(|n| child(n, 0.0, 30)).collect();
        one[0].fraction_lost = Some(0.7);
        let all: Vec<_> = (0..4).map(|n| child(n, 0.2, 30)).collect();
        for s in 0..10 {
            uplink.look(at(s), &one, 0.0, 0);
            uplink.look(at(s), &all, 0.15, 0);
        }
        assert_eq!(uplink.room(), None);
    }

    #[test]
    fn it_is_believed_again_slowly_and_more_slowly_after_a_trial_that_failed() {
        let mut uplink = Uplink::default();
        let bad: Vec<_> = (0..4).map(|n| child(n, 0.25, 30)).collect();
        let good: Vec<_> = (0..2).map(|n| child(n, 0.0, 30)).collect();
        uplink.look(at(0), &bad, 0.0, 0);
        uplink.look(at(1), &bad, 0.0, 0);
        assert_eq!(uplink.room(), Some(2));
        for s in 9..39 {
            uplink.look(at(s), &good, 0.0, 0);
        }
        assert_eq!(uplink.room(), Some(2));
        uplink.look(at(39), &good, 0.0, 0);
        assert_eq!(uplink.room(), Some(3));
        let bad: Vec<_> = (0..3).map(|n| child(n, 0.25, 30)).collect();
        uplink.look(at(50), &bad, 0.0, 0);
        uplink.look(at(51), &bad, 0.0, 0);
        assert_eq!(uplink.room(), Some(1));
        for s in 59..119 {
            uplink.look(at(s), &good, 0.0, 0);
        }
        assert_eq!(uplink.room(), Some(1));
        uplink.look(at(119), &good, 0.0, 0);
        assert_eq!(uplink.room(), Some(2));
    }

    #[test]
    fn one_that_suffers_alone_does_not_keep_the_others_from_coming_back() {
        let mut uplink = Uplink::default();
        let bad: Vec<_> = (0..4).map(|n| child(n, 0.25, 30)).collect();
        let mut rest: Vec<_> = (0..2).map(|n| child(n, 0.0, 30)).collect();
        rest[0].held = true;
        uplink.look(at(0), &bad, 0.0, 0);
        uplink.look(at(1), &bad, 0.0, 0);
        assert_eq!(uplink.room(), Some(2));
        for s in 9..40 {
            uplink.look(at(s), &rest, 0.0, 0);
        }
        assert_eq!(uplink.room(), Some(3));
    }

    #[test]
    fn players_leave_room_for_a_child_that_passes_the_stream_on() {
        let mut uplink = Uplink::default();
        let all: Vec<_> = (0..8).map(|n| child(n, 0.9, 30)).collect();
        uplink.look(at(0), &all, 0.0, 4);
        uplink.look(at(1), &all, 0.0, 4);
        assert_eq!(uplink.room(), Some(5));
        uplink.look(at(2), &all, 0.0, 6);
        assert_eq!(uplink.room(), Some(7), "more players came");
    }
}
