//! How a node talks: sockets, files and the tracker's WebSocket around the cores that decide.

mod authorities;
pub mod broadcast;
pub mod check;
pub mod config;
pub mod demo;
pub mod driver;
pub mod embedded_tracker;
pub mod http;
mod http_client;
pub mod invitation;
pub mod keygen;
pub mod load;
pub mod program;
pub mod rtc;
pub mod session;
pub mod sink;
pub mod source;
pub mod stats;
pub mod stream_key;
pub mod tally;
pub mod top;
pub mod tracker_link;
pub mod viewer;
pub mod whip_token;
