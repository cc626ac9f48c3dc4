//! The tracker as peers experience it.

mod basics;
#[allow(dead_code, reason = "helpers for the rooms beside it")]
mod world;
