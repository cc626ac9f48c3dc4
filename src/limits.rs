//! Every bound of the network in one place, each with its reason.

use std::time::Duration;

/// Largest RTP payload in bytes. 1150 plus RTP header and extensions, SRTP tag, UDP and IPv6
/// headers stays below the 1280 bytes every IPv6 path carries (RFC 8200 section 5).
pub const MAX_PAYLOAD: usize = 1150;

/// Most tracks a stream has: one video, one audio, and room for a second of each.
pub const MAX_TRACKS: usize = 4;

/// Largest frame on the tracker's WebSocket in bytes: a session description of
/// [`MAX_SDP`] with every byte escaped as JSON, and its envelope.
pub const MAX_TRACKER_FRAME: usize = 64 * 1024;

/// Largest session description in bytes. Chromium's offer for two recvonly tracks and data
/// channels is about 7 KB, most of it codecs.
pub const MAX_SDP: usize = 24 * 1024;

/// Longest ICE candidate line in bytes. Real ones stay below 200.
pub const MAX_CANDIDATE: usize = 512;

/// Most ICE candidates taken from one peer for one link, so that ICE checks are no reflector.
pub const MAX_CANDIDATES: usize = 8;

/// Largest message between two peers in bytes: a session description carried by `Signal` and its
/// envelope.
pub const MAX_PEER_MESSAGE: usize = 32 * 1024;

/// Longest title in bytes of UTF-8.
pub const MAX_TITLE: usize = 200;

/// Longest name a program gives itself in bytes.
pub const MAX_AGENT: usize = 100;

/// Longest path from the root that a heartbeat carries, in nodes. A tree of 100,000 viewers with
/// two children each is 17 deep.
pub const MAX_PATH: usize = 32;

/// Most children a native node declares.
pub const MAX_CHILDREN: u16 = 1000;

/// Time a packet stays in the ring before it may be dropped: what a child that changes its parent
/// can have missed.
pub const RING_TIME: Duration = Duration::from_secs(5);

/// Longest time a packet stays in the ring, even inside the newest group of pictures.
pub const RING_TIME_MAX: Duration = Duration::from_secs(12);

/// Most bytes of payload in one track's ring.
pub const RING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Least time between two key-frame requests to a publisher or a parent.
pub const KEY_FRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(300);

/// Least time between two heartbeats on a link's `pulse` channel.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);

/// A parent that sent neither media nor heartbeat for this long is gone: four heartbeats.
pub const PARENT_SILENCE: Duration = Duration::from_millis(1000);

/// Largest signed description of a stream in bytes: four tracks with long format parameters.
pub const MAX_STREAM_INFO: usize = 4 * 1024;

/// Most children one report names: [`MAX_CHILDREN`], and as many that are just moving.
pub const MAX_REPORTED_CHILDREN: usize = 2 * MAX_CHILDREN as usize;

/// Time between two reports of a peer to its tracker.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(1000);

/// A peer that was silent this long has departed: three reports and some jitter.
pub const LEASE: Duration = Duration::from_millis(3500);

/// A slot that was given away and not confirmed for this long is free again: a handshake takes a
/// few round trips, and a child gives up on a parent after 4 s.
pub const RESERVATION: Duration = Duration::from_secs(5);

/// A connection that does not stand after this long will not: the child asks for another parent.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Most peers a page's view of the tree names; a larger tree is shown around the viewer.
pub const MAX_TREE_VIEW: usize = 64;
