//! Whether a child's path can carry pictures, judged by what the child reports.

use std::time::{Duration, Instant};

use crate::limits::{
    CHILD_LOSS_LASTING, CHILD_LOSS_MAX, CHILD_SILENCE, HEAVY_LOSS_TIME, LASTING_LOSS_TIME,
    LOSS_HOLD, LOSS_HOLD_MAX, LOSS_MEMORY, REPORT_ROUND, SILENCE_HOLD,
};

/// What to do about a child's picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send none for now.
    Hold,
    /// Send it again.
    Release,
}

/// Why there is no picture for now, and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The child says nothing.
    Silent { until: Instant },
    /// The child loses too much.
    Lossy { until: Instant },
}

/// A time in which reports told of loss again and again.
#[derive(Debug, Default)]
struct Spell {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Spell {
    /// Whether there was more loss than `limit` for `time` by now. Each track has reports of its own, so
    /// one without loss ends a spell only if all others of its round had none.
    fn lasts(&mut self, now: Instant, fraction_lost: f32, limit: f32, time: Duration) -> bool {
        if fraction_lost > limit {
            self.last = Some(now);
            let since = *self.since.get_or_insert(now);
            return now.saturating_duration_since(since) >= time;
        }
        if self.last.is_none_or(|last| now > last + REPORT_ROUND) {
            self.since = None;
        }
        false
    }
}

#[derive(Debug)]
pub(super) struct Health {
    hold: Option<Hold>,
    last_heard: Instant,
    /// Whether it was sent anything to report about since.
    owes_report: bool,
    /// Of heavy loss, and of more than a stream can do with.
    heavy: Spell,
    lossy: Spell,
    /// When the picture was tried again last, and how long it had been held.
    tried: Option<(Instant, Duration)>,
}

impl Health {
    /// Of a child about which nothing is known.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            hold: None,
            last_heard: now,
            owes_report: false,
            heavy: Spell::default(),
            lossy: Spell::default(),
            tried: None,
        }
    }

    /// Whether the picture is held.
    pub(super) fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether it is held because of what is lost.
    pub(super) fn is_lossy(&self) -> bool {
        matches!(self.hold, Some(Hold::Lossy { .. }))
    }

    /// Media was sent to it.
    pub(super) fn on_sent(&mut self) {
        self.owes_report = true;
    }

    /// The child said something.
    pub(super) fn on_heard(&mut self, now: Instant) -> Option<Verdict> {
        self.last_heard = now;
        self.owes_report = false;
        matches!(self.hold, Some(Hold::Silent { .. })).then(|| self.release())
    }

    /// The child reported that it lost `fraction_lost` of what was sent. One report can be one
    /// burst, so heavy loss has to last.
    pub(super) fn on_report(&mut self, now: Instant, fraction_lost: f32) -> Option<Verdict> {
        if self.is_lossy() {
            // What is told now is of the time before, or of the sound alone.
            return None;
        }
        let heavy = self
            .heavy
            .lasts(now, fraction_lost, CHILD_LOSS_MAX, HEAVY_LOSS_TIME);
        let lossy = self
            .lossy
            .lasts(now, fraction_lost, CHILD_LOSS_LASTING, LASTING_LOSS_TIME);
        if !heavy && !lossy {
            return None;
        }
        (self.heavy, self.lossy) = (Spell::default(), Spell::default());
        // A path that failed again soon is given longer.
        let hold = match self.tried {
            Some((at, hold)) if now < at + LOSS_MEMORY => (2 * hold).min(LOSS_HOLD_MAX),
            _ => LOSS_HOLD,
        };
        self.tried = Some((now + hold, hold));
        self.hold = Some(Hold::Lossy { until: now + hold });
        Some(Verdict::Hold)
    }

    /// Time passed.
    pub(super) fn check(&mut self, now: Instant) -> Option<Verdict> {
        match self.hold {
            Some(Hold::Lossy { until } | Hold::Silent { until }) => {
                if now < until {
                    return None;
                }
                self.last_heard = now;
                Some(self.release())
            }
            None if !self.owes_report => {
                self.last_heard = now;
                None
            }
            None if now.saturating_duration_since(self.last_heard) > CHILD_SILENCE => {
                self.hold = Some(Hold::Silent {
                    until: now + SILENCE_HOLD,
                });
                Some(Verdict::Hold)
            }
            None => None,
        }
    }

    fn release(&mut self) -> Verdict {
        self.hold = None;
        Verdict::Release
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::relay::tests::beginning;

    #[test]
    fn silence_holds_until_a_word_or_a_probe() {
        let start = beginning();
        let mut health = Health::new(start);
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(health.check(at(60)), None, "nothing sent, nothing to say");
        health.on_sent();
        assert_eq!(health.check(at(63)), None);
        assert_eq!(health.check(at(64)), Some(Verdict::Hold));
        assert_eq!(health.check(at(65)), None);
        assert_eq!(health.on_heard(at(66)), Some(Verdict::Release));
        assert_eq!(health.on_heard(at(66)), None);
        health.on_sent();
        assert_eq!(health.check(at(70)), Some(Verdict::Hold));
        assert_eq!(health.check(at(80)), Some(Verdict::Release));
        assert_eq!(health.check(at(82)), None, "the probe has its time");
        assert_eq!(health.check(at(84)), Some(Verdict::Hold));
    }

    #[test]
    fn only_heavy_loss_that_lasts_holds() {
        let start = beginning();
        let mut health = Health::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(health.on_report(at(0), 0.9), None);
        assert_eq!(
            health.on_report(at(1), 0.9),
            None,
            "the other track's report"
        );
        assert_eq!(health.on_report(at(1600), 0.1), None, "it is over");
        assert_eq!(health.on_report(at(2000), 0.9), None);
        assert_eq!(health.on_report(at(3000), 0.9), Some(Verdict::Hold));
        assert!(health.is_held());
        assert_eq!(
            health.on_heard(at(3500)),
            None,
            "a word does not mend the path"
        );
        assert_eq!(health.check(at(4900)), None);
        assert_eq!(health.check(at(5000)), Some(Verdict::Release));
        assert_eq!(health.on_report(at(6000), 0.9), None);
        assert_eq!(health.on_report(at(7000), 0.9), Some(Verdict::Hold));
        assert_eq!(health.check(at(10_900)), None, "it is given twice as long");
        assert_eq!(health.check(at(11_000)), Some(Verdict::Release));
    }

    #[test]
    fn less_loss_that_lasts_longer_holds_too() {
        let start = beginning();
        let mut health = Health::new(start);
        let at = |s| start + Duration::from_secs(s);
        for s in 0..4 {
            assert_eq!(health.on_report(at(s), 0.02), None, "the sound arrives");
            assert_eq!(health.on_report(at(s), 0.2), None);
        }
        assert_eq!(health.on_report(at(4), 0.02), None);
        assert_eq!(health.on_report(at(4), 0.2), Some(Verdict::Hold));
        assert!(health.is_lossy());
    }
}
