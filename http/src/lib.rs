//! The HTTP doors of both programs: who is let in, how long a request may take, and what is said
//! to whom.

pub mod admission;
pub mod answer;
pub mod connections;
pub mod resource;
pub mod responses;
