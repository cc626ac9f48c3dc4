//! The repository's own rules, where the compiler does not know them.

mod imports;
mod licences;

use std::fs;
use std::path::{Path, PathBuf};

use banyan_tests::workspace::repository;

/// A source file, named by its path from the repository's root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Its lines that are code of the product, with their numbers: no comments, no unit tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.path.ends_with("tests.rs") || self.path.contains("/tests/");
        self.text
            .lines()
            .take_while(move |line| !tests && line.trim() != "#[cfg(test)]")
            .map(|line| line.split("//").next().unwrap_or_default())
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

/// Every file below `directory` whose name ends in `extension`, what is installed or built left
/// out.
fn sources(directory: &str, extension: &str) -> Vec<Source> {
    fn visit(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    visit(&path, extension, found);
                }
            } else if name.ends_with(extension) {
                found.push(path);
            }
        }
    }
    let root = repository("").canonicalize().unwrap();
    let mut found = Vec::new();
    visit(&root.join(directory), extension, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            path: path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
        })
        .collect()
}

/// Fails with every complaint at once.
fn assert_none(rule: &str, complaints: Vec<String>) {
    assert!(
        complaints.is_empty(),
        "{rule}\n  {}",
        complaints.join("\n  ")
    );
}

/// Names of things that a core is told or given, and never reaches for.
const AMBIENT: [&str; 16] = [
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "rand::rng",
    "rand::random",
    "make_rng",
    "ThreadRng",
    "SysRng",
    "from_os_rng",
    "std::env",
    "std::fs",
    "std::net::Udp",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "tokio",
];

#[test]
fn cores_have_no_clock_no_randomness_and_no_io() {
    let mut complaints = Vec::new();
    for source in sources("src", ".rs") {
        for (number, line) in source.code() {
            for name in AMBIENT.iter().filter(|name| line.contains(*name)) {
                complaints.push(format!("{}:{number} uses {name}", source.path));
            }
        }
    }
    assert_none("src/ is told the time and given its randomness", complaints);
}

/// Where a file has grown two rooms. About 400 lines is where to look for the seam.
const MAX_LINES: usize = 600;

#[test]
fn files_are_small() {
    let mut complaints = Vec::new();
    for extension in [".rs", ".js", ".css"] {
        for source in sources("", extension) {
            let lines = source.text.lines().count();
            if lines > MAX_LINES {
                complaints.push(format!("{} has {lines} lines", source.path));
            }
        }
    }
    assert_none("split these files where their seam is", complaints);
}

/// Names that say nothing about what lives there.
const EMPTY_NAMES: [&str; 9] = [
    "util", "utils", "common", "helper", "helpers", "manager", "misc", "shared", "types",
];

/// Names that mean something else to whoever knows libp2p.
const TAKEN_NAMES: [&str; 2] = ["PeerId", "Swarm"];

#[test]
fn names_say_what_lives_there() {
    let mut complaints = Vec::new();
    for extension in [".rs", ".js"] {
        for source in sources("", extension) {
            for part in Path::new(&source.path).with_extension("").iter() {
                if EMPTY_NAMES.contains(&part.to_str().unwrap()) {
                    complaints.push(format!("{}: '{}'", source.path, part.display()));
                }
            }
        }
    }
    for directory in ["src", "node", "tracker"] {
        for source in sources(directory, ".rs") {
            for (number, line) in source.code() {
                let words = || line.split(|c: char| !c.is_alphanumeric() && c != '_');
                for name in TAKEN_NAMES {
                    let own = ["struct", "enum", "type", "trait"].iter().any(|kind| {
                        words()
                            .zip(words().skip(1))
                            .any(|pair| pair == (kind, name))
                    });
                    if own {
                        complaints.push(format!("{}:{number} names its own {name}", source.path));
                    }
                }
            }
        }
    }
    assert_none("give these a name of their own", complaints);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let mut complaints = Vec::new();
    for extension in [".rs", ".js", ".css", ".html", ".toml", ".md"] {
        for source in sources("", extension) {
            for (index, line) in source.text.lines().enumerate() {
                if marks.iter().any(|mark| line.contains(mark)) {
                    complaints.push(format!("{}:{}", source.path, index + 1));
                }
            }
        }
    }
    assert_none("finish these, or open an issue", complaints);
}
