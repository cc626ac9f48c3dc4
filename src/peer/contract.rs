//! What a [`Peer`](super::Peer) is made with, what it is told, and what it wants done.

use ed25519_dalek::SigningKey;

use crate::id::{Epoch, LinkKey, NodeId, StreamId};
use crate::reachability::Reachability;
use crate::wire::announcement::StreamInfo;
use crate::wire::peer::{NextPacket, PeerMessage, StartFrom};
use crate::wire::tracker::{
    ClientMessage, IceServer, LostReason, PeerClass, RefuseReason, ServerMessage, StreamState,
    WaitReason,
};

/// What a node is in its tree.
#[derive(Debug)]
pub enum Role {
    /// The broadcaster.
    Root {
        /// The stream's secret key.
        key: Box<SigningKey>,
        /// This life of the stream.
        epoch: Epoch,
        /// The broadcaster's words for it.
        title: String,
        /// Whether the tracker's front page may show it.
        listed: bool,
    },
    /// Everybody else.
    Viewer {
        /// What it watches or relays.
        stream: StreamId,
    },
}

/// What a node says of itself.
#[derive(Debug)]
pub struct PeerConfig {
    /// Its name.
    pub node: NodeId,
    /// Program and version, for people.
    pub agent: String,
    /// Children it serves at most.
    pub slots: u16,
    /// What it is in the tree.
    pub role: Role,
}

