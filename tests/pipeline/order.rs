//! Which rule is asked first, and what does a refusal cost?

use std::time::Duration;

use tokio::time::advance;

use crate::{
    gateway::{Gateway, Reply, Spoil as _, Untouchable, application, post, post_by, route},
    support::{Answer, CHAT, key},
};

const SHOP: &str = "https://shop.example.com";

/// Whichever two neighbours were swapped, one of these answers would be another.
#[tokio::test(start_paused = true)]
async fn a_request_that_breaks_every_rule_hears_of_the_first_that_is_left() {
    let shop = "credential = 'main'\nallowed_domains = ['shop.example.com']\nrate_limit = { rate = '1/s', burst = 1 }";
    let gateway = Gateway::new(
        &[
            "server = { max_in_flight = 1 }\n",
            "credentials = { main = { token = 'env:TOKEN' }, spare = { token = 'env:NEXT_TOKEN' } }\n",
            &application("shop", shop),
            &application("old", &format!("{shop}\nexpires_at = 2020-01-01T00:00:00Z")),
            &application("billing", "credential = 'spare'"),
        ]
        .concat(),
    );
    // The upstream wants a pause, the key's quota is used up, and there is no room.
    let pause = Answer::new(503).with_header("retry-after", "30");
    let rejected = || Reply::Says(Answer::new(401));
    gateway
        .wegly
        .will([Reply::Says(pause), Reply::Waits, rejected()]);
    gateway.send(post_by("shop").set("origin", SHOP)).await;
    let waits = gateway.begin(post());
    assert!(tokio::time::timeout(Duration::ZERO, waits).await.is_err());
    let heard = async |request| {
        let answer = gateway.send(request).await;
        if answer.status == 200 {
            return "no refusal".to_owned();
        }
        answer.json()["code"].as_str().unwrap().to_owned()
    };
    let repaired = || post_by("shop").set("origin", SHOP);
    let misnamed = || repaired().set("idempotency-key", "a b");
    let invalid = || misnamed().with_body("{}");
    let no_json = || invalid().set("content-type", "text/plain");
    let from_elsewhere = || no_json().set("origin", "https://other.example");
    let expired = || {
        let key = format!("Bearer {}", key("old"));
        from_elsewhere().set("authorization", &key)
    };
    let nowhere = || expired().target("/nowhere");
    let odd = || nowhere().add("content_length", "0");

    assert_eq!(heard(odd()).await, "overloaded");
    gateway.wegly.answer();
    gateway.shared.tasks.finished().await;
    assert_eq!(heard(odd()).await, "malformed-request");
    assert_eq!(heard(nowhere()).await, "no-such-route");
    assert_eq!(heard(expired()).await, "invalid-key");
    assert_eq!(heard(from_elsewhere()).await, "origin-not-allowed");
    assert_eq!(heard(no_json()).await, "rate-limited");
    advance(Duration::from_secs(1)).await;
    assert_eq!(heard(no_json()).await, "unsupported-media-type");
    advance(Duration::from_secs(1)).await;
    assert_eq!(heard(invalid()).await, "invalid-message");
    advance(Duration::from_secs(1)).await;
    assert_eq!(heard(misnamed()).await, "idempotency-key-malformed");
    advance(Duration::from_secs(1)).await;
    assert_eq!(heard(repaired()).await, "cooling-down");
    advance(Duration::from_secs(30)).await;
    assert_eq!(heard(repaired()).await, "upstream-rejected-credential");
    advance(Duration::from_secs(1)).await;
    assert_eq!(heard(repaired()).await, "no refusal");
}

/// A body that panics where it is asked for is sent by callers who are not let in.
#[tokio::test(start_paused = true)]
async fn a_body_is_never_asked_for_before_the_caller_is_let_in() {
    let config = [
        "server = { hosts = ['portaria.test'] }\n",
        &application("billing", ""),
        &application("old", "expires_at = 2020-01-01T00:00:00Z"),
        &application("shop", "allowed_domains = ['shop.example.com']"),
        &application("slow", "rate_limit = { rate = '1/s', burst = 1 }"),
    ]
    .concat();
    for (request, expected) in [
        (post().set("host", "other"), "misdirected-request"),
        (post().set("expect", "more"), "expectation-failed"),
        (post().add("x_y", "1"), "malformed-request"),
        (post().target("/nowhere"), "no-such-route"),
        (post().with_method("PUT"), "method-not-allowed"),
        (post().without("authorization"), "missing-key"),
        (post_by("nobody"), "invalid-key"),
        (post_by("old"), "invalid-key"),
        (
            post().set("sec-fetch-site", "cross-site"),
            "key-used-in-browser",
        ),
        (post_by("shop"), "origin-not-allowed"),
        (post_by("slow"), "rate-limited"),
        (
            post().set("content-type", "text/plain"),
            "unsupported-media-type",
        ),
        (
            post().set("content-encoding", "gzip"),
            "unsupported-media-type",
        ),
    ] {
        let gateway = Gateway::new(&config);
        gateway.send(post_by("slow")).await;

        let answer = gateway.send(request.stream(Untouchable)).await;

        assert_eq!(answer.json()["code"], expected);
    }

    let gateway = Gateway::new(&config);
    let announced = post().stream(Untouchable).set("content-length", "65537");
    let allowed = post().stream(Untouchable).set("content-length", "65536");
    assert_eq!(
        gateway.send(announced).await.json()["code"],
        "body-too-large"
    );
    // So that the above could fail at all: here the body is asked for.
    assert_eq!(gateway.send(allowed).await.json()["code"], "internal");
}

