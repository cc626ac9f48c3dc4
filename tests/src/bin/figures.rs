//! Draws the README's figures from what was measured; `./figures` measures and calls this.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use banyan_tests::figures::{cost, hops, joins};
use serde_json::Value;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, figures, note] = &arguments[..] else {
        eprintln!("usage: figures DATA_DIRECTORY FIGURE_DIRECTORY NOTE");
        return ExitCode::from(2);
    };
    let data = PathBuf::from(data);
    let (fanout, measured) = (
        read(&data.join("fanout.json")),
        read(&data.join("measure.json")),
    );
    let note = |words: &str| format!("{words}; {note}");
    let drawn = [
        (
            "cost.svg",
            cost(
                &fanout,
                &note("beside the floor (cipher and kernel alone) and the webrtc crate"),
            ),
        ),
        (
            "joins.svg",
            joins(
                &measured["joins"],
                &note("on loopback, with the tracker and the program's or page's start"),
            ),
        ),
        (
            "hops.svg",
            hops(
                &measured["hops_ms"],
                &note("the same packet at each relay, against the root"),
            ),
        ),
    ];
    let mut missing = 0;
    for (name, figure) in drawn {
        let path = Path::new(figures).join(name);
        match figure {
            Some(text) => {
                std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                println!("{}", path.display());
            }
            None => {
                eprintln!("{}: nothing was measured", path.display());
                missing += 1;
            }
        }
    }
    ExitCode::from(missing)
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}
