//! Peers on a WebRTC stack that is not ours: the `webrtc` crate's asynchronous API.

pub mod clip;
mod pace;
pub mod publisher;
mod requests;
