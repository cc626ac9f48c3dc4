//! Messages between programs, in both encodings. What is read is written and read again.
#![no_main]

use std::fmt::Debug;

use banyan::limits::{MAX_PEER_MESSAGE, MAX_TRACKER_FRAME};
use banyan::wire::codec::{Encoding, decode, decode_binary, decode_text, encode};
use banyan::wire::peer::PeerMessage;
use banyan::wire::tracker::{ClientMessage, ServerMessage};
use libfuzzer_sys::fuzz_target;

fn read<T>(json: bool, bytes: &[u8], allowed: usize)
where
    T: serde::Serialize + serde::de::DeserializeOwned + Debug + PartialEq,
{
    let read: Option<T> = if json {
        let text = std::str::from_utf8(bytes).ok();
        text.and_then(|text| decode_text(text, allowed).ok())
    } else {
        decode_binary(bytes, allowed).ok()
    };
    let Some(message) = read else { return };
    for encoding in [Encoding::Json, Encoding::Bincode] {
        let frame = encode(encoding, &message).expect("what was read can be written");
        // JSON may be longer than what it was read from.
        let again: T = decode(&frame, frame.len()).expect("what was written can be read");
        assert_eq!(again, message);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let json = kind & 1 == 0;
    match kind >> 1 & 3 {
        0 => read::<ClientMessage>(json, bytes, MAX_TRACKER_FRAME),
        1 => read::<ServerMessage>(json, bytes, MAX_TRACKER_FRAME),
        _ => read::<PeerMessage>(json, bytes, MAX_PEER_MESSAGE),
    }
});
