//! Connectivity checks by hand (RFC 8445 section 7).

use std::net::SocketAddr;

use rtc::ice::attributes::control::AttrControlling;
use rtc::ice::attributes::priority::PriorityAttr;
use rtc::ice::attributes::use_candidate::UseCandidateAttr;
use rtc::stun::attributes::ATTR_USERNAME;
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{
    BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, Setter, TransactionId,
};
use rtc::stun::textattrs::Username;
use rtc::stun::xoraddr::XorMappedAddress;

/// One end's ICE credentials.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
}

impl Credentials {
    /// Those in a session description.
    pub(crate) fn of(sdp: &str) -> Self {
        Self {
            ufrag: attribute(sdp, "ice-ufrag"),
            pwd: attribute(sdp, "ice-pwd"),
        }
    }
}

/// The first attribute of this name.
fn attribute(sdp: &str, name: &str) -> String {
    sdp.lines()
        .find_map(|line| line.strip_prefix(&format!("a={name}:")))
        .unwrap_or_else(|| panic!("no {name} in {sdp}"))
        .trim()
        .to_owned()
}

/// The address of the first candidate.
pub(crate) fn candidate_address(sdp: &str) -> SocketAddr {
    let candidate = attribute(sdp, "candidate");
    let fields: Vec<&str> = candidate.split(' ').collect();
    format!("{}:{}", fields[4], fields[5]).parse().unwrap()
}

/// A check of `ours` to `theirs` that nominates; with their password, it is authentic.
pub(crate) fn check(ours: &Credentials, theirs: &Credentials) -> Vec<u8> {
    let user = format!("{}:{}", theirs.ufrag, ours.ufrag);
    message(
        &theirs.pwd,
        vec![
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(Username::new(ATTR_USERNAME, user)),
            Box::<UseCandidateAttr>::default(),
            Box::new(AttrControlling(7)),
            Box::new(PriorityAttr(1_845_501_695)),
        ],
    )
}

/// The answer of one with password `pwd` to a datagram from `from`, if it is a check, and the
/// user-name fragment of who was asked.
pub(crate) fn answer(pwd: &str, datagram: &[u8], from: SocketAddr) -> Option<(String, Vec<u8>)> {
    let mut asked = Message::new();
    asked.raw = datagram.to_vec();
    asked.decode().ok()?;
    if asked.typ != BINDING_REQUEST {
        return None;
    }
    let mut user = Username::new(ATTR_USERNAME, String::new());
    user.get_from(&asked).ok()?;
    let ufrag = user.text.split(':').next()?.to_owned();
    let (ip, port) = (from.ip(), from.port());
    let answer = message(
        pwd,
        vec![
            Box::new(BINDING_SUCCESS),
            Box::new(asked.transaction_id),
            Box::new(XorMappedAddress { ip, port }),
        ],
    );
    Some((ufrag, answer))
}

fn message(pwd: &str, parts: Vec<Box<dyn Setter>>) -> Vec<u8> {
    let provider = rtc::crypto::default_provider().unwrap();
    let integrity =
        MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), provider.crypto());
    let mut message = Message::new();
    message.build(&parts).unwrap();
    integrity.add_to(&mut message).unwrap();
    FINGERPRINT.add_to(&mut message).unwrap();
    message.raw
}
