//! What can an auditor be shown?

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::*;

#[tokio::test]
async fn every_decision_is_one_line_without_what_was_said() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let file = home.path("audit.jsonl");
    let gateway = Running::at(&home, [("AUDIT__FILE", file.to_str().unwrap())]).await;
    let wamid = r#"{"reference_wamid":"wamid.canary","interactive_type":"canary"}"#;
    for (request, status) in [
        (
            post(CHAT, &key("billing")).body(message_saying("canary")),
            200,
        ),
        (post(CHAT, &key("billing")).body(wamid), 422),
        (post(CHAT, &key("canary")), 401),
        (
            post(CHAT, &key("shop")).header("Origin", "https://canary.test"),
            403,
        ),
        (
            post(CHAT, &key("billing"))
                .line("POST /canary HTTP/1.1")
                .header("X-Request-Id", "canary"),
            404,
        ),
    ] {
        assert_eq!(gateway.exchange(request.to_bytes()).await.status, status);
    }
    gateway.stop();
    gateway.ended().await;

    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    assert!(!text.contains("canary") && !text.contains("ptr_"), "{text}");
    let hash = Sha256::digest(message_saying("canary"));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = json!({
        "time": lines[0]["time"],
        "request_id": upstream.ledger().only_request().header("X-Request-Id"),
        "route": "interactive",
        "key": "billing",
        "credential": "main",
        "generation": 1,
        "chat": CHAT,
        "body_bytes": message_saying("canary").len(),
        "body_sha256": hash,
        "outcome": "answered",
        "step": "send",
        "rule": null,
        "limit": null,
        "reported": [],
        "status": 200,
        "delivery": "sent",
    });
    assert_eq!(lines[0], expected);
    let decided: Vec<_> = lines
        .iter()
        .map(|line| ["step", "rule", "key", "chat"].map(|name| line[name].as_str()))
        .collect();
    let (chat, billing, shop) = (Some(CHAT), Some("billing"), Some("shop"));
    assert_eq!(
        decided,
        [
            [Some("send"), None, billing, chat],
            [Some("schema"), Some("invalid-message"), billing, chat],
            [Some("key"), Some("unknown-key"), None, chat],
            [Some("domain"), Some("origin-not-allowed"), shop, chat],
            [Some("route"), Some("no-such-route"), None, None],
        ]
    );
}

#[tokio::test]
async fn a_limit_that_refuses_is_named() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    home.append("[limits]\nupstream = { rate = '1/h', burst = 1 }");
    let file = home.path("audit.jsonl");
    let gateway = Running::at(&home, [("AUDIT__FILE", file.to_str().unwrap())]).await;

    for status in [200, 429] {
        let request = post(CHAT, &key("billing")).to_bytes();
        assert_eq!(gateway.exchange(request).await.status, status);
    }
    gateway.stop();
    gateway.ended().await;

    let text = fs::read_to_string(&file).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let rule = ["step", "rule", "limit", "delivery"].map(|name| last[name].as_str().unwrap());
    assert_eq!(rule, ["limits", "rate-limited", "upstream", "not_sent"]);
}

/// `/dev/full` is a disk without room.
#[tokio::test]
async fn a_full_disk_stops_nobody_and_is_counted() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let file = home.path("audit.jsonl");
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    let gateway = Running::at(&home, [("AUDIT__FILE", file.to_str().unwrap())]).await;

    let request = post(CHAT, &key("billing")).to_bytes();
    assert_eq!(gateway.exchange(request).await.status, 200);

    gateway
        .await_metric("portaria_audit_write_failures_total 1")
        .await;
}
