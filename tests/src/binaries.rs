//! Where the programs under test are.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::workspace::repository;

/// The program `banyan` or `banyan-tracker` of this working tree and this profile.
///
/// Taken from `BANYAN_TEST_BINARIES` where that is set, else built on first use, so that a test
/// started by hand never meets an old program.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| match std::env::var_os("BANYAN_TEST_BINARIES") {
        Some(directory) => directory.into(),
        None => build(),
    });
    let path = directory.join(name);
    assert!(path.is_file(), "there is no {}", path.display());
    path
}

fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(repository("."))
        .args(["build", "--quiet", "--workspace", "--bins"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let status = cargo.status().unwrap();
    assert!(status.success(), "cargo build: {status}");
    // target/PROFILE/deps/THIS_TEST, or target/PROFILE/PROGRAM for a program of this crate
    let mut directory = std::env::current_exe().unwrap();
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    directory
}