/// What the data plane has, as the control plane needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaView {
    /// Newest extended sequence number of each track; 0 for none.
    pub heads: Vec<u64>,
    /// The packets needed next; empty before the first.
    pub next: Vec<NextPacket>,
    /// Whether the source pauses (a root's own knowledge).
    pub source_idle: bool,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum PeerInput {
    /// The tracker's WebSocket is open; `authority` is the host it was reached by.
    TrackerUp {
        /// Host and port as in the `Host` header.
        authority: String,
    },
    /// The tracker's WebSocket is gone; it is opened again by itself.
    TrackerDown,
    /// The tracker said something.
    Tracker(ServerMessage),
    /// The offer of a link we began is ready, or one made anew.
    Offer {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// The answer to an accepted offer is ready.
    Answer {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// An offer or an answer could not be used.
    Rejected {
        /// Which.
        link: LinkKey,
        /// Why, as the tracker is told.
        reason: RefuseReason,
    },
    /// A local ICE candidate was found; empty says there are no more.
    Candidate {
        /// Which.
        link: LinkKey,
        /// The candidate line.
        candidate: String,
    },
    /// A link stands, data channels open.
    Connected {
        /// Which.
        link: LinkKey,
    },
    /// A link ended or never came to be.
    Closed {
        /// Which.
        link: LinkKey,
        /// Whether ICE ever found a way.
        reached: bool,
    },
    /// The other end of a link said something.
    Message {
        /// Which.
        link: LinkKey,
        /// What.
        message: PeerMessage,
    },
    /// A child's link can carry no more packets: the child has to make another.
    Worn {
        /// Which.
        link: LinkKey,
    },
    /// A player at this node's own door wants something.
    Player {
        /// Its link; the child in it is a name nobody else has.
        link: LinkKey,
        /// What.
        request: PlayerRequest,
    },
    /// The root's tracks are known or have changed.
    Tracks(StreamInfo),
    /// It is known, or known anew, how far packets of strangers come to this node.
    Reachability(Reachability),
    /// Time passed.
    Tick,
    /// The node ends: leave politely, which is done with [`PeerOutput::Left`]. Said again: at
    /// once.
    Leave,
}

/// What a player at this node's own door asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayerRequest {
    /// To be fed; told of by [`PlayerNews::Answer`] or [`PlayerNews::Refused`].
    Play {
        /// Its session description of type offer.
        offer: String,
    },
    /// To be tried at this address as well.
    Candidate {
        /// The candidate line; empty says there are no more.
        candidate: String,
    },
    /// To be let go.
    Leave,
}

/// What a player at this node's own door is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayerNews {
    /// The answer to its offer.
    Answer {
        /// Session description.
        sdp: String,
    },
    /// A candidate of this node.
    Candidate {
        /// The candidate line; empty says there are no more.
        candidate: String,
    },
    /// It is not fed. Nothing follows.
    Refused(RefuseReason),
    /// Its link is gone. Nothing follows.
    Ended,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerOutput {
    /// Tell the tracker.
    Tracker(ClientMessage),
    /// Tell the tracker how we are; the data plane has the figures.
    ReportDue,
    /// Find out how far packets of strangers come to this node; told by
    /// [`PeerInput::Reachability`].
    Learn {
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Begin a link as its child: make an offer.
    Connect {
        /// Its name.
        link: LinkKey,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Answer a child's offer.
    Accept {
        /// Its name.
        link: LinkKey,
        /// The child's session description.
        offer: String,
        /// What the child is.
        class: PeerClass,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// Connect a link we began through a TURN server.
    Relay {
        /// Which.
        link: LinkKey,
        /// The servers, with a name and a password.
        servers: Vec<IceServer>,
    },
    /// Give a link we began its answer.
    SetAnswer {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// Offer anew on a link to a parent that stands, for the present tracks.
    Renew {
        /// Which.
        link: LinkKey,
    },
    /// Answer a child that offers anew on a link that stands.
    AcceptRenewal {
        /// Which.
        link: LinkKey,
        /// The child's session description.
        offer: String,
        /// What the child is.
        class: PeerClass,
    },
    /// Give a link that stands the answer to our new offer.
    SetRenewal {
        /// Which.
        link: LinkKey,
        /// Session description.
        sdp: String,
    },
    /// Give a link a candidate of its other end.
    AddCandidate {
        /// Which.
        link: LinkKey,
        /// The candidate line; empty says there are no more.
        candidate: String,
    },
    /// End a link.
    Close {
        /// Which.
        link: LinkKey,
    },
    /// Say something over a link.
    Send {
        /// Which.
        link: LinkKey,
        /// What.
        message: PeerMessage,
    },
    /// The stream has these tracks from now on; earlier packets are of an earlier epoch.
    Tracks(StreamInfo),
    /// Packets of a parent are to be numbered relative to these heads.
    Heads {
        /// The parent's newest extended sequence number of each track.
        heads: Vec<u64>,
    },
    /// The link whose packets are taken in and repaired.
    Feeding {
        /// None while there is none.
        link: Option<LinkKey>,
    },
    /// A child's link stands.
    AddChild {
        /// Which.
        link: LinkKey,
        /// What the child is.
        class: PeerClass,
    },
    /// A child wants packets.
    ActivateChild {
        /// Which.
        link: LinkKey,
        /// From where.
        from: StartFrom,
    },
    /// A child wants no packets for now.
    DeactivateChild {
        /// Which.
        link: LinkKey,
    },
    /// A child is to be sent packets again, from where it was left.
    ResumeChild {
        /// Which.
        link: LinkKey,
    },
    /// A child gave a sign of life.
    ChildHeard {
        /// Which.
        link: LinkKey,
    },
    /// A child needs a key frame.
    ChildKeyFrame {
        /// Which.
        link: LinkKey,
        /// Position in the list of tracks.
        track: u8,
    },
    /// A child's link is gone.
    RemoveChild {
        /// Which.
        link: LinkKey,
    },
    /// Tell a player at this node's own door.
    Player {
        /// Its link.
        link: LinkKey,
        /// What.
        news: PlayerNews,
    },
    /// For people and statistics.
    Event(PeerEvent),
    /// This node has left. Nothing follows.
    Left,
}

/// What people may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// The parent finds that the path from it does not carry the picture: only sound comes for now. Or
    /// the picture is sent again.
    Picture {
        /// Whether it is held.
        held: bool,
    },
    /// The tracker accepted the broadcast.
    Published,
    /// No parent yet.
    Waiting {
        /// For what.
        reason: WaitReason,
        /// How many are let in before.
        ahead: u32,
    },
    /// Media comes from this parent.
    Attached {
        /// The parent.
        parent: NodeId,
        /// Whether it replaces another.
        healed: bool,
    },
    /// The parent is gone.
    ParentLost {
        /// The parent.
        parent: NodeId,
        /// Why.
        reason: LostReason,
    },
    /// A child is connected.
    ChildUp {
        /// Its link.
        link: LinkKey,
    },
    /// A child is gone.
    ChildDown {
        /// Its link.
        link: LinkKey,
    },
    /// The stream's state changed.
    Stream {
        /// To this.
        state: StreamState,
        /// Peers that watch or relay.
        viewers: u32,
        /// Peers that wait for a slot.
        waiting: u32,
    },
    /// The tracker refused something; this node goes on.
    Refused(String),
    /// This node cannot go on.
    Failed(String),
}
