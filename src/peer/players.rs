//! Standard players as children: they cannot ask for media, so they get it as soon as their
//! connection stands; and they may come to this node's own door, past the tracker.

use std::time::Instant;

use super::children::Child;
use super::{Peer, PeerOutput, PlayerNews, PlayerRequest};
use crate::id::LinkKey;
use crate::wire::peer::StartFrom;
use crate::wire::signal::SignalBody;
use crate::wire::tracker::{ClientMessage, PeerClass, RefuseReason};

impl Peer {
    /// A player's connection stands.
    pub(super) fn begin_to_play(&mut self, now: Instant, link: LinkKey) {
        let from = StartFrom::KeyFrame {
            last_rtp_timestamp: None,
        };
        self.outputs
            .push_back(PeerOutput::ActivateChild { link, from });
        // The tracker knows of its players by this node's reports alone.
        self.session.report_soon(now);
    }

    /// A player at this node's own door wants something.
    pub(super) fn player_asks(&mut self, now: Instant, link: LinkKey, request: PlayerRequest) {
        match request {
            PlayerRequest::Play { offer } => self.let_in(now, link, offer),
            PlayerRequest::Candidate { candidate } if self.children.is_local(link) => {
                self.outputs
                    .push_back(PeerOutput::AddCandidate { link, candidate });
            }
            PlayerRequest::Leave if self.children.is_local(link) => self.drop_child(now, link),
            PlayerRequest::Candidate { .. } | PlayerRequest::Leave => {}
        }
    }

    fn let_in(&mut self, now: Instant, link: LinkKey, offer: String) {
        let slots = usize::from(self.config.slots);
        let refuse = if self.children.contains(link) {
            Some(RefuseReason::Offer)
        } else if self.info.is_none() || !(self.is_root() || self.parent().is_some()) {
            Some(RefuseReason::NoMedia)
        } else if self.children.taken() >= slots || self.children.arriving() >= arrivals(slots) {
            Some(RefuseReason::Full)
        } else {
            None
        };
        if let Some(reason) = refuse {
            self.tell_player(link, PlayerNews::Refused(reason));
            return;
        }
        let class = PeerClass::Player;
        let described = self.epoch();
        self.children.insert(now, link, class, true, described);
        // The tracker must not give the same slot away.
        self.session.report_soon(now);
        let ice_servers = self.session.ice_servers().to_vec();
        self.outputs.push_back(PeerOutput::Accept {
            link,
            offer,
            class,
            ice_servers,
        });
    }

    pub(super) fn tell_player(&mut self, link: LinkKey, news: PlayerNews) {
        self.outputs.push_back(PeerOutput::Player { link, news });
    }

    /// A child's offer was answered here.
    pub(super) fn answer_ready(&mut self, now: Instant, link: LinkKey, sdp: String) {
        if self.send_answer_anew(link, &sdp) {
            return;
        }
        if let Some(child) = self.children.get_mut(link)
            && let Some(detour) = &mut child.detour
        {
            return detour.parcel.describe(now, sdp);
        }
        if self.children.is_local(link) {
            self.tell_player(link, PlayerNews::Answer { sdp });
        } else if self.children.contains(link) {
            self.tell_tracker(ClientMessage::Answer { link, sdp });
        }
    }

    /// Tells whoever sent a child that it is not served.
    pub(super) fn tell_refused(&mut self, child: &Child, link: LinkKey, reason: RefuseReason) {
        if let Some(detour) = &child.detour {
            let body = SignalBody::Refuse { reason };
            self.send_signal(link.child, &detour.token, &detour.route, link, body);
        } else if child.local {
            self.tell_player(link, PlayerNews::Refused(reason));
        } else {
            self.tell_tracker(ClientMessage::Refuse { link, reason });
        }
    }

    /// Tells whoever cannot notice by itself that a child is gone.
    pub(super) fn tell_ended(&mut self, now: Instant, child: &Child, link: LinkKey) {
        if child.class == PeerClass::Player {
            self.session.report_soon(now);
        }
        if child.local {
            self.tell_player(link, PlayerNews::Ended);
        }
    }
}

