//! `GET /metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use banyan::tracker::Counters;
use banyan::wire::tracker::{ErrorCode, PeerClass, RefuseReason};
use banyan_operator::metrics::Exposition;

use super::{App, stopping};

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let answered = app
        .answers
        .metrics
        .get(async || {
            let counters = app.core.ask(|core| core.counters()).await?;
            let mut text = Exposition::default();
            write_core(&counters, &mut text);
            app.metrics.write(&mut text);
            app.process.write(&mut text);
            Ok(text.into_text())
        })
        .await;
    match answered {
        Ok(text) => ([(header::CONTENT_TYPE, Exposition::CONTENT_TYPE)], text).into_response(),
        Err(_) => stopping(),
    }
}

fn write_core(counters: &Counters, text: &mut Exposition) {
    text.gauges(
        "streams",
        "Streams by state; offline ones are remembered for a while",
    )
    .sample(&[("state", "live")], counters.streams_live)
    .sample(&[("state", "waiting")], counters.streams_waiting)
    .sample(&[("state", "away")], counters.streams_away)
    .sample(&[("state", "offline")], counters.streams_offline);
    let mut family = text.gauges(
        "peers",
        "Peers that introduced themselves, by class, roots included",
    );
    for ((_, class), count) in PeerClass::ALL.into_iter().zip(counters.peers) {
        family.sample(&[("class", class)], count);
    }
    text.gauge(
        "viewers",
        "Peers that are fed, roots not counted",
        counters.viewers,
    );
    text.gauge("waiting", "Peers that wait for a slot", counters.waiting);

    let broadcasts = &counters.broadcasts;
    let mut family = text.counters("refused_total", "Children that a parent refused");
    for ((_, reason), count) in RefuseReason::ALL.into_iter().zip(broadcasts.refused) {
        family.sample(&[("reason", reason)], count);
    }
    let mut family = text.counters("errors_total", "Errors that were sent to peers");
    for ((_, code), count) in ErrorCode::ALL.into_iter().zip(counters.errors) {
        family.sample(&[("code", code)], count);
    }
    let totals = [
        ("joins_total", "Requests for a parent", broadcasts.joins),
        (
            "heals_total",
            "Requests for a parent because one was lost",
            broadcasts.heals,
        ),
        (
            "moved_total",
            "Connections that took the place of another one",
            broadcasts.moved,
        ),
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
            "expired_total",
            "Slots that were given away and not taken in time",
            broadcasts.expired,
        ),
        (
            "switched_total",
            "Standbys that took the place of a parent",
            broadcasts.switched,
        ),
        (
            "doubted_total",
            "Parents whose children received too little, and that count for fewer slots since",
            broadcasts.doubted,
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
            "closed_total",
            "Sessions that the tracker ended",
            counters.closed,
        ),
    ];
    for (name, help, value) in totals {
        text.counter(name, help, value);
    }
}
