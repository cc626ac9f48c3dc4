//! The media engine over real loopback sockets.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod ciphers;
mod connect;
mod early_media;
mod flood;
mod foreign;
mod half_open;
mod hostile;
mod join_storm;
mod lossy_handshake;
mod media;
mod moving;
mod network;
mod reflection;
mod reflexive;
mod renewal;
mod spoofing;
mod village;
mod world;
