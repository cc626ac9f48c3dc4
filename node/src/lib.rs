//! How a node talks.
