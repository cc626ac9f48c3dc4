//! Who does not know the token is served by nobody, and what is passed on stays little.

use ed25519_dalek::SigningKey;

use super::*;
use crate::id::{Epoch, Generation};
use crate::limits::{SIGNAL_BURST, SIGNAL_NODE_BURST, SIGNAL_TTL};
use crate::peer::{MediaView, PeerConfig, PeerInput, Role};
use crate::wire::announcement::{Codec, SignedStreamInfo, StreamInfo, TrackInfo, stream_id};
use crate::wire::peer::PeerHello;
use crate::wire::signal::prove;
use crate::wire::tracker::{ServerMessage, Welcome};

const TOKEN: GrantToken = GrantToken::from_bytes([9; 16]);
const PARENT: u8 = 100;
const STANDBY: u8 = 101;
const OWN: u8 = 50;
const ORPHAN: u8 = 1;

const fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn link(child: u8, link: u32) -> LinkKey {
    LinkKey {
        child: node(child),
        link: LinkId(link),
    }
}

fn tracks() -> StreamInfo {
    let track = TrackInfo {
        codec: Codec::Vp8,
        fmtp: String::new(),
        ssrc: 7,
        first_seq: 70_000,
    };
    StreamInfo {
        epoch: Epoch(1),
        tracks: vec![track],
        cname: "banyan".into(),
    }
}

fn offer() -> SignalBody {
    SignalBody::Offer {
        sdp: "v=0".into(),
        candidates: vec!["candidate:1".into()],
    }
}

/// As the orphan sent it, or as somebody passed it on.
fn signal(to: u8, number: u32, via: &[u8], body: SignalBody) -> Signal {
    let link = link(ORPHAN, number);
    Signal {
        to: node(to),
        ttl: SIGNAL_TTL + 1 - via.len() as u8,
        via: via.iter().map(|n| node(*n)).collect(),
        route: Vec::new(),
        link,
        proof: prove(&TOKEN, node(to), link, &body).unwrap(),
        body,
    }
}

/// A viewer with a parent, a standby, and children 2, 3 and 4.
struct End {
    peer: Peer,
    now: Instant,
}

impl End {
    fn new(slots: u16) -> Self {
        let key = SigningKey::from_bytes(&[1; 32]);
        let now = crate::virtual_clock::start();
        let config = PeerConfig {
            node: node(OWN),
            agent: "test".into(),
            slots,
            role: Role::Viewer {
                stream: stream_id(&key),
            },
        };
        let peer = Peer::new(now, config);
        let mut end = Self { peer, now };
        let authority = "tracker".into();
        end.tell(PeerInput::TrackerUp { authority });
        end.tracker(ServerMessage::Welcome(Welcome {
            version: 1,
            ice_servers: Vec::new(),
            observed: "127.0.0.1".into(),
            report_interval_ms: 60_000,
        }));
        let info = SignedStreamInfo::sign(&tracks(), &key).unwrap();
        end.take_place(link(OWN, 1), PARENT, &info, 1);
        let media = end.peer.media_arrived(end.now, link(OWN, 1));
        assert!(media);
        end.pass(STANDBY_DELAY);
        end.take_place(link(OWN, 2), STANDBY, &info, 2);
        for child in [2, 3, 4] {
            end.tracker(ServerMessage::Expect {
                link: link(child, 1),
                class: PeerClass::Native,
                offer: "v=0".into(),
                generation: Generation(1),
            });
            let link = link(child, 1);
            end.tell(PeerInput::Connected { link });
        }
        end
    }

