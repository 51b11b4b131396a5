//! Who may call?

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use portaria::{gateway_key::KeyHash, middleware::key::failures::Peer};

use crate::{
    gateway::{Gateway, Spoil as _, application, noon, post, post_by},
    support::{Answer, assert_refused, key},
};

#[tokio::test]
async fn keys_that_open_nothing_look_the_same_from_outside_and_differ_in_the_metrics() {
    let gateway = Gateway::new(
        &[
            application("old", "expires_at = 2026-11-23T12:00:00Z"),
            application("new", "not_before = 2026-11-23T12:01:01Z"),
            application("off", "disabled = true"),
        ]
        .concat(),
    );
    let garbled = ["Bearer", "Bearer  ", "Bearer canary-key", "bearer a b"];
    let garbled = garbled.map(|value| post().set("authorization", value));
    let known = ["nobody", "old", "new", "off"].map(post_by);
    let other = post().without("authorization").add("x-portaria-key", "-");

    let mut answers = BTreeSet::new();
    for request in garbled.into_iter().chain(known).chain([other]) {
        answers.insert(without_its_name(gateway.send(request).await));
    }

    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers.first().unwrap().2.contains("invalid-key"));
    for (key, reason, count) in [
        ("none", "unknown-key", 6),
        ("old", "expired-key", 1),
        ("new", "not-yet-valid-key", 1),
        ("off", "disabled-key", 1),
    ] {
        let counter = format!(
            r#"portaria_refusals_total{{route="interactive",key="{key}",reason="{reason}"}}"#
        );
        assert_eq!(gateway.counted(&counter), count, "{reason}");
    }
}

#[tokio::test]
async fn an_address_is_told_to_stop_whatever_is_wrong_with_its_keys_and_a_right_one_passes() {
    let keys = [("off", "disabled = true"), ("billing", "")];
    let gateway = Gateway::new(&keys.map(|(name, more)| application(name, more)).concat());
    let from_one_address = |name: &str| {
        let mut post = post_by(name);
        let address = [192, 0, 2, 1].into();
        post.extensions_mut().insert(Peer(Some(address)));
        post
    };
    let mut codes = Vec::new();
    for name in ["off", "nobody"].repeat(10) {
        let answer = gateway.send(from_one_address(name)).await;
        codes.push(answer.json()["code"].clone());
    }
    assert_eq!(codes, ["invalid-key"; 20]);

    for name in ["off", "nobody"] {
        let answer = gateway.send(from_one_address(name)).await;
        assert_refused(&answer, 429, "too-many-failures", "not_sent");
    }
    let right = gateway.send(from_one_address("billing")).await;
    assert_eq!(right.status, 200);
}

#[tokio::test]
async fn a_key_is_valid_from_its_first_second_to_its_last() {
    let config = application(
        "billing",
        "not_before = 2026-11-23T12:00:00Z\nexpires_at = 2026-11-23T13:00:00Z",
    );
    // A clock may be a minute late.
    let clocks: [(fn() -> SystemTime, u16); 5] = [
        (|| noon() - Duration::from_secs(61), 401),
        (|| noon() - Duration::from_secs(60), 200),
        (noon, 200),
        (|| noon() + Duration::from_secs(3599), 200),
        (|| noon() + Duration::from_secs(3600), 401),
    ];
    for (clock, expected) in clocks {
        let answer = Gateway::at(&config, clock).send(post()).await;

        assert_eq!(answer.status, expected);
    }
}

#[tokio::test]
async fn while_a_key_is_rotated_the_old_and_the_new_one_open_and_share_a_quota() {
    let [old, new] = ["old", "new"].map(|name| KeyHash::of(&key(name)));
    let gateway = Gateway::new(&format!(
        "[[keys]]\nname = 'billing'\nhashes = ['{old}', '{new}']\nrate_limit = {{ rate = '1/min', burst = 2 }}"
    ));

    for (name, expected) in [("old", 200), ("new", 200), ("old", 429), ("new", 429)] {
        assert_eq!(gateway.send(post_by(name)).await.status, expected);
    }

    let answered = r#"portaria_requests_total{route="interactive",key="billing",status="200"}"#;
    assert_eq!(gateway.counted(answered), 2);
}

#[tokio::test]
async fn a_key_comes_in_one_of_two_fields_and_never_in_both() {
    let bearer = format!("Bearer {}", key("billing"));
    let other = key("billing");
    for (authorization, x_portaria_key, expected) in [
        (Some(&*bearer), None, "200"),
        (Some(&*bearer.replace("Bearer", "bEARER")), None, "200"),
        (None, Some(&*other), "200"),
        (Some("Basic YTpi"), Some(&*other), "200"),
        (Some("Basic YTpi"), None, "missing-key"),
        (None, None, "missing-key"),
        (Some(&*bearer), Some(&*other), "malformed-request"),
        (Some("Bearer"), Some(&*other), "malformed-request"),
    ] {
        let mut request = post().without("authorization");
        for (name, value) in [
            ("authorization", authorization),
            ("x-portaria-key", x_portaria_key),
        ] {
            if let Some(value) = value {
                request = request.set(name, value);
            }
        }

        let answer = Gateway::new("").send(request).await;

        let found = match answer.status {
            200 => "200".to_owned(),
            _ => answer.json()["code"].as_str().unwrap().to_owned(),
        };
        assert_eq!(found, expected);
    }
    for name in ["authorization", "x-portaria-key"] {
        let request = post().without("authorization").add(name, &bearer);
        let answer = Gateway::new("").send(request.add(name, &bearer)).await;
        assert_eq!(answer.json()["code"], "malformed-request", "{name} twice");
    }
}

