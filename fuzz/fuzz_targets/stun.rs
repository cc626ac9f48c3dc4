//! Datagrams that look like STUN, at a node and at a tracker, and what a node reads of DTLS and
//! SRTP before a connection sees it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    banyan_node::rtc::fuzzing::stun(data);
    banyan_tracker::fuzzing::stun(data);
    banyan_node::rtc::fuzzing::gate(data);
});
