//! What both programs offer whoever runs them: configuration in layers, logs, metrics, shell
//! completions and manual pages.
//!
//! It knows neither program: each setting is told once, as an argument of the program's `clap`
//! command, and everything here is derived from that.

pub mod config;
pub mod logging;
pub mod manual;
pub mod metrics;
pub mod process;
