//! A root's publisher: what its HTTP requests ask for, its link, and the ingest behind it.

use std::time::{Duration, Instant};

use banyan::id::{Epoch, LinkId, LinkKey, NodeId};
use banyan::node::{Input, Node, PeerInput};
use banyan::relay::packet::TrackIndex;
use banyan::wire::trickle::{Credentials, Fragment, Section};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use crate::rtc::{Engine, EngineError, EngineEvent};
use crate::source::ingest::{Ingest, IngestOutput};
use crate::tally::{Publishing, Tally};

/// A publisher that sent nothing for this long gives way to a new one: it crashed, or its network
/// is gone, and it has come back.
const GIVES_WAY: Duration = Duration::from_secs(2);

/// What a root without a file is made with.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// Of the stream's first tracks.
    pub epoch: Epoch,
    /// NTP time now.
    pub ntp: u64,
    /// Seeds sources, timestamps and sequence numbers.
    pub rng_seed: [u8; 32],
    /// STUN servers that see this node as publishers do.
    pub ice_servers: Vec<String>,
}

/// One publisher's session; chosen at random, so that only who began it knows it.
pub type SessionId = [u8; 16];

/// What a publisher asks for.
#[derive(Debug)]
pub enum PublisherCommand {
    /// To publish.
    Offer {
        /// The session that begins if it may.
        session: SessionId,
        /// Of the stream's tracks, if they are others than before.
        epoch: Epoch,
        /// Its session description.
        sdp: String,
        /// What becomes of it.
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
    },
    /// To add candidates, or to restart ICE.
    Trickle {
        /// Its session.
        session: SessionId,
        /// The version of the session it means.
        condition: Condition,
        /// What it sends.
        fragment: Fragment,
        /// What becomes of it.
        reply: oneshot::Sender<Result<Trickled, TrickleRefusal>>,
    },
    /// To know whether its session lives.
    Look {
        /// Its session.
        session: SessionId,
        /// Whether there is such a session.
        reply: oneshot::Sender<bool>,
    },
    /// To stop.
    End {
        /// Its session.
        session: SessionId,
        /// Whether there was such a session.
        reply: oneshot::Sender<bool>,
    },
}

/// A publisher was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The answer.
    pub sdp: String,
    /// The version of the ICE session (RFC 9110 section 8.8.3), without quotes.
    pub tag: String,
}

/// Why a publisher was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// Another one is publishing.
    Busy,
    /// Its offer, or this node, does not allow it.
    Engine(EngineError),
}

/// Which version of a session a request is about (RFC 9110 section 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It does not say.
    Missing,
    /// Whatever there is, as an ICE restart says.
    Any,
    /// One of these tags.
    Tags(Vec<String>),
}

/// What became of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trickled {
    /// Its candidates are tried.
    Added,
    /// It restarted ICE.
    Restarted {
        /// This node's new credentials and candidates.
        fragment: Fragment,
        /// The version of the new ICE session, without quotes.
        tag: String,
    },
}

/// Why a fragment was not taken.
#[derive(Debug)]
pub enum TrickleRefusal {
    /// There is no such session.
    Gone,
    /// The request does not say which version it means.
    ConditionMissing,
    /// The version has passed.
    ConditionFailed,
    /// ICE cannot be restarted now.
    Engine(EngineError),
}

/// The root's side of publishing.
#[derive(Debug)]
pub(super) struct Publisher {
    ingest: Ingest,
    session: Option<Session>,
    links: u32,
    counted: Publishing,
    last_packet: Option<Instant>,
    ice_servers: Vec<String>,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    link: LinkKey,
    tag: String,
    /// The publisher's present ICE credentials.
    theirs: Credentials,
    /// The m-line that stands for the transport.
    line: Section,
    /// The answer to the last restart.
    restarted: Option<Fragment>,
    restarts: u32,
    since: Instant,
}

