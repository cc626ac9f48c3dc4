//! The session with the tracker: introduction, proof of the key, orders about links.

use std::time::{Duration, Instant};

use super::{
    Attempt, Peer, PeerEvent, PeerOutput, PlayerNews, READMISSION, RETRY_JOIN, Role, Stage,
};
use crate::id::{Generation, LinkKey};
use crate::limits::{REPORT_INTERVAL, STANDBY_DELAY};
use crate::reachability::Reachability;
use crate::wire::PROTOCOL_VERSION;
use crate::wire::announcement::{CHALLENGE_DOMAIN, sign};
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{
    ClientMessage, ErrorCode, Hello, IceServer, PeerClass, Publish, ServerMessage, StreamState,
    StreamStatus, Welcome, challenge_text,
};

/// Shortest interval between reports, whatever a tracker asks for and however many players come to
/// this node's door: ten a second leave most of the messages a tracker takes to the rest.
const REPORT_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Longest interval between reports a tracker may ask for.
const REPORT_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// How far the session is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No connection.
    #[default]
    Down,
    /// Connected, not welcomed.
    Greeting,
    /// Welcomed; a root's proof is under way.
    Proving,
    /// In service.
    Ready,
}

/// The session with the tracker.
#[derive(Debug, Default)]
pub struct Session {
    phase: Phase,
    authority: String,
    ice_servers: Vec<IceServer>,
    report_interval: Duration,
    report_at: Option<Instant>,
    reported_at: Option<Instant>,
    /// Of the tracker's newest order about this node.
    ordered: Generation,
}

impl Session {
    pub(super) fn close(&mut self) {
        self.phase = Phase::Down;
        self.report_at = None;
        self.reported_at = None;
        self.ordered = Generation::default();
    }

    /// Takes note of an order. False for one that a later one has overtaken.
    pub(super) fn obey(&mut self, generation: Generation) -> bool {
        let newer = generation > self.ordered;
        self.ordered = self.ordered.max(generation);
        newer
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase != Phase::Down
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    pub(super) fn ice_servers(&self) -> &[IceServer] {
        &self.ice_servers
    }

    /// Whether a report is due now; plans the next.
    pub(super) fn report_due(&mut self, now: Instant) -> bool {
        let due = self.is_ready() && self.report_at.is_some_and(|at| at <= now);
        if due {
            self.report_at = Some(now + self.report_interval);
            self.reported_at = Some(now);
        }
        due
    }

    /// Something the tracker should know of soon has happened.
    pub(super) fn report_soon(&mut self, now: Instant) {
        let soon = self
            .reported_at
            .map_or(now, |at| now.max(at + REPORT_INTERVAL_MIN));
        self.report_at = self.report_at.map(|at| at.min(soon));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.report_at.filter(|_| self.is_ready())
    }
}

impl Peer {
    pub(super) fn tracker_up(&mut self, authority: String) {
        self.session.phase = Phase::Greeting;
        self.session.authority = authority;
        self.tell_tracker(ClientMessage::Hello(Hello {
            version: PROTOCOL_VERSION,
            node: self.config.node,
            class: PeerClass::Native,
            agent: self.config.agent.clone(),
            slots: self.placeable(),
        }));
    }

