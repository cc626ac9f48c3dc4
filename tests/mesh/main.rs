//! Real nodes and trackers, as processes, on this machine and in networks of the tests' own.

mod addresses;
mod bad_input;
mod check;
mod command_line;
mod dead_parent;
mod demo;
mod doors;
mod hostile;
mod https;
mod loss;
mod networks;
mod operators;
mod other_tracks;
mod placement;
mod publisher_habits;
mod restart;
mod secrets;
mod soak;
mod stall;
mod standby;
mod top;
mod tree;
mod whep;
mod whep_conformance;
mod whip;
mod whip_conformance;
