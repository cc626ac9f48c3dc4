//! What the tests with real processes share: starting nodes and trackers, reading what they
//! report, building networks to run them in, and driving Chromium.
//!
//! Everything here blocks and fails loudly: a harness that cannot do its work panics with the
//! reason, which fails the test that asked.
#![allow(
    clippy::unwrap_used,
    reason = "a test helper fails its test by panicking"
)]

pub mod api;
pub mod binaries;
pub mod chromium;
pub mod coturn;
pub mod figures;
pub mod foreign;
pub mod forest;
pub mod freezes;
pub mod impairment;
pub mod media;
pub mod mesh;
pub mod nat;
pub mod network;
pub mod packet_log;
pub mod page;
pub mod process;
pub mod publisher;
pub mod scattered;
pub mod sessions;
pub mod simulation;
pub mod soak;
pub mod stats;
pub mod turn;
pub mod websocket;
pub mod whep;
pub mod workspace;

use std::time::{Duration, Instant};

/// Calls `probe` every 20 ms until it returns something.
///
/// # Panics
/// After `timeout`, naming `what`.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {timeout:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whole seconds, the unit of most waits in the tests.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
