//! Messages to bytes and back. The only place that knows the `bincode` crate.

use bincode::config;
use serde::{Serialize, de::DeserializeOwned};

use crate::limits::MAX_TRACKER_FRAME;

/// How a peer writes its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON text: browsers.
    Json,
    /// bincode 2, standard configuration (little endian, varints): native nodes.
    Bincode,
}

/// One encoded message, in the frame type that tells its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// JSON, in a text frame.
    Text(String),
    /// bincode, in a binary frame.
    Binary(Vec<u8>),
}

impl Frame {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding its frame type stands for.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Text(_) => Encoding::Json,
            Self::Binary(_) => Encoding::Bincode,
        }
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// More bytes than any message has.
    #[error("a message of {found} bytes is larger than the {allowed} allowed")]
    TooLarge {
        /// Bytes received.
        found: usize,
        /// Bytes allowed.
        allowed: usize,
    },
    /// Not a message of the expected type.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
    /// A whole message, and something behind it.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

/// Writes a message.
///
/// # Errors
/// [`CodecError::Malformed`] if the value cannot be written; no type of this crate does that.
pub fn encode<T: Serialize>(encoding: Encoding, message: &T) -> Result<Frame, CodecError> {
    match encoding {
        Encoding::Json => serde_json::to_string(message)
            .map(Frame::Text)
            .map_err(|e| CodecError::Malformed(e.to_string())),
        Encoding::Bincode => bincode::serde::encode_to_vec(message, config::standard())
            .map(Frame::Binary)
            .map_err(|e| CodecError::Malformed(e.to_string())),
    }
}

/// Reads a message of at most `allowed` bytes.
///
/// # Errors
/// [`CodecError`], naming what is wrong.
pub fn decode_text<T: DeserializeOwned>(text: &str, allowed: usize) -> Result<T, CodecError> {
    if text.len() > allowed {
        return Err(CodecError::TooLarge {
            found: text.len(),
            allowed,
        });
    }
    serde_json::from_str(text).map_err(|e| CodecError::Malformed(e.to_string()))
}

/// Reads a message of at most `allowed` bytes.
///
/// # Errors
/// [`CodecError`], naming what is wrong.
pub fn decode_binary<T: DeserializeOwned>(bytes: &[u8], allowed: usize) -> Result<T, CodecError> {
    if bytes.len() > allowed {
        return Err(CodecError::TooLarge {
            found: bytes.len(),
            allowed,
        });
    }
    // The limit keeps a short message from claiming a long collection.
    let config = config::standard().with_limit::<{ 2 * MAX_TRACKER_FRAME }>();
    let (message, read) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|e| CodecError::Malformed(e.to_string()))?;
    match bytes.len() - read {
        0 => Ok(message),
        trailing => Err(CodecError::Trailing(trailing)),
    }
}

/// Reads a message in either encoding.
///
/// # Errors
/// [`CodecError`], naming what is wrong.
pub fn decode<T: DeserializeOwned>(frame: &Frame, allowed: usize) -> Result<T, CodecError> {
    match frame {
        Frame::Text(text) => decode_text(text, allowed),
        Frame::Binary(bytes) => decode_binary(bytes, allowed),
    }
}
