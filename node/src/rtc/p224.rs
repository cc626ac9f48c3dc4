//! Signatures by keys on the curve P-224 (FIPS 186-4 appendix D.1.2.2), verified and never made.
//!
//! ffmpeg 8 makes such a key for each WHIP session where it was built with GnuTLS, as Debian and
//! Ubuntu do. WebRTC asks for P-256 (RFC 8827 section 6.5), and ffmpeg 9 uses that; but the user of
//! the older one would see no more than that the handshake failed.

use ::p224::ecdsa::signature::hazmat::PrehashVerifier;
use ::p224::ecdsa::{Signature, VerifyingKey};

/// Bytes of a coordinate.
const SIZE: usize = 28;

/// First byte of a point with both coordinates (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Whether this is as long as a key on this curve; of those that WebRTC knows none is.
pub(super) fn is_key(bytes: &[u8]) -> bool {
    bytes.len() == 1 + 2 * SIZE && bytes.first() == Some(&UNCOMPRESSED)
}

/// Whether `signature`, an ECDSA signature in DER (RFC 3279 section 2.2.3), is `key`'s over what
/// hashes to `digest` (FIPS 186-4 section 6.4).
pub(super) fn verify(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    match (
        VerifyingKey::from_sec1_bytes(key),
        Signature::from_der(signature),
    ) {
        (Ok(key), Ok(signature)) => key.verify_prehash(digest, &signature).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER_PERMISSIVE as HEX;
    use rtc::crypto::HashAlgorithm;

    use super::*;

    /// DER tags (ITU-T X.690).
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;

    /// The key of RFC 6979 appendix A.2.4, and what it signs there with SHA-256.
    const KEY: &str = "04\
        00cf08da5ad719e42707fa431292dea11244d64fc51610d94b130d6c\
        eeab6f3debe455e3dbf85416f7030cbd94f34f2d6f232c69f3c1385a";
    const SIGNED: [(&str, &str, &str); 2] = [
        (
            "sample",
            "61aa3da010e8e8406c656bc477a7a7189895e7e840cdfe8ff42307ba",
            "bc814050dab5d23770879494f9e0a680dc1af7161991bde692b10101",
        ),
        (
            "test",
            "ad04dde87b84747a243a631ea47a1ba6d1faa059149ad2440de6fba6",
            "178d49b1ae90e3d8b629be3db5683915f4e8c99fdf6e666cf37adcfd",
        ),
    ];

    fn hex(text: &str) -> Vec<u8> {
        HEX.decode(text.as_bytes()).unwrap()
    }

    fn digest(message: &str) -> Vec<u8> {
        let provider = rtc::crypto::default_provider().unwrap();
        let crypto = provider.crypto();
        crypto
            .hash(HashAlgorithm::Sha256, message.as_bytes())
            .unwrap()
    }

    fn integer(bytes: &[u8]) -> Vec<u8> {
        let first = bytes.iter().position(|byte| *byte != 0);
        let mut content = bytes[first.unwrap_or(bytes.len() - 1)..].to_vec();
        if content[0] >= 0x80 {
            content.insert(0, 0);
        }
        [vec![INTEGER, content.len() as u8], content].concat()
    }

    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let content = [integer(r), integer(s)].concat();
        [vec![SEQUENCE, content.len() as u8], content].concat()
    }

    #[test]
    fn signatures_of_rfc_6979_hold() {
        for (message, r, s) in SIGNED {
            assert!(verify(&hex(KEY), &digest(message), &der(&hex(r), &hex(s))));
        }
    }

    #[test]
    fn nothing_else_does() {
        let (message, r, s) = SIGNED[0];
        let (key, digest, r, s) = (hex(KEY), digest(message), hex(r), hex(s));
        let good = der(&r, &s);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(!verify(&key, &digest, &bad), "bit {bit} of byte {at}");
            }
            assert!(!verify(&key, &digest, &good[..at]));
        }
        for at in 0..key.len() {
            let mut other = key.clone();
            other[at] ^= 1;
            assert!(!verify(&other, &digest, &good), "byte {at} of the key");
        }
        for at in 0..SIZE {
            let mut other = digest.clone();
            other[at] ^= 1;
            assert!(!verify(&key, &other, &good), "byte {at} of the digest");
        }
        assert!(!verify(&key, &self::digest("test"), &good));
        assert!(!verify(&key, &digest[..SIZE - 1], &good));
        assert!(!verify(&key, &digest, &[&good[..], &[0]].concat()));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let (message, r, s) = SIGNED[0];
        let (key, digest, r, s) = (hex(KEY), digest(message), hex(r), hex(s));
        // As many points as there are on the curve.
        let n = hex("ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d");
        for (r, s) in [
            (&[0][..], &s[..]),
            (&r, &[0]),
            (&[0], &[0]),
            (&n, &s),
            (&r, &n),
        ] {
            assert!(!verify(&key, &digest, &der(r, s)));
        }
    }
}
