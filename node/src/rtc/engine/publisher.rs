//! Publishers: links on which the other end sends the media.

use std::time::{Duration, Instant};

use banyan::id::LinkKey;

use super::Engine;
use crate::rtc::link::{Ciphers, Link, Seed};
use crate::rtc::media::Media;
use crate::rtc::sdp::{Description, Setup, ingest};
use crate::rtc::{EngineError, PublishedTrack};

/// From the answer until the publisher must be connected. It may gather candidates for a while
/// after its offer; and nobody else waits for this link.
const CONNECT_TIME: Duration = Duration::from_secs(15);

/// What was agreed with a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The answer, with all of this node's candidates.
    pub sdp: String,
    /// The publisher's ICE user name fragment.
    pub ufrag: String,
    /// The tracks that will come, video first; packets name them by their position.
    pub tracks: Vec<PublishedTrack>,
}

impl Engine {
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
        let candidates = self.host_candidates();
        let agreed = ingest::answer(&description, &remote, &local, setup, &candidates)?;
        self.born += 1;
        let seed = Seed {
            connect_time: CONNECT_TIME,
            ..self.seed(link, local, Ciphers::Any)
        };
        let mut made = Link::answering(now, seed, &remote, setup)?;
        made.receives = true;
        made.media = Media::published(now, agreed.lines, agreed.transport_cc);
        self.insert(made);
        Ok(Publication {
            sdp: agreed.sdp,
            ufrag: remote.ufrag,
            tracks: agreed.tracks,
        })
    }
}
