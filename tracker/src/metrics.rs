//! What the tracker's shell counts; the core has counters of its own.

use banyan_http::responses::Responses;
use banyan_operator::metrics::{Counter, Exposition, Histogram};

/// The shell's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections_accepted: Counter,
    pub(crate) refused_total: Counter,
    pub(crate) refused_address: Counter,
    pub(crate) tls_failures: Counter,
    pub(crate) tls_reloads: Counter,
    pub(crate) tls_reload_failures: Counter,
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
    pub(crate) whep: Responses,
    /// Time the core takes for one command and all that follows from it.
    pub(crate) handling: Histogram,
}

impl Metrics {
    /// Adds them to `text`.
    pub(crate) fn write(&self, text: &mut Exposition) {
        let mut family = text.counters(
            "whep_responses_total",
            "Answers to players, by method and status code",
        );
        for (method, status, times) in self.whep.counts() {
            let status = status.to_string();
            family.sample(&[("method", method), ("status", &status)], times);
        }
        let sessions = self
            .sessions_opened
            .get()
            .saturating_sub(self.sessions_closed.get());
        text.gauge("sessions", "WebSocket sessions that are open", sessions);
        text.counters(
            "connections_refused_total",
            "TCP connections and sessions that were over a limit",
        )
        .sample(&[("limit", "total")], self.refused_total.get())
        .sample(&[("limit", "address")], self.refused_address.get());
        text.counters(
            "stun_requests_total",
            "STUN requests by what became of them",
        )
        .sample(&[("result", "answered")], self.stun_answered.get())
        .sample(&[("result", "over_rate")], self.stun_dropped.get());
        text.counters(
            "tls_reloads_total",
            "Times the certificate files were read again",
        )
        .sample(&[("result", "taken")], self.tls_reloads.get())
        .sample(&[("result", "failed")], self.tls_reload_failures.get());
        text.histogram(
            "handling_seconds",
            "Time the core takes for one message and all that follows from it",
            &self.handling,
        );
        let counters: [(&str, &str, &Counter); 9] = [
            (
                "connections_accepted_total",
                "TCP connections that were taken",
                &self.connections_accepted,
            ),
            (
                "tls_handshakes_failed_total",
                "TLS handshakes that failed or took too long",
                &self.tls_failures,
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
        ];
        for (name, help, counter) in counters {
            text.counter(name, help, counter.get());
        }
    }
}
