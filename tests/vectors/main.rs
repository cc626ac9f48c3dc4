//! The messages of `PROTOCOL.md`, for other programs to test themselves against: each as JSON and
//! as bincode, and what a stream's key signs.

use std::fmt::Debug;
use std::fs;

use banyan::id::{GrantToken, StreamId};
use banyan::limits::MAX_TRACKER_FRAME;
use banyan::wire::announcement::{
    CHALLENGE_DOMAIN, STREAM_INFO_DOMAIN, SignatureBytes, sign, stream_id, verify,
};
use banyan::wire::codec::{Encoding, Frame, decode_binary, decode_text, encode};
use banyan::wire::peer::PeerMessage;
use banyan::wire::tracker::{ClientMessage, ServerMessage};
use banyan_tests::workspace::repository;
use ed25519_dalek::SigningKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message in both encodings.
#[derive(Deserialize)]
struct Vector {
    name: String,
    json: Value,
    bincode_hex: String,
}

/// One signature.
#[derive(Deserialize)]
struct Signed {
    name: String,
    secret_hex: String,
    stream: StreamId,
    domain: String,
    message: String,
    signature: SignatureBytes,
}

fn read<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let text = fs::read_to_string(repository("tests/vectors").join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Reads every message from JSON and from bincode, and writes it as it was.
fn both_encodings_agree<T>(file: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    for vector in read::<Vector>(file) {
        let name = &vector.name;
        let message: T = decode_text(&vector.json.to_string(), MAX_TRACKER_FRAME).unwrap();
        let Frame::Text(text) = encode(Encoding::Json, &message).unwrap() else {
            panic!("{name}: JSON is not text");
        };
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json, vector.json, "{name}");
        let Frame::Binary(bytes) = encode(Encoding::Bincode, &message).unwrap() else {
            panic!("{name}: bincode is not binary");
        };
        assert_eq!(hex(&bytes), vector.bincode_hex, "{name}");
        let back: T = decode_binary(&unhex(&vector.bincode_hex), MAX_TRACKER_FRAME).unwrap();
        assert_eq!(back, message, "{name}");
    }
}

#[test]
fn messages_to_a_tracker() {
    both_encodings_agree::<ClientMessage>("client.json");
}

#[test]
fn messages_of_a_tracker() {
    both_encodings_agree::<ServerMessage>("server.json");
}

#[test]
fn messages_between_peers() {
    both_encodings_agree::<PeerMessage>("peer.json");
}

#[test]
fn proofs() {
    let token = GrantToken::from_bytes([9; 16]);
    let mut proven = 0;
    for vector in read::<Vector>("peer.json") {
        let text = vector.json.to_string();
        let message: PeerMessage = decode_text(&text, MAX_TRACKER_FRAME).unwrap();
        if let PeerMessage::Signal(signal) = message {
            assert!(signal.is_proven(&token), "{}", vector.name);
            proven += 1;
        }
    }
    assert_eq!(proven, 4);
}

#[test]
fn signatures() {
    let vectors: Vec<Signed> = read("signed.json");
    let domains: Vec<&[u8]> = vectors.iter().map(|v| v.domain.as_bytes()).collect();
    assert_eq!(domains, [STREAM_INFO_DOMAIN, CHALLENGE_DOMAIN]);
    for vector in vectors {
        let name = &vector.name;
        let secret: [u8; 32] = unhex(&vector.secret_hex).try_into().unwrap();
        let key = SigningKey::from_bytes(&secret);
        let (domain, message) = (vector.domain.as_bytes(), vector.message.as_bytes());
        assert_eq!(stream_id(&key), vector.stream, "{name}");
        assert_eq!(sign(&key, domain, message), vector.signature, "{name}");
        let verified = verify(&vector.stream, domain, message, &vector.signature);
        assert_eq!(verified, Ok(()), "{name}");
    }
}
