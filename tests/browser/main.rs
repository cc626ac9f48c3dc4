//! Real viewers in Chromium.

mod autoplay;
mod demo;
mod freezes;
mod lan;
mod matrix;
mod networks;
mod other_tracks;
mod publishers;
mod states;
mod studio;
mod viewers;
mod whep;

use banyan_tests::chromium;
use banyan_tests::turn::skip;

/// Whether there is a browser; a test without one returns.
fn browser_is_there() -> bool {
    let there = chromium::installed().is_some();
    if !there {
        skip("Chromium is not installed");
    }
    there
}
