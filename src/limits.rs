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

/// Largest trickle ICE fragment in bytes: two credentials and 64 candidates of a host with many
/// interfaces.
pub const MAX_TRICKLE: usize = 16 * 1024;

/// Most candidates in one trickle ICE fragment. Chromium on a laptop with VPNs sends about 20.
pub const MAX_TRICKLE_CANDIDATES: usize = 64;

/// Largest message between two peers in bytes: twice a browser's session description of 7 KB, or a
/// hello with the longest path and signed description. Every link keeps a buffer of this size.
pub const MAX_PEER_MESSAGE: usize = 16 * 1024;

/// Longest title in bytes of UTF-8.
pub const MAX_TITLE: usize = 200;

/// Longest name a program gives itself in bytes.
pub const MAX_AGENT: usize = 100;

/// Longest path from the root that a heartbeat carries, in nodes. A tree of 100,000 viewers with
/// two children each is 17 deep.
pub const MAX_PATH: usize = 32;

/// Most children a native node declares.
pub const MAX_CHILDREN: u16 = 1000;

/// Most slots of a peer that nobody has seen feed anyone: claims are not facts.
pub const UNPROVEN_SLOTS: u16 = 4;

/// Age at which a peer is trusted to stay: of those who have been here for two minutes, most stay for
/// many more (Veloso et al., "A hierarchical characterization of a live streaming media workload").
pub const PROVEN_AGE: Duration = Duration::from_secs(120);

/// Least time between two moves of one peer to another parent: what hangs below it has settled by then.
pub const MOVE_PAUSE: Duration = Duration::from_secs(5);

/// How long after somebody lost its parent nobody is moved in a small tree, not even out of slots kept
/// for heals: standbys are being found anew.
pub const HEALING_PAUSE: Duration = Duration::from_secs(2);

/// Most peers of a tree in which everybody waits for one that heals. In a larger one somebody always
/// does.
pub const SMALL_TREE: u32 = 200;

/// Least time between two times that a peer takes the place of another which loses its parent by that,
/// so that nobody can cut off one viewer after the other.
pub const EVICTION_PAUSE: Duration = Duration::from_secs(30);

/// Most parents a peer could not be moved to that are remembered: the oldest is tried again.
pub const MAX_FAILED_MOVES: usize = 8;

/// Time between two looks at the shape of a tree.
pub const REBALANCE_INTERVAL: Duration = Duration::from_secs(1);

/// Time for which a child says that its parent feeds it before that is believed: from one report
/// to the next.
pub const DELIVERY_SHOWN: Duration = Duration::from_millis(900);

/// Time a packet stays in the ring before it may be dropped: what a child that changes its parent
/// can have missed.
pub const RING_TIME: Duration = Duration::from_secs(5);

/// Longest time a packet stays in the ring, even inside the newest group of pictures.
pub const RING_TIME_MAX: Duration = Duration::from_secs(12);

/// Most bytes of payload in one track's ring.
pub const RING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most sequence numbers one track's ring spans: half of what 16 bits tell apart, so that a
/// number in the RTP header names one packet in it. 12 s of 30 Mbit/s.
pub const RING_PACKETS_MAX: usize = 1 << 15;

/// Most packets a track may skip on one link. SRTP finds the rollover counter from the nearest
/// number within 2^15 (RFC 3711 appendix A); half of that leaves room for packets in flight.
pub const MAX_SKIP: u64 = 1 << 14;

/// Most packets of one track that are being repaired at a time: 3 s of 8 Mbit/s.
pub const MAX_MISSING: usize = 2048;

/// Time a missing packet is given to arrive by itself, out of order, before it is asked for.
/// Reordering within one path stays below it, and a parent's own repair often comes as fast.
pub const REORDER_ALLOWANCE: Duration = Duration::from_millis(3);

/// Least time between two requests for the same packet: below it the answer to the first may
/// still be on its way through the queues of a 1 ms path.
pub const NACK_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Longest time between two requests for the same packet.
pub const NACK_INTERVAL_MAX: Duration = Duration::from_millis(250);

/// Requests for one packet before it is given up: about 4 s on a short path. With one packet in
/// five lost each way, 24 tries all fail once in 10^10.
pub const NACK_TRIES: u8 = 24;

/// Packets a node keeps whose rollovers it cannot tell yet, all tracks together: a second of
/// 5 Mbit/s, four times what arrives between two heartbeats of the parent, which tell.
pub const UNNUMBERED_MAX: usize = 512;

