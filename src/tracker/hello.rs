//! The first message of a session.

use std::time::Instant;

use rand::Rng;

use super::{SessionId, Tracker};
use crate::broadcast::Arrival;
use crate::limits::SESSION_TAKEOVER;
use crate::reachability::Reachability;
use crate::wire::PROTOCOL_VERSION;
use crate::wire::tracker::{ErrorCode, Hello, ServerMessage, Welcome};

impl<R: Rng> Tracker<R> {
    pub(super) fn hello(&mut self, now: Instant, id: SessionId, hello: Hello) {
        if hello.version != PROTOCOL_VERSION {
            let text = format!(
                "this tracker speaks version {PROTOCOL_VERSION} of the protocol, not {}",
                hello.version
            );
            self.fail(now, id, ErrorCode::Version, text);
            return;
        }
        if let Some(&older) = self.nodes.get(&hello.node) {
            let heard = self.sessions.get(&older).map(|session| session.heard);
            if heard.is_some_and(|heard| now < heard + SESSION_TAKEOVER) {
                let text = "another session uses this node id";
                self.fail(now, id, ErrorCode::NodeBusy, text);
                return;
            }
            // Its connection died without a word, and the node is back.
            self.close(now, older);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.hello = Some(Arrival {
            node: hello.node,
            class: hello.class,
            slots: hello.slots,
            seen: session.observed.to_canonical(),
            reachability: Reachability::default(),
        });
        let observed = session.observed.to_canonical().to_string();
        self.nodes.insert(hello.node, id);
        self.arm(id);
        let interval = self.config.report_interval.as_millis();
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            ice_servers: self.config.ice_servers.clone(),
            observed,
            report_interval_ms: u32::try_from(interval).unwrap_or(u32::MAX),
        };
        self.send(id, ServerMessage::Welcome(welcome));
    }
}