    pub(super) fn tracker_message(&mut self, now: Instant, message: ServerMessage) {
        match message {
            ServerMessage::Welcome(welcome) => self.welcomed(now, welcome),
            ServerMessage::Challenge { nonce } => self.challenged(&nonce),
            ServerMessage::Published => self.published(),
            ServerMessage::Waiting { reason, ahead } => {
                self.stream_known = true;
                if let Some(attempt) = &mut self.upstream.coming
                    && let Stage::Asking { heard, .. } = &mut attempt.stage
                {
                    *heard = true;
                }
                self.event(PeerEvent::Waiting { reason, ahead });
            }
            ServerMessage::Assigned {
                link,
                parent,
                generation,
                info,
                relay,
                ..
            } => {
                self.assigned(now, link, parent, generation, info);
                let mut attempts = self.upstream.attempts();
                if !relay.is_empty() && attempts.any(|attempt| attempt.link == link) {
                    let servers = relay;
                    self.outputs.push_back(PeerOutput::Relay { link, servers });
                }
            }
            ServerMessage::Answer { link, sdp } => {
                let epoch = self.epoch();
                if let Some(attempt) = self.upstream.get_mut(link)
                    && matches!(attempt.stage, Stage::Connecting { .. })
                    && !std::mem::replace(&mut attempt.answered, true)
                {
                    attempt.described = epoch;
                    self.outputs.push_back(PeerOutput::SetAnswer { link, sdp });
                }
            }
            ServerMessage::Candidate { link, candidate } => {
                if self.children.contains(link) || self.upstream.get_mut(link).is_some() {
                    self.outputs
                        .push_back(PeerOutput::AddCandidate { link, candidate });
                }
            }
            ServerMessage::Expect {
                link, class, offer, ..
            } => {
                self.expect(now, link, class, offer);
            }
            ServerMessage::ExpectStandby {
                link, class, offer, ..
            } => {
                self.expect_reserve(now, link, class, offer);
            }
            ServerMessage::NoStandby { link } => {
                self.no_standby(now, link);
            }
            ServerMessage::Release { link } => {
                if self.children.contains(link) {
                    self.send(link, PeerMessage::Bye);
                    self.drop_child(now, link);
                } else {
                    self.released(now, link);
                }
            }
            ServerMessage::Stream(status) => self.stream_changed(now, &status),
            ServerMessage::Error { code, message, .. } => self.refused(now, code, message),
            ServerMessage::Move { generation } => self.move_away(generation),
            ServerMessage::ColdParents {
                lifetime_ms,
                parents,
            } => {
                let lifetime = Duration::from_millis(lifetime_ms.into());
                self.set_cold_parents(now, lifetime, parents);
            }
            ServerMessage::Admit {
                child,
                token,
                lifetime_ms,
            } => {
                let lifetime = Duration::from_millis(lifetime_ms.into());
                self.set_admission(now, child, token, lifetime);
            }
            ServerMessage::Tree(_) => {}
        }
    }

    pub(super) fn local_candidate(&mut self, now: Instant, link: LinkKey, candidate: String) {
        if self.pack_candidate(now, link, &candidate) {
            return;
        }
        if self.children.is_local(link) {
            self.tell_player(link, PlayerNews::Candidate { candidate });
        } else if self.children.contains(link) || self.upstream.get_mut(link).is_some() {
            self.tell_tracker(ClientMessage::Candidate { link, candidate });
        }
    }

    fn welcomed(&mut self, now: Instant, welcome: Welcome) {
        if self.session.phase != Phase::Greeting {
            return;
        }
        let asked = Duration::from_millis(welcome.report_interval_ms.into());
        let interval = if asked.is_zero() {
            REPORT_INTERVAL
        } else {
            asked
        };
        self.session.report_interval = interval.clamp(REPORT_INTERVAL_MIN, REPORT_INTERVAL_MAX);
        self.session.report_at = Some(now);
        self.session.ice_servers = welcome.ice_servers;
        if let Some(reachability) = self.reachability {
            self.tell_tracker(ClientMessage::Reachability(reachability));
        }
        self.outputs.push_back(PeerOutput::Learn {
            ice_servers: self.session.ice_servers.clone(),
        });
        match &self.config.role {
            Role::Root {
                epoch,
                title,
                listed,
                ..
            } => {
                let publish = Publish {
                    stream: self.stream,
                    epoch: *epoch,
                    title: title.clone(),
                    listed: *listed,
                };
                self.session.phase = Phase::Proving;
                self.tell_tracker(ClientMessage::Publish(publish));
            }
            Role::Viewer { .. } => {
                self.session.phase = Phase::Ready;
                self.renew_join(now);
            }
        }
    }

    pub(super) fn learnt(&mut self, reachability: Reachability) {
        let before = self.reachability.replace(reachability);
        if before != Some(reachability)
            && matches!(self.session.phase, Phase::Proving | Phase::Ready)
        {
            self.tell_tracker(ClientMessage::Reachability(reachability));
        }
    }

