//! Session descriptions, candidates and fragments of trickle ICE.
#![no_main]

use banyan::wire::trickle::Fragment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    banyan_node::rtc::fuzzing::session_description(text);
    banyan_node::rtc::fuzzing::candidate(text);
    let _ = Fragment::parse(text);
});
