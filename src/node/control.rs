//! What the control plane wants, carried out or handed on.

use std::time::Instant;

use super::{Node, Output, Totals};
use crate::id::LinkKey;
use crate::limits::{POOR_MEMORY, POOR_SERVICE};
use crate::peer::{PeerInput, PeerOutput};
use crate::relay::{ActivateError, Relay, StartFrom};
use crate::wire::announcement::StreamInfo;
use crate::wire::peer::StartFrom as WireStart;
use crate::wire::tracker::{ClientMessage, PeerClass, Report};

impl Node {
    pub(super) fn control(&mut self, now: Instant, input: PeerInput) {
        let view = self.media_view(now);
        self.peer.handle(now, view, input);
        self.drain_peer(now);
    }

    pub(super) fn drain_peer(&mut self, now: Instant) {
        while let Some(output) = self.peer.poll_output() {
            self.carry_out(now, output);
        }
    }

    fn carry_out(&mut self, now: Instant, output: PeerOutput) {
        let output = match output {
            PeerOutput::Tracker(message) => Output::Tracker(message),
            PeerOutput::Learn { ice_servers } => Output::Learn { ice_servers },
            PeerOutput::Connect { link, ice_servers } => Output::Connect { link, ice_servers },
            PeerOutput::Relay { link, servers } => Output::Relay { link, servers },
            PeerOutput::SetAnswer { link, sdp } => match self.info.clone() {
                Some(info) => Output::SetAnswer { link, sdp, info },
                None => return,
            },
            PeerOutput::Accept {
                link,
                offer,
                class,
                ice_servers,
            } => match self.info.clone() {
                Some(info) => Output::Accept {
                    link,
                    offer,
                    class,
                    ice_servers,
                    info,
                },
                None => return,
            },
            PeerOutput::Renew { link } => Output::Renew { link },
            PeerOutput::AcceptRenewal { link, offer, class } => match self.info.clone() {
                Some(info) => Output::AcceptRenewal {
                    link,
                    offer,
                    class,
                    info,
                },
                None => return,
            },
            PeerOutput::SetRenewal { link, sdp } => match self.info.clone() {
                Some(info) => Output::SetRenewal { link, sdp, info },
                None => return,
            },
            PeerOutput::AddCandidate { link, candidate } => {
                Output::AddCandidate { link, candidate }
            }
            PeerOutput::Send { link, message } => Output::Message { link, message },
            PeerOutput::Event(event) => Output::Event(event),
            PeerOutput::Player { link, news } => Output::Player { link, news },
            PeerOutput::Close { link } => Output::Close { link },
            PeerOutput::Left => Output::Left,
            PeerOutput::ReportDue => Output::Tracker(ClientMessage::Report(self.report(now))),
            PeerOutput::Tracks(info) => {
                self.begin_epoch(now, info.clone());
                Output::Tracks(info)
            }
            PeerOutput::Heads { heads } => {
                self.hint_heads(now, &heads);
                return;
            }
            PeerOutput::Feeding { link } => {
                self.feeding = link;
                let rtt = self.peer.upstream_rtt();
                if let Some(relay) = self.relay.as_mut().filter(|_| link.is_some()) {
                    relay.upstream_changed(now, rtt);
                }
                return;
            }
            PeerOutput::AddChild { link, class } => return self.add_child(now, link, class),
            PeerOutput::ActivateChild { link, from } => return self.activate(now, link, from),
            PeerOutput::DeactivateChild { link } => {
                self.clock_due.remove(&link);
                if let Some(relay) = &mut self.relay {
                    relay.deactivate(link);
                }
                return;
            }
            PeerOutput::ResumeChild { link } => {
                if let Some(relay) = &mut self.relay
                    && relay.resume(now, link)
                {
                    self.clock_due.insert(link, now);
                }
                return;
            }
            PeerOutput::ChildHeard { link } => {
                if let Some(relay) = &mut self.relay {
                    relay.heard(now, link);
                }
                return;
            }
            PeerOutput::ChildKeyFrame { link, track } => {
                if let Some(relay) = &mut self.relay {
                    relay.key_frame_request(now, link, track);
                }
                return;
            }
            PeerOutput::RemoveChild { link } => {
                self.players.remove(&link);
                self.clock_due.remove(&link);
                if let Some(relay) = &mut self.relay {
                    relay.remove_child(link);
                }
                return;
            }
        };
        self.outputs.push_back(output);
    }

