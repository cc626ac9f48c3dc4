//! The tracker over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod addresses;
mod api;
mod broadcast;
mod client;
mod demo;
mod frames;
mod operators;
mod pages;
mod program;
mod sessions;
mod stun;
mod tls;
mod whep;
