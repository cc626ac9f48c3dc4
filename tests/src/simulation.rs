//! Audiences that never were: peers that come and go by a model, on a virtual clock.

pub mod churn;
pub mod crowd;
pub mod placement;
pub mod world;
