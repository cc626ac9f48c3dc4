//! The web pages.

use crate::client::{get, request, start};

#[tokio::test]
async fn pages_come_with_a_strict_content_policy() {
    let server = start().await;
    let id = "a".repeat(51) + "q";
    for path in [
        "/".to_owned(),
        format!("/watch/{id}"),
        format!("/embed/{id}"),
    ] {
        let page = get(&server, &path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.head);
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let framed = policy.contains("frame-ancestors *");
        assert_eq!(framed, path.starts_with("/embed"), "{policy}");
    }
}

#[tokio::test]
async fn an_address_that_leads_nowhere_says_so() {
    let server = start().await;
    for path in [
        "/watch/abc",
        "/embed/abc",
        "/nothing",
        "/watch.html",
        "/package.json",
        "/../Cargo.toml",
    ] {
        let page = get(&server, path).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.body.contains("no such page"), "{path}: {}", page.body);
    }
    let posted = request(server.http_addr(), "POST", "/nothing", &[]).await;
    assert_eq!(posted.status, 405);
}

#[tokio::test]
async fn modules_have_their_type_and_are_not_sent_twice() {
    let server = start().await;
    let module = get(&server, "/watch.js").await;
    assert_eq!(module.status, 200);
    assert_eq!(
        module.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_eq!(module.header("cache-control"), Some("no-cache"));
    let etag = module.header("etag").unwrap();
    let again = request(
        server.http_addr(),
        "GET",
        "/watch.js",
        &[("If-None-Match", etag)],
    )
    .await;
    assert_eq!(again.status, 304);
    assert_eq!(again.body, "");
    let changed = request(
        server.http_addr(),
        "GET",
        "/watch.js",
        &[("If-None-Match", "\"x\"")],
    )
    .await;
    assert_eq!(changed.status, 200);
    let head = request(server.http_addr(), "HEAD", "/watch.js", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}