#[tokio::test(start_paused = true)]
async fn refused_keys_and_pages_cost_no_quota() {
    let limit = "rate_limit = { rate = '1/min', burst = 2 }";
    let gateway = Gateway::new(
        &[
            application(
                "shop",
                &format!("{limit}\nallowed_domains = ['shop.example.com']"),
            ),
            application("billing", &format!("{limit}\ndisabled = true")),
            application("server", limit),
        ]
        .concat(),
    );

    for _ in 0..3 {
        let refused = [
            post_by("shop"),
            post_by("shop").set("origin", "https://other.example"),
            post_by("billing"),
            post_by("server").set("sec-fetch-site", "same-origin"),
            post_by("server").with_method("GET"),
        ];
        for request in refused {
            assert!((401..=405).contains(&gateway.send(request).await.status));
        }
    }

    for request in [post_by("shop").set("origin", SHOP), post_by("server")] {
        let answer = gateway.send(request).await;
        assert_eq!(answer.header("ratelimit"), Some(r#""key";r=1;t=60"#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_message_costs_the_keys_quota_but_neither_the_chats_nor_the_upstreams() {
    let gateway = Gateway::new(
        &[
            "limits = { upstream = { rate = '1/min', burst = 2 } }\n",
            &route("per_chat = { rate = '1/min', burst = 1 }"),
            &application("billing", "rate_limit = { rate = '1/min', burst = 9 }"),
        ]
        .concat(),
    );
    let left = |answer: &Answer| answer.header("ratelimit").unwrap().to_owned();

    let wrong = [
        post().with_body("{}"),
        post().with_body("{"),
        post().set("content-type", "text/plain"),
    ];
    for (request, left_of_key) in wrong.into_iter().zip([8, 7, 6]) {
        let answer = gateway.send(request).await;
        assert!(left(&answer).starts_with(&format!(r#""key";r={left_of_key};"#)));
    }

    let other = post().target(&post().uri().path().replace(CHAT, &CHAT.replace('7', "8")));
    assert_eq!(gateway.send(post()).await.status, 200);
    assert_eq!(gateway.send(post()).await.json()["limit"], "chat");
    // The chat's refusal cost the upstream's quota nothing either.
    assert_eq!(gateway.send(other).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_upstream_costs_no_chat_its_quota() {
    let gateway = Gateway::new(&route("per_chat = { rate = '1/h', burst = 2 }"));
    let pause = Answer::new(429).with_header("retry-after", "9");
    gateway.wegly.will([Reply::Says(pause)]);
    gateway.send(post()).await;

    for _ in 0..3 {
        assert_eq!(gateway.send(post()).await.json()["code"], "cooling-down");
    }
    advance(Duration::from_secs(9)).await;

    assert_eq!(gateway.send(post()).await.status, 200);
    assert_eq!(gateway.send(post()).await.json()["limit"], "chat");
}

/// It is one message, however many tokens it takes.
#[tokio::test(start_paused = true)]
async fn a_message_that_goes_out_with_the_next_token_costs_no_more_quota() {
    let credential =
        "[credentials.main]\ntoken = 'env:TOKEN'\nnext_token = 'env:NEXT_TOKEN'\n[limits]\n";
    let gateway = Gateway::new(&format!(
        "{credential}upstream = {{ rate = '1/h', burst = 1 }}\n"
    ));
    gateway.wegly.will([Reply::Says(Answer::new(401))]);

    assert_eq!(gateway.send(post()).await.status, 200);
    assert_eq!(gateway.send(post()).await.json()["limit"], "upstream");
    assert_eq!(gateway.wegly.received().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_costs_neither_the_chat_nor_the_upstream_its_quota() {
    let gateway = Gateway::new(
        &[
            "limits = { upstream = { rate = '1/h', burst = 2 } }\n",
            &route("per_chat = { rate = '1/h', burst = 2 }"),
        ]
        .concat(),
    );
    let named = |name| post().set("idempotency-key", name);

    for name in ["a", "a", "b", "a", "b", "b"] {
        assert_eq!(gateway.send(named(name)).await.status, 200);
    }

    assert_eq!(gateway.send(named("c")).await.json()["limit"], "chat");
    assert_eq!(gateway.wegly.received().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_message_leaves_its_name_free() {
    let gateway = Gateway::new("");
    let named = || post().set("idempotency-key", "a");

    for wrong in ["{", "{}"] {
        let answer = gateway.send(named().with_body(wrong)).await;
        assert!([400, 422].contains(&answer.status));
    }

    assert_eq!(gateway.send(named()).await.status, 200);
}
