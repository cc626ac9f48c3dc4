//! One test at a time where time is measured, and tests that cannot run here.

use std::io::Write;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURN: RwLock<()> = RwLock::new(());

/// Waits until no other test of this binary runs. Most tests measure time, and a laptop or a CI
/// machine has two cores; hold what this returns to the end of the test.
pub fn take_turn() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// The same for a test that waits more than it works, and judges no time below a second: others of
/// its kind may run beside it.
pub fn share_turn() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that a test cannot run on this machine; `./test` names it in its summary.
///
/// # Panics
/// Where `CI=true`: there, nothing may be skipped.
pub fn skip(reason: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "cannot run here, and CI may skip nothing: {reason}"
    );
    let test = std::thread::current();
    let line = format!("{}: {reason}", test.name().unwrap_or("a test"));
    eprintln!("SKIPPED {line}");
    if let Ok(path) = std::env::var("BANYAN_TEST_SKIPS")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path)
    {
        writeln!(file, "{line}").unwrap();
    }
}
