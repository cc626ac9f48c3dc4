//! What travels between programs.
//!
//! The same types are written as JSON for browsers and as bincode for native nodes. So that both
//! stay readable by strangers, enums are externally tagged and no field is ever left out.

pub mod announcement;
pub mod codec;
pub mod peer;
pub mod signal;
pub mod tracker;
pub mod trickle;
pub mod whep;

/// Version of every message in this module. Peers of different versions do not talk.
pub const PROTOCOL_VERSION: u16 = 1;

/// A message that decoded but breaks a bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} has {found}, at most {allowed} allowed")]
pub struct BoundError {
    /// Which part of the message.
    pub field: &'static str,
    /// Its length or value.
    pub found: usize,
    /// The largest that is accepted.
    pub allowed: usize,
}

fn bound(field: &'static str, found: usize, allowed: usize) -> Result<(), BoundError> {
    if found > allowed {
        Err(BoundError {
            field,
            found,
            allowed,
        })
    } else {
        Ok(())
    }
}
