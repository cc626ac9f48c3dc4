//! The figures of the README, drawn as SVG from what was measured.
//!
//! Each is readable on a light and on a dark page: its style sheet asks the reader's browser which
//! one it is.

mod cost;
mod hops;
mod joins;
mod svg;

use serde_json::Value;

pub use cost::cost;
pub use hops::hops;
pub use joins::joins;

/// The value below which a share of the sorted `values` lies, 0 to 1.
fn quantile(values: &[f64], share: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    values
        .get((share * last as f64).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The numbers of a JSON array, sorted.
fn sorted(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().into_iter().flatten();
    let mut numbers: Vec<f64> = numbers.filter_map(Value::as_f64).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// A number as people write it: no more digits than say something.
fn plain(number: f64) -> String {
    if number >= 10.0 || number.fract() == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}

/// The least of 1, 2, 5, 10, 20, 50... steps that cuts `most` into at most six.
fn step(most: f64) -> f64 {
    let mut step = 10f64.powf(most.log10().floor() - 1.0);
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if most / step <= 6.0 {
            break;
        }
        step *= factor;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_are_round() {
        for (most, expected) in [(21.0, 5.0), (7.4, 2.0), (60.0, 10.0), (1.1, 0.2)] {
            assert!(
                (step(most) - expected).abs() < 1e-9,
                "{most}: {}",
                step(most)
            );
        }
    }

    #[test]
    fn figures_are_drawn_from_what_was_measured() {
        let fanout = json!({
            "cpu": [
                { "children": 10, "total": 8.0, "floor": 2.1 },
                { "children": 50, "total": 5.0, "floor": 1.9 },
            ],
            "webrtc": [{ "children": 10, "total": 24.0 }, { "children": 50, "total": 21.5 }],
        });
        let measured = json!({
            "joins": { "native_ms": [22.0, 26.0, 31.0], "chromium_ms": [400.0, 440.0] },
            "hops_ms": [[0.5, 0.9, 2.0], [1.0, 1.8, 4.0]],
        });
        let note = "two cores & <one> test";
        for (drawn, word) in [
            (cost(&fanout, note), "21.5"),
            (joins(&measured["joins"], note), "440 ms"),
            (hops(&measured["hops_ms"], note), "1.8"),
        ] {
            let drawn = drawn.unwrap();
            assert!(drawn.contains(word), "{word}: {drawn}");
            assert!(
                drawn.contains("two cores &amp; &lt;one&gt; test"),
                "{drawn}"
            );
            assert!(drawn.contains("prefers-color-scheme: dark"));
            assert!(!drawn.contains("NaN"), "{drawn}");
            assert_eq!(
                drawn.matches("<text").count(),
                drawn.matches("</text>").count()
            );
        }
    }

    #[test]
    fn without_measurements_there_is_no_figure() {
        assert_eq!(cost(&json!({}), ""), None);
        assert_eq!(joins(&json!({ "native_ms": [] }), ""), None);
        assert_eq!(hops(&json!([]), ""), None);
    }
}
