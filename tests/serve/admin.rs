//! What does an operator see?

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_gateway_that_serves_is_alive_and_ready() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;

    let live = gateway.admin("/livez").await;
    let ready = gateway.admin("/readyz").await;

    assert_eq!((live.status, ready.status), (200, 200));
    assert_eq!(ready.header("Content-Type"), Some("application/json"));
    assert_eq!(ready.header("Cache-Control"), Some("no-store"));
    assert_eq!(ready.json()["ready"], json!(true));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;

    for (request, status) in [
        ("GET /", 404),
        ("GET /livez/", 404),
        ("GET /metrics/../livez", 404),
        ("POST /nowhere", 404),
        ("POST /livez", 405),
        ("DELETE /metrics", 405),
        ("OPTIONS /readyz", 405),
    ] {
        let mut operator = gateway.connect_admin().await;
        let answer = operator
            .exchange(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;

        assert_eq!(answer.status, status, "{request}");
        let allow = (status == 405).then_some("GET, HEAD");
        assert_eq!(answer.header("Allow"), allow, "{request}");
    }
}

#[tokio::test]
async fn a_head_has_the_length_of_its_page_and_no_page() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let page = gateway.admin("/livez").await;

    let mut operator = gateway.connect_admin().await;
    let head = "HEAD /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    operator.send(head).await;
    let heard = String::from_utf8(operator.read_to_end().await).unwrap();

    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
    let length = format!("\r\ncontent-length: {}\r\n", page.body.len());
    assert!(heard.contains(&length), "{heard}");
    assert!(heard.ends_with("\r\n\r\n"), "{heard}");
}

#[tokio::test]
async fn operators_and_applications_have_a_listener_each() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let message = post(CHAT, &key("billing")).to_bytes();

    let answer = gateway.connect_admin().await.exchange(message).await;
    assert_eq!(answer.status, 404);
    for path in ["/livez", "/readyz", "/metrics"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(gateway.exchange(request).await.status, 404, "{path}");
    }
    assert_eq!(upstream.ledger().connections(), 0);
}

#[tokio::test]
async fn the_metrics_are_openmetrics_and_their_labels_are_names_of_ours() {
    let answers = [Answer::standard(), Answer::new(500)];
    let upstream = Upstream::start(Script::answers(answers)).await;
    let gateway = Running::before(&upstream).await;
    let invalid = post(CHAT, &key("billing")).body("{}");
    for (request, status) in [
        (post(CHAT, &key("billing")), 200),
        (post(CHAT, &key("billing")), 500),
        (post(CHAT, &key("stranger")), 401),
        (post("canary-chat", &key("billing")), 400),
        (
            post(CHAT, &key("billing")).line("GET /canary-path HTTP/1.1"),
            404,
        ),
        (post(CHAT, &key("billing")).line("CANARY / HTTP/1.1"), 404),
        (
            post(CHAT, &key("shop")).header("Origin", "https://canary.test"),
            403,
        ),
        (invalid, 422),
    ] {
        assert_eq!(gateway.exchange(request.to_bytes()).await.status, status);
    }

    let page = gateway.admin("/metrics").await;

    assert_eq!(
        page.header("Content-Type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let page = String::from_utf8(page.body).unwrap();
    let numbers = parse(&page);
    for (sample, expected) in [
        (
            r#"portaria_requests_total{key="billing",route="interactive",status="200"}"#,
            1.0,
        ),
        (
            r#"portaria_requests_total{key="billing",route="interactive",status="500"}"#,
            1.0,
        ),
        (
            r#"portaria_requests_total{key="none",route="interactive",status="401"}"#,
            1.0,
        ),
        (
            r#"portaria_requests_total{key="none",route="none",status="404"}"#,
            2.0,
        ),
        (
            r#"portaria_refusals_total{key="none",reason="unknown-key",route="interactive"}"#,
            1.0,
        ),
        (
            r#"portaria_refusals_total{key="none",reason="no-such-route",route="none"}"#,
            2.0,
        ),
        (
            r#"portaria_refusals_total{key="shop",reason="origin-not-allowed",route="interactive"}"#,
            1.0,
        ),
        (
            r#"portaria_refusals_total{key="billing",reason="invalid-message",route="interactive"}"#,
            1.0,
        ),
        ("portaria_request_duration_seconds_count{}", 8.0),
        ("portaria_overhead_seconds_count{}", 8.0),
        ("portaria_upstream_duration_seconds_count{}", 2.0),
        ("portaria_requests_in_flight{}", 0.0),
    ] {
        assert_eq!(numbers.get(sample), Some(&expected), "{sample}\n{page}");
    }
    for name in [
        "portaria_connections{",
        "portaria_key_last_seen_timestamp_seconds{key=\"billing\"}",
        "portaria_build_info{",
    ] {
        let is_there = numbers.keys().any(|sample| sample.starts_with(name));
        assert!(is_there, "{name}\n{page}");
    }
    assert!(!page.contains("canary"), "{page}");
    assert!(!page.contains("ptr_"), "{page}");
}

/// The samples of a page, strictly: each belongs to a family that was declared before,
/// none is there twice, and `# EOF` is the last line. Labels are sorted by name.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let lines = page.strip_suffix("# EOF\n").expect("the page has an end");
    let mut families = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in lines.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            assert!(name.starts_with("portaria_"), "{line}");
            if kind == "TYPE" {
                assert!(families.insert(name.to_owned()), "twice: {line}");
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match sample.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (sample, ""),
        };
        let suffixes = ["", "_total", "_count", "_sum", "_bucket", "_info"];
        let is_declared = suffixes
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|family| families.contains(family));
        assert!(is_declared, "{line}");
        let mut labels: Vec<&str> = labels.split(',').collect();
        labels.sort_unstable();
        let sample = format!("{name}{{{}}}", labels.join(","));
        let value = value.parse().expect(line);
        assert_eq!(samples.insert(sample, value), None, "twice: {line}");
    }
    samples
}
