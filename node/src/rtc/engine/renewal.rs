//! Links that stand take other tracks: descriptions are exchanged anew, and everything below them,
//! ICE, DTLS, SCTP and the keys of SRTP, stays as it is.

use banyan::id::LinkKey;
use banyan::wire::announcement::StreamInfo;

use super::Engine;
use crate::rtc::media::Media;
use crate::rtc::sdp::{Description, Setup, answer, cname, offer};
use crate::rtc::{EngineError, EngineEvent, PeerClass, SdpError};

/// Sources of former tracks on one link, after which another link is made: those of 64 changes.
/// SRTP keeps the state of each, half a kilobyte, for as long as the link lives.
const MAX_FORMER_SOURCES: usize = 128;

impl Engine {
    /// Offers anew to a parent: tells [`EngineEvent::Offer`] at once. Until the answer is set, what
    /// the link brings is none of the stream's.
    ///
    /// # Errors
    /// [`EngineError::NotConnected`], or if the link is unknown.
    pub fn renew(&mut self, link: LinkKey) -> Result<(), EngineError> {
        let entry = self.links.get_mut(&link);
        let entry = entry.ok_or(EngineError::UnknownLink(link))?;
        if !entry.connected() || !entry.receives {
            return Err(EngineError::NotConnected(link));
        }
        entry.retire_media();
        entry.renewing = true;
        let sdp = offer::offer(&entry.local, entry.has_channels());
        self.emit(EngineEvent::Offer { link, sdp });
        Ok(())
    }

    /// Takes the parent's answer to an offer made anew. `stream` says which tracks it may send.
    ///
    /// # Errors
    /// [`EngineError::NotWaiting`] if there is no such offer;
    /// [`EngineError::SourceReused`]; the description's fault otherwise.
    pub fn set_renewal(
        &mut self,
        link: LinkKey,
        sdp: &str,
        stream: &StreamInfo,
    ) -> Result<(), EngineError> {
        let entry = self.links.get_mut(&link);
        let entry = entry.ok_or(EngineError::UnknownLink(link))?;
        if !entry.renewing {
            return Err(EngineError::NotWaiting(link));
        }
        let description = Description::parse(sdp)?;
        let remote = description.remote()?;
        let lines = answer::tracks(&description, &remote, stream)?;
        entry.begin_media(Media::new(lines), cname(&stream.cname))?;
        entry.renewing = false;
        Ok(())
    }

    /// Answers a child that offers anew: tells [`EngineEvent::Answer`] at once.
    ///
    /// # Errors
    /// [`EngineError::NotConnected`]; [`EngineError::SourceReused`];
    /// [`SdpError::NoCommonCodec`] if the child cannot play the tracks; other faults of the offer,
    /// or if the link is unknown. The connection goes on, and carries no media.
    pub fn accept_renewal(
        &mut self,
        link: LinkKey,
        offer: &str,
        stream: &StreamInfo,
        class: PeerClass,
    ) -> Result<(), EngineError> {
        let entry = self.links.get_mut(&link);
        let entry = entry.ok_or(EngineError::UnknownLink(link))?;
        let setup = entry.answered_as().filter(|_| entry.connected());
        let setup: Setup = setup.ok_or(EngineError::NotConnected(link))?;
        let description = Description::parse(offer)?;
        let remote = description.remote()?;
        if !entry.same_transport(&remote) {
            return Err(SdpError::Unsupported("another transport").into());
        }
        let decodes = class != PeerClass::Native;
        let local = &entry.local;
        let (sdp, lines) = answer::answer(&description, &remote, stream, decodes, local, setup)?;
        entry.begin_media(Media::new(lines), cname(&stream.cname))?;
        self.emit(EngineEvent::Answer { link, sdp });
        Ok(())
    }
}

impl crate::rtc::link::Link {
    /// The tracks so far are over.
    fn retire_media(&mut self) {
        let over = std::mem::take(&mut self.media);
        let sources = over.tracks.iter().map(|track| track.line.ssrc);
        self.former_sources.extend(sources);
    }

    /// Other tracks from here on.
    fn begin_media(&mut self, media: Media, cname: String) -> Result<(), EngineError> {
        self.retire_media();
        // SRTP would count on where it was, and might use a nonce twice (RFC 3711 section 9.1).
        let mut sources = media.tracks.iter().map(|track| track.line.ssrc);
        if sources.any(|source| self.former_sources.contains(&source))
            || self.former_sources.len() > MAX_FORMER_SOURCES
        {
            return Err(EngineError::SourceReused(self.key));
        }
        self.media = media;
        self.cname = cname;
        Ok(())
    }
}
