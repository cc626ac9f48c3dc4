//! The repository's own rules, where the compiler does not know them.

mod imports;
mod licences;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use banyan_tests::workspace::repository;

/// A source file, named by its path from the repository's root.
struct Source {
    path: String,
    text: String,
    /// Whether all of it is compiled for tests alone.
    test: bool,
}

impl Source {
    /// Its lines that are code of the product, with their numbers: no comments, no unit tests.
    fn code(&self) -> Vec<(usize, &str)> {
        let mut code = Vec::new();
        // Indentation of the item that is compiled for tests alone, while inside of it.
        let mut skipping: Option<usize> = None;
        let mut test_item = self.test;
        for (index, line) in self.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let line = line.split("//").next().unwrap_or_default().trim_end();
            if self.test {
                break;
            } else if let Some(outer) = skipping {
                if indent == outer && line.trim() == "}" {
                    skipping = None;
                }
            } else if line.trim() == "#[cfg(test)]" {
                test_item = true;
            } else if test_item && !line.trim().starts_with("#[") {
                test_item = false;
                if !line.ends_with([';', '}']) {
                    skipping = Some(indent);
                }
            } else {
                code.push((index + 1, line));
            }
        }
        code
    }
}

/// Paths of the modules that `source` declares for tests alone, without `.rs`.
fn test_modules(source: &Source) -> Vec<String> {
    let path = Path::new(&source.path);
    let own_directory = ["lib", "main", "mod"].map(OsStr::new);
    let directory = match path.file_stem() {
        Some(stem) if own_directory.contains(&stem) => path.with_file_name(""),
        _ => path.with_extension(""),
    };
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| pair[1].strip_prefix("mod ")?.strip_suffix(';'))
        .map(|name| directory.join(name).to_str().unwrap().to_owned())
        .collect()
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
    let mut sources: Vec<Source> = found
        .into_iter()
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            path: path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            test: false,
        })
        .collect();
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        source.test = tests.iter().any(|module| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
    sources
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

/// Lines by which a file surely has grown a second room; about 400 is where to look for the seam.
/// A style sheet is a list, and may be longer.
const MAX_LINES: [(&str, usize); 3] = [(".rs", 700), (".js", 700), (".css", 1200)];

#[test]
fn files_are_small() {
    let mut complaints = Vec::new();
    for (extension, allowed) in MAX_LINES {
        for source in sources("", extension) {
            let lines = source.text.lines().count();
            if lines > allowed {
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
