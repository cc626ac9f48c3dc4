//! How a tracker talks: HTTP, WebSocket and STUN around the tracker core of crate `banyan`.
//!
//! [`Server::start`] runs a tracker inside the current tokio runtime; the binary
//! `banyan-tracker` and the tracker embedded in a broadcast are both this.

mod caller;
pub mod config;
mod connections;
mod core;
pub mod demo;
mod http;
mod ice;
mod lifetime;
mod listen;
mod metrics;
mod server;
mod session;
mod stun;
mod tls;
mod turn;

pub use config::Config;
pub use listen::ListenError;
pub use server::Server;
#[cfg(feature = "fuzzing")]
pub use stun::fuzzing;