    fn take_place(&mut self, link: LinkKey, parent: u8, info: &SignedStreamInfo, order: u32) {
        let sdp = "offer".to_owned();
        self.tell(PeerInput::Offer { link, sdp });
        self.tracker(ServerMessage::Assigned {
            link,
            parent: node(parent),
            generation: Generation(order),
            depth: 2,
            info: info.clone(),
            relay: Vec::new(),
        });
        let sdp = "answer".to_owned();
        self.tracker(ServerMessage::Answer { link, sdp });
        self.tell(PeerInput::Connected { link });
        self.hears(
            link,
            PeerMessage::Hello(PeerHello {
                version: 1,
                node: node(parent),
                path: vec![node(0), node(parent)],
                info: Some(info.clone()),
                heads: vec![70_100],
            }),
        );
    }

    fn tell(&mut self, input: PeerInput) -> Vec<PeerOutput> {
        self.peer.handle(self.now, MediaView::default(), input);
        std::iter::from_fn(|| self.peer.poll_output()).collect()
    }

    fn tracker(&mut self, message: ServerMessage) -> Vec<PeerOutput> {
        self.tell(PeerInput::Tracker(message))
    }

    fn hears(&mut self, link: LinkKey, message: PeerMessage) -> Vec<PeerOutput> {
        self.tell(PeerInput::Message { link, message })
    }

    fn gets(&mut self, link: LinkKey, signal: Signal) -> Vec<PeerOutput> {
        self.hears(link, PeerMessage::Signal(signal))
    }

    /// Lets time pass in which its parents are heard.
    fn pass(&mut self, time: Duration) -> Vec<PeerOutput> {
        let mut all = Vec::new();
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(10);
            for link in [link(OWN, 1), link(OWN, 2)] {
                if let Some(attempt) = self.peer.upstream.get_mut(link) {
                    attempt.heard(self.now);
                }
            }
            all.extend(self.tell(PeerInput::Tick));
        }
        all
    }

    fn admit(&mut self, lifetime_ms: u32) {
        self.tracker(ServerMessage::Admit {
            child: node(ORPHAN),
            token: TOKEN,
            lifetime_ms,
        });
    }
}

/// What goes to others, and over which link.
fn signals(outputs: &[PeerOutput]) -> Vec<(LinkKey, &Signal)> {
    let signals = outputs.iter().filter_map(|output| match output {
        PeerOutput::Send {
            link,
            message: PeerMessage::Signal(signal),
        } => Some((*link, signal)),
        _ => None,
    });
    signals.collect()
}

fn accepts(outputs: &[PeerOutput]) -> bool {
    let accepts = |output: &PeerOutput| matches!(output, PeerOutput::Accept { .. });
    outputs.iter().any(accepts)
}

#[test]
fn an_orphan_with_a_token_is_taken_in_and_answered_the_way_it_came() {
    let mut end = End::new(4);
    end.admit(60_000);
    let via = &[ORPHAN, 7, 2];
    let outputs = end.gets(link(2, 1), signal(OWN, 5, via, offer()));
    assert!(accepts(&outputs));
    assert_eq!(end.peer.taken(), 4);
    let (link_of, sdp) = (link(ORPHAN, 5), "answer".to_owned());
    end.tell(PeerInput::Answer { link: link_of, sdp });
    let candidate = "candidate:2".to_owned();
    end.tell(PeerInput::Candidate {
        link: link_of,
        candidate,
    });
    let outputs = end.pass(Duration::from_millis(30));
    let sent = signals(&outputs);
    let [(over, answer)] = sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(over, link(2, 1));
    assert_eq!(answer.to, node(ORPHAN));
    assert_eq!(answer.route, [node(2), node(7), node(ORPHAN)]);
    assert!(answer.is_proven(&TOKEN));
    let SignalBody::Answer { candidates, .. } = &answer.body else {
        panic!("{answer:?}");
    };
    assert_eq!(candidates, &["candidate:2"]);
}

