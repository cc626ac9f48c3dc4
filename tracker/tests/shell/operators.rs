//! What an operator's monitoring reads.

use banyan::wire::codec::Encoding;

use crate::broadcast::Broadcast;
use crate::client::{Peer, get, start};

/// Every sample has a name with help text and type.
fn check_format(text: &str) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split([' ', '{']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|family| text.contains(&format!("# TYPE {family} histogram")))
            .unwrap_or(name);
        for kind in ["HELP", "TYPE"] {
            let head = format!("# {kind} {family} ");
            assert_eq!(text.matches(&head).count(), 1, "{head}: {text}");
        }
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn metrics_tell_what_one_would_alert_on() {
    let server = start().await;
    let root = Peer::connect(&server, Encoding::Bincode).await;
    let broadcast = Broadcast::start(&server, root, 1, 0).await;
    let _viewer = broadcast.viewer(&server, Encoding::Json, 9).await;
    let text = get(&server, "/metrics").await.body;
    check_format(&text);
    for line in [
        "banyan_streams{state=\"live\"} 1",
        "banyan_streams{state=\"waiting\"} 0",
        "banyan_joins_total 1",
        "banyan_waiting 1",
        "banyan_refused_total{reason=\"codec\"} 0",
        "banyan_errors_total{code=\"flood\"} 0",
        "banyan_connections_refused_total{limit=\"address\"} 0",
        "banyan_stun_requests_total{result=\"answered\"} 0",
        "banyan_sessions 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    for name in [
        "banyan_peers{class=\"browser\"}",
        "banyan_heals_total",
        "banyan_moved_total",
        "banyan_messages_received_total",
        "banyan_messages_sent_total",
        "banyan_handling_seconds_bucket{le=\"0.001\"}",
        "banyan_process_uptime_seconds",
        "banyan_build_info{program=\"banyan-tracker\"",
    ] {
        assert!(text.contains(&format!("\n{name}")), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_tracker_that_serves_is_alive_and_ready() {
    let server = start().await;
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = get(&server, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
}
