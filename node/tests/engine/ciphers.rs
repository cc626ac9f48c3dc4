//! Which cipher protects the media, and what happens when the first choice is none.

use std::time::{Duration, Instant};

use banyan_node::rtc::{CloseReason, EngineEvent, PeerClass};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;

use crate::foreign::{Foreign, until};
use crate::world::{engine, key, run};

const SHA1_ONLY: [Profile; 1] = [Profile::Srtp_Aes128_Cm_Hmac_Sha1_80];
pub(crate) const BOTH: [Profile; 2] = [
    Profile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    Profile::Srtp_Aead_Aes_128_Gcm,
];

#[test]
fn a_browser_without_gcm_gets_media_at_the_second_attempt() {
    run(async {
        let mut parent = engine("127.0.0.1");
        let mut viewer = Foreign::new(SHA1_ONLY.to_vec());
        viewer.join(&mut parent, key(1, 1), PeerClass::Browser);
        let failed = EngineEvent::Closed {
            link: key(1, 1),
            reason: CloseReason::DtlsFailed,
        };
        let patience = Duration::from_secs(5);
        let took = until(&mut parent, &mut viewer, patience, |told, _| {
            told.contains(&failed)
        })
        .await;
        println!("no common cipher known after {took:?}");
        let mut again = Foreign::new(SHA1_ONLY.to_vec());
        again.join(&mut parent, key(1, 2), PeerClass::Browser);
        until(&mut parent, &mut again, patience, |_, viewer| {
            viewer.packets.len() >= 10
        })
        .await;
    });
}

#[test]
fn a_browser_may_be_back_before_its_first_attempt_has_failed() {
    run(async {
        let mut parent = engine("127.0.0.1");
        let mut viewer = Foreign::new(SHA1_ONLY.to_vec());
        viewer.join(&mut parent, key(1, 1), PeerClass::Browser);
        let begin = Instant::now();
        until(
            &mut parent,
            &mut viewer,
            Duration::from_secs(5),
            |told, _| {
                let closed = told.iter().any(|e| matches!(e, EngineEvent::Closed { .. }));
                closed || begin.elapsed() > Duration::from_millis(300)
            },
        )
        .await;
        // Its page gave up; the tracker has told the parent so.
        parent.close(Instant::now(), key(1, 1));
        let mut again = Foreign::new(SHA1_ONLY.to_vec());
        again.join(&mut parent, key(1, 2), PeerClass::Browser);
        until(
            &mut parent,
            &mut again,
            Duration::from_secs(5),
            |_, viewer| viewer.packets.len() >= 10,
        )
        .await;
    });
}

#[test]
fn everybody_else_is_served_at_the_first_attempt() {
    run(async {
        for (n, class, ciphers) in [
            (1, PeerClass::Browser, BOTH.to_vec()),
            (2, PeerClass::Player, BOTH.to_vec()),
            (3, PeerClass::Player, SHA1_ONLY.to_vec()),
            (4, PeerClass::Native, BOTH.to_vec()),
        ] {
            let mut parent = engine("127.0.0.1");
            let mut viewer = Foreign::new(ciphers);
            viewer.join(&mut parent, key(n, 1), class);
            until(
                &mut parent,
                &mut viewer,
                Duration::from_secs(5),
                |_, viewer| viewer.packets.len() >= 10,
            )
            .await;
        }
    });
}
