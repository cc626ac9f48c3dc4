//! CPU per forwarded packet against the number of children.

use serde_json::Value;

use super::svg::{Drawing, LEFT, RIGHT, TOP};
use super::{plain, step};

/// From the JSON of `cargo bench -p banyan-node --bench fanout`; none if it holds no figures.
pub fn cost(fanout: &Value, note: &str) -> Option<String> {
    let series = |table: &str, column: &str| -> Vec<(f64, f64)> {
        let rows = fanout[table].as_array().into_iter().flatten();
        rows.filter_map(|row| Some((row["children"].as_f64()?, row[column].as_f64()?)))
            .collect()
    };
    let banyan = series("cpu", "total");
    let floor = series("cpu", "floor");
    let webrtc = series("webrtc", "total");
    if banyan.is_empty() {
        return None;
    }
    let mut drawing = Drawing::new(380.0, "CPU per forwarded packet", note);
    let counts: Vec<f64> = banyan.iter().map(|&(count, _)| count).collect();
    let all = banyan.iter().chain(&floor).chain(&webrtc);
    let most = all.map(|&(_, cost)| cost).fold(0.0, f64::max);
    let step = step(most);
    let top = (most / step).ceil() * step;
    let bottom = drawing.bottom();
    // Evenly spread: what matters is how the curve bends, and few counts are measured.
    let gap = (RIGHT - LEFT - 40.0) / (counts.len().max(2) - 1) as f64;
    let x = |count: f64| {
        let index = counts.iter().position(|&c| c == count).unwrap_or_default();
        LEFT + 20.0 + index as f64 * gap
    };
    let y = |cost: f64| bottom - cost / top * (bottom - TOP);
    let marks = (top / step).round() as u32;
    for mark in 0..=marks {
        let cost = f64::from(mark) * step;
        drawing.rule((LEFT, y(cost)), (RIGHT, y(cost)));
        let words = match mark == marks {
            true => format!("{} µs", plain(cost)),
            false => plain(cost),
        };
        drawing.words("", "end", LEFT - 10.0, y(cost) + 4.0, &words);
    }
    for &count in &counts {
        drawing.words("", "middle", x(count), bottom + 22.0, &plain(count));
    }
    let middle = LEFT.midpoint(RIGHT);
    drawing.words("", "middle", middle, bottom + 44.0, "children of one node");
    for (class, name, points) in [
        ("c", "webrtc crate", &webrtc),
        ("a", "Banyan", &banyan),
        ("b", "floor", &floor),
    ] {
        let places: Vec<(f64, f64)> = points.iter().map(|&(n, cost)| (x(n), y(cost))).collect();
        drawing.line(class, &places);
        for (&place, &(_, cost)) in places.iter().zip(points) {
            drawing.dot(&format!("dot {class}"), place, 4.0);
            let above = if class == "b" { 20.0 } else { -11.0 };
            let cost = format!("{cost:.1}");
            drawing.words("value", "middle", place.0, place.1 + above, &cost);
        }
        if let Some(&(x, y)) = places.last() {
            let class = format!("name {class}");
            drawing.words(&class, "start", x + 34.0, y + 4.0, name);
        }
    }
    Some(drawing.finish())
}
