//! The media engine over real loopback sockets.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod connect;
mod hostile;
mod media;
mod reflexive;
mod world;
