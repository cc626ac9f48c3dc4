//! Deaths that the watch page of a demonstration asks for.

use banyan::id::{NodeId, StreamId};
use banyan_tracker::demo::Demo;
use banyan_tracker::{Config, Server};

use crate::client::{config, exchange, get, request, start};

const KILL: &str = "/api/demo/kill";

fn watch() -> String {
    format!("/watch/{}", StreamId::from_bytes([7; 32]))
}

#[tokio::test]
async fn a_tracker_that_is_no_demonstration_has_nothing_of_it() {
    let server = start().await;
    let origin = format!("http://{}", server.http_addr());
    let headers = [
        ("Origin", origin.as_str()),
        ("Content-Type", "application/json"),
    ];
    for method in ["POST", "GET", "OPTIONS"] {
        let answer = request(server.http_addr(), method, KILL, &headers).await;
        assert_eq!(answer.status, 404, "{method}: {answer:?}");
    }
    assert!(!get(&server, &watch()).await.body.contains("data-demo"));
}

#[tokio::test]
async fn only_its_own_page_kills_and_only_relays() {
    let (demo, mut kills) = Demo::new();
    let config = Config {
        demo: Some(demo),
        ..config()
    };
    let server = Server::start(config).await.unwrap();
    let page = get(&server, &watch()).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<html data-demo "), "{page:?}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.header("content-security-policy").is_some());
    assert!(!get(&server, "/").await.body.contains("data-demo"));

    let address = server.http_addr();
    let own = address.to_string();
    let origin = format!("http://{own}");
    let relay = NodeId::from_bytes([5; 16]);
    tokio::spawn(async move {
        while let Some(kill) = kills.recv().await {
            let known = kill.node == relay;
            kill.done(known);
        }
    });
    let ask = async |headers: &[(&str, &str)], body: &str| {
        exchange(address, "POST", KILL, headers, body).await.status
    };
    let json = ("Content-Type", "application/json");
    let body = format!("{{\"node\":\"{relay}\"}}");
    let host = ("Host", own.as_str());
    let good = [host, ("Origin", origin.as_str()), json];
    assert_eq!(ask(&good, &body).await, 204);
    let other = format!("{{\"node\":\"{}\"}}", NodeId::from_bytes([6; 16]));
    assert_eq!(ask(&good, &other).await, 404);
    for nonsense in ["", "{}", "{\"node\":\"x\"}", "[1]"] {
        assert_eq!(ask(&good, nonsense).await, 400, "{nonsense}");
    }
    // Other sites, nobody, and a name of somebody else's that leads here.
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://evil.example",
    ] {
        assert_eq!(
            ask(&[host, ("Origin", origin), json], &body).await,
            403,
            "{origin}"
        );
    }
    assert_eq!(ask(&[host, json], &body).await, 403);
    let rebound = [
        ("Host", "evil.example"),
        ("Origin", "http://evil.example"),
        json,
    ];
    assert_eq!(ask(&rebound, &body).await, 403);
    let cross = [
        host,
        ("Origin", origin.as_str()),
        json,
        ("Sec-Fetch-Site", "cross-site"),
    ];
    assert_eq!(ask(&cross, &body).await, 403);
    let form = [
        host,
        ("Origin", origin.as_str()),
        ("Content-Type", "text/plain"),
    ];
    assert_eq!(ask(&form, &body).await, 415);
    let answer = request(address, "GET", KILL, &[]).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
