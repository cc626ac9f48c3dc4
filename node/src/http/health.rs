//! Whether the node lives and can be used, and its figures for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use banyan::node::Snapshot;
use banyan::reachability::Reachability;
use banyan::relay::TrackStats;
use banyan::wire::announcement::MediaKind;
use banyan::wire::tracker::RefuseReason;
use banyan_operator::metrics::Exposition;
use banyan_operator::process::Process;
use tokio::sync::watch;

use super::Doors;
use crate::driver::Traffic;
use crate::tally::{CLOSE_REASONS, Publishing, Tally};

/// The newest figures of the node.
pub type Figures = Option<Arc<(Snapshot, Traffic)>>;

#[derive(Clone)]
struct Room {
    figures: watch::Receiver<Figures>,
    doors: Doors,
    process: Process,
}

/// `/healthz`, `/readyz` and `/metrics`.
pub(super) fn routes(figures: watch::Receiver<Figures>, doors: Doors) -> Router {
    let process = Process::started("banyan", env!("CARGO_PKG_VERSION"));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Room {
            figures,
            doors,
            process,
        })
}

async fn readyz(State(room): State<Room>) -> impl IntoResponse {
    let figures = room.figures.borrow().clone();
    let reason = match figures.as_deref() {
        None => Some("the node has just started"),
        Some((snapshot, traffic)) => unready(snapshot, &traffic.tally),
    };
    match reason {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// Why the node cannot be used, if it cannot.
fn unready(snapshot: &Snapshot, tally: &Tally) -> Option<&'static str> {
    if !tally.tracker_up {
        Some("there is no connection to the tracker")
    } else if snapshot.depth.is_none() {
        Some("the node has no parent")
    } else if snapshot.tracks.iter().all(|(_, stats)| stats.packets == 0) {
        Some("there is no media yet")
    } else if snapshot.source_idle {
        Some("the source gives nothing at the moment")
    } else {
        None
    }
}

async fn metrics(State(room): State<Room>) -> impl IntoResponse {
    let figures = room.figures.borrow().clone();
    let mut text = Exposition::default();
    if let Some(figures) = figures {
        describe(&figures.0, &figures.1, &mut text);
    }
    describe_doors(&room.doors, &mut text);
    room.process.write(&mut text);
    ([(CONTENT_TYPE, Exposition::CONTENT_TYPE)], text.into_text())
}

fn describe(snapshot: &Snapshot, traffic: &Traffic, text: &mut Exposition) {
    describe_place(snapshot, text);
    describe_links(&traffic.tally, text);
    if let Some(reachability) = &traffic.tally.reachability {
        describe_network(reachability, text);
    }
    if let Some(publishing) = &traffic.tally.publisher {
        describe_publisher(publishing, text);
    }
    text.counter("sent_bytes_total", "UDP payload bytes sent", traffic.up);
    text.counter(
        "received_bytes_total",
        "UDP payload bytes received",
        traffic.down,
    );
    text.counter(
        "child_falls_total",
        "Times a child was so slow that packets meant for it were dropped",
        snapshot.falls,
    );
    type Figure = (&'static str, &'static str, fn(&TrackStats) -> u64);
    let per_track: [Figure; 4] = [
        (
            "packets_total",
            "Packets that arrived, each counted once",
            |t| t.packets,
        ),
        ("lost_packets_total", "Packets that never arrived", |t| {
            t.lost
        }),
        (
            "repaired_packets_total",
            "Packets that arrived because they were asked for",
            |t| t.repaired,
        ),
        (
            "duplicate_packets_total",
            "Packets that arrived again",
            |t| t.duplicates,
        ),
    ];
    for (name, help, value) in per_track {
        let mut family = text.counters(name, help);
        for (index, (kind, stats)) in snapshot.tracks.iter().enumerate() {
            let (index, kind) = (index.to_string(), kind_name(*kind));
            family.sample(&[("track", &index), ("kind", kind)], value(stats));
        }
    }
    let mut family = text.gauges(
        "key_frame_interval_seconds",
        "Time between the two newest key frames",
    );
    for (index, (kind, stats)) in snapshot.tracks.iter().enumerate() {
        if let Some(interval) = stats.key_frame_interval {
            let (index, kind) = (index.to_string(), kind_name(*kind));
            let seconds = interval.as_secs_f64();
            family.sample(&[("track", &index), ("kind", kind)], seconds);
        }
    }
}

fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

fn describe_place(snapshot: &Snapshot, text: &mut Exposition) {
    text.gauge(
        "attached",
        "1 while the node is the root or has a parent",
        u8::from(snapshot.depth.is_some()),
    );
    text.gauge(
        "depth",
        "Hops from the root",
        snapshot.depth.unwrap_or_default(),
    );
    text.gauge(
        "delay_seconds",
        "Delay from the root: half round trips summed up",
        snapshot.delay.as_secs_f64(),
    );
    text.gauge(
        "children",
        "Children whose links stand",
        snapshot.children.len(),
    );
    text.gauge(
        "players",
        "Children that are standard players (WHEP)",
        snapshot.players,
    );
    text.gauge("slots", "Children the node can serve", snapshot.slots);
    text.gauge(
        "source_idle",
        "1 while the source of a broadcast gives nothing",
        u8::from(snapshot.source_idle),
    );
    text.counter(
        "heals_total",
        "Parents the node has replaced",
        snapshot.heals,
    );
}

/// One sample per address family, so that a change of class shows.
fn describe_network(reachability: &Reachability, text: &mut Exposition) {
    let mut family = text.gauges(
        "reach",
        "1 for the class of each address family: how far strangers' packets come",
    );
    for (name, reach) in [("ipv4", reachability.v4), ("ipv6", reachability.v6)] {
        if let Some(reach) = reach {
            family.sample(&[("family", name), ("class", reach.name())], 1);
        }
    }
}

fn describe_links(tally: &Tally, text: &mut Exposition) {
    text.gauge("links", "Links whose connection stands", tally.open());
    text.gauge(
        "tracker_up",
        "1 while the connection to the tracker stands",
        u8::from(tally.tracker_up),
    );
    let counters = [
        (
            "links_connected_total",
            "Links whose connection stood",
            tally.connected,
        ),
        (
            "nacked_packets_total",
            "Packets that children asked for again",
            tally.nacked,
        ),
        (
            "nack_sent_packets_total",
            "Packets that were asked for again at parents",
            tally.nacks_sent,
        ),
        (
            "key_frame_requests_total",
            "Requests for a key frame by children",
            tally.key_frames_asked,
        ),
        (
            "key_frame_requests_sent_total",
            "Requests for a key frame to a parent",
            tally.key_frames_sent,
        ),
        (
            "tracker_messages_lost_total",
            "Messages to the tracker that found its queue full",
            tally.tracker_messages_lost,
        ),
    ];
    for (name, help, value) in counters {
        text.counter(name, help, value);
    }
    let by_end = [
        (
            "handshakes_failed_total",
            "Links that ended before their connection stood",
            &tally.failed,
        ),
        (
            "links_closed_total",
            "Links that the other side or the network ended",
            &tally.closed,
        ),
    ];
    for (name, help, counts) in by_end {
        let mut family = text.counters(name, help);
        for (reason, count) in CLOSE_REASONS.iter().zip(counts) {
            family.sample(&[("reason", reason)], count);
        }
    }
    let mut family = text.counters(
        "descriptions_refused_total",
        "Session descriptions that could not be used",
    );
    for ((_, reason), count) in RefuseReason::ALL.into_iter().zip(tally.refused) {
        family.sample(&[("reason", reason)], count);
    }
}

fn describe_doors(doors: &Doors, text: &mut Exposition) {
    let families = [
        (
            "whip_responses_total",
            "Answers to publishers, by method and status code",
            &doors.whip,
        ),
        (
            "whep_responses_total",
            "Answers to players, by method and status code",
            &doors.whep,
        ),
    ];
    for (name, help, responses) in families {
        let mut family = text.counters(name, help);
        for (method, status, times) in responses.counts() {
            let status = status.to_string();
            family.sample(&[("method", method), ("status", &status)], times);
        }
    }
}

fn describe_publisher(publishing: &Publishing, text: &mut Exposition) {
    text.gauge(
        "publisher_connected",
        "1 while a publisher is connected",
        u8::from(publishing.connected),
    );
    let mut family = text.gauges(
        "publisher_silent_seconds",
        "Time since the newest packet of a publisher",
    );
    if let Some(silent) = publishing.silent {
        family.sample(&[], silent.as_secs_f64());
    }
    let counters = [
        (
            "publisher_sessions_total",
            "Offers of publishers that were answered",
            publishing.sessions,
        ),
        (
            "publisher_packets_total",
            "Packets that came from publishers",
            publishing.packets,
        ),
        (
            "publisher_lost_packets_total",
            "Packets of publishers that never came",
            publishing.lost,
        ),
        (
            "publisher_nack_sent_packets_total",
            "Packets that were asked for again at publishers",
            publishing.nacks_sent,
        ),
        (
            "publisher_key_frame_requests_sent_total",
            "Requests for a key frame to publishers",
            publishing.key_frames_sent,
        ),
        (
            "publisher_ice_restarts_total",
            "Times a publisher restarted ICE and was connected anew",
            publishing.restarts,
        ),
    ];
    for (name, help, value) in counters {
        text.counter(name, help, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan::id::NodeId;
    use std::time::Duration;

    #[test]
    fn figures_are_told_as_prometheus_reads_them() {
        let snapshot = Snapshot {
            node: NodeId::from_bytes([1; 16]),
            parent: None,
            standby: None,
            cold_parents: Vec::new(),
            admitted: 0,
            depth: Some(0),
            children: Vec::new(),
            slots: 2,
            heals: 0,
            delay: Duration::from_millis(12),
            up_bytes: 0,
            falls: 0,
            source_idle: false,
            players: 1,
            tracks: vec![(MediaKind::Video, TrackStats::default())],
        };
        let mut text = Exposition::default();
        let traffic = Traffic {
            up: 5,
            down: 7,
            tally: Tally::default(),
        };
        describe(&snapshot, &traffic, &mut text);
        let text = text.into_text();
        let unready = unready(&snapshot, &traffic.tally);
        assert_eq!(unready, Some("there is no connection to the tracker"));
        assert!(text.contains("\nbanyan_delay_seconds 0.012\n"));
        assert!(text.contains("banyan_packets_total{track=\"0\",kind=\"video\"} 0"));
        assert!(text.contains("# TYPE banyan_packets_total counter\n"));
    }
}
