//! Whether the node lives, and its figures for Prometheus.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use banyan::node::Snapshot;
use banyan::wire::announcement::MediaKind;
use tokio::sync::watch;

use crate::driver::Traffic;

/// The newest figures of the node.
pub type Figures = Option<Arc<(Snapshot, Traffic)>>;

/// `/healthz` and `/metrics`.
pub(super) fn routes(figures: watch::Receiver<Figures>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .with_state(figures)
}

async fn metrics(State(figures): State<watch::Receiver<Figures>>) -> impl IntoResponse {
    let figures = figures.borrow().clone();
    let text = figures
        .map(|figures| describe(&figures.0, figures.1))
        .unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// The Prometheus text format.
fn describe(snapshot: &Snapshot, traffic: Traffic) -> String {
    let mut text = String::new();
    let mut single = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    };
    let attached = snapshot.depth.is_some();
    single(
        "banyan_attached",
        "gauge",
        "1 while the node is the root or has a parent.",
        f64::from(u8::from(attached)),
    );
    single(
        "banyan_depth",
        "gauge",
        "Hops from the root.",
        snapshot.depth.unwrap_or_default() as f64,
    );
    single(
        "banyan_delay_seconds",
        "gauge",
        "Delay from the root: half round trips summed up.",
        snapshot.delay.as_secs_f64(),
    );
    single(
        "banyan_children",
        "gauge",
        "Children whose links stand.",
        snapshot.children.len() as f64,
    );
    single(
        "banyan_slots",
        "gauge",
        "Children the node can serve.",
        snapshot.slots.into(),
    );
    single(
        "banyan_heals_total",
        "counter",
        "Parents the node has replaced.",
        snapshot.heals.into(),
    );
    single(
        "banyan_sent_bytes_total",
        "counter",
        "UDP payload bytes sent.",
        traffic.up as f64,
    );
    single(
        "banyan_received_bytes_total",
        "counter",
        "UDP payload bytes received.",
        traffic.down as f64,
    );
    type Figure = (
        &'static str,
        &'static str,
        fn(&banyan::relay::TrackStats) -> u64,
    );
    let per_track: [Figure; 4] = [
        (
            "banyan_packets_total",
            "Packets that arrived, each counted once.",
            |t| t.packets,
        ),
        (
            "banyan_lost_packets_total",
            "Packets that never arrived.",
            |t| t.lost,
        ),
        (
            "banyan_repaired_packets_total",
            "Packets that arrived because they were asked for.",
            |t| t.repaired,
        ),
        (
            "banyan_duplicate_packets_total",
            "Packets that arrived again.",
            |t| t.duplicates,
        ),
    ];
    for (name, help, value) in per_track {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (index, (kind, stats)) in snapshot.tracks.iter().enumerate() {
            let kind = match kind {
                MediaKind::Audio => "audio",
                MediaKind::Video => "video",
            };
            let _ = writeln!(
                text,
                "{name}{{track=\"{index}\",kind=\"{kind}\"}} {}",
                value(stats)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan::id::NodeId;
    use banyan::relay::TrackStats;
    use std::time::Duration;

    #[test]
    fn every_figure_has_help_and_type() {
        let snapshot = Snapshot {
            node: NodeId::from_bytes([1; 16]),
            parent: None,
            depth: Some(0),
            children: Vec::new(),
            slots: 2,
            heals: 0,
            delay: Duration::from_millis(12),
            up_bytes: 0,
            tracks: vec![(MediaKind::Video, TrackStats::default())],
        };
        let text = describe(&snapshot, Traffic { up: 5, down: 7 });
        assert!(text.contains("\nbanyan_delay_seconds 0.012\n"));
        assert!(text.contains("banyan_packets_total{track=\"0\",kind=\"video\"} 0"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split([' ', '{']).next().unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
}
