//! Who may import whom: the arrows of ARCHITECTURE.md.

use super::{Source, assert_none, sources};

/// Modules of the root crate, and what each may use besides `id` and `limits`.
const ARROWS: [(&str, &[&str]); 11] = [
    ("id", &[]),
    ("limits", &[]),
    ("reachability", &[]),
    ("wire", &["reachability"]),
    ("tree", &[]),
    ("relay", &["wire"]),
    ("broadcast", &["reachability", "tree", "wire"]),
    ("directory", &["wire"]),
    ("peer", &["reachability", "wire"]),
    ("node", &["peer", "reachability", "relay", "wire"]),
    (
        "tracker",
        &["broadcast", "directory", "reachability", "wire"],
    ),
];

/// What the programs and their doors may use of the root crate.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("http", &["limits", "wire"]),
    (
        "node",
        &["id", "limits", "node", "reachability", "relay", "wire"],
    ),
    ("tracker", &["id", "limits", "tracker", "wire"]),
];

/// The modules that `crate::...` (or `banyan::...`) paths in `source` begin with, with their line.
fn modules_used<'a>(source: &'a Source, krate: &str) -> Vec<(usize, &'a str)> {
    let mut used = Vec::new();
    // Inside `use crate::{`, how many braces are open.
    let mut depth = 0_usize;
    for (number, line) in source.code() {
        let mut rest = line;
        if depth == 0 {
            let prefix = format!("{krate}::");
            while let Some(at) = rest.find(&prefix) {
                let before = rest[..at].chars().next_back();
                rest = &rest[at + prefix.len()..];
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                if rest.starts_with('{') {
                    break;
                }
                used.push((number, word(rest)));
            }
            if !rest.starts_with('{') || !line.contains(&format!("{krate}::{{")) {
                continue;
            }
        }
        for (at, character) in rest.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                c if c.is_alphabetic() && depth == 1 => {
                    let before = rest[..at].trim_end().chars().next_back();
                    if matches!(before, None | Some('{' | ',')) {
                        used.push((number, word(&rest[at..])));
                    }
                }
                _ => {}
            }
        }
    }
    used
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

#[test]
fn reads_paths_and_groups() {
    let source = Source {
        path: "src/peer.rs".into(),
        test: false,
        text: "use crate::id::NodeId;\nuse crate::{\n    relay::{ring, packet},\n    wire,\n};\n\
               let x = crate::tree::Tree; // crate::node\nuse crate::{limits, id};\nmycrate::no::no\n\
               #[cfg(test)]\nmod tests {\n    use crate::peer;\n}\nuse crate::tree;"
            .into(),
    };
    let names: Vec<&str> = modules_used(&source, "crate").iter().map(|u| u.1).collect();
    assert_eq!(
        names,
        ["id", "relay", "wire", "tree", "limits", "id", "tree"]
    );
}

#[test]
fn modules_use_what_the_architecture_allows() {
    let mut complaints = Vec::new();
    for source in sources("src", ".rs") {
        let module = source.path["src/".len()..]
            .split(['/', '.'])
            .next()
            .unwrap_or_default();
        if module == "lib" || source.test {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            complaints.push(format!(
                "{}: the architecture has no '{module}'",
                source.path
            ));
            continue;
        };
        for (number, used) in modules_used(&source, "crate") {
            let foundation = module != "limits" && ["id", "limits"].contains(&used);
            if used != module && !foundation && !allowed.contains(&used) {
                complaints.push(format!("{}:{number} uses {used}", source.path));
            }
        }
    }
    assert_none("these arrows are not in ARCHITECTURE.md", complaints);
}

#[test]
fn programs_use_what_the_architecture_allows() {
    let mut complaints = Vec::new();
    for (program, allowed) in PROGRAMS {
        for source in sources(&format!("{program}/src"), ".rs") {
            for (number, used) in modules_used(&source, "banyan") {
                if !allowed.contains(&used) {
                    complaints.push(format!("{}:{number} uses banyan::{used}", source.path));
                }
            }
        }
    }
    for source in sources("node/src", ".rs") {
        let embedded = source.path == "node/src/embedded_tracker.rs";
        let names_tracker = source
            .code()
            .into_iter()
            .find(|(_, line)| line.contains("banyan_tracker"));
        if let (false, Some((number, _))) = (embedded, names_tracker) {
            complaints.push(format!("{}:{number} uses the tracker crate", source.path));
        }
    }
    assert_none("these arrows are not in ARCHITECTURE.md", complaints);
}

/// What the root crate may depend on: nothing that does I/O, keeps time or starts threads.
const PURE: [&str; 11] = [
    "bincode",
    "bytes",
    "data-encoding",
    "ed25519-dalek",
    "hmac",
    "rand",
    "serde",
    "serde_json",
    "sha2",
    "slab",
    "thiserror",
];

#[test]
fn the_root_crate_depends_on_pure_crates() {
    let manifest = &sources("", "Cargo.toml")
        .into_iter()
        .find(|source| source.path == "Cargo.toml")
        .unwrap();
    let complaints = manifest
        .text
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#') && !PURE.contains(name))
        .map(|name| format!("Cargo.toml depends on {name}"))
        .collect();
    assert_none(
        "the root crate decides, and needs no more than this",
        complaints,
    );
}