#[test]
fn whoever_has_no_token_or_an_old_one_is_not_even_answered() {
    let mut end = End::new(8);
    let ask = |end: &mut End, signal| {
        let outputs = end.gets(link(2, 1), signal);
        let silent = !accepts(&outputs) && signals(&outputs).is_empty();
        assert!(silent && end.peer.taken() == 3, "{outputs:?}");
    };
    let good = |number| signal(OWN, number, &[ORPHAN, 2], offer());
    ask(&mut end, good(1));
    end.admit(5_000);
    let mut forged = good(2);
    let others = GrantToken::from_bytes([8; 16]);
    forged.proof = prove(&others, node(OWN), forged.link, &forged.body).unwrap();
    ask(&mut end, forged);
    let mut altered = good(3);
    altered.body = SignalBody::Offer {
        sdp: "v=0 of somebody else".into(),
        candidates: Vec::new(),
    };
    ask(&mut end, altered);
    let mut stolen = good(4);
    stolen.link.child = node(2);
    stolen.via = vec![node(2)];
    ask(&mut end, stolen);
    end.pass(Duration::from_secs(6));
    ask(&mut end, good(5));
    // Taken back before its time.
    end.admit(60_000);
    end.admit(0);
    ask(&mut end, good(6));
}

#[test]
fn what_was_heard_once_says_nothing_again() {
    let mut end = End::new(8);
    end.admit(60_000);
    let heard = signal(OWN, 5, &[ORPHAN, 2], offer());
    assert!(accepts(&end.gets(link(2, 1), heard.clone())));
    let bye = signal(OWN, 5, &[ORPHAN, 2], SignalBody::Bye);
    end.gets(link(2, 1), bye);
    assert_eq!(end.peer.taken(), 3, "it has another parent");
    end.pass(Duration::from_secs(1));
    assert!(!accepts(&end.gets(link(2, 1), heard)));
    let next = signal(OWN, 6, &[ORPHAN, 2], offer());
    assert!(accepts(&end.gets(link(2, 1), next)));
    // Too soon after that, and nothing is left of what never connected.
    let soon = signal(OWN, 7, &[ORPHAN, 2], offer());
    assert!(!accepts(&end.gets(link(2, 1), soon)));
    assert_eq!(end.peer.taken(), 4);
    end.pass(Duration::from_secs(5));
    assert_eq!(end.peer.taken(), 3);
}

#[test]
fn a_full_node_says_so() {
    let mut end = End::new(3);
    end.admit(60_000);
    let outputs = end.gets(link(2, 1), signal(OWN, 5, &[ORPHAN, 2], offer()));
    assert!(!accepts(&outputs));
    let sent = signals(&outputs);
    let reason = RefuseReason::Full;
    assert_eq!(sent[0].1.body, SignalBody::Refuse { reason });
    assert_eq!(end.peer.taken(), 3);
}

#[test]
fn no_more_may_come_than_there_is_room_to_remember() {
    let mut end = End::new(4);
    for n in 0..3 * MAX_GRANTS as u32 {
        let mut bytes = [77; 16];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        end.tracker(ServerMessage::Admit {
            child: NodeId::from_bytes(bytes),
            token: TOKEN,
            lifetime_ms: u32::MAX,
        });
    }
    assert_eq!(end.peer.admitted(), MAX_GRANTS);
    end.pass(GRANT_LIFETIME / 100);
    let parents = (0..40).map(|n| ColdParent {
        node: node(n),
        token: TOKEN,
    });
    end.tracker(ServerMessage::ColdParents {
        lifetime_ms: 1000,
        parents: parents.collect(),
    });
    assert_eq!(end.peer.cold_parents().count(), MAX_COLD_PARENTS);
}