impl Publisher {
    pub(super) fn new(now: Instant, config: &PublisherConfig) -> Self {
        let rng = StdRng::from_seed(config.rng_seed);
        Self {
            ingest: Ingest::new(now, config.ntp, config.epoch, rng),
            session: None,
            links: 0,
            counted: Publishing::default(),
            last_packet: None,
            ice_servers: config.ice_servers.clone(),
        }
    }

    /// Learns the address that its answers tell.
    pub(super) fn start(&self, now: Instant, engine: &mut Engine) {
        engine.learn_address(now, &self.ice_servers);
    }

    /// What has come so far.
    pub(super) fn figures(&self, now: Instant) -> Publishing {
        let since = |at| now.saturating_duration_since(at);
        Publishing {
            silent: self.last_packet.map(since),
            connected: self.counted.connected && self.session.is_some(),
            lost: self.ingest.lost(),
            ..self.counted
        }
    }

    pub(super) fn owns(&self, link: LinkKey) -> bool {
        self.session.as_ref().is_some_and(|s| s.link == link)
    }

    pub(super) fn command(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        tally: &mut Tally,
        command: PublisherCommand,
    ) {
        // Who does not wait for the reply any more has hung up.
        match command {
            PublisherCommand::Offer {
                session,
                epoch,
                sdp,
                reply,
            } => {
                let result = self.offer(now, engine, tally, session, epoch, &sdp);
                let _ = reply.send(result);
            }
            PublisherCommand::Trickle {
                session,
                condition,
                fragment,
                reply,
            } => {
                let result = self.trickle(now, engine, session, &condition, &fragment);
                let _ = reply.send(result);
            }
            PublisherCommand::Look { session, reply } => {
                let _ = reply.send(self.session.as_ref().is_some_and(|s| s.id == session));
            }
            PublisherCommand::End { session, reply } => {
                let known = self.session.take_if(|s| s.id == session);
                if let Some(gone) = &known {
                    tracing::info!("the publisher has stopped");
                    engine.close(now, gone.link);
                    tally.ended_here(gone.link);
                    self.ingest.end();
                }
                let _ = reply.send(known.is_some());
            }
        }
    }

    fn offer(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        tally: &mut Tally,
        id: SessionId,
        epoch: Epoch,
        sdp: &str,
    ) -> Result<Accepted, Refusal> {
        if let Some(live) = &self.session {
            let young = now.saturating_duration_since(live.since) < GIVES_WAY;
            if young || !self.ingest.silent_for(now, GIVES_WAY) {
                return Err(Refusal::Busy);
            }
        }
        self.links += 1;
        let link = LinkKey {
            child: NodeId::from_bytes(id),
            link: LinkId(self.links),
        };
        let publication = engine.publish(now, link, sdp).map_err(Refusal::Engine)?;
        // For the next one: a home router's mapping may have changed since.
        engine.learn_address(now, &self.ice_servers);
        if let Some(silent) = self.session.take() {
            tracing::info!("a silent publisher gives way to a new one");
            engine.close(now, silent.link);
            tally.ended_here(silent.link);
        }
        self.counted.sessions += 1;
        self.counted.connected = false;
        self.ingest.begin(epoch, &publication.tracks);
        let names: Vec<&str> = (publication.tracks.iter())
            .map(|track| track.codec.name())
            .collect();
        tracing::info!("a publisher sends {}", names.join(" and "));
        let tag = format!("ice-{}", self.links);
        self.session = Some(Session {
            id,
            link,
            tag: tag.clone(),
            theirs: publication.credentials,
            line: publication.line,
            restarted: None,
            restarts: 0,
            since: now,
        });
        Ok(Accepted {
            sdp: publication.sdp,
            tag,
        })
    }

