//! What a hostile peer says.

use rand::RngExt;

use super::Mesh;
use crate::id::{Generation, LinkId, LinkKey, NodeId};
use crate::wire::tracker::*;

impl Mesh {
    /// Says three things at random, about anybody.
    pub(super) fn lie(&mut self, node: NodeId) {
        let nodes: Vec<NodeId> = self.actors.keys().copied().collect();
        for _ in 0..3 {
            let victim = nodes[self.rng.random_range(0..nodes.len())];
            let other = nodes[self.rng.random_range(0..nodes.len())];
            let link = LinkKey {
                child: victim,
                link: LinkId(self.rng.random_range(1..4)),
            };
            let message = match self.rng.random_range(0..7) {
                0 => ClientMessage::Answer {
                    link,
                    sdp: "evil".into(),
                },
                1 => ClientMessage::Refuse {
                    link,
                    reason: RefuseReason::Offer,
                },
                2 => ClientMessage::Candidate {
                    link,
                    candidate: "evil".into(),
                },
                3 => ClientMessage::Attached {
                    link,
                    generation: Generation(self.rng.random_range(0..9)),
                },
                4 => ClientMessage::Report(Report {
                    parent: Some(other),
                    children: nodes.iter().copied().take(20).collect(),
                    slots: 3,
                    ..Report::default()
                }),
                5 => ClientMessage::FollowTree {
                    follow: self.rng.random_bool(0.5),
                },
                _ => {
                    let lost = Some(Lost {
                        parent: other,
                        reason: LostReason::Silent,
                    });
                    self.join(node, lost);
                    continue;
                }
            };
            self.say(node, message);
        }
    }
}
