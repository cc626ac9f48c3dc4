//! Counters, histograms, and the Prometheus text format 0.0.4.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of a [`Histogram`], in seconds: from what a message costs to what
/// everybody notices.
const BOUNDS: [f64; 10] = [
    0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0,
];

/// How long something took, by the number of times.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one is for what is above every bound.
    buckets: [Counter; BOUNDS.len() + 1],
    nanoseconds: Counter,
}

impl Histogram {
    /// Counts one that took `time`.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.partition_point(|&bound| bound < seconds);
        self.buckets[bucket].add(1);
        self.nanoseconds
            .add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// The text a scraper reads. Every name gets the prefix `banyan_`, every family a help text and
/// a type.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// The media type of the text.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauges(name, help).sample(&[], value);
    }

    /// A value that only grows; `name` ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.counters(name, help).sample(&[], value);
    }

    /// Values that go up and down, told apart by labels.
    pub fn gauges<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family("gauge", name, help)
    }

    /// Values that only grow, told apart by labels; `name` ends in `_total`.
    pub fn counters<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family("counter", name, help)
    }

    /// A histogram in seconds; `name` ends in `_seconds`.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let mut family = self.family("histogram", name, help);
        let mut total = 0;
        for (bucket, bound) in histogram.buckets.iter().zip(BOUNDS) {
            total += bucket.get();
            family.line("_bucket", &[("le", &bound.to_string())], total);
        }
        // Read one after the other while others write: the sum of buckets is what is counted.
        total += histogram.buckets[BOUNDS.len()].get();
        family.line("_bucket", &[("le", "+Inf")], total);
        let seconds = Duration::from_nanos(histogram.nanoseconds.get()).as_secs_f64();
        family.line("_sum", &[], seconds);
        family.line("_count", &[], total);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }

    fn family<'a>(&'a mut self, kind: &str, name: &'a str, help: &str) -> Family<'a> {
        // Writing to a String cannot fail.
        let _ = write!(
            self.0,
            "# HELP banyan_{name} {help}.\n# TYPE banyan_{name} {kind}\n"
        );
        Family {
            text: &mut self.0,
            name,
        }
    }
}

/// Samples of one name.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    /// Adds one, told apart by `labels`.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.line("", labels, value);
        self
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let name = self.name;
        // Writing to a String cannot fail.
        let _ = match labels.as_slice() {
            [] => writeln!(self.text, "banyan_{name}{suffix} {value}"),
            labels => writeln!(
                self.text,
                "banyan_{name}{suffix}{{{}}} {value}",
                labels.join(",")
            ),
        };
    }
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_help_type_and_escaped_labels() {
        let mut text = Exposition::default();
        text.gauge("depth", "Hops from the root", 3);
        text.counters("lost_total", "Lost")
            .sample(&[("why", "a \"b\"\\"), ("kind", "x")], 1)
            .sample(&[("why", "c\nd"), ("kind", "y")], 2);
        assert_eq!(
            text.into_text(),
            "# HELP banyan_depth Hops from the root.\n# TYPE banyan_depth gauge\nbanyan_depth 3\n\
             # HELP banyan_lost_total Lost.\n# TYPE banyan_lost_total counter\n\
             banyan_lost_total{why=\"a \\\"b\\\"\\\\\",kind=\"x\"} 1\n\
             banyan_lost_total{why=\"c\\nd\",kind=\"y\"} 2\n"
        );
    }

    #[test]
    fn a_histogram_counts_into_cumulative_buckets() {
        let histogram = Histogram::default();
        for microseconds in [5, 10, 20, 2_000_000] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        let mut text = Exposition::default();
        text.histogram("took_seconds", "Time", &histogram);
        let text = text.into_text();
        for line in [
            "banyan_took_seconds_bucket{le=\"0.00001\"} 2",
            "banyan_took_seconds_bucket{le=\"0.00003\"} 3",
            "banyan_took_seconds_bucket{le=\"1\"} 3",
            "banyan_took_seconds_bucket{le=\"+Inf\"} 4",
            "banyan_took_seconds_count 4",
            "banyan_took_seconds_sum 2.000035",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
