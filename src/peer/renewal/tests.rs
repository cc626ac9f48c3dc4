//! What either end says out of turn changes nothing, and nothing grows with it.

use std::time::Duration;

use ed25519_dalek::SigningKey;

use super::*;
use crate::id::{Generation, LinkId, NodeId};
use crate::peer::{PeerConfig, PeerInput};
use crate::wire::announcement::{Codec, TrackInfo, stream_id};
use crate::wire::peer::{Heartbeat, NextPacket, PeerHello, StartFrom};
use crate::wire::tracker::{ServerMessage, Welcome};

const ROOT: NodeId = NodeId::from_bytes([0; 16]);
const CHILD: NodeId = NodeId::from_bytes([1; 16]);

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn link() -> LinkKey {
    LinkKey {
        child: CHILD,
        link: LinkId(1),
    }
}

fn tracks(epoch: u64) -> StreamInfo {
    StreamInfo {
        epoch: Epoch(epoch),
        tracks: vec![TrackInfo {
            codec: Codec::Vp8,
            fmtp: String::new(),
            ssrc: epoch as u32,
            first_seq: 70_000,
        }],
        cname: "banyan".into(),
    }
}

fn signed(epoch: u64) -> SignedStreamInfo {
    SignedStreamInfo::sign(&tracks(epoch), &key()).expect("it is small")
}

fn offer(epoch: u64) -> PeerMessage {
    let (epoch, sdp) = (Epoch(epoch), "offer".to_owned());
    PeerMessage::Offer { epoch, sdp }
}

fn answer(epoch: u64) -> PeerMessage {
    PeerMessage::Answer {
        epoch: Epoch(epoch),
        sdp: "answer".into(),
        heads: vec![70_005],
    }
}

fn refuse(epoch: u64) -> PeerMessage {
    PeerMessage::Refuse {
        epoch: Epoch(epoch),
        reason: RefuseReason::Codec,
    }
}

fn activate() -> PeerMessage {
    let last_rtp_timestamp = None;
    PeerMessage::Activate {
        from: StartFrom::KeyFrame { last_rtp_timestamp },
    }
}

/// A peer with one link that stands.
struct End {
    peer: Peer,
    now: Instant,
}

impl End {
    fn of(node: NodeId, role: Role) -> Self {
        let now = crate::virtual_clock::start();
        let config = PeerConfig {
            node,
            agent: "test".into(),
            slots: 4,
            role,
        };
        let mut end = Self {
            peer: Peer::new(now, config),
            now,
        };
        end.tell(PeerInput::TrackerUp {
            authority: "tracker".into(),
        });
        end.tracker(ServerMessage::Welcome(Welcome {
            version: 1,
            ice_servers: Vec::new(),
            observed: "127.0.0.1".into(),
            report_interval_ms: 1000,
        }));
        end
    }

    /// A root with a child.
    fn parent(class: PeerClass) -> Self {
        let role = Role::Root {
            key: Box::new(key()),
            epoch: Epoch(1),
            title: String::new(),
            listed: false,
        };
        let mut end = Self::of(ROOT, role);
        end.tracker(ServerMessage::Published);
        end.tell(PeerInput::Tracks(tracks(1)));
        end.tracker(ServerMessage::Expect {
            link: link(),
            class,
            offer: "v=0".into(),
            generation: Generation(1),
        });
        end.tell(PeerInput::Connected { link: link() });
        end
    }

    /// A viewer below the root.
    fn child() -> Self {
        let stream = stream_id(&key());
        let mut end = Self::of(CHILD, Role::Viewer { stream });
        end.tell(PeerInput::Offer {
            link: link(),
            sdp: "offer".into(),
        });
        end.tracker(ServerMessage::Assigned {
            link: link(),
            parent: ROOT,
            generation: Generation(1),
            depth: 1,
            info: signed(1),
            relay: Vec::new(),
        });
        end.tracker(ServerMessage::Answer {
            link: link(),
            sdp: "answer".into(),
        });
        end.tell(PeerInput::Connected { link: link() });
        end.says(PeerMessage::Hello(PeerHello {
            version: 1,
            node: ROOT,
            path: vec![ROOT],
            info: Some(signed(1)),
            heads: vec![70_001],
        }));
        assert!(end.peer.media_arrived(end.now, link()));
        end.outputs();
        end
    }