#[test]
fn what_is_for_others_goes_up_or_straight_to_its_end() {
    let mut end = End::new(8);
    let up = end.gets(link(2, 1), signal(200, 5, &[ORPHAN, 2], offer()));
    let over: Vec<_> = signals(&up).iter().map(|(link, _)| *link).collect();
    assert_eq!(over, [link(OWN, 1), link(OWN, 2)]);
    for (_, signal) in signals(&up) {
        assert_eq!(signal.ttl, 1);
        assert_eq!(signal.via, [node(ORPHAN), node(2), node(OWN)]);
    }
    let straight = end.gets(link(2, 1), signal(3, 6, &[ORPHAN, 2], offer()));
    let over: Vec<_> = signals(&straight).iter().map(|(link, _)| *link).collect();
    assert_eq!(over, [link(3, 1)]);
    // Never back to where it was.
    let down = end.gets(link(OWN, 1), signal(200, 7, &[ORPHAN, PARENT], offer()));
    let over: Vec<_> = signals(&down).iter().map(|(link, _)| *link).collect();
    assert_eq!(over, [link(OWN, 2)]);
    let mut reply = signal(ORPHAN, 8, &[PARENT], SignalBody::Bye);
    reply.route = vec![node(OWN), node(4), node(ORPHAN)];
    let outputs = end.gets(link(OWN, 1), reply);
    let sent = signals(&outputs);
    assert_eq!(sent[0].0, link(4, 1));
    assert_eq!(sent[0].1.route, [node(4), node(ORPHAN)]);
}

#[test]
fn what_has_gone_far_enough_or_in_a_circle_ends_here() {
    let mut end = End::new(8);
    let stays = |end: &mut End, signal: Signal| {
        let outputs = end.gets(link(2, 1), signal);
        assert!(signals(&outputs).is_empty(), "{outputs:?}");
    };
    let good = || signal(3, 5, &[ORPHAN, 2], offer());
    stays(&mut end, Signal { ttl: 1, ..good() });
    stays(&mut end, Signal { ttl: 0, ..good() });
    let circle = vec![node(OWN), node(2)];
    stays(
        &mut end,
        Signal {
            via: circle,
            ..good()
        },
    );
    // Nobody speaks for others than itself.
    let feigned = vec![node(ORPHAN), node(3)];
    stays(
        &mut end,
        Signal {
            via: feigned,
            ..good()
        },
    );
    let nowhere = vec![node(OWN), node(222), node(3)];
    stays(
        &mut end,
        Signal {
            route: nowhere,
            ..good()
        },
    );
    let others = vec![node(4), node(3)];
    stays(
        &mut end,
        Signal {
            route: others,
            ..good()
        },
    );
}

#[test]
fn a_flood_is_not_passed_on() {
    let mut end = End::new(8);
    let mut sent = 0;
    for number in 0..1000 {
        let outputs = end.gets(link(2, 1), signal(3, number, &[ORPHAN, 2], offer()));
        sent += signals(&outputs).len();
    }
    assert_eq!(sent, SIGNAL_BURST as usize);
    end.pass(Duration::from_secs(5));
    let mut sent = 0;
    for number in 0..100 {
        for child in [2, 3, 4] {
            let outputs = end.gets(
                link(child, 1),
                signal(200, number, &[ORPHAN, child], offer()),
            );
            sent += signals(&outputs).len();
        }
    }
    assert_eq!(sent, 2 * (3 * SIGNAL_BURST).min(SIGNAL_NODE_BURST) as usize);
}

/// One whose parent and standby are dead, and whose tracker is away.
fn orphan() -> (End, Vec<PeerOutput>) {
    let mut end = End::new(4);
    let parents = [200, 201, 202].map(|n| ColdParent {
        node: node(n),
        token: TOKEN,
    });
    end.tracker(ServerMessage::ColdParents {
        lifetime_ms: 60_000,
        parents: parents.into(),
    });
    end.tell(PeerInput::TrackerDown);
    let mut outputs = Vec::new();
    for number in [2, 1] {
        let link = link(OWN, number);
        let reached = true;
        outputs = end.tell(PeerInput::Closed { link, reached });
    }
    (end, outputs)
}

fn begun(outputs: &[PeerOutput]) -> Vec<LinkKey> {
    let begun = outputs.iter().filter_map(|output| match output {
        PeerOutput::Connect { link, .. } => Some(*link),
        _ => None,
    });
    begun.collect()
}

