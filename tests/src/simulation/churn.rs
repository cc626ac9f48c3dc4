//! Who watches, for how long, and what they can carry.
//!
//! Classes, shares and uplinks are a mix of volunteers' nodes and pages; sessions are lognormal as
//! measured of live audiences (Veloso et al., "A hierarchical characterization of a live streaming
//! media workload", IMW 2002).

use std::time::Duration;

use banyan::tree::Class;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, LogNormal};

/// Most children of a native node.
const NATIVE_CHILDREN: u16 = 40;

/// Most children of a page.
const BROWSER_CHILDREN: u16 = 6;

/// Share of an uplink that is given to children.
const UPLINK_SHARE: f64 = 0.8;

/// Longest session in seconds: a day.
const LONGEST: f64 = 86_400.0;

/// One kind of viewers.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Of all viewers that are here at a time.
    share: f64,
    class: Class,
    /// Median and spread of the uplink in Mbit/s, its least and its most.
    uplink: Option<(f64, f64, f64, f64)>,
    /// Of the logarithm of a session in seconds.
    session: (f64, f64),
}

const KINDS: [Kind; 4] = [
    Kind {
        share: 0.06,
        class: Class::Native,
        uplink: Some((100.0, 1.0, 10.0, 1000.0)),
        session: (7.6, 1.4),
    },
    Kind {
        share: 0.14,
        class: Class::Native,
        uplink: Some((20.0, 0.8, 2.0, 300.0)),
        session: (6.8, 1.5),
    },
    Kind {
        share: 0.55,
        class: Class::Browser,
        uplink: Some((4.0, 0.8, 0.0, 10.0)),
        session: (5.2355, 1.5443),
    },
    // Phones carry nothing.
    Kind {
        share: 0.25,
        class: Class::Browser,
        uplink: None,
        session: (4.384, 1.427),
    },
];

/// One viewer.
#[derive(Debug, Clone, Copy)]
pub struct Viewer {
    /// What it is.
    pub class: Class,
    /// Children it can serve.
    pub slots: u16,
    /// How long it has been here already.
    pub age: Duration,
    /// How long it stays from now on.
    pub stays: Duration,
}

/// The model of one audience.
#[derive(Debug, Clone, Copy)]
pub struct Audience {
    /// Viewers that are here at a time.
    pub size: usize,
    /// Bit rate of the stream in Mbit/s.
    rate: f64,
}

impl Audience {
    /// An audience with this many slots per viewer, by the bit rate that makes it so.
    pub fn with_resource_index(size: usize, index: f64, rng: &mut impl Rng) -> Self {
        let sample: Vec<(Class, f64)> = (0..20_000)
            .map(|_| uplink(kind(rng, |k| k.share), rng))
            .collect();
        let of_rate = |rate: f64| {
            let slots = sample
                .iter()
                .map(|&(class, uplink)| f64::from(slots(class, uplink, rate)));
            slots.sum::<f64>() / sample.len() as f64
        };
        let (mut low, mut high) = (0.05, 200.0);
        for _ in 0..60 {
            let rate = f64::sqrt(low * high);
            if of_rate(rate) > index {
                low = rate;
            } else {
                high = rate;
            }
        }
        Self { size, rate: low }
    }

    /// Bit rate of the stream in Mbit/s.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Viewers that come in a second.
    pub fn arrivals(&self) -> f64 {
        KINDS.iter().map(|kind| self.arrivals_of(kind)).sum()
    }

    fn arrivals_of(&self, kind: &Kind) -> f64 {
        let (mu, sigma) = kind.session;
        let mean = f64::exp(mu + sigma * sigma / 2.0);
        self.size as f64 * kind.share / mean
    }

    /// Somebody who comes now.
    pub fn newcomer(&self, rng: &mut impl Rng) -> Viewer {
        let kind = kind(rng, |kind| self.arrivals_of(kind));
        let stays = session(kind, kind.session.0, rng);
        self.viewer(kind, 0.0, stays, rng)
    }

    /// Somebody who is here at a moment like any other: long sessions are met more often, and in
    /// their middle.
    pub fn present(&self, rng: &mut impl Rng) -> Viewer {
        let kind = kind(rng, |kind| kind.share);
        // Lognormal by length is lognormal with its mean moved by the variance.
        let whole = session(kind, kind.session.0 + kind.session.1.powi(2), rng);
        let age = whole * rng.random::<f64>();
        self.viewer(kind, age, whole - age, rng)
    }

    fn viewer(&self, kind: &Kind, age: f64, stays: f64, rng: &mut impl Rng) -> Viewer {
        let (class, uplink) = uplink(kind, rng);
        Viewer {
            class,
            slots: slots(class, uplink, self.rate),
            age: Duration::from_secs_f64(age),
            stays: Duration::from_secs_f64(stays),
        }
    }
}

fn kind(rng: &mut impl Rng, weight: impl Fn(&Kind) -> f64) -> &'static Kind {
    let total: f64 = KINDS.iter().map(&weight).sum();
    let mut left = rng.random::<f64>() * total;
    for kind in &KINDS {
        left -= weight(kind);
        if left <= 0.0 {
            return kind;
        }
    }
    &KINDS[KINDS.len() - 1]
}

fn session(kind: &Kind, mu: f64, rng: &mut impl Rng) -> f64 {
    let lengths = LogNormal::new(mu, kind.session.1).unwrap();
    lengths.sample(rng).clamp(1.0, LONGEST)
}

fn uplink(kind: &Kind, rng: &mut impl Rng) -> (Class, f64) {
    let Some((median, sigma, least, most)) = kind.uplink else {
        return (kind.class, 0.0);
    };
    let uplinks = LogNormal::new(median.ln(), sigma).unwrap();
    (kind.class, uplinks.sample(rng).clamp(least, most))
}

fn slots(class: Class, uplink: f64, rate: f64) -> u16 {
    let most = match class {
        Class::Native => NATIVE_CHILDREN,
        Class::Browser | Class::Player => BROWSER_CHILDREN,
    };
    ((UPLINK_SHARE * uplink / rate) as u16).min(most)
}