    /// A viewer that has offered anew for epoch 2.
    fn offering() -> Self {
        let mut end = Self::child();
        let outputs = end.says(PeerMessage::Info(signed(2)));
        assert!(outputs.contains(&PeerOutput::Renew { link: link() }));
        let outputs = end.tell(PeerInput::Offer {
            link: link(),
            sdp: "offer".into(),
        });
        assert_eq!(messages(&outputs), [offer(2)]);
        end
    }

    fn outputs(&mut self) -> Vec<PeerOutput> {
        std::iter::from_fn(|| self.peer.poll_output()).collect()
    }

    fn tell(&mut self, input: PeerInput) -> Vec<PeerOutput> {
        self.peer.handle(self.now, MediaView::default(), input);
        let mut outputs = self.outputs();
        // What is said by the clock is not what these tests are about.
        outputs.retain(|output| {
            !matches!(output, PeerOutput::ReportDue)
                && !matches!(
                    output,
                    PeerOutput::Send {
                        message: PeerMessage::Heartbeat(_),
                        ..
                    }
                )
        });
        outputs
    }

    fn tracker(&mut self, message: ServerMessage) -> Vec<PeerOutput> {
        self.tell(PeerInput::Tracker(message))
    }

    /// The other end of the link says something.
    fn says(&mut self, message: PeerMessage) -> Vec<PeerOutput> {
        let link = link();
        self.tell(PeerInput::Message { link, message })
    }

    fn answers(&mut self) -> Vec<PeerOutput> {
        self.tell(PeerInput::Answer {
            link: link(),
            sdp: "answer".into(),
        })
    }

    fn feeds(&self) -> bool {
        self.peer.parent() == Some(ROOT)
    }
}

fn messages(outputs: &[PeerOutput]) -> Vec<PeerMessage> {
    let said = outputs.iter().filter_map(|output| match output {
        PeerOutput::Send { message, .. } => Some(message.clone()),
        _ => None,
    });
    said.collect()
}

fn accepts(outputs: &[PeerOutput]) -> usize {
    let accepts = |output: &&PeerOutput| matches!(output, PeerOutput::AcceptRenewal { .. });
    outputs.iter().filter(accepts).count()
}

#[test]
fn a_child_offers_once_in_each_epoch() {
    let mut parent = End::parent(PeerClass::Native);
    let unasked: usize = (0..100).map(|_| accepts(&parent.says(offer(1)))).sum();
    assert_eq!(unasked, 0, "its link is as it should be");
    for epoch in 2..5 {
        let outputs = parent.tell(PeerInput::Tracks(tracks(epoch)));
        assert_eq!(messages(&outputs), [PeerMessage::Info(signed(epoch))]);
        assert_eq!(parent.says(activate()), [], "of the tracks before");
        assert_eq!(parent.says(offer(epoch - 1)), []);
        assert_eq!(parent.says(offer(epoch + 1)), []);
        let flood: usize = (0..100).map(|_| accepts(&parent.says(offer(epoch)))).sum();
        assert_eq!(flood, 1);
        let said = messages(&parent.answers());
        let answered = PeerMessage::Answer {
            epoch: Epoch(epoch),
            sdp: "answer".into(),
            heads: Vec::new(),
        };
        assert_eq!(said, [answered]);
        assert_eq!(parent.answers(), [], "an answer is told once");
        let again: usize = (0..100).map(|_| accepts(&parent.says(offer(epoch)))).sum();
        assert_eq!(again, 0);
        assert_eq!(parent.says(activate()).len(), 1);
    }
    assert_eq!(parent.peer.children().count(), 1);
}

#[test]
fn a_child_that_offers_too_late_for_one_epoch_is_asked_for_the_next() {
    let mut parent = End::parent(PeerClass::Native);
    parent.tell(PeerInput::Tracks(tracks(2)));
    assert_eq!(accepts(&parent.says(offer(2))), 1);
    // Between the offer and its answer.
    parent.tell(PeerInput::Tracks(tracks(3)));
    assert_eq!(parent.answers(), [], "it is about the tracks before");
    assert_eq!(accepts(&parent.says(offer(3))), 1);
    assert_eq!(messages(&parent.answers()).len(), 1);
}