/// How many players may be on their way in at this node's own door. Offers cost nothing: those who
/// send them and never connect must not hold the slots that the tree needs.
fn arrivals(slots: usize) -> usize {
    (slots / 2).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::id::{Epoch, Generation, LinkId, NodeId};
    use crate::peer::{MediaView, PeerConfig, PeerInput, Role};
    use crate::wire::announcement::{Codec, StreamInfo, TrackInfo};
    use crate::wire::tracker::{ServerMessage, Welcome};

    /// How soon a tracker may hear again.
    const SOON: Duration = Duration::from_millis(100);

    struct Root {
        peer: Peer,
        now: Instant,
    }

    fn link(n: u8) -> LinkKey {
        LinkKey {
            child: NodeId::from_bytes([n; 16]),
            link: LinkId(1),
        }
    }

    fn play() -> PlayerRequest {
        PlayerRequest::Play {
            offer: "v=0".into(),
        }
    }

    impl Root {
        /// A broadcaster whose tracker knows it.
        fn new(slots: u16) -> Self {
            let now = crate::virtual_clock::start();
            let role = Role::Root {
                key: Box::new(SigningKey::from_bytes(&[1; 32])),
                epoch: Epoch(1),
                title: String::new(),
                listed: false,
            };
            let config = PeerConfig {
                node: NodeId::from_bytes([0; 16]),
                agent: "test".into(),
                slots,
                role,
            };
            let mut root = Self {
                peer: Peer::new(now, config),
                now,
            };
            root.tell(PeerInput::TrackerUp {
                authority: "tracker".into(),
            });
            root.tracker(ServerMessage::Welcome(Welcome {
                version: 1,
                ice_servers: Vec::new(),
                observed: "127.0.0.1".into(),
                report_interval_ms: 1000,
            }));
            root.tracker(ServerMessage::Published);
            root.now += SOON;
            root
        }

        fn live(slots: u16) -> Self {
            let mut root = Self::new(slots);
            root.tell(PeerInput::Tracks(StreamInfo {
                epoch: Epoch(1),
                tracks: vec![TrackInfo {
                    codec: Codec::Vp8,
                    fmtp: String::new(),
                    ssrc: 7,
                    first_seq: 70_000,
                }],
                cname: "banyan".into(),
            }));
            root
        }

        fn tell(&mut self, input: PeerInput) -> Vec<PeerOutput> {
            self.peer.handle(self.now, MediaView::default(), input);
            std::iter::from_fn(|| self.peer.poll_output()).collect()
        }

        fn tracker(&mut self, message: ServerMessage) -> Vec<PeerOutput> {
            self.tell(PeerInput::Tracker(message))
        }

        fn expect(&mut self, link: LinkKey, class: PeerClass) -> Vec<PeerOutput> {
            self.tracker(ServerMessage::Expect {
                link,
                class,
                offer: "v=0".into(),
                generation: Generation(1),
            })
        }

        fn ask(&mut self, link: LinkKey, request: PlayerRequest) -> Vec<PeerOutput> {
            self.tell(PeerInput::Player { link, request })
        }
    }

    fn news(outputs: Vec<PeerOutput>) -> Vec<PlayerNews> {
        let news = outputs.into_iter().filter_map(|output| match output {
            PeerOutput::Player { news, .. } => Some(news),
            _ => None,
        });
        news.collect()
    }

    #[test]
    fn a_player_is_fed_unasked_and_its_silence_is_no_death() {
        let mut root = Root::live(2);
        root.expect(link(1), PeerClass::Player);
        let outputs = root.tell(PeerInput::Connected { link: link(1) });
        let activated = |o: &PeerOutput| matches!(o, PeerOutput::ActivateChild { link: l, .. } if *l == link(1));
        assert!(outputs.iter().any(activated), "{outputs:?}");
        assert!(
            outputs.contains(&PeerOutput::ReportDue),
            "its tracker knows by this alone"
        );
        let says = |o: &PeerOutput| matches!(o, PeerOutput::Send { .. });
        assert!(
            !outputs.iter().any(says),
            "there is no channel to say it on"
        );
        for _ in 0..100 {
            root.now += Duration::from_secs(1);
            let outputs = root.tell(PeerInput::Tick);
            assert!(!outputs.iter().any(says));
        }
        assert_eq!(root.peer.children().count(), 1);
        root.now += SOON;
        let outputs = root.tell(PeerInput::Closed {
            link: link(1),
            reached: true,
        });
        assert!(outputs.contains(&PeerOutput::ReportDue));
        assert_eq!(root.peer.children().count(), 0);
    }

    #[test]
    fn an_announced_player_that_does_not_connect_frees_its_slot() {
        let mut root = Root::live(1);
        root.expect(link(1), PeerClass::Player);
        for _ in 0..90 {
            root.now += Duration::from_millis(100);
            root.tell(PeerInput::Tick);
        }
        assert!(news(root.ask(link(2), play())).is_empty(), "it is let in");
        assert_eq!(
            news(root.ask(link(3), play())),
            [PlayerNews::Refused(RefuseReason::Full)]
        );
    }

    #[test]
    fn a_player_at_the_nodes_own_door_takes_a_slot_and_no_tracker_hears_its_name() {
        let mut root = Root::live(2);
        let outputs = root.ask(link(1), play());
        assert!(outputs.contains(&PeerOutput::ReportDue), "a slot less");
        assert!(
            outputs
                .iter()
                .any(|o| matches!(o, PeerOutput::Accept { .. }))
        );
        let sdp = || "answer".to_owned();
        let outputs = root.tell(PeerInput::Answer {
            link: link(1),
            sdp: sdp(),
        });
        assert_eq!(news(outputs), [PlayerNews::Answer { sdp: sdp() }]);
        let candidate = || "candidate:1".to_owned();
        let outputs = root.tell(PeerInput::Candidate {
            link: link(1),
            candidate: candidate(),
        });
        let told = PlayerNews::Candidate {
            candidate: candidate(),
        };
        assert_eq!(news(outputs), [told]);
        let request = PlayerRequest::Candidate {
            candidate: candidate(),
        };
        let tried = PeerOutput::AddCandidate {
            link: link(1),
            candidate: candidate(),
        };
        assert!(root.ask(link(1), request).contains(&tried));
        root.tell(PeerInput::Connected { link: link(1) });
        root.expect(link(2), PeerClass::Player);
        root.tell(PeerInput::Connected { link: link(2) });
        let placed: Vec<_> = root.peer.placed_children().collect();
        assert_eq!((placed, root.peer.placeable()), (vec![link(2)], 1));
        let refused = ClientMessage::Refuse {
            link: link(3),
            reason: RefuseReason::Full,
        };
        let outputs = root.expect(link(3), PeerClass::Player);
        assert_eq!(outputs, [PeerOutput::Tracker(refused)]);
        assert_eq!(
            news(root.ask(link(1), PlayerRequest::Leave)),
            [PlayerNews::Ended]
        );
        assert_eq!(root.peer.placeable(), 2);
        // A child the tracker placed is not the door's to end.
        root.ask(link(2), PlayerRequest::Leave);
        assert_eq!(root.peer.children().count(), 1);
    }

    #[test]
    fn a_crowd_at_the_door_is_no_flood_at_the_tracker() {
        let mut root = Root::live(10);
        let mut reports = 0;
        for _ in 0..1000 {
            root.now += Duration::from_millis(1);
            let mut outputs = root.ask(link(1), play());
            outputs.extend(root.ask(link(1), PlayerRequest::Leave));
            reports += outputs
                .iter()
                .filter(|o| **o == PeerOutput::ReportDue)
                .count();
        }
        assert_eq!(reports, 10);
        let due = root.peer.deadline().unwrap();
        assert!(due <= root.now + SOON, "the last of them is told of");
    }

    #[test]
    fn offers_that_never_connect_hold_half_of_the_slots_at_most() {
        let mut root = Root::live(8);
        let let_in = |root: &mut Root, n| news(root.ask(link(n), play())).is_empty();
        assert_eq!((1..=20).filter(|&n| let_in(&mut root, n)).count(), 4);
        assert_eq!(root.peer.placeable(), 4);
        root.tell(PeerInput::Connected { link: link(1) });
        assert!(let_in(&mut root, 21), "one of them has arrived");
        // Those who never came are forgotten.
        for _ in 0..90 {
            root.now += Duration::from_millis(100);
            root.tell(PeerInput::Tick);
        }
        assert_eq!(root.peer.placeable(), 7);
    }

    #[test]
    fn a_player_is_refused_in_words_of_its_own() {
        let mut root = Root::new(2);
        assert_eq!(
            news(root.ask(link(1), play())),
            [PlayerNews::Refused(RefuseReason::NoMedia)]
        );
        let mut root = Root::live(2);
        root.ask(link(1), play());
        let outputs = root.tell(PeerInput::Rejected {
            link: link(1),
            reason: RefuseReason::Codec,
        });
        assert_eq!(news(outputs), [PlayerNews::Refused(RefuseReason::Codec)]);
        assert_eq!(root.peer.placeable(), 2);
    }
}
