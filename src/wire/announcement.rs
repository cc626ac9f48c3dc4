//! What a stream's key signs: the description of its tracks.
//!
//! A signed document is a JSON text; the signature covers its exact bytes, so that a reader in any
//! language checks first and parses afterwards.

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::{Epoch, StreamId};
use crate::limits::{MAX_STREAM_INFO, MAX_TRACKS};

/// What precedes the signed bytes of a [`StreamInfo`], so that no other signature of the same key
/// can be taken for one.
pub const STREAM_INFO_DOMAIN: &[u8] = b"banyan/1/stream-info\0";

/// What precedes the signed bytes of a broadcaster's answer to a tracker's challenge.
pub const CHALLENGE_DOMAIN: &[u8] = b"banyan/1/challenge\0";

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// A codec that WebRTC carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// H.264 in packetization mode 1 (RFC 6184).
    H264,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// AV1 (AOMedia, "RTP Payload Format For AV1").
    Av1,
}

impl Codec {
    /// Its name in SDP's `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
        }
    }

    /// Sound or picture.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            Self::H264 | Self::Vp8 | Self::Vp9 | Self::Av1 => MediaKind::Video,
        }
    }

    /// RTP clock rate in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::H264 | Self::Vp8 | Self::Vp9 | Self::Av1 => 90_000,
        }
    }
}

/// One track as the root sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackInfo {
    /// Its codec.
    pub codec: Codec,
    /// Its format parameters as in `a=fmtp`, without the payload type; may be empty.
    pub fmtp: String,
    /// RTP synchronisation source, the same on every hop.
    pub ssrc: u32,
    /// The extended sequence number its first packet of this epoch has.
    pub first_seq: u64,
}

/// The tracks of a stream in one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// The life of the stream these tracks belong to.
    pub epoch: Epoch,
    /// Its tracks; a packet's [`TrackIndex`](crate::relay::packet::TrackIndex) counts in here.
    pub tracks: Vec<TrackInfo>,
    /// RTCP canonical name (RFC 3550 section 6.5.1), the same on every hop.
    pub cname: String,
}

/// Why a signed document was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// The stream's identifier is no valid public key.
    #[error("the stream id is not a valid Ed25519 public key")]
    Key,
    /// The signature does not belong to these bytes and this key.
    #[error("the signature does not match the stream's key")]
    Signature,
    /// The document is larger than any honest one.
    #[error("the signed document has {0} bytes, more than the {MAX_STREAM_INFO} allowed")]
    TooLarge(usize),
    /// The signed bytes are no such document.
    #[error("the signed document cannot be read: {0}")]
    Body(String),
}

/// A [`StreamInfo`] as it travels: exact bytes and their signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedStreamInfo {
    /// The JSON text that was signed.
    pub body: String,
    /// Ed25519 signature (RFC 8032) over [`STREAM_INFO_DOMAIN`] and the body.
    pub signature: SignatureBytes,
}

impl SignedStreamInfo {
    /// Signs `info` with the stream's key.
    ///
    /// # Errors
    /// [`SignedError::Body`] if the document cannot be written as JSON,
    /// [`SignedError::TooLarge`] if it would be refused by every reader.
    pub fn sign(info: &StreamInfo, key: &SigningKey) -> Result<Self, SignedError> {
        let body = serde_json::to_string(info).map_err(|e| SignedError::Body(e.to_string()))?;
        if body.len() > MAX_STREAM_INFO {
            return Err(SignedError::TooLarge(body.len()));
        }
        let signature = sign(key, STREAM_INFO_DOMAIN, body.as_bytes());
        Ok(Self { body, signature })
    }

    /// Checks the signature against `stream` and reads the document.
    ///
    /// # Errors
    /// Any [`SignedError`]; nothing is parsed before its signature holds.
    pub fn verify(&self, stream: &StreamId) -> Result<StreamInfo, SignedError> {
        if self.body.len() > MAX_STREAM_INFO {
            return Err(SignedError::TooLarge(self.body.len()));
        }
        verify(
            stream,
            STREAM_INFO_DOMAIN,
            self.body.as_bytes(),
            &self.signature,
        )?;
        let info: StreamInfo =
            serde_json::from_str(&self.body).map_err(|e| SignedError::Body(e.to_string()))?;
        if info.tracks.is_empty() || info.tracks.len() > MAX_TRACKS {
            return Err(SignedError::Body(format!("{} tracks", info.tracks.len())));
        }
        Ok(info)
    }
}

/// The stream a key owns.
pub fn stream_id(key: &SigningKey) -> StreamId {
    StreamId::from_bytes(key.verifying_key().to_bytes())
}

/// Signs `domain` followed by `message`.
pub fn sign(key: &SigningKey, domain: &[u8], message: &[u8]) -> SignatureBytes {
    SignatureBytes(key.sign(&[domain, message].concat()).to_bytes())
}

/// Checks a signature over `domain` followed by `message`, strictly (RFC 8032 with no small-order
/// keys), so that every implementation agrees.
///
/// # Errors
/// [`SignedError::Key`] or [`SignedError::Signature`].
pub fn verify(
    stream: &StreamId,
    domain: &[u8],
    message: &[u8],
    signature: &SignatureBytes,
) -> Result<(), SignedError> {
    let key = VerifyingKey::from_bytes(stream.as_bytes()).map_err(|_| SignedError::Key)?;
    key.verify_strict(
        &[domain, message].concat(),
        &Signature::from_bytes(&signature.0),
    )
    .map_err(|_| SignedError::Signature)
}

/// 64 bytes of an Ed25519 signature; base64url without padding in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignatureBytes(pub [u8; 64]);

impl std::fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignatureBytes(..)")
    }
}

impl Serialize for SignatureBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&data_encoding::BASE64URL_NOPAD.encode(&self.0))
        } else {
            Bytes::copy_from_slice(&self.0).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for SignatureBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            data_encoding::BASE64URL_NOPAD
                .decode(text.as_bytes())
                .map_err(de::Error::custom)?
        } else {
            Bytes::deserialize(deserializer)?.to_vec()
        };
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| de::Error::custom("an Ed25519 signature has 64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> StreamInfo {
        StreamInfo {
            epoch: Epoch(1_760_000_000_000),
            tracks: vec![TrackInfo {
                codec: Codec::Vp8,
                fmtp: String::new(),
                ssrc: 7,
                first_seq: 70_000,
            }],
            cname: "banyan".into(),
        }
    }

    #[test]
    fn signed_by_its_own_key_only() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let signed = SignedStreamInfo::sign(&info(), &key).unwrap();
        assert_eq!(signed.verify(&stream_id(&key)), Ok(info()));
        let other = stream_id(&SigningKey::from_bytes(&[2; 32]));
        assert_eq!(signed.verify(&other), Err(SignedError::Signature));
    }

    #[test]
    fn a_changed_byte_breaks_the_signature() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let mut signed = SignedStreamInfo::sign(&info(), &key).unwrap();
        signed.body = signed.body.replace("vp8", "vp9");
        assert_eq!(signed.verify(&stream_id(&key)), Err(SignedError::Signature));
    }

    #[test]
    fn a_signature_for_one_purpose_is_none_for_another() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let signature = sign(&key, CHALLENGE_DOMAIN, b"x");
        assert!(verify(&stream_id(&key), CHALLENGE_DOMAIN, b"x", &signature).is_ok());
        assert!(verify(&stream_id(&key), STREAM_INFO_DOMAIN, b"x", &signature).is_err());
    }
}
