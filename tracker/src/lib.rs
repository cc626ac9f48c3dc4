//! How a tracker talks.