fn answer_of(parent: u8, about: LinkKey, token: GrantToken) -> Signal {
    let body = SignalBody::Answer {
        sdp: "answer".into(),
        candidates: vec!["candidate:3".into()],
    };
    Signal {
        to: node(OWN),
        ttl: 1,
        via: vec![node(parent), node(2)],
        route: vec![node(OWN)],
        link: about,
        proof: prove(&token, node(OWN), about, &body).unwrap(),
        body,
    }
}

#[test]
fn an_orphan_asks_over_its_children_and_takes_who_feeds_first() {
    let (mut end, outputs) = orphan();
    let links = begun(&outputs);
    assert_eq!(links.len(), COLD_ATTEMPTS);
    for link in &links {
        let (link, sdp) = (*link, "offer".to_owned());
        end.tell(PeerInput::Offer { link, sdp });
        let candidate = String::new();
        let outputs = end.tell(PeerInput::Candidate { link, candidate });
        let sent = signals(&outputs);
        assert_eq!(sent.len(), 3, "over each child");
        assert!(sent.iter().all(|(_, signal)| signal.is_proven(&TOKEN)));
    }
    let wrong = GrantToken::from_bytes([1; 16]);
    let outputs = end.gets(link(2, 1), answer_of(200, links[0], wrong));
    let set = |o: &PeerOutput| matches!(o, PeerOutput::SetAnswer { .. });
    assert!(!outputs.iter().any(set), "a forged answer");
    for (parent, link_of) in [200, 201].into_iter().zip(&links) {
        let outputs = end.gets(link(2, 1), answer_of(parent, *link_of, TOKEN));
        assert!(outputs.iter().any(set));
        let again = end.gets(link(2, 1), answer_of(parent, *link_of, TOKEN));
        assert!(!again.iter().any(set), "one answer to an offer");
        end.tell(PeerInput::Connected { link: *link_of });
    }
    assert_eq!(end.peer.parent(), None, "nobody feeds it yet");
    assert!(end.peer.media_arrived(end.now, links[1]));
    assert_eq!(end.peer.parent(), Some(node(201)));
    let outputs: Vec<_> = std::iter::from_fn(|| end.peer.poll_output()).collect();
    let bye = PeerOutput::Send {
        link: links[0],
        message: PeerMessage::Bye,
    };
    assert!(outputs.contains(&bye), "the other one is let go");
    assert!(outputs.contains(&PeerOutput::Close { link: links[0] }));
    assert!(end.peer.upstream.cold.is_empty());
    assert!(begun(&end.tell(PeerInput::Tick)).is_empty());
}

#[test]
fn who_refuses_or_does_not_answer_is_followed_by_the_next() {
    let (mut end, outputs) = orphan();
    let links = begun(&outputs);
    for link in &links {
        let (link, sdp) = (*link, "offer".to_owned());
        end.tell(PeerInput::Offer { link, sdp });
    }
    end.pass(Duration::from_millis(30));
    let body = SignalBody::Refuse {
        reason: RefuseReason::Full,
    };
    let refusal = Signal {
        proof: prove(&TOKEN, node(OWN), links[0], &body).unwrap(),
        body,
        ..answer_of(200, links[0], TOKEN)
    };
    let outputs = end.gets(link(2, 1), refusal);
    assert_eq!(begun(&outputs).len(), 1);
    let outputs = end.pass(COLD_ANSWER);
    let byes = signals(&outputs);
    let bye = |(_, signal): &&(LinkKey, &Signal)| signal.body == SignalBody::Bye;
    assert_eq!(byes.iter().filter(bye).count(), 3, "over each child");
    // Then all of them once more, for as long as nobody feeds it, ever less often.
    let mut tries = begun(&end.pass(Duration::from_secs(20))).len();
    assert!((12..60).contains(&tries), "{tries}");
    tries = begun(&end.pass(Duration::from_secs(20))).len();
    assert!((6..20).contains(&tries), "{tries}");
    assert!(end.peer.upstream.cold.len() <= COLD_ATTEMPTS);
}
