//! What a publisher sends: a session description or a fragment of trickle ICE, and behind the
//! first zero byte its packets.
#![no_main]

use banyan::wire::trickle::Fragment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == 0);
    let (text, packets) = data.split_at(end.unwrap_or(data.len()));
    let text = std::str::from_utf8(text).unwrap_or_default();
    if let Ok(fragment) = Fragment::parse(text) {
        // What was read is written, and means the same.
        let again = Fragment::parse(&fragment.to_string());
        assert_eq!(again.as_ref(), Ok(&fragment));
    }
    let tracks = banyan_node::rtc::fuzzing::published(text);
    banyan_node::source::ingest::fuzzing::packets(tracks, packets);
});