/// A missing packet is worth resuming from at another parent while it was missed for less than
/// this: the time to find out about the parent, and to repair before that.
pub const RESUME_REPAIRS: Duration = Duration::from_secs(2);

/// Packets asked for ahead of the first one a node receives, in case its parent sent some that
/// were lost: a key frame's first packet is worth eight small requests.
pub const LOOKBACK: u64 = 8;

/// What a child that is behind gets at once, in bytes, before pacing begins: most of a key frame
/// of a 2.5 Mbit/s stream, a quarter of a default UDP receive buffer (208 KiB on Linux).
pub const CATCH_UP_BURST: usize = 48 * 1024;

/// The least a child that is behind gets at once, however many there are: a small key frame.
pub const CATCH_UP_BURST_MIN: usize = 8 * 1024;

/// Time between two bursts to children that are behind.
pub const CATCH_UP_INTERVAL: Duration = Duration::from_millis(5);

/// How many times faster than the stream one child catches up while few do.
pub const CATCH_UP_SPEED_MAX: u64 = 10;

/// How many times faster than the stream each child catches up while many do.
pub const CATCH_UP_SPEED_MIN: u64 = 3;

/// A child whose picture is not live this long after it began to catch up skips to the newest key
/// frame.
pub const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(3);

/// Slowest stream the pacing reckons with, in bytes per second (1 Mbit/s): a still picture must
/// not make joining slow.
pub const STREAM_RATE_MIN: u64 = 125_000;

/// Fastest stream the pacing reckons with, in bytes per second (100 Mbit/s), whatever the
/// timestamps claim.
pub const STREAM_RATE_MAX: u64 = 12_500_000;

/// Bytes of repairs a child may draw at once; more come at the rate of the stream itself.
pub const REPAIR_BURST: usize = 128 * 1024;

/// A child that receives media and says nothing for this long gets no more picture until it
/// speaks. Chromium reports every second, a native node more often.
pub const CHILD_SILENCE: Duration = Duration::from_secs(3);

/// Time until the picture of a silent child is tried again: a stream without sound gives it
/// nothing to report about meanwhile.
pub const SILENCE_HOLD: Duration = Duration::from_secs(10);

/// How often a node looks whether its children are well.
pub const CHILD_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Share of packets a child may report as lost before its picture is held: random loss that
/// repair can still carry stays below it, a path that cannot carry the stream does not.
pub const CHILD_LOSS_MAX: f32 = 0.4;

/// Time every report has to tell of heavy loss: two of the reports that come each second.
pub const HEAVY_LOSS_TIME: Duration = Duration::from_millis(800);

/// Share of packets a child may report as lost for long: with more no picture is whole, and repairs
/// take what the sound needs.
pub const CHILD_LOSS_LASTING: f32 = 0.15;

/// Time every report has to tell of such loss.
pub const LASTING_LOSS_TIME: Duration = Duration::from_secs(4);

/// Time in which each track is reported about once, and some jitter: reports come every second.
pub const REPORT_ROUND: Duration = Duration::from_millis(1500);

/// Longest time the picture of a child is held before its path is tried again: it doubles each time
/// that fails.
pub const LOSS_HOLD_MAX: Duration = Duration::from_secs(60);

/// A path that carried the picture for this long may lose it for a short time again.
pub const LOSS_MEMORY: Duration = Duration::from_secs(20);

/// Time the picture of a child with heavy loss is held before its path is tried again.
pub const LOSS_HOLD: Duration = Duration::from_secs(2);

/// A node that gets no picture for this long offers no slots: its children would see none either. The
/// first hold is shorter, and often the last.
pub const POOR_SERVICE: Duration = Duration::from_secs(3);

/// Time with the picture after which it offers them again: longer than a path that fails again and again
/// is tried.
pub const POOR_MEMORY: Duration = Duration::from_secs(30);

/// A root asks its publisher for a key frame when none came for this long.
pub const KEY_FRAME_IDLE: Duration = Duration::from_secs(2);

/// Least time between two key-frame requests of a root to its publisher.
pub const PUBLISHER_KEY_FRAME_INTERVAL: Duration = Duration::from_secs(1);

/// Key-frame requests without an answer before a node waits for the next one to come by itself.
pub const KEY_FRAME_TRIES: u8 = 5;

