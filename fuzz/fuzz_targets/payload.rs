//! RTP payloads of every codec, put together into frames for a recording.
#![no_main]

use banyan::wire::announcement::Codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((codec, packets)) = data.split_first() else {
        return;
    };
    let codec = match codec % 5 {
        0 => Codec::H264,
        1 => Codec::Vp8,
        2 => Codec::Vp9,
        3 => Codec::Av1,
        _ => Codec::Opus,
    };
    banyan_node::sink::fuzzing::payloads(codec, packets);
});
