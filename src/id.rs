//! The names of things: nodes, streams, links, and the counters that order their histories.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Encoding};
use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A name that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text has another length than the name it should be.
    #[error("a {kind} has {expected} characters, this one has {found}")]
    Length {
        /// What was being read.
        kind: &'static str,
        /// Characters a well-formed name has.
        expected: usize,
        /// Characters this one has.
        found: usize,
    },
    /// The text holds a character outside a-z and 2-7, or bits that no encoder writes.
    #[error("a {kind} is written in the characters a-z and 2-7")]
    Alphabet {
        /// What was being read.
        kind: &'static str,
    },
}

/// RFC 4648 base32 in lower case without padding, the text form of every identifier.
fn base32_encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn base32_decode<const N: usize>(kind: &'static str, text: &str) -> Result<[u8; N], IdError> {
    let expected = base32_len(&BASE32_NOPAD, N);
    if text.len() != expected {
        let found = text.chars().count();
        return Err(IdError::Length {
            kind,
            expected,
            found,
        });
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(IdError::Alphabet { kind });
    }
    let bytes = BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| IdError::Alphabet { kind })?;
    bytes.try_into().map_err(|_| IdError::Alphabet { kind })
}

fn base32_len(encoding: &Encoding, bytes: usize) -> usize {
    encoding.encode_len(bytes)
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The identifier with these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base32_encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                base32_decode($kind, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

macro_rules! shown {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = self.to_string();
                write!(f, "{}({})", stringify!($name), &text[..8.min(text.len())])
            }
        }
    };
}

byte_id!(
    /// One node in the mesh: a root, a relay, a viewer or a browser page. Chosen at random by the
    /// node itself when it starts; written as 26 characters of lower-case base32.
    NodeId,
    16,
    "node id"
);

byte_id!(
    /// One stream: its broadcaster's Ed25519 public key (RFC 8032), written as 52 characters of
    /// lower-case base32. Whoever holds the secret key owns the stream.
    StreamId,
    32,
    "stream id"
);

byte_id!(
    /// What a tracker tells two nodes alone: one of them may become the other's child without asking
    /// the tracker. A secret, written as 26 characters of lower-case base32, never shown.
    GrantToken,
    16,
    "grant token"
);

byte_id!(
    /// Shows that whoever wrote a message knows a [`GrantToken`], without telling it; written as 26
    /// characters of lower-case base32.
    Proof,
    16,
    "proof"
);

shown!(NodeId);
shown!(StreamId);
shown!(Proof);

impl fmt::Debug for GrantToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantToken(..)")
    }
}

impl GrantToken {
    /// A fresh one drawn from `rng`.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

impl NodeId {
    /// A fresh name drawn from `rng`.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// One life of a stream, in milliseconds since the Unix epoch at its start. A root that
    /// restarts, or offers other tracks, begins a later epoch; the later one wins everywhere.
    /// Fits a JavaScript number.
    Epoch,
    u64
);

counter!(
    /// Counts the tracker's orders about one node. An order older than the newest one a node has
    /// seen changes nothing.
    Generation,
    u32
);

counter!(
    /// One attempt of a child to connect to a parent, numbered by the child. Together with the
    /// child's [`NodeId`] it names the connection on both ends and at the tracker.
    LinkId,
    u32
);

/// One connection between two nodes, named alike on both ends: the child that offered it and the
/// child's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkKey {
    /// The node that sent the offer.
    pub child: NodeId,
    /// The child's number for this attempt.
    pub link: LinkId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = StreamId::from_bytes([7; 32]);
        let text = id.to_string();
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(NodeId::from_bytes([255; 16]).to_string().len(), 26);
    }

    #[test]
    fn refuses_what_is_no_identifier() {
        assert!(matches!(
            "abc".parse::<StreamId>(),
            Err(IdError::Length { found: 3, .. })
        ));
        assert!(matches!(
            "A".repeat(52).parse::<StreamId>(),
            Err(IdError::Alphabet { .. })
        ));
        assert!(matches!(
            "1".repeat(26).parse::<NodeId>(),
            Err(IdError::Alphabet { .. })
        ));
        // The last character of a node id carries three unused bits, which must be zero.
        assert!(matches!(
            "z".repeat(26).parse::<NodeId>(),
            Err(IdError::Alphabet { .. })
        ));
        assert!(matches!(
            "é".repeat(26).parse::<StreamId>(),
            Err(IdError::Alphabet { .. })
        ));
    }

    #[test]
    fn json_is_text_and_bincode_is_bytes() {
        let id = NodeId::from_bytes([1; 16]);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        let bytes = bincode::serde::encode_to_vec(id, bincode::config::standard()).unwrap();
        assert_eq!(bytes, [1; 16]);
    }
}