/// Least time between two key-frame requests to a publisher or a parent.
pub const KEY_FRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(300);

/// Least time between two heartbeats on a link's `pulse` channel.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);

/// A parent says something to a child at least this often: media, or else a pulse of some 30
/// bytes. Three of them missing are what a child waits for.
pub const PULSE_INTERVAL: Duration = Duration::from_millis(40);

/// A parent that sent neither media nor heartbeat for this long is gone: four heartbeats.
pub const PARENT_SILENCE: Duration = Duration::from_millis(1000);

/// A parent that sent nothing at all for this long is suspected: the standby is asked to feed
/// beside it. Three pulses; a gap this long is seldom seen on a path that works.
pub const PARENT_SUSPECT: Duration = Duration::from_millis(120);

/// A parent whose gaps have been false alarms is suspected after this long at the latest.
pub const PARENT_SUSPECT_MAX: Duration = Duration::from_millis(480);

/// Time without a false alarm that makes a child quicker to suspect its parent again.
pub const SUSPECT_MEMORY: Duration = Duration::from_secs(30);

/// A suspected parent that stays silent this long is replaced by the standby that feeds meanwhile.
/// Before that it takes over again by speaking: most stalls of wireless links are shorter.
pub const SWITCH_COMMIT: Duration = Duration::from_millis(500);

/// A standby that is asked to feed and does not within this time is given up, and the tracker
/// asked for a parent: a few round trips of a bad path.
pub const STANDBY_TRIAL: Duration = Duration::from_millis(350);

/// A parent that has packets its child lacks and sends nothing for this long starves it.
pub const PARENT_STARVES: Duration = Duration::from_millis(500);

/// A parent that lost its own parent is given this long to find another, or all of its subtree
/// would move at once (rule L2).
pub const HEALING_PATIENCE: Duration = Duration::from_millis(1000);

/// Time between two heartbeats of a standby: two of them each way, with acknowledgements and STUN
/// consent, stay below 2 kbit/s.
pub const STANDBY_HEARTBEAT: Duration = Duration::from_secs(2);

/// A standby that sent nothing for this long is another's no more: three heartbeats.
pub const STANDBY_SILENCE: Duration = Duration::from_secs(7);

/// Pause between attaching to a parent and asking for a standby: a tree that is still forming
/// moves people about.
pub const STANDBY_DELAY: Duration = Duration::from_millis(1000);

/// Pause after which a standby is asked for again when there was none.
pub const STANDBY_RETRY: Duration = Duration::from_secs(5);

/// A standby's link that has carried media is replaced after this long: it could not skip to a
/// packet much later ([`MAX_SKIP`]).
pub const STANDBY_REFRESH: Duration = Duration::from_secs(10);

/// A standby that has become full is given up for another after this long: a tree that is changing
/// goes on to do so, and each change costs a handshake.
pub const STANDBY_REVIEW: Duration = Duration::from_secs(3);

/// Children a node is a standby of, for each slot it could give to one of them (rule C2).
pub const STANDBY_CLIENTS_PER_SLOT: usize = 8;

/// Children a node stays connected to as their standby at most: each link takes about 100 KB.
pub const MAX_STANDBY_CLIENTS: usize = 128;

/// A child that said nothing for this long gives its slot to a child of its own that lost it: it
/// missed a heartbeat, and somebody else does not hear it either.
pub const CHILD_SUSPECT: Duration = Duration::from_millis(300);

/// Time a node that leaves goes on feeding its children until they hang elsewhere.
pub const DRAIN_TIME: Duration = Duration::from_secs(2);

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

/// Most sessions a tracker holds: about 64 KB each in the worst case, and a million file
/// descriptors are not to be had by default anyway.
pub const MAX_SESSIONS: usize = 100_000;

/// Most streams with a root at one tracker. A broadcast costs little; this stops a flood of
/// made-up keys.
pub const MAX_STREAMS: usize = 10_000;

/// Most ended streams a tracker remembers, the oldest forgotten first.
pub const MAX_OFFLINE_STREAMS: usize = 1_000;

/// How long an ended stream is remembered, so that who comes late reads that it is offline and
/// waits for its return.
pub const OFFLINE_MEMORY: Duration = Duration::from_secs(3600);

/// Most peers of one stream at one tracker.
pub const MAX_STREAM_PEERS: usize = 100_000;

/// Most peers that wait for a slot in one stream. Nobody behind them would see the end of it.
pub const MAX_WAITING: usize = 10_000;