    fn trickle(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        session: SessionId,
        condition: &Condition,
        fragment: &Fragment,
    ) -> Result<Trickled, TrickleRefusal> {
        let live = self.session.as_mut().filter(|s| s.id == session);
        let live = live.ok_or(TrickleRefusal::Gone)?;
        match condition {
            Condition::Missing => return Err(TrickleRefusal::ConditionMissing),
            Condition::Any => {}
            Condition::Tags(tags) if tags.contains(&live.tag) => {}
            Condition::Tags(_) => return Err(TrickleRefusal::ConditionFailed),
        }
        let theirs = fragment.credentials.as_ref();
        let anew = theirs.filter(|theirs| **theirs != live.theirs);
        if let Some(theirs) = anew {
            let restarted = engine.restart_ice(now, live.link, theirs, &live.line);
            live.restarted = Some(restarted.map_err(TrickleRefusal::Engine)?);
            live.restarts += 1;
            live.tag = format!("ice-{}-{}", live.link.link, live.restarts);
            live.theirs = theirs.clone();
            tracing::info!("the publisher restarts ICE");
        }
        for candidate in fragment.candidates() {
            if let Err(error) = engine.add_candidate(now, live.link, candidate) {
                tracing::debug!("a publisher's candidate was passed over: {error}");
            }
        }
        // The answer to a restart that is asked for once more was lost.
        let again = *condition == Condition::Any && theirs.is_some();
        match &live.restarted {
            Some(restarted) if anew.is_some() || again => Ok(Trickled::Restarted {
                fragment: restarted.clone(),
                tag: live.tag.clone(),
            }),
            _ => Ok(Trickled::Added),
        }
    }

    /// Something happened on the publisher's link.
    pub(super) fn event(&mut self, now: Instant, event: EngineEvent) {
        match event {
            EngineEvent::Packet { packet, .. } => {
                self.counted.packets += 1;
                self.last_packet = Some(now);
                self.ingest.packet(now, packet);
            }
            EngineEvent::SenderReport {
                track, ntp, rtp, ..
            } => {
                self.ingest.sender_report(track, ntp, rtp);
            }
            EngineEvent::Connected { .. } => {
                self.counted.connected = true;
                tracing::info!("the publisher is connected");
            }
            EngineEvent::Restarted { .. } => {
                self.counted.restarts += 1;
                tracing::info!("the publisher has restarted ICE");
            }
            EngineEvent::Closed { reason, .. } => {
                tracing::info!("the publisher is gone ({reason})");
                self.session = None;
                self.ingest.end();
            }
            _ => {}
        }
    }

    pub(super) fn want_key_frame(&mut self, now: Instant, track: TrackIndex) {
        self.ingest.want_key_frame(now, track);
    }

    pub(super) fn handle_tick(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.ingest.handle_tick(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ingest.deadline()
    }

    /// Hands on what the ingest wants done; false if there was nothing.
    pub(super) fn pump(&mut self, now: Instant, node: &mut Node, engine: &mut Engine) -> bool {
        let mut any = false;
        while let Some(output) = self.ingest.poll_output() {
            any = true;
            let link = self.session.as_ref().map(|session| session.link);
            let input = match (output, link) {
                (IngestOutput::Tracks(info), _) => Input::Control(PeerInput::Tracks(info)),
                (IngestOutput::Packets(packets), _) => Input::Source(packets),
                (IngestOutput::Clock { track, ntp, rtp }, _) => {
                    Input::SourceClock { track, ntp, rtp }
                }
                (IngestOutput::Idle(idle), _) => Input::SourceIdle(idle),
                (IngestOutput::RequestPackets { track, seqs }, Some(link)) => {
                    self.counted.nacks_sent += seqs.len() as u64;
                    engine.request_packets(now, link, track, &seqs);
                    continue;
                }
                (IngestOutput::RequestKeyFrame { track }, Some(link)) => {
                    self.counted.key_frames_sent += 1;
                    engine.request_key_frame(now, link, track);
                    continue;
                }
                (_, None) => continue,
            };
            node.handle(now, input);
        }
        any
    }
}
