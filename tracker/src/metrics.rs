//! What the tracker counts, and the Prometheus text it makes of it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the shell counts; the core has counters of its own.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) sessions_opened: Counter,
    pub(crate) sessions_closed: Counter,
    pub(crate) sessions_too_slow: Counter,
    pub(crate) messages_received: Counter,
    pub(crate) messages_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) malformed: Counter,
    pub(crate) stun_answered: Counter,
    pub(crate) stun_dropped: Counter,
}

impl Metrics {
    /// Adds these counters to `text`.
    pub(crate) fn write(&self, text: &mut Exposition) {
        let sessions = self
            .sessions_opened
            .get()
            .saturating_sub(self.sessions_closed.get());
        text.gauge("sessions", "WebSocket sessions that are open", sessions);
        let counters: [(&str, &str, &Counter); 11] = [
            (
                "connections_accepted_total",
                "TCP connections that were taken",
                &self.connections_accepted,
            ),
            (
                "connections_refused_total",
                "TCP connections that were over a limit",
                &self.connections_refused,
            ),
            (
                "sessions_total",
                "WebSocket sessions that were opened",
                &self.sessions_opened,
            ),
            (
                "sessions_too_slow_total",
                "Sessions that were cut because they did not read what was sent to them",
                &self.sessions_too_slow,
            ),
            (
                "messages_received_total",
                "Messages from peers",
                &self.messages_received,
            ),
            (
                "messages_sent_total",
                "Messages to peers",
                &self.messages_sent,
            ),
            (
                "bytes_received_total",
                "Bytes of messages from peers",
                &self.bytes_received,
            ),
            (
                "bytes_sent_total",
                "Bytes of messages to peers",
                &self.bytes_sent,
            ),
            (
                "malformed_frames_total",
                "WebSocket frames that were no message of this protocol",
                &self.malformed,
            ),
            (
                "stun_answered_total",
                "STUN requests that were answered",
                &self.stun_answered,
            ),
            (
                "stun_dropped_total",
                "STUN requests that were over the rate of one source",
                &self.stun_dropped,
            ),
        ];
        for (name, help, counter) in counters {
            text.counter(name, help, counter.get());
        }
    }
}

/// Prometheus text exposition format 0.0.4; every name gets the prefix `banyan_`.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    /// The media type of the text.
    pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.metric("gauge", name, help, value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric("counter", name, help, value);
    }

    fn metric(&mut self, kind: &str, name: &str, help: &str, value: u64) {
        // Writing to a String cannot fail.
        let _ = write!(
            self.0,
            "# HELP banyan_{name} {help}.\n# TYPE banyan_{name} {kind}\nbanyan_{name} {value}\n"
        );
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}
