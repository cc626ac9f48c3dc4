//! The first command of the README.

use std::path::Path;

use banyan_tests::api;
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

#[test]
fn a_relay_is_killed_through_the_page_and_another_one_comes() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let (root, _) = demo(&directory);
    let tree = root.tree();
    // One that feeds others.
    let victim = tree.iter().find(|peer| peer.depth == 1 && peer.used > 0);
    let victim = victim.unwrap().id.clone();
    let kill = |node: &str, origin: &str| {
        let headers = [("Origin", origin), ("Content-Type", "application/json")];
        let body = format!("{{\"node\":\"{node}\"}}");
        let url = format!("{}/api/demo/kill", root.tracker);
        api::request_with("POST", &url, &headers, &body).status
    };
    assert_eq!(kill(&victim, "http://evil.example"), 403);
    assert_eq!(
        kill(&tree[0].id, &root.tracker),
        404,
        "the root is no relay"
    );
    assert_eq!(kill(&victim, &root.tracker), 204);
    // Nothing was said: the process is gone, its children find the others.
    let healed = wait_for("the others under other parents", secs(5), || {
        let tree = root.tree();
        let without = tree.iter().all(|peer| peer.id != victim);
        (without && tree.len() == 6).then_some(tree)
    });
    let fed = |peer: &api::TreePeer| peer.depth == 0 || peer.parent.as_ref() != Some(&victim);
    assert!(healed.iter().all(fed), "{healed:?}");
    assert_eq!(kill(&victim, &root.tracker), 404, "it is dead");
    // Again and again.
    for _ in 0..2 {
        let tree = root.wait_for_peers(7, secs(15));
        let victim = tree.iter().find(|peer| peer.depth == 1).unwrap();
        assert_eq!(kill(&victim.id, &root.tracker), 204);
        let victim = victim.id.clone();
        wait_for("its end", secs(5), || {
            root.tree()
                .iter()
                .all(|peer| peer.id != victim)
                .then_some(())
        });
    }
    root.wait_for_peers(7, secs(15));
}

#[test]
fn without_demo_there_is_nothing_to_kill() {
    let _turn = take_turn();
    let directory = TempDir::new();
    let root = Broadcast::with_slots(&directory, 2);
    let headers = [
        ("Origin", root.tracker.as_str()),
        ("Content-Type", "application/json"),
    ];
    let url = format!("{}/api/demo/kill", root.tracker);
    let answer = api::request_with("POST", &url, &headers, "{\"node\":\"a\"}");
    assert_eq!(answer.status, 404);
}
