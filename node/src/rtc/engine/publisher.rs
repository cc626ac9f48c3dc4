//! Publishers: links on which the other end sends the media.

use std::time::{Duration, Instant};

use banyan::id::LinkKey;
use banyan::wire::trickle::{Credentials, Fragment, Section};

use super::Engine;
use crate::rtc::link::{Ciphers, Link, Seed};
use crate::rtc::media::Media;
use crate::rtc::sdp::{Description, Setup, ingest};
use crate::rtc::{EngineError, PublishedTrack};

/// From the answer until the publisher must be connected. It may gather candidates for a while
/// after its offer; and nobody else waits for this link.
const CONNECT_TIME: Duration = Duration::from_secs(15);

/// A publisher may be silent for this long until it counts as disconnected, and from then as gone:
/// together the 30 s of RFC 7675 section 5.1. One whose network changed needs them to notice and to
/// restart ICE; and one that came back as somebody new is let in after a far shorter silence.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(25));

/// What was agreed with a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The answer, with all of this node's candidates.
    pub sdp: String,
    /// The publisher's ICE credentials.
    pub credentials: Credentials,
    /// The m-line whose transport all others share, without candidates.
    pub line: Section,
    /// The tracks that will come, video first; packets name them by their position.
    pub tracks: Vec<PublishedTrack>,
}

impl Engine {
    /// Asks these STUN servers for this node's address, unless they were asked within a minute. No
    /// answer to a publisher waits for theirs: it has what is known by then.
    pub fn learn_address(&mut self, now: Instant, stun: &[String]) {
        self.reflexive.learn(now, stun.iter().map(String::as_str));
    }

    /// Answers a publisher's offer. Its packets come as
    /// [`EngineEvent::Packet`](crate::rtc::EngineEvent::Packet).
    ///
    /// # Errors
    /// [`SdpError`](crate::rtc::SdpError) names what is wrong with the offer; or the key is in
    /// use, or there are too many links.
    pub fn publish(
        &mut self,
        now: Instant,
        link: LinkKey,
        offer: &str,
    ) -> Result<Publication, EngineError> {
        self.check_room(link)?;
        let description = Description::parse(offer)?;
        let mut remote = description.remote()?;
        // Rejected below; the transport carries media alone.
        remote.channels = None;
        let setup = if remote.setup == Setup::Active {
            Setup::Passive
        } else {
            Setup::Active
        };
        let local = self.local_transport();
        self.read_addresses(now);
        let candidates = self.known_candidates();
        let agreed = ingest::answer(&description, &remote, &local, setup, &candidates)?;
        self.born += 1;
        let seed = Seed {
            connect_time: CONNECT_TIME,
            consent: PATIENCE,
            ..self.seed(link, local, Ciphers::Any)
        };
        let mut made = Link::answering(now, seed, &remote, setup)?;
        made.publishes();
        made.media = Media::published(now, agreed.lines, agreed.transport_cc);
        self.insert(made);
        Ok(Publication {
            sdp: agreed.sdp,
            credentials: Credentials {
                ufrag: remote.ufrag,
                pwd: remote.pwd,
            },
            line: agreed.line,
            tracks: agreed.tracks,
        })
    }

    /// Restarts ICE on a link with the publisher's new credentials (RFC 8445 section 9), and
    /// returns this node's with all its candidates for `line`. Media goes on meanwhile;
    /// [`EngineEvent::Restarted`](crate::rtc::EngineEvent::Restarted) tells when it has moved. If
    /// nothing comes of it within 15 s, the session before stays.
    ///
    /// # Errors
    /// [`EngineError::NotConnected`] before the link is connected for the first time;
    /// [`EngineError::UnknownLink`].
    pub fn restart_ice(
        &mut self,
        now: Instant,
        link: LinkKey,
        theirs: &Credentials,
        line: &Section,
    ) -> Result<Fragment, EngineError> {
        self.read_addresses(now);
        let local = self.local_transport();
        let ours = Credentials {
            ufrag: local.ufrag,
            pwd: local.pwd,
        };
        let entry = self.links.get_mut(&link);
        let entry = entry.ok_or(EngineError::UnknownLink(link))?;
        entry.restart_ice(now, &ours, theirs)?;
        self.demux.insert(&ours.ufrag, link);
        self.mark(link);
        let line = Section {
            candidates: self.known_candidates(),
            end_of_candidates: true,
            ..line.clone()
        };
        Ok(Fragment {
            credentials: Some(ours),
            sections: vec![line],
            end_of_candidates: false,
        })
    }
}
