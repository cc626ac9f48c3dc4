//! The STUN server's parser, opened for the fuzz targets in `fuzz/`: behind the feature `fuzzing`.

use super::message::Request;

/// A datagram from anybody.
pub fn stun(datagram: &[u8]) {
    if let Some(request) = Request::parse(datagram) {
        let other = (std::net::Ipv6Addr::LOCALHOST, 9).into();
        let response = request.response(([192, 0, 2, 1], 9).into(), Some(other));
        assert!(response.len() <= 3 * datagram.len().max(32), "an amplifier");
    }
}