/// Waiting peers without a way to any parent that are tried again at once when a slot becomes free:
/// each looks at every free slot, up to milliseconds in a large tree. The others follow after a pause.
pub const NO_ROUTE_TRIES: u32 = 16;

/// That pause.
pub const NO_ROUTE_PAUSE: Duration = Duration::from_millis(100);

/// Most bytes of offers and candidates kept for the joining peers of one stream: 8,000 offers of
/// Chromium's size.
pub const MAX_OFFER_BYTES: usize = 64 * 1024 * 1024;

/// Most parents a peer is kept away from. A peer that fails with so many has another problem.
pub const MAX_EXCLUSIONS: usize = 64;

/// Messages a session may send at once: a join with all candidates, several times over.
pub const MESSAGE_BURST: u32 = 200;

/// Messages per second a session may send in the long run: reports, and children that come and
/// go. A parent may send more for each child it is told to expect.
pub const MESSAGES_PER_SECOND: u32 = 50;

/// A session that has not said Hello by then is closed.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A session that belongs to no stream and says nothing for this long is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A session that was silent this long gives way to a new one of the same node: two reports. Its
/// connection probably died without a word.
pub const SESSION_TAKEOVER: Duration = Duration::from_secs(2);

/// How long a tree stands without its root: a process that is started again, or a machine that is.
pub const ROOT_GRACE: Duration = Duration::from_secs(30);

/// How long after its root's session ended a stream is said to be away: most broken connections are
/// back by then.
pub const ROOT_AWAY: Duration = Duration::from_millis(1000);

/// How long after the last report of media a stream is said to be away whose root's session ended, if
/// no child of the root has lost it: media does not need that session. Two reports and some jitter.
pub const MEDIA_SEEN: Duration = Duration::from_millis(2500);

/// How long the place of a peer is kept whose session ended: a reconnection. After that its
/// parent is told to let it go, early enough that whoever needs the slot has it within 2 s.
pub const PLACE_MEMORY: Duration = Duration::from_millis(1500);

/// How long a player's place is kept whose parent's session ended: players do not report, so the
/// parent has to come back and name it. Twice the longest pause between two attempts to.
pub const PLAYER_ORPHANED: Duration = Duration::from_secs(10);

/// How long a child gets other parents than one it lost, if there are others.
pub const PARENT_AVOIDED: Duration = Duration::from_secs(10);

/// After this long a child gets a parent it lost again if there is no other.
pub const PARENT_AVOIDED_ALONE: Duration = Duration::from_secs(2);

/// Complaints of distinct children about one parent within this time count together.
pub const COMPLAINT_WINDOW: Duration = Duration::from_secs(10);

/// Distinct children that must complain before a parent gets no new ones: one or two may have a
/// bad network themselves, or lie.
pub const COMPLAINTS: usize = 3;

/// How long a parent gets no new children after that.
pub const PARENT_SHUNNED: Duration = Duration::from_secs(30);

/// A child that gets less than this share of what its parent gets is underfed: lost packets beyond what
/// repair carries.
pub const UNDERFED_SHARE: f32 = 0.75;

/// Time for which it has to say so: three reports.
pub const UNDERFED_TIME: Duration = Duration::from_millis(2900);

/// Time after which one slot more is believed of a parent whose children were underfed; it doubles each
/// time they are again.
pub const DOUBT: Duration = Duration::from_secs(60);

/// Longest such time.
pub const DOUBT_MAX: Duration = Duration::from_secs(960);

/// How long after a change of tracks the loss of a parent is nobody's fault: all links of the tree
/// are made anew, level by level, and a handshake may be tried twice.
pub const RENEWAL: Duration = Duration::from_secs(5);

/// A link that stands is described anew for other tracks within this time, or the child makes
/// another: three round trips on a bad path, with a retransmission on the control channel. Less
/// than [`RENEWAL`] in all, so that nobody is blamed for the other link either.
pub const RENEGOTIATION: Duration = Duration::from_secs(3);

/// A parent gives up a child that has not renegotiated by then: it is of an older program, or the
/// child would have given up first.
pub const RENEGOTIATION_WAIT: Duration = Duration::from_secs(4);

/// How long a refusal of a parent stands if no report of it comes first: two reports.
pub const PARENT_REFUSED: Duration = Duration::from_secs(2);

