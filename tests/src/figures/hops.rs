//! How much later a packet is at each hop.

use serde_json::Value;

use super::svg::{Drawing, LEFT, RIGHT, TOP};
use super::{plain, quantile, sorted, step};

/// From the `hops_ms` of `measure`; none if it holds no samples.
pub fn hops(hops: &Value, note: &str) -> Option<String> {
    let hops: Vec<Vec<f64>> = hops
        .as_array()?
        .iter()
        .map(sorted)
        .take_while(|delays| !delays.is_empty())
        .collect();
    if hops.is_empty() {
        return None;
    }
    let share = |share: f64| -> Vec<f64> { hops.iter().map(|d| quantile(d, share)).collect() };
    let (low, median, high) = (share(0.05), share(0.5), share(0.95));
    let most = high.iter().copied().fold(0.1, f64::max);
    let step = step(most);
    let top = (most / step).ceil() * step;
    let mut drawing = Drawing::new(360.0, "Delay along a chain of relays", note);
    let bottom = drawing.bottom();
    let gap = (RIGHT - LEFT) / hops.len() as f64;
    // The root itself is hop 0, without delay.
    let x = |hop: usize| LEFT + hop as f64 * gap;
    let y = |delay: f64| bottom - delay / top * (bottom - TOP);
    let marks = (top / step).round() as u32;
    for mark in 0..=marks {
        let delay = f64::from(mark) * step;
        drawing.rule((LEFT, y(delay)), (RIGHT, y(delay)));
        let words = match mark == marks {
            true => format!("{} ms", plain(delay)),
            false => plain(delay),
        };
        drawing.words("", "end", LEFT - 10.0, y(delay) + 4.0, &words);
    }
    for hop in 0..=hops.len() {
        let words = if hop == 0 {
            "root".to_owned()
        } else {
            hop.to_string()
        };
        drawing.words("", "middle", x(hop), bottom + 22.0, &words);
    }
    let middle = LEFT.midpoint(RIGHT);
    drawing.words("", "middle", middle, bottom + 44.0, "hops from the root");
    let curve = |delays: &[f64]| -> Vec<(f64, f64)> {
        let points = delays.iter().enumerate().map(|(i, &d)| (x(i + 1), y(d)));
        std::iter::once((x(0), y(0.0))).chain(points).collect()
    };
    drawing.area("a", &curve(&high), &curve(&low));
    let points = curve(&median);
    drawing.line("a", &points);
    for (&point, delay) in points.iter().skip(1).zip(&median) {
        drawing.dot("dot a", point, 4.0);
        let words = format!("{delay:.1}");
        drawing.words("value", "middle", point.0, point.1 - 11.0, &words);
    }
    let last = hops.len() - 1;
    for (delay, words, nudge) in [(high[last], "95 %", 4.0), (median[last], "median", 4.0)] {
        drawing.words("name a", "start", RIGHT + 22.0, y(delay) + nudge, words);
    }
    Some(drawing.finish())
}
