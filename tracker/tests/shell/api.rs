//! The JSON API.

use banyan::wire::codec::Encoding;
use banyan::wire::tracker::{ClientMessage, ServerMessage};

use crate::broadcast::Broadcast;
use crate::client::{Peer, get, start};

#[tokio::test]
async fn only_listed_streams_are_listed() {
    let server = start().await;
    let empty = get(&server, "/api/streams").await;
    assert_eq!(empty.json()["streams"].as_array().unwrap().len(), 0);
    assert_eq!(empty.header("access-control-allow-origin"), Some("*"));
    assert_eq!(empty.header("content-type"), Some("application/json"));

    let mut streams = Vec::new();
    // The helper lists streams with an even seed.
    for seed in [1, 2] {
        let root = Peer::connect(&server, Encoding::Bincode).await;
        streams.push(Broadcast::start(&server, root, seed, 2).await);
    }
    // The list is made anew each second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let list = get(&server, "/api/streams").await.json();
    let list = list["streams"].as_array().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["stream"], streams[1].stream.to_string());
    assert_eq!(list[0]["title"], "A test");
    assert_eq!(list[0]["state"], "live");
    assert_eq!(list[0]["viewers"], 0);

    let unlisted = get(&server, &format!("/api/streams/{}", streams[0].stream)).await;
    assert_eq!(unlisted.status, 200);
    let unlisted = unlisted.json();
    assert_eq!(unlisted["listed"], false);
    assert!(unlisted["info"]["body"].as_str().unwrap().contains("vp8"));
    assert!(unlisted["bits_per_second"].is_null());
    assert_eq!(unlisted["heals"]["by_standby"], 0);
    assert_eq!(unlisted["heals"]["by_tracker"], 0);
}

#[tokio::test]
async fn the_tree_names_every_peer_and_its_parent() {
    let server = start().await;
    let root = Peer::connect(&server, Encoding::Bincode).await;
    let mut broadcast = Broadcast::start(&server, root, 1, 2).await;
    let mut viewer = broadcast.viewer(&server, Encoding::Json, 9).await;
    let assigned = viewer
        .until(|message| matches!(message, ServerMessage::Assigned { .. }))
        .await;
    let ServerMessage::Assigned {
        link, generation, ..
    } = assigned
    else {
        unreachable!()
    };
    let sdp = "answer".to_owned();
    broadcast
        .root
        .send(&ClientMessage::Answer { link, sdp })
        .await;
    viewer
        .until(|message| matches!(message, ServerMessage::Answer { .. }))
        .await;
    viewer
        .send(&ClientMessage::Attached { link, generation })
        .await;
    viewer
        .until(|message| matches!(message, ServerMessage::Stream(status) if status.viewers == 1))
        .await;

    let path = format!("/api/streams/{}/tree", broadcast.stream);
    let tree = get(&server, &path).await.json();
    let peers = tree["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 2, "{tree}");
    assert_eq!(tree["total"], 2);
    assert_eq!(tree["per_depth"], serde_json::json!([1, 1]));
    assert!(tree["next"].is_null());
    let of_depth = |depth: u64| peers.iter().find(|peer| peer["depth"] == depth).unwrap();
    assert!(of_depth(0)["parent"].is_null());
    assert_eq!(of_depth(0)["used"], 1);
    assert_eq!(of_depth(1)["parent"], of_depth(0)["id"]);
    assert_eq!(of_depth(1)["class"], "native");
    for key in ["standby", "slots", "age"] {
        assert!(of_depth(1).get(key).is_some(), "{key}");
    }

    let root_id = of_depth(0)["id"].as_str().unwrap();
    let shallow = get(&server, &format!("{path}?depth=0")).await.json();
    assert_eq!(shallow["peers"].as_array().unwrap().len(), 1);
    let around = get(&server, &format!("{path}?around={root_id}"))
        .await
        .json();
    assert_eq!(around["peers"].as_array().unwrap().len(), 2);
    let last = peers[1]["id"].as_str().unwrap();
    let after = get(&server, &format!("{path}?after={last}")).await.json();
    assert_eq!(after["peers"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_a_sentence() {
    let server = start().await;
    let known = "a".repeat(52);
    let cases = [
        (format!("/api/streams/{known}"), 404, "does not know"),
        (format!("/api/streams/{known}/tree"), 404, "does not know"),
        ("/api/streams/abc".to_owned(), 400, "52 characters"),
        ("/api/streams/abc/tree".to_owned(), 400, "52 characters"),
        (
            format!("/api/streams/{known}/tree?around=x"),
            400,
            "26 characters",
        ),
        (format!("/api/streams/{known}/tree?depth=-1"), 400, "depth"),
        (format!("/api/streams/{known}/tree?deep=1"), 400, "deep"),
        ("/api/nothing".to_owned(), 404, "nothing"),
    ];
    for (path, status, words) in cases {
        let answer = get(&server, &path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let json = answer.json();
        let sentence = json["error"].as_str().unwrap();
        assert!(sentence.contains(words), "{path}: {sentence}");
    }
}