/// How long the last free slot is kept for peers that bring slots, after a stream began or such a
/// peer lost its parent (rule J3): a join with an offer takes less.
pub const LAST_SLOT_KEPT: Duration = Duration::from_secs(2);

/// Least time between two updates of a follower's view of the tree.
pub const TREE_INTERVAL: Duration = Duration::from_millis(250);

/// Least time between two updates of the delays and losses in it.
pub const TREE_FIGURES_INTERVAL: Duration = Duration::from_secs(2);

/// Least time between two messages about the number of viewers or the place in the queue.
pub const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Messages of one kind that a stream sends to its peers per second; with more peers each of them
/// is told less often.
pub const FAN_OUT_PER_SECOND: usize = 2_000;

/// Most peers on one page of a tree.
pub const MAX_TREE_PAGE: usize = 256;

/// A parent that a child reports silent, and that has not spoken to the tracker for this long
/// either, loses its own place: one missed report and some jitter. Two witnesses that know
/// nothing of each other agree, early enough that its children are fed again within 2 s.
pub const SUSPECT_SILENCE: Duration = Duration::from_millis(1300);

/// Requests for a parent that a peer may make at once. An honest one makes another only when a
/// parent is lost or could not be reached.
pub const JOIN_BURST: u32 = 8;

/// Time that earns a peer one more request for a parent: each of them costs some parent a
/// handshake.
pub const JOIN_INTERVAL: Duration = Duration::from_secs(1);

/// Most nodes that a peer may ask to be its parent without the tracker.
pub const MAX_COLD_PARENTS: usize = 4;

/// With fewer of them a peer is given more, if there are any.
pub const ENOUGH_COLD_PARENTS: usize = 3;

/// How long a node takes in a child without the tracker: a tracker that is started again is back much
/// sooner, and each renewal costs two messages for each pair.
pub const GRANT_LIFETIME: Duration = Duration::from_secs(600);

/// Time between two looks for other nodes to ask without the tracker, for a peer that has too few or
/// whose have become full.
pub const COLD_REVIEW: Duration = Duration::from_secs(5);

/// Most children that a node would take in without the tracker: four for each of 32 that lose their
/// parent together.
pub const MAX_GRANTS: usize = 128;

/// Most hops of a session description between peers: a child of the orphan, that one's standby, and a
/// neighbour of that.
pub const SIGNAL_TTL: u8 = 3;

/// Largest session description between peers in bytes. A native node's has 2 to 3 KB.
pub const MAX_SIGNAL_SDP: usize = 8 * 1024;

/// Links by which a node sends its own description on its way, where no link leads to its end.
pub const SIGNAL_FIRST_HOPS: usize = 8;

/// Descriptions that one neighbour may have passed on at once: those of an orphan for two parents, and
/// the answers.
pub const SIGNAL_BURST: u32 = 16;

/// Time that earns a neighbour one more.
pub const SIGNAL_INTERVAL: Duration = Duration::from_millis(250);

/// Descriptions that a node passes on at once for all its neighbours.
pub const SIGNAL_NODE_BURST: u32 = 64;

/// Time that earns one more: with two copies of the largest, 1.3 Mbit/s.
pub const SIGNAL_NODE_INTERVAL: Duration = Duration::from_millis(100);

/// Parents that an orphan tries at a time without the tracker: one may be gone as well.
pub const COLD_ATTEMPTS: usize = 2;

/// How far the tracker is ahead when an orphan asks it and others at once: whom it answers at once
/// costs nobody else a handshake.
pub const COLD_HEAD_START: Duration = Duration::from_millis(100);

/// Time that candidates are waited for, which travel with their session description. Those of the host
/// and known addresses come with it.
pub const COLD_GATHER: Duration = Duration::from_millis(20);

/// A parent that does not answer for this long over other peers is given up for the next: six hops.
pub const COLD_ANSWER: Duration = Duration::from_millis(600);

/// Pause before an orphan tries all of them again. Its children, who carry what it says, stay for
/// [`HEALING_PATIENCE`] after it began to heal; those asked may heal themselves at first.
pub const COLD_PAUSE: Duration = Duration::from_millis(250);

/// Longest such pause: it doubles after each three times.
pub const COLD_PAUSE_MAX: Duration = Duration::from_secs(4);

/// Time between two tries of one child at a parent that takes it in without the tracker.
pub const GRANT_INTERVAL: Duration = Duration::from_millis(200);