    fn begin_epoch(&mut self, now: Instant, info: StreamInfo) {
        // The last packets of the epoch before go out first; links that could carry no more of
        // them begin anew with it.
        self.drain_relay(now);
        let mut relay = if self.peer.is_root() {
            Relay::at_root(&info.tracks, info.epoch)
        } else {
            Relay::new(&info.tracks, info.epoch)
        };
        relay.set_sink(now, self.sink_wait);
        relay.set_max_upload(self.capacity.max_upload_bytes());
        self.relay = Some(relay);
        let children: Vec<_> = self.peer.connected_children().collect();
        for link in children {
            if let Some(class) = self.peer.class_of(link) {
                self.add_child(now, link, class);
            }
        }
        self.clocks = vec![None; info.tracks.len()];
        self.source_next = info.tracks.iter().map(|track| track.first_seq).collect();
        self.clock_due.clear();
        self.info = Some(info);
        self.reported = Totals::default();
    }

    fn add_child(&mut self, now: Instant, link: LinkKey, class: PeerClass) {
        if class != PeerClass::Native {
            self.players.insert(link);
        }
        if let Some(relay) = &mut self.relay {
            relay.add_child(now, link);
            if class == PeerClass::Player {
                relay.excuse_silence(link);
            }
        }
    }

    fn hint_heads(&mut self, now: Instant, heads: &[u64]) {
        let Some(relay) = &mut self.relay else {
            return;
        };
        for (track, head) in (0..).zip(heads) {
            relay.set_head_hint(now, track, *head);
        }
    }

    fn activate(&mut self, now: Instant, link: LinkKey, from: WireStart) {
        let Some(relay) = &mut self.relay else { return };
        let from = match from {
            WireStart::Next(next) => StartFrom::Next(
                next.into_iter()
                    .map(|next| (next.track, next.seq))
                    .collect(),
            ),
            WireStart::KeyFrame { .. } if self.players.contains(&link) => StartFrom::Player,
            WireStart::KeyFrame { .. } => StartFrom::KeyFrame,
        };
        // The clock goes first, so that the player knows it when the first frame is due.
        match relay.activate(now, link, &from) {
            Ok(()) if !self.clock_due.contains_key(&link) => {
                self.clock_due.insert(link, now);
                self.report_clocks(now);
            }
            // The child has to make another: it hears that at once.
            Err(ActivateError::ReplaceLink) => self.control(now, PeerInput::Worn { link }),
            _ => {}
        }
    }

    fn report(&mut self, now: Instant) -> Report {
        if let Some(relay) = &mut self.relay
            && let Some(rtt) = self.peer.upstream_rtt()
        {
            relay.set_upstream_rtt(rtt);
        }
        let stats = self.relay.as_ref().map(Relay::stats).unwrap_or_default();
        let sum = |of: fn(&crate::relay::TrackStats) -> u64| stats.iter().map(|(_, s)| of(s)).sum();
        let totals = Totals {
            received: sum(|stats| stats.packets),
            lost: sum(|stats| stats.lost),
            up_bytes: self.up_bytes,
            at: Some(now),
        };
        self.look_at_children(now);
        let held = self.peer.picture_held_for(now);
        match held {
            None => {
                let slots = self.capacity.slots(now, sum(|stats| stats.payload_bytes));
                self.peer.set_slots(slots);
            }
            // The sound alone is not the stream's rate.
            Some(_) => self.capacity.pause(),
        }
        let was_poor = self.poor_until.is_some_and(|until| now < until);
        if held.is_some_and(|time| was_poor || time >= POOR_SERVICE) {
            self.poor_until = Some(now + POOR_MEMORY);
        }
        let before = std::mem::replace(&mut self.reported, totals);
        let up_bytes = totals.up_bytes.saturating_sub(before.up_bytes);
        let elapsed = before
            .at
            .map(|at| now.saturating_duration_since(at).as_millis() as u64);
        let per_second = elapsed
            .filter(|ms| *ms > 0)
            .map_or(0, |ms| up_bytes * 1000 / ms);
        Report {
            parent: self.peer.parent(),
            children: self.peer.placed_children().map(|link| link.child).collect(),
            slots: match self.poor_until {
                Some(until) if now < until => 0,
                _ => self.peer.placeable(),
            },
            delay_ms: u32::try_from(self.peer.delay().as_millis()).unwrap_or(u32::MAX),
            lost: u32::try_from(totals.lost.saturating_sub(before.lost)).unwrap_or(u32::MAX),
            received: u32::try_from(totals.received.saturating_sub(before.received))
                .unwrap_or(u32::MAX),
            up_bytes_per_second: per_second,
        }
    }

    /// Once a second or so: whether the children get what this node sends.
    fn look_at_children(&mut self, now: Instant) {
        if let Some(relay) = &mut self.relay
            && self.capacity.look_due(now)
        {
            let lost_above = relay.shortfall(now);
            let figures = relay.take_figures();
            let players = u16::try_from(self.players.len()).unwrap_or(u16::MAX);
            (self.capacity).look(now, &figures, lost_above, players);
        }
    }
}
