//! What may a page read?

use portaria::{
    http::{Body, Request},
    problem::Problem,
};

use crate::{
    gateway::{Gateway, Reply, Spoil as _, application, post, post_by},
    support::Answer,
};

const SHOP: &str = "https://shop.example.com";
const OTHER: &str = "https://other.example";

#[tokio::test]
async fn a_preflight_is_answered_without_a_key_and_for_known_pages_alone() {
    let gateway = gateway("server = { cors = true }\n");

    let known = gateway.send(preflight(SHOP)).await;
    let unknown = gateway.send(preflight(OTHER)).await;
    let hidden = gateway.send(preflight("null")).await;

    assert_eq!(known.status, 200);
    assert_eq!(known.header("access-control-allow-origin"), Some(SHOP));
    assert_eq!(known.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(known.header("access-control-max-age"), Some("600"));
    let allowed = known.header("access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "x-portaria-key",
        "content-type",
        "traceparent",
    ] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert_eq!(known.header("access-control-allow-credentials"), None);
    assert_eq!(known.header("portaria-delivery"), Some("not_sent"));
    for answer in [unknown, hidden] {
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert!(gateway.wegly.received().is_empty());
}

#[tokio::test]
async fn a_known_page_may_read_every_answer_refusals_included() {
    let sent = || post_by("shop").set("origin", SHOP);
    let panics = [Reply::Panics];
    let lost = Problem::UpstreamTimeout;
    let fails = [Reply::Fails(lost)];
    let answers: [(Request, Option<[Reply; 1]>, u16); 9] = [
        (sent(), None, 200),
        (sent(), Some([Reply::Says(Answer::new(404))]), 404),
        (sent(), Some(fails), 504),
        (sent(), Some(panics), 500),
        (sent().with_body("{}"), None, 422),
        (sent().without("authorization"), None, 401),
        (post_by("nobody").set("origin", SHOP), None, 401),
        (sent().target("/nowhere"), None, 404),
        (sent().target("/a?b"), None, 400),
    ];
    for (request, replies, expected) in answers {
        let gateway = gateway("server = { cors = true }\n");
        gateway.wegly.will(replies.into_iter().flatten());

        let answer = gateway.send(request).await;

        assert_eq!(answer.status, expected);
        assert_readable(&answer);
    }

    let draining = gateway("server = { cors = true }\n");
    draining.shared.room.drain();
    assert_readable(&draining.send(sent()).await);
}

#[tokio::test]
async fn an_unknown_page_may_read_nothing() {
    let gateway = gateway("server = { cors = true }\n");

    let refused = gateway.send(post_by("shop").set("origin", OTHER)).await;
    let server = gateway.send(post().set("origin", OTHER)).await;

    assert_eq!(refused.json()["code"], "origin-not-allowed");
    assert_eq!(server.status, 200);
    for answer in [refused, server] {
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert!(answer.header("vary").unwrap().contains("origin"));
    }
}

#[tokio::test]
async fn a_key_for_any_page_lets_any_page_read() {
    let kiosk = application("kiosk", "browser = 'allow'");
    let gateway = Gateway::new(&format!("server = {{ cors = true }}\n{kiosk}"));

    let answer = gateway.send(preflight(OTHER)).await;

    assert_eq!(answer.header("access-control-allow-origin"), Some(OTHER));
}

#[tokio::test]
async fn where_cors_is_off_a_preflight_is_a_method_like_any_other() {
    let gateway = gateway("");

    let preflight = gateway.send(preflight(SHOP)).await;
    let answer = gateway.send(post_by("shop").set("origin", SHOP)).await;

    assert_eq!(preflight.status, 405);
    assert_eq!(preflight.header("allow"), Some("POST"));
    assert_eq!(answer.status, 200);
    for answer in [preflight, answer] {
        let names = answer.headers.iter().map(|(name, _)| name);
        assert!(!{ names }.any(|name| name.starts_with("access-control-")));
    }
}

#[track_caller]
fn assert_readable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in [
        "x-request-id",
        "portaria-delivery",
        "idempotent-replayed",
        "retry-after",
        "www-authenticate",
        "ratelimit",
        "ratelimit-policy",
    ] {
        assert!(exposed.split(',').any(|exposed| exposed == name), "{name}");
    }
}

/// A server called "billing", and "shop" for the pages of [`SHOP`].
fn gateway(config: &str) -> Gateway {
    let shop = application("shop", "allowed_domains = ['shop.example.com']");
    Gateway::new(&[config, &application("billing", ""), &shop].concat())
}

/// What a browser asks before it sends a message from this page.
fn preflight(origin: &str) -> Request {
    Request::new(Body::empty())
        .with_method("OPTIONS")
        .target(post().uri().path())
        .set("host", "portaria.test")
        .set("origin", origin)
        .set("access-control-request-method", "POST")
        .set(
            "access-control-request-headers",
            "authorization,content-type",
        )
}
