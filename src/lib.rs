//! How Banyan decides.
//!
//! Banyan is a peer-to-peer mesh relay network for live video. This crate holds every decision
//! the network takes: who hangs under whom, which packet goes to which child, when a branch is
//! broken. It performs no I/O, reads no clock and draws no ambient randomness: time and a random
//! generator are handed in, so that a whole mesh runs on one virtual clock from one seed.
//!
//! Every core follows one contract:
//!
//! ```text
//! fn handle(&mut self, now: Instant, input: Input);   // tell it what happened
//! fn poll_output(&mut self) -> Option<Output>;        // drain what it wants done
//! fn deadline(&self) -> Option<Instant>;              // when to call handle(now, Input::Tick)
//! ```

pub mod broadcast;
pub mod id;
pub mod limits;
pub mod node;
pub mod peer;
pub mod reachability;
pub mod relay;
pub mod tracker;
pub mod tree;
pub mod wire;

#[cfg(test)]
mod virtual_clock;
