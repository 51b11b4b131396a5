//! Which refusals are there, and what do they look like?

use std::{collections::BTreeSet, time::Duration};

use portaria::{
    middleware::key::failures::Peer,
    problem::{AnswerFault, Code, Problem},
};
use serde_json::json;

use crate::{
    gateway::{Gateway, PATH, Reply, Spoil as _, Stalled, application, post, post_by, route},
    support::{Answer, TOKEN, message},
};

/// The table of the contract, with the fields and members that a refusal has beyond
/// those that all have.
#[rustfmt::skip] // a table reads best as a table
const TABLE: [Row; 35] = [
    (400, "malformed-request",            "not_sent", &[CLOSE], &[]),
    (400, "invalid-path-parameter",       "not_sent", &[], &[]),
    (400, "malformed-json",               "not_sent", &[], &[]),
    (401, "missing-key",                  "not_sent", &[("www-authenticate", r#"Bearer realm="portaria""#)], &[]),
    (401, "invalid-key",                  "not_sent", &[("www-authenticate", r#"Bearer realm="portaria", error="invalid_token""#)], &[]),
    (403, "origin-not-allowed",           "not_sent", &[], &[]),
    (403, "key-used-in-browser",          "not_sent", &[], &[]),
    (403, "route-not-allowed",            "not_sent", &[], &[]),
    (404, "no-such-route",                "not_sent", &[], &[]),
    (405, "method-not-allowed",           "not_sent", &[("allow", "POST, PUT")], &[]),
    (400, "idempotency-key-required",     "not_sent", &[], &[]),
    (400, "idempotency-key-malformed",    "not_sent", &[], &[]),
    (409, "idempotency-in-progress",      "not_sent", &[("retry-after", "1")], &["retry_after"]),
    (409, "idempotency-outcome-unknown",  "unknown",  &[], &[]),
    (422, "idempotency-key-reused",       "not_sent", &[], &[]),
    (408, "body-timeout",                 "not_sent", &[CLOSE], &[]),
    (417, "expectation-failed",           "not_sent", &[], &[]),
    (421, "misdirected-request",          "not_sent", &[], &[]),
    (413, "body-too-large",               "not_sent", &[CLOSE], &[]),
    (415, "unsupported-media-type",       "not_sent", &[("accept", "application/json")], &[]),
    (422, "invalid-message",              "not_sent", &[], &["errors"]),
    (429, "rate-limited",                 "not_sent", &[("retry-after", "6")], &["limit", "retry_after"]),
    (429, "too-many-failures",            "not_sent", &[("retry-after", "3")], &["retry_after"]),
    (431, "headers-too-large",            "not_sent", &[CLOSE], &[]),
    (414, "uri-too-long",                 "not_sent", &[CLOSE], &[]),
    (500, "internal",                     "unknown",  &[], &[]),
    (502, "upstream-unreachable",         "not_sent", &[], &[]),
    (502, "upstream-rejected-credential", "not_sent", &[], &[]),
    (502, "upstream-broke-off",           "unknown",  &[], &[]),
    (502, "upstream-answer-refused",      "sent",     &[], &["upstream_status"]),
    (503, "overloaded",                   "not_sent", &[("retry-after", "1")], &["retry_after"]),
    (503, "cooling-down",                 "not_sent", &[("retry-after", "7")], &["retry_after"]),
    (503, "store-unavailable",            "not_sent", &[("retry-after", "1")], &["retry_after"]),
    (503, "draining",                     "not_sent", &[("retry-after", "1"), CLOSE], &["retry_after"]),
    (504, "upstream-timeout",             "unknown",  &[], &[]),
];

type Row = (
    u16,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const CLOSE: (&str, &str) = ("connection", "close");

/// The fields that say what to do about a refusal.
const OF_SOME: [&str; 5] = [
    "www-authenticate",
    "allow",
    "accept",
    "retry-after",
    "connection",
];

/// The members that every refusal has.
const OF_ALL: [&str; 8] = [
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "code",
    "request_id",
    "delivery",
];

#[tokio::test(start_paused = true)]
async fn every_refusal_is_what_the_contract_says_in_english_and_in_portuguese() {
    for &code in Code::ALL {
        let name = code.name();
        let &(status, _, delivery, fields, members) =
            TABLE.iter().find(|row| row.1 == name).expect(name);
        let english = provoke(code, "en").await.1;
        let portuguese = provoke(code, "fr, pt-BR;q=0.9, en;q=0.8").await.1;

        for (answer, language) in [(&english, "en"), (&portuguese, "pt-BR")] {
            let document = answer.json();
            assert_eq!(document["code"], name, "{document}");
            assert_eq!(answer.status, status, "{name}");
            assert_eq!(document["status"], status, "{name}");
            assert_eq!(
                document["type"],
                format!("urn:problem-type:portaria:{name}")
            );
            assert_eq!(document["delivery"], delivery, "{name}");
            assert_eq!(
                document["request_id"],
                answer.header("x-request-id").unwrap()
            );
            assert!(document["instance"].as_str().unwrap().starts_with('/'));
            let found: BTreeSet<_> = document.as_object().unwrap().keys().collect();
            let expected = OF_ALL.iter().chain(members).map(ToString::to_string);
            assert!(
                found
                    .into_iter()
                    .cloned()
                    .eq(expected.collect::<BTreeSet<_>>())
            );

            assert_eq!(answer.header("portaria-delivery"), Some(delivery), "{name}");
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json")
            );
            assert_eq!(answer.header("content-language"), Some(language), "{name}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
            for of_some in OF_SOME {
                let expected = fields.iter().find(|(field, _)| *field == of_some);
                assert_eq!(
                    answer.header(of_some),
                    expected.map(|(_, value)| *value),
                    "{of_some} of {name}"
                );
            }
            if members.contains(&"retry_after") {
                let seconds = document["retry_after"].to_string();
                assert_eq!(answer.header("retry-after"), Some(&*seconds), "{name}");
            }
        }
        for words in ["title", "detail"] {
            let [english, portuguese] = [&english, &portuguese].map(|answer| {
                let document = answer.json();
                document[words].as_str().unwrap().to_owned()
            });
            assert!(!english.is_empty() && !portuguese.is_empty(), "{name}");
            assert_ne!(english, portuguese, "{words} of {name}");
        }
    }
    assert_eq!(TABLE.len(), Code::ALL.len());
}

#[tokio::test]
async fn the_instance_is_the_path_without_its_query() {
    let gateway = Gateway::new("");

    let answer = gateway.send(post().target("/a/b?canary-query")).await;

    assert_eq!(answer.json()["code"], "malformed-request");
    assert_eq!(answer.json()["instance"], "/a/b");
}

#[tokio::test]
async fn each_broken_rule_of_a_message_is_pointed_at() {
    let gateway = Gateway::new("");
    let text = String::from_utf8(message()).unwrap();
    let wrong = text.replace("Confirmar", "canary-text-23-letters!");

    let english = gateway.send(post().with_body(&wrong)).await;
    let portuguese = gateway
        .send(post().with_body(&wrong).set("accept-language", "pt"))
        .await;

    assert_eq!(
        english.json()["errors"],
        json!([{
            "pointer": "/action/buttons/0/title",
            "keyword": "maxLength",
            "detail": "is 23 characters long; the limit is 20",
            "limit": 20,
            "actual": 23,
        }])
    );
    assert_ne!(
        portuguese.json()["errors"][0]["detail"],
        english.json()["errors"][0]["detail"]
    );
}

#[tokio::test]
async fn an_answer_that_is_not_passed_on_is_told_with_its_status() {
    let gateway = Gateway::new("");
    gateway
        .wegly
        .will([Reply::Says(Answer::new(404).with_body(TOKEN))]);

    let answer = gateway.send(post()).await;

    assert_eq!(answer.json()["upstream_status"], 404);
}

/// Four applications, and a path with two methods; only one message may have a name.
fn config() -> String {
    [
        "server = { max_in_flight = 2, hosts = ['portaria.test'] }\n",
        "idempotency = { max_entries = 1 }\n",
        &route(""),
        &route("method = 'PUT'\nidempotency = 'required'").replace("'interactive'", "'replace'"),
        &application("billing", ""),
        &application("slow", "rate_limit = { rate = '10/min', burst = 1 }"),
        &application("shop", "allowed_domains = ['shop.example.com']"),
        &application("narrow", "routes = ['replace']"),
    ]
    .concat()
}

/// A gateway that has just refused a request with this code. A new code does not
/// compile until it is provoked here.
pub async fn provoke(code: Code, language: &str) -> (Gateway, Answer) {
    let gateway = Gateway::new(&config());
    let wegly = &gateway.wegly;
    let named = |name| post().set("idempotency-key", name);
    // Each hangs up at once, and what was begun goes on.
    let begin = async |request| {
        wegly.will([Reply::Waits]);
        let waits = gateway.begin(request);
        assert!(tokio::time::timeout(Duration::ZERO, waits).await.is_err());
    };
    let request = match code {
        Code::MalformedRequest => post().target("/a?canary-query"),
        Code::InvalidPathParameter => post().target(&PATH.replace("{id}", "7")),
        Code::MalformedJson => post().with_body(r#"{"canary-text": 1, "canary-text": 2}"#),
        Code::MissingKey => post().without("authorization"),
        Code::InvalidKey => post().set("authorization", "Bearer canary-key"),
        Code::OriginNotAllowed => post_by("shop").set("origin", "https://other.example"),
        Code::KeyUsedInBrowser => post().set("sec-fetch-site", "none"),
        Code::RouteNotAllowed => post_by("narrow"),
        Code::NoSuchRoute => post().target("/nowhere"),
        Code::MethodNotAllowed => post().with_method("GET"),
        Code::IdempotencyKeyRequired => post().with_method("PUT"),
        Code::IdempotencyKeyMalformed => named("canary text"),
        Code::IdempotencyInProgress => {
            begin(named("canary-text")).await;
            named("canary-text")
        }
        Code::IdempotencyOutcomeUnknown => {
            let source = "connection reset".into();
            wegly.will([Reply::Fails(Problem::UpstreamBrokeOff { source })]);
            gateway.send(named("canary-text")).await;
            named("canary-text")
        }
        Code::IdempotencyKeyReused => {
            gateway.send(named("canary-text")).await;
            named("canary-text").with_body(message())
        }
        Code::BodyTimeout => post().stream(Stalled("{\"canary-text\":")),
        Code::ExpectationFailed => post().set("expect", "canary-text"),
        Code::MisdirectedRequest => post().set("host", "canary-text.example"),
        Code::BodyTooLarge => post().with_body(vec![b' '; 64 * 1024 + 1]),
        Code::UriTooLong => post().target(&format!("/{}", "a".repeat(2048))),
        Code::UnsupportedMediaType => post().set("content-type", "text/canary-text"),
        Code::InvalidMessage => post().with_body(r#"{"canary-text": "canary-text"}"#),
        Code::RateLimited => {
            gateway.send(post_by("slow")).await;
            post_by("slow")
        }
        Code::TooManyFailures => {
            let wrong = || {
                let mut post = post().set("authorization", "Bearer canary-key");
                post.extensions_mut()
                    .insert(Peer(Some([192, 0, 2, 1].into())));
                post
            };
            for _ in 0..20 {
                assert_eq!(gateway.send(wrong()).await.json()["code"], "invalid-key");
            }
            wrong()
        }
        Code::HeadersTooLarge => (0..65).fold(post(), |post, _| post.add("x", "canary-text")),
        Code::Internal => {
            wegly.will([Reply::Panics]);
            post()
        }
        Code::UpstreamUnreachable => {
            // It is tried once more.
            wegly.will(["no route to host"; 2].map(|source| {
                let source = source.into();
                Reply::Fails(Problem::UpstreamUnreachable { source })
            }));
            post()
        }
        Code::UpstreamRejectedCredential => {
            let challenge = Answer::new(401).with_header("www-authenticate", "Bearer");
            wegly.will([Reply::Says(challenge)]);
            post()
        }
        Code::UpstreamBrokeOff => {
            let source = "connection reset".into();
            wegly.will([Reply::Fails(Problem::UpstreamBrokeOff { source })]);
            post()
        }
        Code::UpstreamAnswerRefused => {
            wegly.will([Reply::Fails(Problem::UpstreamAnswerRefused {
                status: http::StatusCode::FOUND,
                fault: AnswerFault::Redirect,
            })]);
            post()
        }
        Code::Overloaded => {
            begin(post()).await;
            begin(post()).await;
            post()
        }
        Code::CoolingDown => {
            wegly.will([Reply::Says(
                Answer::new(503).with_header("retry-after", "7"),
            )]);
            gateway.send(post()).await;
            post()
        }
        Code::StoreUnavailable => {
            gateway.send(named("canary-text")).await;
            named("canary-text-2")
        }
        Code::Draining => {
            gateway.shared.room.drain();
            post()
        }
        Code::UpstreamTimeout => {
            wegly.will([Reply::Never]);
            post()
        }
    };
    let answer = gateway.send(request.set("accept-language", language)).await;
    (gateway, answer)
}
