//! RTCP packets as they come out of decryption.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| banyan_node::rtc::fuzzing::rtcp(data));
