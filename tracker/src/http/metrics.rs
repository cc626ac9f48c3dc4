//! `GET /metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use banyan::tracker::Counters;

use super::{App, stopping};
use crate::metrics::Exposition;

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let answered = app
        .answers
        .metrics
        .get(async || {
            let counters = app.core.ask(|core| core.counters()).await?;
            let mut text = Exposition::default();
            write_core(&counters, &mut text);
            app.metrics.write(&mut text);
            Ok(text.into_text())
        })
        .await;
    match answered {
        Ok(text) => ([(header::CONTENT_TYPE, Exposition::CONTENT_TYPE)], text).into_response(),
        Err(_) => stopping(),
    }
}

fn write_core(counters: &Counters, text: &mut Exposition) {
    let live = counters.streams_live as u64;
    let waiting = counters.streams_waiting as u64;
    let offline = counters.streams_offline as u64;
    let gauges = [
        ("streams", "Streams with a root", live + waiting),
        ("streams_live", "Streams that play", live),
        (
            "streams_offline",
            "Ended streams that are remembered",
            offline,
        ),
        (
            "peers",
            "Peers that watch or relay, roots not counted",
            counters.viewers,
        ),
        ("waiting", "Peers that wait for a slot", counters.waiting),
    ];
    for (name, help, value) in gauges {
        text.gauge(name, help, value);
    }
    let broadcasts = &counters.broadcasts;
    let totals = [
        ("joins_total", "Requests for a parent", broadcasts.joins),
        (
            "assigned_total",
            "Parents that were assigned",
            broadcasts.assigned,
        ),
        (
            "attached_total",
            "Connections between peers that stood",
            broadcasts.attached,
        ),
        (
            "refused_total",
            "Children that a parent refused",
            broadcasts.refused,
        ),
        (
            "expired_total",
            "Slots that were given away and not taken in time",
            broadcasts.expired,
        ),
        (
            "adopted_total",
            "Peers put back in their place by reports",
            broadcasts.adopted,
        ),
        (
            "lost_total",
            "Peers whose session ended without a word",
            broadcasts.lost,
        ),
        (
            "stale_total",
            "Messages about connections that do not exist",
            broadcasts.stale,
        ),
        (
            "errors_total",
            "Errors that were sent to peers",
            counters.errors,
        ),
        (
            "closed_total",
            "Sessions that the tracker ended",
            counters.closed,
        ),
    ];
    for (name, help, value) in totals {
        text.counter(name, help, value);
    }
}
