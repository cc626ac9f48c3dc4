//! How a node talks.

pub mod rtc;
pub mod source;