    /// The tracker that has our request is gone: the request is made anew. A node that is fed
    /// stays where it is; it asks for a place only if its reports do not get it taken back.
    fn renew_join(&mut self, now: Instant) {
        let stale = |attempt: &mut Attempt| {
            matches!(
                attempt.stage,
                Stage::Asking { .. } | Stage::Connecting { .. }
            )
        };
        for slot in [&mut self.upstream.coming, &mut self.upstream.standby] {
            if let Some(attempt) = slot.take_if(stale) {
                let link = attempt.link;
                self.outputs.push_back(PeerOutput::Close { link });
            }
        }
        if self.upstream.standby.is_none() {
            self.want_standby(now + STANDBY_DELAY);
        }
        self.readmission_at = Some(now + READMISSION);
    }

    fn challenged(&mut self, nonce: &str) {
        let Role::Root { key, .. } = &self.config.role else {
            return;
        };
        let text = challenge_text(nonce, &self.session.authority, &self.config.node);
        let signature = sign(key, CHALLENGE_DOMAIN, text.as_bytes());
        self.tell_tracker(ClientMessage::Prove { signature });
    }

    fn published(&mut self) {
        if self.session.phase != Phase::Proving {
            return;
        }
        self.session.phase = Phase::Ready;
        self.event(PeerEvent::Published);
        if let Some(signed) = self.signed.clone() {
            self.tell_tracker(ClientMessage::Info(signed));
        }
    }

    fn stream_changed(&mut self, now: Instant, status: &StreamStatus) {
        if status.stream != self.stream {
            return;
        }
        self.stream_known = true;
        self.away = status.state == StreamState::Away;
        // Only members are told, so the tracker has taken this node back; it is asked again if a
        // later session is not.
        if self.readmission_at.take().is_some() {
            self.tell_standby();
        }
        self.event(PeerEvent::Stream {
            state: status.state,
            viewers: status.viewers,
            waiting: status.waiting,
        });
        if status.state == StreamState::Offline && !self.is_root() {
            self.stream_ended(now);
        }
    }

    /// The broadcast is over: every link of its tree ends, and a place in its next life is asked
    /// for at once, which the tracker grants when that begins.
    fn stream_ended(&mut self, now: Instant) {
        let standing: Vec<_> = self
            .upstream
            .attempts()
            .filter(|attempt| attempt.parent.is_some())
            .map(|attempt| attempt.link)
            .collect();
        for link in standing {
            self.upstream.take(link);
            self.outputs.push_back(PeerOutput::Close { link });
        }
        self.upstream.lost = None;
        self.outputs.push_back(PeerOutput::Feeding { link: None });
        for link in self.children.links() {
            self.send(link, PeerMessage::Bye);
            self.drop_child(now, link);
        }
    }

    fn refused(&mut self, now: Instant, code: ErrorCode, message: String) {
        let hopeless = match code {
            ErrorCode::Version | ErrorCode::BadSignature | ErrorCode::StreamBusy => true,
            ErrorCode::Codec | ErrorCode::Offer => !self.ever_attached,
            ErrorCode::UnknownStream | ErrorCode::Ended => !self.stream_known && !self.is_root(),
            ErrorCode::Malformed | ErrorCode::Overloaded | ErrorCode::Unexpected => {
                self.is_root() && !self.stream_known
            }
            _ => false,
        };
        if hopeless {
            self.event(PeerEvent::Failed(message));
            return;
        }
        let request_refused = matches!(
            code,
            ErrorCode::UnknownStream
                | ErrorCode::Ended
                | ErrorCode::Overloaded
                | ErrorCode::Codec
                | ErrorCode::Offer
        );
        if request_refused && !self.is_root() {
            let asking = self
                .upstream
                .coming
                .as_ref()
                .filter(|attempt| !matches!(attempt.stage, Stage::Connected { .. }))
                .map(|attempt| attempt.link);
            if let Some(link) = asking {
                self.upstream.coming = None;
                self.outputs.push_back(PeerOutput::Close { link });
            }
            self.join_at = Some(now + RETRY_JOIN);
        }
        self.event(PeerEvent::Refused(message));
    }
}
