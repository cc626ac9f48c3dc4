//! Signed descriptions of a stream: with a broken signature, and signed by the stream's own key,
//! who may write anything.
#![no_main]

use banyan::wire::announcement::{
    STREAM_INFO_DOMAIN, SignatureBytes, SignedStreamInfo, sign, stream_id,
};
use ed25519_dalek::SigningKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = SigningKey::from_bytes(&[1; 32]);
    let stream = stream_id(&key);
    if let Ok(signed) = serde_json::from_slice::<SignedStreamInfo>(data) {
        let _ = signed.verify(&stream);
    }
    let Ok(body) = std::str::from_utf8(data) else {
        return;
    };
    let signature = sign(&key, STREAM_INFO_DOMAIN, body.as_bytes());
    let signed = SignedStreamInfo {
        body: body.to_owned(),
        signature,
    };
    if let Ok(info) = signed.verify(&stream) {
        let again = SignedStreamInfo::sign(&info, &key).and_then(|signed| signed.verify(&stream));
        // Written anew it may be longer than a description may be, but never another one.
        assert!(again.is_err() || again == Ok(info));
    }
    let forged = SignedStreamInfo {
        signature: SignatureBytes([0; 64]),
        ..signed
    };
    assert!(forged.verify(&stream).is_err());
});
