//! Is a message that has a name sent once, whoever asks again?

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;

use portaria::{
    http::Request,
    problem::{AnswerFault, Problem},
    records::{Claim, Local, Outcome, Record, Store, Terms, Unavailable},
};
use tokio::{task::JoinSet, time::advance};

use crate::{
    gateway::{Gateway, NEXT_TOKEN, Reply, Spoil as _, application, noon, post, post_by, route},
    support::{Answer, CHAT, message_saying},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

// ---- Answered: the same answer again.

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_same_answer_and_sends_nothing() {
    for status in [200, 201, 204, 400, 404, 422, 500, 502, 504] {
        let gateway = Gateway::new("");
        let said = Answer::new(status)
            .with_header("content-type", "application/json")
            .with_header("x-wegly", "a")
            .with_header("x-wegly", "b")
            .with_body(r#"{"id":7}"#);
        gateway.wegly.will([Reply::Says(said)]);

        let first = gateway.send(named("order-7")).await;
        let again = gateway.send(named("order-7")).await;

        assert_eq!((again.status, &again.body), (status, &first.body));
        for name in ["content-type", "x-wegly", "portaria-delivery"] {
            assert_eq!(all(&again, name), all(&first, name), "{name}");
        }
        assert_eq!(again.header("portaria-delivery"), Some("sent"));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(first.header("idempotent-replayed"), None);
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
        assert_eq!(gateway.wegly.received().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_true_at_the_time_of_the_answer_is_not_said_again() {
    let gateway = Gateway::new(&application(
        "billing",
        "rate_limit = { rate = '1/min', burst = 9 }",
    ));
    let said = Answer::standard()
        .with_header("date", "Mon, 23 Nov 2026 12:00:00 GMT")
        .with_header("retry-after", "3")
        .with_header("ratelimit", r#""theirs";r=1;t=1"#);
    gateway.wegly.will([Reply::Says(said)]);

    let first = gateway.send(named("a")).await;
    let again = gateway.send(named("a")).await;

    assert_eq!(all(&first, "ratelimit").len(), 2);
    assert_eq!(all(&again, "ratelimit"), [r#""key";r=7;t=420"#]);
    assert_eq!(
        (again.header("date"), again.header("retry-after")),
        (None, None)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_could_not_be_passed_on_is_refused_again_and_not_asked_for_again() {
    let gateway = Gateway::new("");
    gateway.wegly.will([Reply::Fails(refused(201))]);

    let first = gateway.send(named("a")).await;
    let again = gateway.send(named("a")).await;

    for answer in [&first, &again] {
        assert_eq!(answer.json()["code"], "upstream-answer-refused");
        assert_eq!(answer.json()["upstream_status"], 201);
        assert_eq!(answer.header("portaria-delivery"), Some("sent"));
    }
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(gateway.wegly.received().len(), 1);
}

// ---- Certainly not sent, or nothing done: the name is free again.

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_may_be_sent_under_the_same_name() {
    let says = |status| Reply::Says(Answer::new(status));
    let unreachable = || {
        let source = "no route to host".into();
        Reply::Fails(Problem::UpstreamUnreachable { source })
    };
    for (replies, code) in [
        (
            vec![unreachable(), unreachable()],
            Some("upstream-unreachable"),
        ),
        (vec![says(401)], Some("upstream-rejected-credential")),
        (vec![says(429)], None),
        (vec![says(503)], None),
        (
            vec![Reply::Fails(refused(503))],
            Some("upstream-answer-refused"),
        ),
    ] {
        let gateway = Gateway::new("");
        gateway.wegly.will(replies);

        let first = gateway.send(named("a")).await;
        // After a 429 there is a pause.
        advance(Duration::from_secs(1)).await;
        let again = gateway.send(named("a")).await;

        if let Some(code) = code {
            assert_eq!(first.json()["code"], code);
        }
        assert_eq!(
            (again.status, again.header("idempotent-replayed")),
            (200, None)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_limit_refused_may_be_sent_under_the_same_name() {
    let gateway = Gateway::new(&route("per_chat = { rate = '1/min', burst = 1 }"));
    gateway.send(named("a")).await;

    assert_eq!(gateway.send(named("b")).await.json()["limit"], "chat");
    advance(Duration::from_secs(60)).await;

    assert_eq!(gateway.send(named("b")).await.status, 200);
    assert_eq!(gateway.wegly.received().len(), 2);
}

// ---- Nobody knows: never again under that name.

#[tokio::test(start_paused = true)]
async fn a_message_whose_fate_is_unknown_is_not_sent_again_until_its_record_expires() {
    let source = || "connection reset".into();
    for (reply, code) in [
        (
            Reply::Fails(Problem::UpstreamBrokeOff { source: source() }),
            "upstream-broke-off",
        ),
        (Reply::Never, "upstream-timeout"),
        (Reply::Panics, "internal"),
    ] {
        let gateway = Gateway::new("");
        gateway.wegly.will([reply]);

        let first = gateway.send(named("a")).await;
        gateway.shared.tasks.finished().await;

        assert_eq!(first.json()["code"], code);
        for _ in 0..3 {
            let again = gateway.send(named("a")).await;
            assert_eq!(
                again.json()["code"],
                "idempotency-outcome-unknown",
                "{code}"
            );
            assert_eq!(again.header("portaria-delivery"), Some("unknown"));
            assert_eq!(gateway.wegly.received().len(), 1);
        }
        advance(DAY - Duration::from_secs(60)).await;
        assert_eq!(gateway.send(named("a")).await.status, 409, "{code}");
        advance(Duration::from_secs(60)).await;
        assert_eq!(gateway.send(named("a")).await.status, 200, "{code}");
    }
}

// ---- On its way.

#[tokio::test(start_paused = true)]
async fn of_fifty_at_once_one_is_sent_and_the_others_are_told_that_it_is_on_its_way() {
    let gateway = Gateway::new("");
    gateway.wegly.will([Reply::Waits]);

    let mut requests = JoinSet::new();
    for _ in 0..50 {
        requests.spawn(gateway.begin(named("a")));
    }
    let mut told = Vec::new();
    for _ in 0..49 {
        told.push(requests.join_next().await.unwrap().unwrap());
    }
    gateway.wegly.answer();
    let sent = requests.join_next().await.unwrap().unwrap();

    assert_eq!(
        (sent.status, sent.header("idempotent-replayed")),
        (200, None)
    );
    for answer in told {
        assert_eq!(answer.json()["code"], "idempotency-in-progress");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("portaria-delivery"), Some("not_sent"));
    }
    assert_eq!(gateway.send(named("a")).await.body, sent.body);
    assert_eq!(gateway.wegly.received().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hung_up_finds_its_answer_when_it_asks_again() {
    let gateway = Gateway::new("");
    gateway.wegly.will([Reply::Waits]);

    let first = gateway.begin(named("a"));
    assert!(tokio::time::timeout(Duration::ZERO, first).await.is_err());
    let meanwhile = gateway.send(named("a")).await;
    gateway.wegly.answer();
    gateway.shared.tasks.finished().await;
    let again = gateway.send(named("a")).await;

    assert_eq!(meanwhile.json()["code"], "idempotency-in-progress");
    assert_eq!(again.body, Answer::standard().body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(gateway.wegly.received().len(), 1);
}

// ---- Names.

#[tokio::test(start_paused = true)]
async fn with_and_without_quotes_it_is_the_same_name() {
    let gateway = Gateway::new("");

    gateway.send(named("order-7")).await;
    let again = gateway.send(named("\"order-7\"")).await;

    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[tokio::test(start_paused = true)]
async fn one_name_of_two_applications_chats_or_routes_is_two_names() {
    let gateway = Gateway::new(
        &[
            route(""),
            route("method = 'PUT'").replace("'interactive'", "'replace'"),
            application("billing", ""),
            application("support", ""),
        ]
        .concat(),
    );
    let other_chat = CHAT.replace('7', "8");
    let to_other_chat = post().target(&post().uri().path().replace(CHAT, &other_chat));

    for request in [
        post(),
        post_by("support"),
        to_other_chat,
        post().with_method("PUT"),
    ] {
        let answer = gateway.send(request.set("idempotency-key", "a")).await;
        assert_eq!(
            (answer.status, answer.header("idempotent-replayed")),
            (200, None)
        );
    }

    assert_eq!(gateway.wegly.received().len(), 4);
}

/// A chat is a UUID, however its digits are written.
#[tokio::test(start_paused = true)]
async fn a_chat_in_capitals_is_the_same_chat() {
    let gateway = Gateway::new("");
    let shouted = post().uri().path().replace(CHAT, &CHAT.to_uppercase());

    gateway.send(named("a")).await;
    let again = gateway.send(named("a").target(&shouted)).await;

    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[tokio::test(start_paused = true)]
async fn another_message_needs_another_name_whatever_became_of_the_first() {
    let gateway = Gateway::new("");
    let source = "connection reset".into();
    gateway.wegly.will([
        Reply::Says(Answer::standard()),
        Reply::Fails(Problem::UpstreamBrokeOff { source }),
        Reply::Waits,
    ]);
    gateway.send(named("answered")).await;
    gateway.send(named("unknown")).await;
    let running = gateway.begin(named("running"));
    assert!(tokio::time::timeout(Duration::ZERO, running).await.is_err());

    for name in ["answered", "unknown", "running"] {
        let other = named(name).with_body(message_saying("another"));
        let answer = gateway.send(other).await;

        assert_eq!(answer.json()["code"], "idempotency-key-reused");
        assert_eq!(answer.header("portaria-delivery"), Some("not_sent"));
    }
    assert_eq!(gateway.wegly.received().len(), 3);
}

// ---- What a route asks for.

#[tokio::test(start_paused = true)]
async fn where_names_are_required_none_is_a_mistake_and_a_garbled_one_always_is() {
    let required = Gateway::new(&route("idempotency = 'required'"));
    let optional = Gateway::new("");

    let unnamed = required.send(post()).await;
    let garbled = optional.send(named("a b")).await;

    assert_eq!(unnamed.json()["code"], "idempotency-key-required");
    assert_eq!(garbled.json()["code"], "idempotency-key-malformed");
    assert_eq!(required.send(named("a")).await.status, 200);
    assert_eq!(optional.send(post()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn where_names_are_off_each_request_is_sent() {
    let gateway = Gateway::new(&route("idempotency = 'off'"));

    for name in ["a", "a", "a b"] {
        let answer = gateway.send(named(name)).await;
        assert_eq!(
            (answer.status, answer.header("idempotent-replayed")),
            (200, None)
        );
    }

    assert_eq!(gateway.wegly.received().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_new_names_and_forgets_none() {
    for bound in ["max_entries = 2", "max_bytes = '600 B'"] {
        let gateway = Gateway::new(&format!("idempotency = {{ {bound} }}\n"));
        gateway.send(named("a")).await;
        gateway.send(named("b")).await;

        let refused = gateway.send(named("c")).await;

        assert_eq!(refused.json()["code"], "store-unavailable", "{bound}");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(gateway.send(post()).await.status, 200);
        let again = gateway.send(named("a")).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        advance(DAY).await;
        assert_eq!(gateway.send(named("c")).await.status, 200);
    }
}

// ---- A store that is away.

#[tokio::test(start_paused = true)]
async fn without_its_store_a_message_with_a_name_is_not_sent_and_one_without_is() {
    let store = Arc::new(Flaky::default());
    let gateway = Gateway::over("", noon, store.clone());
    store.claims_to_fail.store(1, Ordering::Relaxed);

    let refused = gateway.send(named("a")).await;

    assert_eq!(refused.json()["code"], "store-unavailable");
    assert_eq!(refused.header("portaria-delivery"), Some("not_sent"));
    assert_eq!(gateway.send(post()).await.status, 200);
    assert_eq!(gateway.wegly.received().len(), 1);
    // The claim was made all the same, and is given back.
    gateway.shared.tasks.finished().await;
    assert_eq!(gateway.send(named("a")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_written_down_goes_back_and_is_written_down_later() {
    let store = Arc::new(Flaky::default());
    let gateway = Gateway::over("", noon, store.clone());
    store.settles_to_fail.store(3, Ordering::Relaxed);

    let first = gateway.send(named("a")).await;
    let meanwhile = gateway.send(named("a")).await;
    gateway.shared.tasks.finished().await;
    let again = gateway.send(named("a")).await;

    assert_eq!(first.status, 200);
    assert_eq!(meanwhile.json()["code"], "idempotency-in-progress");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(gateway.wegly.received().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_nobody_settled_is_unknown_when_its_request_must_have_ended() {
    let store = Arc::new(Flaky::default());
    let gateway = Gateway::over("", noon, store.clone());
    store.settles_to_fail.store(usize::MAX, Ordering::Relaxed);

    gateway.send(named("a")).await;
    let before = gateway.send(named("a")).await;
    advance(Duration::from_secs(40)).await;
    let after = gateway.send(named("a")).await;

    assert_eq!(before.json()["code"], "idempotency-in-progress");
    assert_eq!(after.json()["code"], "idempotency-outcome-unknown");
    assert_eq!(gateway.wegly.received().len(), 1);
}

// ---- What an operator sees.

#[tokio::test(start_paused = true)]
async fn what_comes_of_names_is_counted() {
    let gateway = Gateway::new("idempotency = { max_entries = 3 }\n");
    let source = "connection reset".into();
    gateway.wegly.will([
        Reply::Says(Answer::standard()),
        Reply::Fails(Problem::UpstreamBrokeOff { source }),
        Reply::Says(Answer::new(429)),
        Reply::Waits,
    ]);

    // Without a name, nothing comes of one.
    gateway.send(post()).await;
    for name in ["unknown", "released"] {
        gateway.send(named(name)).await;
    }
    advance(Duration::from_secs(1)).await;
    let running = gateway.begin(named("kept"));
    assert!(tokio::time::timeout(Duration::ZERO, running).await.is_err());
    gateway.send(named("kept")).await;
    gateway.wegly.answer();
    gateway.shared.tasks.finished().await;
    gateway.send(named("kept")).await;
    gateway
        .send(named("kept").with_body(message_saying("another")))
        .await;
    gateway.send(named("unknown")).await;
    gateway.send(named("third")).await;
    gateway.send(named("fourth")).await;

    for (outcome, count) in [
        ("kept", 2),
        ("released", 1),
        ("unknown", 1),
        ("replayed", 1),
        ("in_progress", 1),
        ("still_unknown", 1),
        ("reused", 1),
        ("unavailable", 1),
    ] {
        let counter = format!(r#"portaria_idempotency_total{{outcome="{outcome}"}}"#);
        assert_eq!(gateway.counted(&counter), count, "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_next_changes_no_name() {
    let gateway =
        Gateway::new("[credentials.main]\ntoken = 'env:TOKEN'\nnext_token = 'env:NEXT_TOKEN'\n");
    gateway.wegly.will([Reply::Says(Answer::new(401))]);

    gateway.send(named("a")).await;
    let again = gateway.send(named("a")).await;

    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(gateway.wegly.tokens().last().unwrap(), NEXT_TOKEN);
    assert_eq!(gateway.wegly.received().len(), 2);
}

/// A store in memory that fails now and then, after it has done what was asked, or before.
#[derive(Debug, Default)]
struct Flaky {
    store: Local,
    claims_to_fail: AtomicUsize,
    settles_to_fail: AtomicUsize,
}

impl Flaky {
    fn fails(left: &AtomicUsize) -> Result<(), Unavailable> {
        let took = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        });
        match took {
            Ok(_) => Err(Unavailable::Broken("as the test wants it".to_owned())),
            Err(_) => Ok(()),
        }
    }
}

impl Store for Flaky {
    fn claim(
        &self,
        claim: Claim,
        terms: Terms,
    ) -> BoxFuture<'_, Result<Option<Record>, Unavailable>> {
        Box::pin(async move {
            let found = self.store.claim(claim, terms).await;
            Self::fails(&self.claims_to_fail).and(found)
        })
    }

    fn settle(&self, claim: Claim, outcome: Outcome) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            Self::fails(&self.settles_to_fail)?;
            self.store.settle(claim, outcome).await
        })
    }
}

/// A message of "billing" with this name.
fn named(name: &str) -> Request {
    post().set("idempotency-key", name)
}

fn refused(status: u16) -> Problem {
    Problem::UpstreamAnswerRefused {
        status: status.try_into().unwrap(),
        fault: AnswerFault::TooLarge,
    }
}

fn all<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let fields = answer.headers.iter();
    fields
        .filter(|(other, _)| other == name)
        .map(|(_, value)| value.as_str())
        .collect()
}
