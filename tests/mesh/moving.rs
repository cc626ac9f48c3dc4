//! A node whose address changes while it watches, in networks of their own.

use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::network::{Namespace, available, cable};
use banyan_tests::turn::{skip, take_turn};
use banyan_tests::workspace::TempDir;
use banyan_tests::{media, packet_log, secs, wait_for};

#[test]
fn a_viewer_that_gets_another_address_keeps_its_parent_and_misses_nothing() {
    let _turn = take_turn();
    if let Err(reason) = available() {
        return skip(&reason);
    }
    let directory = TempDir::new();
    let (near, far) = (Namespace::new("near"), Namespace::new("far"));
    let (_, interface) = cable(&near, "10.7.0.1/24", &far, "10.7.0.2/24");
    let address = "10.7.0.1:0".parse().unwrap();
    let args = Broadcast::args_on(&directory, address, &media::clip_mp4());
    let root = near.inside(|| Broadcast::start(&directory, args));
    let args = Node::args_on(&directory, "mover", "watch", &root.link, "0.0.0.0:0");
    let mover = far.inside(|| Node::start(&directory, "mover", args));
    mover.wait_for_media(secs(15));
    std::thread::sleep(secs(2));
    let before = mover.newest_stats();

    // To another address, and home again.
    for (old, new) in [
        ("10.7.0.2/24", "10.7.0.3/24"),
        ("10.7.0.3/24", "10.7.0.2/24"),
    ] {
        far.ip(&["addr", "del", old, "dev", &interface]);
        far.ip(&["addr", "add", new, "dev", &interface]);
        // Longer than any consent, lease or session lives without a word.
        std::thread::sleep(secs(14));
        let now = mover.newest_stats();
        assert_eq!((&now.parent, now.heals), (&before.parent, before.heals));
        wait_for("its session with the tracker", secs(10), || {
            let tree = near.inside(|| root.tree());
            let placed = tree
                .iter()
                .any(|peer| peer.id == now.peer && peer.depth == 1);
            placed.then_some(())
        });
    }
    let (sent, got) = (root.packet_log(), mover.packet_log());
    assert_eq!(packet_log::missing(&got), []);
    packet_log::assert_identical(&sent, &got, "mover");
}
