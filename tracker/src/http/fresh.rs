//! An answer that many may ask for and that is made once a second at most.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::core::Stopped;

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(1);

/// An answer and when it was made.
#[derive(Default)]
pub(super) struct Fresh(Mutex<Option<(Instant, String)>>);

impl Fresh {
    /// The answer, made by `make` unless a recent one is there. Whoever asks meanwhile waits for
    /// the same one.
    pub(super) async fn get(
        &self,
        make: impl AsyncFnOnce() -> Result<String, Stopped>,
    ) -> Result<String, Stopped> {
        let mut kept = self.0.lock().await;
        if let Some((made, answer)) = &*kept
            && made.elapsed() < FRESH
        {
            return Ok(answer.clone());
        }
        let answer = make().await?;
        *kept = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }
}
