//! How a node talks.

pub mod rtc;
