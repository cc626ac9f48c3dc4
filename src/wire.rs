//! What travels between programs.

pub mod announcement;
