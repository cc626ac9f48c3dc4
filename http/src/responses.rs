//! How often a door gave which answer, for those who watch over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

/// Answers of one door by method and status code. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Responses(Arc<Mutex<BTreeMap<(&'static str, u16), u64>>>);

impl Responses {
    /// Middleware that counts; for `axum::middleware::from_fn_with_state`.
    pub async fn count(State(responses): State<Self>, request: Request, handler: Next) -> Response {
        let method = name(request.method());
        let response = handler.run(request).await;
        responses.add(method, response.status());
        response
    }

    /// What was counted: method, status code, times.
    pub fn counts(&self) -> Vec<(&'static str, u16, u64)> {
        // No code panics while it holds the lock, here or below.
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.iter();
        counts
            .map(|(&(method, status), &times)| (method, status, times))
            .collect()
    }

    fn add(&self, method: &'static str, status: StatusCode) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((method, status.as_u16())).or_default() += 1;
    }
}

/// A label of its own only for what a door knows: methods can be invented.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        _ => "other",
    }
}
