//! From an offer to a parent's answer.

use std::time::Duration;

use banyan::id::{LinkId, LinkKey, NodeId, StreamId};
use banyan::limits::MAX_CANDIDATES;
use banyan::wire::PROTOCOL_VERSION;
use banyan::wire::tracker::{
    ClientMessage, ErrorCode, Hello, Join, Lost, LostReason, PeerClass, ServerMessage, WaitReason,
};
use banyan::wire::whep::{RETRY_FULL, Refusal};
use tokio::time::{Instant, timeout_at};

use crate::core::{Line, Outgoing, Stopped};

/// Time a parent has for its answer, which takes a round trip.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Time for the parent's candidates after its answer: what a STUN server tells.
const CANDIDATES_WAIT: Duration = Duration::from_millis(300);

/// Parents that are asked for an answer, when one says nothing.
const PARENTS: u32 = 2;

/// A parent's answer.
pub(super) struct Placed {
    pub(super) link: LinkKey,
    pub(super) sdp: String,
    pub(super) candidates: Vec<String>,
}

/// Joins a stream on a player's behalf.
pub(super) async fn place(
    line: &mut Line,
    stream: StreamId,
    agent: String,
    offer: &str,
) -> Result<Placed, Refusal> {
    let node = NodeId::random(&mut rand::rng());
    let hello = Hello {
        version: PROTOCOL_VERSION,
        node,
        class: PeerClass::Player,
        agent,
        slots: 0,
    };
    say(line, ClientMessage::Hello(hello)).await?;
    let mut lost = None;
    for attempt in 1..=PARENTS {
        let link = LinkKey {
            child: node,
            link: LinkId(attempt),
        };
        let join = Join {
            stream,
            link: link.link,
            offer: offer.to_owned(),
            lost,
        };
        say(line, ClientMessage::Join(join)).await?;
        match answer(line, link).await? {
            Ok(placed) => return Ok(placed),
            Err(silent) => {
                lost = silent.map(|parent| Lost {
                    parent,
                    reason: LostReason::Unreachable,
                });
            }
        }
    }
    let sentence = "no parent answered in time; try again";
    Err(Refusal::for_now(503, sentence, RETRY_FULL))
}

/// What comes of one request for a parent; in the inner error, the parent that said nothing.
async fn answer(line: &mut Line, link: LinkKey) -> Result<Result<Placed, Option<NodeId>>, Refusal> {
    let mut parent = None;
    let mut placed = None;
    let mut until = Instant::now() + ANSWER_WAIT;
    loop {
        let Ok(next) = timeout_at(until, line.inbox.next()).await else {
            // Late candidates are not waited for: the parent finds the player by its own checks.
            return Ok(placed.ok_or(parent));
        };
        let message = match next {
            Some(Outgoing::Message(message)) => *message,
            Some(Outgoing::Close) => return Err(Refusal::no_session()),
            None => return Err(Refusal::new(503, Stopped.to_string())),
        };
        match message {
            ServerMessage::Assigned {
                link: of,
                parent: chosen,
                ..
            } if of == link => {
                parent = Some(chosen);
                placed = None;
                until = Instant::now() + ANSWER_WAIT;
            }
            ServerMessage::Answer { link: of, sdp } if of == link => {
                until = Instant::now() + CANDIDATES_WAIT;
                placed = Some(Placed {
                    link,
                    sdp,
                    candidates: Vec::new(),
                });
            }
            ServerMessage::Candidate {
                link: of,
                candidate,
            } if of == link => {
                let Some(placed) = &mut placed else {
                    continue;
                };
                if candidate.is_empty() {
                    until = Instant::now();
                } else if placed.candidates.len() < MAX_CANDIDATES && is_one_line(&candidate) {
                    placed.candidates.push(candidate);
                }
            }
            // The queue of players is kept by themselves, with Retry-After.
            ServerMessage::Waiting { reason, .. } => {
                return Err(match reason {
                    WaitReason::NoMedia => Refusal::waiting(),
                    _ => Refusal::full(),
                });
            }
            ServerMessage::Error { code, message, .. } => return Err(refusal(code, message)),
            _ => {}
        }
    }
}

async fn say(line: &Line, message: ClientMessage) -> Result<(), Refusal> {
    let sent = line.outbox.send(message).await;
    sent.map_err(|stopped| Refusal::new(503, stopped.to_string()))
}

/// Whether a parent's candidate can stand in a session description.
fn is_one_line(candidate: &str) -> bool {
    !candidate.chars().any(char::is_control)
}

fn refusal(code: ErrorCode, message: String) -> Refusal {
    match code {
        ErrorCode::UnknownStream => Refusal::new(404, message),
        ErrorCode::Codec => Refusal::codec(),
        ErrorCode::Offer => Refusal::offer(),
        ErrorCode::Malformed => Refusal::new(400, message),
        _ => Refusal::for_now(503, message, RETRY_FULL),
    }
}
