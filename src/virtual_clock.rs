//! The first instant of a test's virtual clock.

use std::time::Instant;

/// An instant to count from.
#[expect(clippy::disallowed_methods, reason = "there is no other first instant")]
pub(crate) fn start() -> Instant {
    Instant::now()
}
