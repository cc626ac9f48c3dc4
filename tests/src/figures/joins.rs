//! How long a viewer waits for the first picture.

use serde_json::Value;

use super::svg::{Drawing, LEFT, RIGHT, TOP};
use super::{plain, quantile, sorted};

/// Marks of the axis, which is logarithmic: a native node and a browser are an order of magnitude
/// apart.
const MARKS: [f64; 8] = [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];

/// Height of one kind of viewer.
const ROW: f64 = 76.0;

/// From the `joins` of `measure`; none if it holds no samples.
pub fn joins(joins: &Value, note: &str) -> Option<String> {
    let rows: Vec<(&str, &str, Vec<f64>)> = [
        ("a", "native node", "native_ms"),
        ("c", "Chromium", "chromium_ms"),
    ]
    .into_iter()
    .map(|(class, name, key)| (class, name, sorted(&joins[key])))
    .filter(|(_, _, times)| !times.is_empty())
    .collect();
    let all = || rows.iter().flat_map(|(_, _, times)| times);
    let most = all().copied().fold(0.0, f64::max);
    if most == 0.0 {
        return None;
    }
    let least = all().copied().fold(f64::INFINITY, f64::min);
    let first = MARKS.iter().rposition(|&mark| mark <= least).unwrap_or(0);
    let last = MARKS.iter().position(|&mark| mark >= most);
    let marks = &MARKS[first..=last.unwrap_or(MARKS.len() - 1)];

    let height = TOP + ROW * rows.len() as f64 + 62.0;
    let mut drawing = Drawing::new(height, "From opening the link to the first picture", note);
    let bottom = drawing.bottom();
    let left = LEFT + 62.0;
    let right = RIGHT + 90.0;
    let (from, to) = (marks[0].ln(), marks[marks.len() - 1].max(most).ln());
    let x =
        |time: f64| left + (time.max(marks[0]).ln() - from) / (to - from).max(0.1) * (right - left);
    for &mark in marks {
        drawing.rule((x(mark), TOP - 8.0), (x(mark), bottom));
        drawing.words("", "middle", x(mark), bottom + 22.0, &plain(mark));
    }
    let middle = left.midpoint(right);
    drawing.words(
        "",
        "middle",
        middle,
        bottom + 44.0,
        "milliseconds, logarithmic",
    );
    for (index, (class, name, times)) in rows.iter().enumerate() {
        let y = TOP + 24.0 + ROW * index as f64;
        drawing.words(&format!("name {class}"), "start", 24.0, y + 4.0, name);
        for (number, &time) in times.iter().enumerate() {
            // Side by side where they would hide each other.
            let aside = [0.0, 7.0, -7.0][number % 3];
            drawing.dot(&format!("cloud {class}"), (x(time), y + aside), 5.0);
        }
        let median = quantile(times, 0.5);
        let at = x(median);
        drawing.line(class, &[(at, y - 17.0), (at, y + 17.0)]);
        let words = format!("{} ms", plain(median));
        drawing.words("value", "middle", at, y + 34.0, &words);
    }
    Some(drawing.finish())
}
