//! Handshakes that lose datagrams.

use std::time::Duration;

use banyan_node::rtc::PeerClass;

use crate::ciphers::BOTH;
use crate::foreign::{Foreign, until};
use crate::world::{engine, key, run};

/// The first timer of RFC 6347: what a lost datagram costs where nobody is quicker.
const STANDARD: Duration = Duration::from_secs(1);

/// The first hello, the one with the cookie, and what follows on the peer's certificate.
const FLIGHTS: u32 = 3;

#[test]
fn a_lost_datagram_costs_no_second() {
    run(async {
        for lost in 1..=FLIGHTS {
            let mut times = Vec::new();
            for attempt in 0..3 {
                let mut parent = engine("127.0.0.1");
                let mut viewer = Foreign::new(BOTH.to_vec());
                viewer.loses = lost;
                viewer.join(&mut parent, key(1, attempt), PeerClass::Player);
                let patience = Duration::from_secs(5);
                let took = until(&mut parent, &mut viewer, patience, |_, viewer| {
                    !viewer.packets.is_empty()
                });
                times.push(took.await);
                assert_eq!(viewer.loses, 0, "nothing was lost");
            }
            // The best of them: on a busy machine one may wait for other reasons.
            let best = times.iter().min();
            assert!(best < Some(&STANDARD), "without datagram {lost}: {times:?}");
        }
    });
}
