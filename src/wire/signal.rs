//! Session descriptions that travel from peer to peer, hop by hop, when the tracker is away.
//!
//! The two ends know a token that the tracker told them before. Whoever passes a message on reads
//! it, and can neither change it nor make one up: a proof covers it.

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::codec::{Encoding, Frame, encode};
use super::tracker::RefuseReason;
use super::{BoundError, bound};
use crate::id::{GrantToken, LinkKey, NodeId, Proof};
use crate::limits::{MAX_CANDIDATE, MAX_CANDIDATES, MAX_SIGNAL_SDP, SIGNAL_TTL};

/// What precedes the bytes that a proof covers.
pub const SIGNAL_DOMAIN: &[u8] = b"banyan/1/signal\0";

/// Something for a node that no link leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// For whom.
    pub to: NodeId,
    /// Links it may still cross, the one it comes over included.
    pub ttl: u8,
    /// The nodes it has passed, whoever wrote it first, whoever sends it last.
    pub via: Vec<NodeId>,
    /// The nodes that are still to pass it on, whoever receives it first, `to` last; empty while
    /// nobody knows.
    pub route: Vec<NodeId>,
    /// The connection it is about.
    pub link: LinkKey,
    /// That its writer knows the token.
    pub proof: Proof,
    /// What it says.
    pub body: SignalBody,
}

/// What one end of a connection says to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalBody {
    /// From a child: be my parent.
    Offer {
        /// Session description of type offer.
        sdp: String,
        /// The child's candidates, as in the tracker's messages.
        candidates: Vec<String>,
    },
    /// From a parent: I am.
    Answer {
        /// Session description of type answer.
        sdp: String,
        /// The parent's candidates.
        candidates: Vec<String>,
    },
    /// From a parent: I will not serve you.
    Refuse {
        /// Why.
        reason: RefuseReason,
    },
    /// From a child: I have another parent.
    Bye,
}

impl Signal {
    /// Checks the bounds that a type cannot express.
    ///
    /// # Errors
    /// [`BoundError`] names the first part that is too large.
    pub fn check(&self) -> Result<(), BoundError> {
        let hops = usize::from(SIGNAL_TTL);
        bound("ttl", self.ttl.into(), hops)?;
        bound("via", self.via.len(), hops)?;
        bound("route", self.route.len(), hops)?;
        match &self.body {
            SignalBody::Offer { sdp, candidates } | SignalBody::Answer { sdp, candidates } => {
                bound("sdp", sdp.len(), MAX_SIGNAL_SDP)?;
                bound("candidates", candidates.len(), MAX_CANDIDATES)?;
                (candidates.iter())
                    .try_for_each(|line| bound("candidate", line.len(), MAX_CANDIDATE))
            }
            SignalBody::Refuse { .. } | SignalBody::Bye => Ok(()),
        }
    }

    /// Whether its writer knows the token.
    pub fn is_proven(&self, token: &GrantToken) -> bool {
        let Some(mac) = mac(token, self.to, self.link, &self.body) else {
            return false;
        };
        mac.verify_truncated_left(self.proof.as_bytes()).is_ok()
    }
}

/// The proof of a message to `to` about `link`: the first 16 bytes of HMAC-SHA256 (RFC 2104) by the
/// token over [`SIGNAL_DOMAIN`] and the three in bincode. None if the message cannot be written.
pub fn prove(token: &GrantToken, to: NodeId, link: LinkKey, body: &SignalBody) -> Option<Proof> {
    let full = mac(token, to, link, body)?.finalize().into_bytes();
    let first = full.first_chunk::<16>()?;
    Some(Proof::from_bytes(*first))
}

fn mac(token: &GrantToken, to: NodeId, link: LinkKey, body: &SignalBody) -> Option<Hmac<Sha256>> {
    let Ok(Frame::Binary(bytes)) = encode(Encoding::Bincode, &(to, link, body)) else {
        return None;
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).ok()?;
    mac.update(SIGNAL_DOMAIN);
    mac.update(&bytes);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LinkId;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn offer(token: GrantToken) -> Signal {
        let link = LinkKey {
            child: node(1),
            link: LinkId(7),
        };
        let body = SignalBody::Offer {
            sdp: "v=0\r\n".into(),
            candidates: vec!["candidate:1 1 udp 1 192.0.2.7 5000 typ host".into()],
        };
        Signal {
            to: node(2),
            ttl: SIGNAL_TTL,
            via: vec![node(1)],
            route: Vec::new(),
            link,
            proof: prove(&token, node(2), link, &body).unwrap(),
            body,
        }
    }

    #[test]
    fn a_proof_covers_all_that_its_writer_says() {
        let token = GrantToken::from_bytes([9; 16]);
        let signal = offer(token);
        assert!(signal.is_proven(&token));
        assert!(!signal.is_proven(&GrantToken::from_bytes([8; 16])));
        let mut passed_on = signal.clone();
        passed_on.ttl = 1;
        passed_on.via.push(node(3));
        assert!(passed_on.is_proven(&token));
        let mut others = signal.clone();
        others.to = node(3);
        assert!(!others.is_proven(&token));
        let mut later = signal.clone();
        later.link.link = LinkId(8);
        assert!(!later.is_proven(&token));
        let mut altered = signal;
        if let SignalBody::Offer { sdp, .. } = &mut altered.body {
            sdp.push('x');
        }
        assert!(!altered.is_proven(&token));
    }

    #[test]
    fn bounds_are_named() {
        let token = GrantToken::from_bytes([9; 16]);
        let field = |change: fn(&mut Signal)| {
            let mut signal = offer(token);
            change(&mut signal);
            signal.check().err().map(|error| error.field)
        };
        assert_eq!(field(|_| {}), None);
        assert_eq!(field(|s| s.ttl = 4), Some("ttl"));
        assert_eq!(field(|s| s.via = vec![node(1); 4]), Some("via"));
        assert_eq!(field(|s| s.route = vec![node(1); 4]), Some("route"));
        let body = |sdp: String, candidates| SignalBody::Answer { sdp, candidates };
        let long = "x".repeat(MAX_SIGNAL_SDP + 1);
        let mut signal = offer(token);
        signal.body = body(long, Vec::new());
        assert_eq!(signal.check().unwrap_err().field, "sdp");
        signal.body = body(String::new(), vec![String::new(); MAX_CANDIDATES + 1]);
        assert_eq!(signal.check().unwrap_err().field, "candidates");
        signal.body = body(String::new(), vec!["x".repeat(MAX_CANDIDATE + 1)]);
        assert_eq!(signal.check().unwrap_err().field, "candidate");
    }

    #[test]
    fn tokens_are_not_shown() {
        let token = GrantToken::from_bytes([9; 16]);
        assert_eq!(format!("{token:?}"), "GrantToken(..)");
    }
}