#[test]
fn a_child_that_does_not_offer_is_let_go() {
    let mut parent = End::parent(PeerClass::Native);
    parent.tell(PeerInput::Tracks(tracks(2)));
    let begun = parent.now;
    let mut said = Vec::new();
    while parent.peer.children().count() > 0 {
        parent.now += Duration::from_millis(100);
        said = parent.says(PeerMessage::Heartbeat(Heartbeat::default()));
        assert!(parent.now < begun + Duration::from_secs(5));
    }
    assert_eq!(messages(&said), [PeerMessage::Bye]);
    assert!(parent.now >= begun + RENEGOTIATION_WAIT);
}

#[test]
fn a_player_is_let_go_at_once() {
    let mut parent = End::parent(PeerClass::Player);
    let outputs = parent.tell(PeerInput::Tracks(tracks(2)));
    assert!(outputs.contains(&PeerOutput::Close { link: link() }));
    assert_eq!(parent.peer.children().count(), 0);
}

#[test]
fn a_child_is_refused_over_the_link_that_stands() {
    let mut parent = End::parent(PeerClass::Native);
    parent.tell(PeerInput::Tracks(tracks(2)));
    parent.says(offer(2));
    let outputs = parent.tell(PeerInput::Rejected {
        link: link(),
        reason: RefuseReason::Codec,
    });
    assert_eq!(messages(&outputs), [refuse(2)]);
    assert_eq!(parent.peer.children().count(), 1, "it says goodbye itself");
}

#[test]
fn a_child_hears_no_heads_of_tracks_that_it_does_not_have() {
    let mut parent = End::parent(PeerClass::Native);
    let heads = |end: &mut End| -> Vec<u64> {
        end.now += Duration::from_secs(1);
        let view = MediaView {
            heads: vec![70_010],
            ..MediaView::default()
        };
        end.peer.handle(end.now, view, PeerInput::Tick);
        let beat = end.outputs().into_iter().find_map(|output| match output {
            PeerOutput::Send {
                message: PeerMessage::Heartbeat(beat),
                ..
            } => Some(beat.heads),
            _ => None,
        });
        beat.expect("a heartbeat")
    };
    assert_eq!(heads(&mut parent), [70_010]);
    parent.tell(PeerInput::Tracks(tracks(2)));
    assert!(heads(&mut parent).is_empty());
    parent.says(offer(2));
    parent.answers();
    assert_eq!(heads(&mut parent), [70_010]);
}

#[test]
fn an_answer_nobody_asked_for_changes_nothing() {
    let mut child = End::child();
    for message in [answer(1), answer(2), refuse(1), refuse(2), offer(2)] {
        assert_eq!(child.says(message.clone()), [], "{message:?}");
    }
    child.says(PeerMessage::Info(signed(2)));
    for message in [answer(1), answer(2), refuse(2), offer(2)] {
        assert_eq!(
            child.says(message.clone()),
            [],
            "{message:?} before the offer"
        );
    }
    child.tell(PeerInput::Offer {
        link: link(),
        sdp: "offer".into(),
    });
    for message in [answer(1), answer(3), refuse(1), refuse(3), offer(2)] {
        assert_eq!(child.says(message.clone()), [], "{message:?}");
    }
    let outputs = child.says(answer(2));
    assert!(outputs.contains(&PeerOutput::SetRenewal {
        link: link(),
        sdp: "answer".into(),
    }));
    assert_eq!(messages(&outputs), [activate()]);
    assert_eq!(child.says(answer(2)), []);
    assert_eq!(child.says(refuse(2)), []);
    assert!(child.feeds());
}

#[test]
fn a_parent_does_not_offer_to_its_parent_nor_a_child_answer_it() {
    let mut parent = End::parent(PeerClass::Native);
    parent.tell(PeerInput::Tracks(tracks(2)));
    for message in [answer(2), refuse(2), PeerMessage::Info(signed(3))] {
        assert_eq!(parent.says(message), []);
    }
    assert_eq!(parent.peer.epoch(), Some(Epoch(2)));
    assert_eq!(accepts(&parent.says(offer(2))), 1);
}

