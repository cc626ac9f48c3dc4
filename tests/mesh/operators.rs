//! What an operator's monitoring reads of a node.

use std::collections::BTreeSet;

use banyan_tests::api::{self, Response};
use banyan_tests::mesh::{Broadcast, Node};
use banyan_tests::process::Process;
use banyan_tests::publisher::{can_publish, publish, waiting, waiting_args};
use banyan_tests::turn::{share_turn, skip};
use banyan_tests::workspace::{self, TempDir};
use banyan_tests::{media, secs, wait_for};

/// Where a program with `--listen` answers, as its log says.
fn door(process: &Process) -> String {
    wait_for("the address of --listen", secs(10), || {
        let said = process.stderr();
        let (_, rest) = said.split_once(" at http://")?;
        Some(format!("http://{}", rest.split_whitespace().next()?))
    })
}

/// Asks until the answer has this status.
fn until(door: &str, path: &str, status: u16) -> Response {
    wait_for(&format!("{status} from {path}"), secs(15), || {
        Some(api::get(&format!("{door}{path}"))).filter(|answer| answer.status == status)
    })
}

#[test]
fn a_node_tells_how_it_is() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let args = Broadcast::args(&directory).with("--listen", "127.0.0.1:0");
    let mut root = Broadcast::start(&directory, args);
    let at_root = door(&root.process);
    assert_eq!(until(&at_root, "/readyz", 200).body, "ready\n");
    let args = Node::args(&directory, "relay", "relay", &root.link).with("--listen", "127.0.0.1:0");
    let relay = Node::start(&directory, "relay", args);
    relay.wait_for_media(secs(10));
    let at_relay = door(&relay.process);
    until(&at_relay, "/readyz", 200);
    assert_eq!(api::get(&format!("{at_relay}/healthz")).body, "ok\n");

    let text = api::get(&format!("{at_relay}/metrics")).body;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split([' ', '{']).next().unwrap();
        for kind in ["HELP", "TYPE"] {
            let head = format!("# {kind} {name} ");
            assert_eq!(text.matches(&head).count(), 1, "{head}: {text}");
        }
    }
    for line in [
        "banyan_tracker_up 1",
        "banyan_attached 1",
        "banyan_depth 1",
        "banyan_links 1",
        "banyan_links_connected_total 1",
        "banyan_source_idle 0",
        "banyan_handshakes_failed_total{reason=\"ice\"} 0",
        "banyan_links_closed_total{reason=\"remote\"} 0",
        "banyan_child_falls_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    for name in [
        "nacked_packets_total",
        "key_frame_requests_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "build_info{program=\"banyan\"",
    ] {
        assert!(text.contains(&format!("\nbanyan_{name}")), "{name}: {text}");
    }

    root.process.kill();
    let answer = until(&at_relay, "/readyz", 503);
    assert!(answer.body.contains("tracker"), "{}", answer.body);
    assert_eq!(api::get(&format!("{at_relay}/healthz")).status, 200);
}

/// The families that the protocol lists in the paragraphs that begin with one of these words. What
/// stands in brackets are their labels.
fn listed(paragraphs: &[&str]) -> BTreeSet<String> {
    let text = std::fs::read_to_string(workspace::repository("PROTOCOL.md")).unwrap();
    let mut names = BTreeSet::new();
    for paragraph in text.split("\n\n") {
        if !paragraphs.iter().any(|word| paragraph.starts_with(word)) {
            continue;
        }
        let outside = paragraph.split('(').enumerate();
        let outside = outside.filter_map(|(n, part)| match n {
            0 => Some(part),
            _ => part.split_once(')').map(|(_, rest)| rest),
        });
        let quoted = outside.flat_map(|part| part.split('`').skip(1).step_by(2));
        let named = quoted.filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        names.extend(named.filter(|name| *name != "banyan_").map(str::to_owned));
    }
    names
}

/// The families that these addresses tell, each with its help and a type that fits its name.
fn told(doors: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for door in doors {
        let text = api::get(&format!("{door}/metrics")).body;
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP banyan_"))
        {
            let (name, help) = line.split_once(' ').unwrap();
            assert!(help.split(' ').count() > 1 && help.ends_with('.'), "{line}");
            let counter = text.contains(&format!("# TYPE banyan_{name} counter\n"));
            assert_eq!(counter, name.ends_with("_total"), "{name}");
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn every_figure_stands_in_the_protocol_and_every_listed_one_is_told() {
    let _turn = share_turn();
    let directory = TempDir::new();
    let (root, whip) = waiting(&directory, waiting_args(&directory));
    let node = whip.url.strip_suffix("/whip").unwrap();
    assert_eq!(api::request("POST", &whip.url, "").status, 401);
    wait_for("the first figures", secs(5), || {
        let text = api::get(&format!("{node}/metrics")).body;
        let refused = "banyan_whip_responses_total{method=\"POST\",status=\"401\"} 1";
        (text.contains("banyan_slots ") && text.contains(refused)).then_some(())
    });
    let both = listed(&["**Both** tell"]);
    assert!(both.len() > 5, "{both:?}");
    let of_node = &listed(&["**Node metrics**"]) | &both;
    assert_eq!(told(&[node]), of_node);
    let of_tracker = &listed(&["**Tracker metrics**"]) | &both;
    assert_eq!(told(&[root.tracker.as_str()]), of_tracker);
}

#[test]
fn a_root_tells_how_its_publisher_is() {
    let _turn = share_turn();
    let Some(ffmpeg) = media::ffmpeg().filter(|ffmpeg| can_publish(ffmpeg)) else {
        return skip("there is no ffmpeg that publishes");
    };
    let directory = TempDir::new();
    let (_root, whip) = waiting(&directory, waiting_args(&directory));
    let door = whip.url.strip_suffix("/whip").unwrap();
    let until_unready = |reason: &str| {
        wait_for(reason, secs(15), || {
            let answer = until(door, "/readyz", 503);
            (answer.body.trim_end() == reason).then_some(())
        });
    };
    until_unready("there is no media yet");
    let figure = |name: &str| {
        let text = api::get(&format!("{door}/metrics")).body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("banyan_{name} ")));
        let value = line.unwrap_or_else(|| panic!("no {name}: {text}"));
        value.parse::<f64>().unwrap()
    };
    for session in [1.0, 2.0] {
        let mut publisher = publish(&ffmpeg, &whip, &media::clip_mp4());
        until(door, "/readyz", 200);
        wait_for("its packets", secs(10), || {
            (figure("publisher_packets_total") > 100.0 * session).then_some(())
        });
        assert_eq!(figure("publisher_connected"), 1.0);
        assert_eq!(figure("links"), 1.0);
        assert!(figure("publisher_silent_seconds") < 1.0);
        assert_eq!(figure("source_idle"), 0.0);
        // It says goodbye.
        publisher.interrupt();
        until_unready("the source gives nothing at the moment");
        assert_eq!(figure("source_idle"), 1.0);
        assert_eq!(figure("publisher_connected"), 0.0);
        assert_eq!(figure("links"), 0.0);
        assert_eq!(figure("publisher_sessions_total"), session);
        assert_eq!(figure("publisher_lost_packets_total"), 0.0);
        assert!(figure("publisher_silent_seconds") > 0.0);
    }
}
