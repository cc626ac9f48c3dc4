//! A Binding request in, its response out (RFC 8489 sections 5, 6 and 14; RFC 5780 section 7).

use std::net::{IpAddr, SocketAddr};

use crc::{CRC_32_ISO_HDLC, Crc};

/// Largest request that is read. Binding requests of browsers have 20 to 120 bytes.
pub(super) const MAX_REQUEST: usize = 256;

const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const ERROR_CODE: u16 = 0x0009;
const CHANGE_REQUEST: u16 = 0x0003;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const OTHER_ADDRESS: u16 = 0x802C;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;

/// Comprehension-required attributes that change nothing for a server without accounts: RFC 8489
/// section 18.3, and PRIORITY and USE-CANDIDATE of RFC 8445.
const IGNORED: [u16; 11] = [
    0x0006, // USERNAME
    0x0008, // MESSAGE-INTEGRITY
    0x0014, // REALM
    0x0015, // NONCE
    0x001C, // MESSAGE-INTEGRITY-SHA256
    0x001D, // PASSWORD-ALGORITHM
    0x001E, // USERHASH
    0x0020, // XOR-MAPPED-ADDRESS
    0x0024, // PRIORITY
    0x0025, // USE-CANDIDATE
    0x0001, // MAPPED-ADDRESS
];

/// The flag of CHANGE-REQUEST that asks for an answer from another port. Another address there is
/// none of.
const CHANGE_PORT: [u8; 4] = [0, 0, 0, 2];

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// A well-formed Binding request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    transaction: [u8; 12],
    fingerprint: bool,
    change_port: bool,
    unknown: Vec<u16>,
}

impl Request {
    /// Reads a datagram; none if it is anything else, which is to be ignored.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        let (header, mut rest) = datagram.split_at_checked(HEADER)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if kind != BINDING_REQUEST
            || header[4..8] != MAGIC_COOKIE
            || length != rest.len()
            || length % 4 != 0
        {
            return None;
        }
        let mut request = Self {
            transaction: header[8..].try_into().ok()?,
            fingerprint: false,
            change_port: false,
            unknown: Vec::new(),
        };
        while !rest.is_empty() {
            let (attribute, after) = rest.split_at_checked(4)?;
            let kind = u16::from_be_bytes([attribute[0], attribute[1]]);
            let length = usize::from(u16::from_be_bytes([attribute[2], attribute[3]]));
            let (value, after) = after.split_at_checked(length.next_multiple_of(4))?;
            if kind == FINGERPRINT {
                let covered = &datagram[..datagram.len() - rest.len()];
                if !after.is_empty() || length != 4 || *value != fingerprint(covered) {
                    return None;
                }
                request.fingerprint = true;
            } else if kind == CHANGE_REQUEST && *value == CHANGE_PORT && length == 4 {
                request.change_port = true;
            } else if kind < 0x8000 && !IGNORED.contains(&kind) {
                request.unknown.push(kind);
            }
            rest = after;
        }
        Some(request)
    }

    /// Whether the answer is to come from a port that the peer has not sent to.
    pub(super) fn wants_other_port(&self) -> bool {
        self.change_port && self.unknown.is_empty()
    }

    /// The answer to a request that came from `peer`, which is told of `other`, a second address to
    /// ask: at most 48 bytes longer than the request, so that forged sources gain little.
    pub(super) fn response(&self, peer: SocketAddr, other: Option<SocketAddr>) -> Vec<u8> {
        let mut message = Vec::with_capacity(MAX_REQUEST);
        if self.unknown.is_empty() {
            self.begin(&mut message, BINDING_SUCCESS);
            let value = self.xor_address(peer);
            attribute(&mut message, XOR_MAPPED_ADDRESS, &value);
            if let Some(other) = other {
                attribute(&mut message, OTHER_ADDRESS, &plain_address(other));
            }
        } else {
            self.begin(&mut message, BINDING_ERROR);
            // 420 Unknown Attribute, without its reason phrase.
            attribute(&mut message, ERROR_CODE, &[0, 0, 4, 20]);
            let kinds: Vec<u8> = self.unknown.iter().flat_map(|k| k.to_be_bytes()).collect();
            attribute(&mut message, UNKNOWN_ATTRIBUTES, &kinds);
        }
        if self.fingerprint {
            // The length in the header counts the fingerprint before it is computed.
            set_length(&mut message, 8);
            let value = fingerprint(&message);
            attribute(&mut message, FINGERPRINT, &value);
        }
        set_length(&mut message, 0);
        message
    }

    fn begin(&self, message: &mut Vec<u8>, kind: u16) {
        message.extend(kind.to_be_bytes());
        message.extend([0, 0]);
        message.extend(MAGIC_COOKIE);
        message.extend(self.transaction);
    }

    /// RFC 8489 section 14.2.
    fn xor_address(&self, peer: SocketAddr) -> Vec<u8> {
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&MAGIC_COOKIE);
        mask[4..].copy_from_slice(&self.transaction);
        let mut value = plain_address(peer);
        let (port, address) = value[2..].split_at_mut(2);
        for part in [port, address] {
            for (byte, mask) in part.iter_mut().zip(mask) {
                *byte ^= mask;
            }
        }
        value
    }
}