#[test]
fn what_comes_meanwhile_is_of_the_tracks_before() {
    let mut child = End::offering();
    let late = |child: &mut End| child.peer.media_arrived(child.now, link());
    assert!(!late(&mut child));
    assert!(!child.peer.is_upstream(link()));
    let beat = |sent_us| {
        PeerMessage::Heartbeat(Heartbeat {
            sent_us,
            heads: vec![90_000],
            path: vec![ROOT],
            ..Heartbeat::default()
        })
    };
    assert_eq!(child.says(beat(10)), [], "no heads");
    assert!(child.feeds(), "and the parent lives");
    child.says(answer(2));
    let heads = PeerOutput::Heads {
        heads: vec![90_000],
    };
    assert_eq!(child.says(beat(9)), [], "it came out of order");
    assert_eq!(child.says(beat(11)), [heads]);
    assert!(late(&mut child));
    assert_eq!(child.peer.heals(), 0);
    let healed = |output: &PeerOutput| matches!(output, PeerOutput::Event(_));
    assert!(!child.outputs().iter().any(healed));
}

#[test]
fn a_link_that_is_not_renewed_gives_way_to_another_and_nobody_is_blamed() {
    let rejected = PeerInput::Rejected {
        link: link(),
        reason: RefuseReason::Offer,
    };
    let ways: [fn(&mut End, PeerInput) -> Vec<PeerOutput>; 3] = [
        |child, _| {
            // The parent lives, and never answers.
            let mut outputs = Vec::new();
            for _ in 0..30 {
                child.now += Duration::from_millis(100);
                child.peer.media_arrived(child.now, link());
                outputs = child.tell(PeerInput::Tick);
            }
            outputs
        },
        |child, _| child.says(refuse(2)),
        |child, rejected| {
            child.says(answer(2));
            child.tell(rejected)
        },
    ];
    for way in ways {
        let mut child = End::offering();
        let rejected = match &rejected {
            PeerInput::Rejected { link, reason } => PeerInput::Rejected {
                link: *link,
                reason: *reason,
            },
            _ => unreachable!(),
        };
        let outputs = way(&mut child, rejected);
        assert_eq!(messages(&outputs), [PeerMessage::Bye]);
        assert!(outputs.contains(&PeerOutput::Close { link: link() }));
        let next = LinkKey {
            child: CHILD,
            link: LinkId(2),
        };
        let connects = |output: &PeerOutput| matches!(output, PeerOutput::Connect { link, .. } if *link == next);
        assert!(outputs.iter().any(connects), "{outputs:?}");
        let joined = child.tell(PeerInput::Offer {
            link: next,
            sdp: "offer".into(),
        });
        let blames = joined.iter().any(|output| match output {
            PeerOutput::Tracker(ClientMessage::Join(join)) => join.lost.is_some(),
            _ => true,
        });
        assert!(!blames, "{joined:?}");
    }
}

#[test]
fn a_link_begins_anew_with_a_key_frame() {
    let mut child = End::child();
    child.says(PeerMessage::Info(signed(2)));
    child.tell(PeerInput::Offer {
        link: link(),
        sdp: "offer".into(),
    });
    let of_before = MediaView {
        next: vec![NextPacket {
            track: 0,
            seq: 70_002,
        }],
        ..MediaView::default()
    };
    // The data plane has begun anew with the tracks.
    child.peer.handle(child.now, of_before, PeerInput::Tick);
    assert!(!messages(&child.outputs()).contains(&activate()));
    let said = messages(&child.says(answer(2)));
    assert_eq!(said, [activate()]);
}

#[test]
fn children_hear_at_once_where_the_numbers_begin() {
    let mut child = End::offering();
    let below = LinkKey {
        child: NodeId::from_bytes([2; 16]),
        link: LinkId(1),
    };
    child.tracker(ServerMessage::Expect {
        link: below,
        class: PeerClass::Native,
        offer: "v=0".into(),
        generation: Generation(1),
    });
    child.tell(PeerInput::Connected { link: below });
    child.now += Duration::from_millis(1);
    let message = answer(2);
    let link = link();
    let input = PeerInput::Message { link, message };
    child.peer.handle(child.now, MediaView::default(), input);
    let told = child.outputs().into_iter().any(|output| match output {
        PeerOutput::Send {
            link,
            message: PeerMessage::Heartbeat(beat),
        } => link == below && beat.heads == [70_005],
        _ => false,
    });
    assert!(told);
}
