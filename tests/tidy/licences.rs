//! Licences and sources of all dependencies, by the lists of `deny.toml`.

use std::process::Command;

use banyan_tests::workspace::repository;
use serde_json::Value;

use super::assert_none;

/// The strings of the array `name = [...]` in `deny.toml`.
fn list(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository("deny.toml")).unwrap();
    let start = text.find(&format!("\n{name} = [")).unwrap();
    let array = &text[start..];
    array[..array.find("]\n").unwrap()]
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Whether an SPDX expression can be met with the licences in `allowed`.
fn acceptable(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at, allowed);
    met && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(&word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if word == "(" {
        let met = any_of(words, at, allowed);
        *at += 1;
        return met;
    }
    let mut name = word.to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name)
}

#[test]
fn reads_expressions() {
    let allowed = [
        "MIT".to_owned(),
        "Apache-2.0 WITH LLVM-exception".to_owned(),
    ];
    for good in [
        "MIT",
        "GPL-3.0/MIT",
        "(GPL-3.0 OR MIT) AND MIT",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0",
    ] {
        assert!(acceptable(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "Apache-2.0",
        "(MIT AND GPL-3.0) OR ISC",
    ] {
        assert!(!acceptable(bad, &allowed), "{bad}");
    }
}

#[test]
fn licences_and_sources_are_those_of_deny_toml() {
    let allowed = list("allow");
    let registries = list("allow-registry");
    let output = Command::new(env!("CARGO"))
        .current_dir(repository(""))
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = format!("{} {}", package["name"], package["version"]);
        let licence = package["license"].as_str().unwrap_or_default();
        if !acceptable(licence, &allowed) {
            complaints.push(format!("{name} is under '{licence}'"));
        }
        if let Some(source) = package["source"].as_str()
            && !registries.iter().any(|r| source == format!("registry+{r}"))
        {
            complaints.push(format!("{name} comes from {source}"));
        }
    }
    assert_none("deny.toml does not allow these", complaints);
}