/// RFC 8489 section 14.1.
fn plain_address(address: SocketAddr) -> Vec<u8> {
    let (family, ip): (u8, Vec<u8>) = match address.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().into()),
        IpAddr::V6(ip) => (2, ip.octets().into()),
    };
    [&[0, family][..], &address.port().to_be_bytes(), &ip].concat()
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Writes the length of what follows the header, and of `more` bytes still to come.
fn set_length(message: &mut [u8], more: usize) {
    let length = u16::try_from(message.len() - HEADER + more).unwrap_or(0);
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// RFC 8489 section 14.7; the header's length already counts the attribute.
fn fingerprint(message: &[u8]) -> [u8; 4] {
    (CRC32.checksum(message) ^ FINGERPRINT_XOR).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap();
        let mut message = vec![0, 1];
        message.extend(length.to_be_bytes());
        message.extend(MAGIC_COOKIE);
        message.extend(*b"transaction!");
        message.extend(attributes);
        message
    }

    #[test]
    fn a_plain_request_learns_its_address() {
        let response = Request::parse(&request(&[]))
            .unwrap()
            .response("192.0.2.1:32853".parse().unwrap(), None);
        assert_eq!(response[..4], [1, 1, 0, 12]);
        assert_eq!(response[8..20], *b"transaction!");
        // The port and address of RFC 5769 section 2.2, which depend on the cookie alone.
        assert_eq!(
            response[20..],
            [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]
        );
    }

    #[test]
    fn an_ipv4_peer_on_a_dual_stack_socket_sees_ipv4() {
        let response = Request::parse(&request(&[]))
            .unwrap()
            .response("[::ffff:192.0.2.1]:32853".parse().unwrap(), None);
        assert_eq!(response.len(), 32);
    }

    #[test]
    fn the_sample_request_of_rfc_5769_is_understood_and_answered_with_a_fingerprint() {
        let sample = data_encoding::HEXLOWER
            .decode(
                concat!(
                    "000100582112a442b7e7a701bc34d686fa87dfae",
                    "802200105354554e207465737420636c69656e74",
                    "002400046e0001ff80290008932ff9b151263b36",
                    "000600096576746a3a68367659202020",
                    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2",
                    "80280004e57a3bcf"
                )
                .as_bytes(),
            )
            .unwrap();
        let response = Request::parse(&sample)
            .unwrap()
            .response("[2001:db8::1]:9".parse().unwrap(), None);
        assert_eq!(response.len(), 20 + 24 + 8);
        let (covered, last) = response.split_at(response.len() - 8);
        assert_eq!(last[..4], [0x80, 0x28, 0, 4]);
        assert_eq!(last[4..], fingerprint(covered));

        let mut forged = sample;
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(Request::parse(&forged), None);
    }

    #[test]
    fn an_unknown_required_attribute_is_named_in_an_error() {
        // CHANGE-REQUEST for another address too, which there is none of.
        let message = request(&[0, 3, 0, 4, 0, 0, 0, 6]);
        let request = Request::parse(&message).unwrap();
        assert!(!request.wants_other_port());
        let response = request.response("192.0.2.1:1".parse().unwrap(), None);
        assert_eq!(response[..2], [1, 0x11]);
        assert_eq!(response[20..28], [0, 9, 0, 4, 0, 0, 4, 20]);
        assert_eq!(response[28..], [0, 10, 0, 2, 0, 3, 0, 0]);
    }

    #[test]
    fn a_second_address_is_told_and_another_port_may_be_asked_for() {
        let peer = "192.0.2.1:1".parse().unwrap();
        let other = "[::ffff:203.0.113.5]:3479".parse().unwrap();
        let plain = Request::parse(&request(&[])).unwrap();
        assert!(!plain.wants_other_port());
        let response = plain.response(peer, Some(other));
        assert_eq!(
            response[32..],
            [0x80, 0x2C, 0, 8, 0, 1, 0x0D, 0x97, 203, 0, 113, 5]
        );
        let change = Request::parse(&request(&[0, 3, 0, 4, 0, 0, 0, 2])).unwrap();
        assert!(change.wants_other_port());
        assert_eq!(change.response(peer, Some(other)), response);
        let stranger = Request::parse(&request(&[0, 3, 0, 4, 0, 0, 0, 2, 0x70, 1, 0, 0])).unwrap();
        assert!(
            !stranger.wants_other_port(),
            "an error comes from where it was asked"
        );
    }

    #[test]
    fn whatever_is_no_binding_request_is_ignored() {
        let good = request(&[]);
        for (at, value) in [(0, 1), (0, 0x80), (1, 0x11), (1, 2), (3, 4), (4, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Request::parse(&bad), None, "byte {at}");
        }
        assert_eq!(Request::parse(&[]), None);
        assert_eq!(Request::parse(&good[..19]), None);
        assert_eq!(
            Request::parse(&request(&[0x80, 0x22, 0, 9, 1, 2, 3, 4])),
            None
        );
    }

    #[test]
    fn an_answer_is_at_most_48_bytes_longer_than_its_request() {
        let peer = "[2001:db8::1]:9".parse().unwrap();
        let other = Some("[2001:db8::2]:9".parse().unwrap());
        for unknown in 0..=50_usize {
            let attributes = [0x70, 1, 0, 0].repeat(unknown);
            let message = request(&attributes);
            let response = Request::parse(&message).unwrap().response(peer, other);
            assert!(response.len() <= message.len() + 48, "{unknown}");
        }
    }
}
