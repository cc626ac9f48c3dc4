//! The first command of the README.

use std::path::Path;

use banyan_tests::mesh::{Args, Broadcast};
use banyan_tests::turn::take_turn;
use banyan_tests::workspace::TempDir;
use banyan_tests::{secs, wait_for};

/// Process ids of the programs that `parent` started.
fn children_of(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{parent}/task")).unwrap() {
        let file = task.unwrap().path().join("children");
        let list = std::fs::read_to_string(file).unwrap_or_default();
        children.extend(list.split_whitespace().map(|id| id.parse::<u32>().unwrap()));
    }
    children
}

fn demo(directory: &TempDir) -> (Broadcast, Vec<u32>) {
    let args = Args::of(["broadcast", "--demo"])
        .with("--udp", "127.0.0.1:0")
        .with("--tracker-listen", "127.0.0.1:0")
        .with("--tracker-stun", "127.0.0.1:0")
        .with("--key", directory.join("demo.key"));
    let root = Broadcast::start(directory, args);
    let tree = root.wait_for_peers(7, secs(15));
    let depths: Vec<u32> = tree.iter().map(|peer| peer.depth).collect();
    assert_eq!(depths, [0, 1, 1, 2, 2, 2, 2]);
    let relays = children_of(root.process.id());
    assert_eq!(relays.len(), 6);
    (root, relays)
}

fn wait_for_end_of(relays: &[u32]) {
    wait_for("the end of all relays", secs(5), || {
        let gone = |id| {
            // One that has ended and was not asked for its exit code is as good as gone.
            let status = std::fs::read_to_string(Path::new("/proc").join(format!("{id}/stat")));
            status.is_err() || status.is_ok_and(|stat| stat.contains(") Z "))
        };
        relays.iter().all(gone).then_some(())
    });
}

#[test]
fn the_demo_has_six_relays_which_end_with_it() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let (mut root, relays) = demo(&directory);
    assert_eq!(root.process.interrupt(), Some(0));
    wait_for_end_of(&relays);

    // However it ends.
    let (mut root, relays) = demo(&directory);
    root.process.kill();
    wait_for_end_of(&relays);
}
