//! How a node talks.

pub mod rtc;
pub mod sink;
pub mod source;