#[tokio::test]
async fn a_key_calls_the_routes_of_its_list_and_a_path_tells_its_methods() {
    let route = |name: &str, method: &str| {
        format!("[[routes]]\nname = '{name}'\nmethod = '{method}'\npath = '/a/{{id}}/b'\n")
    };
    let gateway = Gateway::new(
        &[
            route("create", "POST"),
            route("replace", "PUT"),
            application("billing", ""),
            application("writer", "routes = ['create']"),
        ]
        .concat(),
    );
    let path = format!("/a/{}/b", crate::support::CHAT);
    for (name, method, expected) in [
        ("billing", "POST", 200),
        ("billing", "PUT", 200),
        ("writer", "POST", 200),
        ("writer", "PUT", 403),
        ("writer", "PATCH", 405),
        ("nobody", "PATCH", 405),
    ] {
        let request = post_by(name).target(&path).with_method(method);

        let answer = gateway.send(request).await;

        assert_eq!(answer.status, expected, "{name} {method}");
        let allow = (expected == 405).then_some("POST, PUT");
        assert_eq!(answer.header("allow"), allow);
    }
    let methods: Vec<_> = gateway
        .wegly
        .received()
        .into_iter()
        .map(|received| received.method)
        .collect();
    assert_eq!(methods, ["POST", "PUT", "POST"]);
}

#[tokio::test]
async fn a_page_is_known_by_its_origin_and_without_one_by_its_referer() {
    let config = application(
        "shop",
        "allowed_domains = ['shop.example.com', '*.apps.example.com', 'https://exact.example:8443']",
    );
    let shop = "https://shop.example.com";
    let page = "https://shop.example.com/cart?item=1";
    for (origin, referer, expected) in [
        (Some(shop), None, 200),
        (Some("http://shop.example.com:8080"), None, 200),
        (Some("https://a.b.apps.example.com"), None, 200),
        (Some("https://exact.example:8443"), None, 200),
        (None, Some(page), 200),
        (Some(shop), Some("https://other.example/"), 200),
        (None, None, 403),
        (Some("null"), Some(page), 403),
        (Some("https://other.example"), Some(page), 403),
        (None, Some("https://other.example/"), 403),
        (Some("https://apps.example.com"), None, 403),
        (Some("https://exact.example"), None, 403),
        (Some("http://exact.example:8443"), None, 403),
        (Some("https://Shop.example.com"), None, 403),
        (Some("https://shop.example.com:443"), None, 403),
        (Some("https://shop.example.com."), None, 403),
        (Some("https://shop.example.com/"), None, 403),
        (Some("https://me@shop.example.com"), None, 403),
        (Some("https://shop.example.com.evil.example"), None, 403),
    ] {
        let mut request = post_by("shop");
        for (name, value) in [("origin", origin), ("referer", referer)] {
            if let Some(value) = value {
                request = request.set(name, value);
            }
        }

        let answer = Gateway::new(&config).send(request).await;

        assert_eq!(answer.status, expected, "{origin:?} {referer:?}");
    }
    let twice = post_by("shop").add("origin", shop).add("origin", shop);
    let answer = Gateway::new(&config).send(twice).await;
    assert_eq!(answer.json()["code"], "malformed-request");
}

#[tokio::test]
async fn a_servers_key_may_be_used_in_a_browser_only_if_that_is_meant() {
    let gateway = Gateway::new(
        &[
            application("server", ""),
            application("kiosk", "browser = 'allow'"),
        ]
        .concat(),
    );
    for value in ["none", "same-origin", "cross-site", "anything"] {
        let sent = |name| gateway.send(post_by(name).set("sec-fetch-site", value));

        assert_eq!(sent("server").await.json()["code"], "key-used-in-browser");
        assert_eq!(sent("kiosk").await.status, 200);
    }
}

/// All of an answer but the request's own name.
fn without_its_name(mut answer: Answer) -> (u16, Vec<(String, String)>, String) {
    let place = |(name, _): &(String, String)| name == "x-request-id";
    let place = answer.headers.iter().position(place).unwrap();
    let (_, id) = answer.headers.remove(place);
    let body = String::from_utf8(answer.body).unwrap();
    (answer.status, answer.headers, body.replace(&id, "ID"))
}
