//! Children that begin to connect and never end.

use std::time::{Duration, Instant};

use banyan_node::rtc::{CloseReason, EngineError, EngineEvent, PeerClass};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;

use crate::foreign::Foreign;
use crate::reflection::offer;
use crate::village::{HONEST, Village};
use crate::world::{key, run, stream};

/// Bytes of memory this process has in use.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_thousand_children_that_never_come_are_forgotten() {
    run(async {
        let mut village = Village::new().await;
        let offer = offer();
        let before = resident();
        let mut begun = 0u32;
        village
            .run(Duration::from_secs(3), |parent| {
                for _ in 0..4 {
                    if begun == 1000 {
                        return;
                    }
                    let link = key(100, begun + 1);
                    let class = PeerClass::Native;
                    let now = Instant::now();
                    match parent.accept(now, link, &offer, &stream(), class, &[]) {
                        Ok(()) => begun += 1,
                        Err(EngineError::TooManyLinks(_)) => return,
                        Err(other) => panic!("{other}"),
                    }
                }
            })
            .await;
        let grown = resident().saturating_sub(before);
        let open = village.parent.links();
        println!(
            "{begun} begun, {open} open, {} kB each",
            grown / 1024 / u64::from(begun)
        );
        // Other tests run beside this one; the figure itself is the benchmark's.
        assert!(grown < 500_000 * u64::from(begun), "{grown} bytes");
        village.run(Duration::from_secs(5), |_| {}).await;
        assert_eq!(village.parent.links(), usize::from(HONEST));
        village.judge().await;
    });
}

#[test]
fn handshakes_that_never_end_are_given_up() {
    run(async {
        let mut village = Village::new().await;
        let mut strange = Vec::new();
        for n in 0..20 {
            let mut child = Foreign::new(vec![Profile::Srtp_Aead_Aes_128_Gcm]);
            child.deaf = true;
            child.join(&mut village.parent, key(100 + n, 1), PeerClass::Native);
            strange.push((key(100 + n, 1), child));
        }
        let begin = Instant::now();
        let mut failed = 0;
        while failed < strange.len() {
            assert!(
                begin.elapsed() < Duration::from_secs(15),
                "{failed} given up"
            );
            let told = village.turn().await;
            for event in &told {
                if let EngineEvent::Closed { reason, .. } = event {
                    assert_eq!(*reason, CloseReason::DtlsFailed);
                    failed += 1;
                }
            }
            for (link, child) in &mut strange {
                child.turn(&of_link(&told, *link));
            }
        }
        assert_eq!(village.parent.links(), usize::from(HONEST));
        village.judge().await;
    });
}

/// The signalling of one link.
pub(crate) fn of_link(told: &[EngineEvent], wanted: banyan::id::LinkKey) -> Vec<EngineEvent> {
    told.iter()
        .filter(|event| match event {
            EngineEvent::Answer { link, .. } | EngineEvent::LocalCandidate { link, .. } => {
                *link == wanted
            }
            _ => false,
        })
        .cloned()
        .collect()
}
