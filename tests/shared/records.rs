//! Is a message that has a name sent once, whichever gateway is asked?

use std::time::Duration;

use bytes::Bytes;
use portaria::records::{Claim, Digest, Fate, Outcome, Terms};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    PATIENT, one_of_three,
    support::{
        Answer, CHAT, Client, Home, Portaria, Redis, Script, Upstream, assert_refused, key,
        message, message_saying, post, within,
    },
    three,
};

const KEPT: [crate::support::Setting<'static>; 2] = [PATIENT, ("IDEMPOTENCY__STORE", "redis")];

#[tokio::test]
async fn a_name_that_is_fired_at_three_gateways_at_once_is_sent_once() {
    let (upstream, redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateways = three(&upstream, &redis, &KEPT).await;

    for number in 0..20 {
        let name = format!("order-{number}");
        let mut requests = JoinSet::new();
        for gateway in &gateways {
            let (address, request) = (gateway.address(), named(&name));
            requests.spawn(async move { Client::connect(address).await.exchange(request).await });
        }
        for answer in requests.join_all().await {
            match answer.status {
                200 => assert_eq!(answer.body, Answer::standard().body),
                _ => assert_refused(&answer, 409, "idempotency-in-progress", "not_sent"),
            }
        }
        let sent = upstream.ledger().deliveries_of(&message_saying(&name));
        assert_eq!(sent, 1, "{name}");
    }
}

#[tokio::test]
async fn what_one_gateway_was_answered_another_answers_again() {
    let script = Script::answers([Answer::new(201).with_body("{}"), Answer::new(500)]);
    let (upstream, redis) = (Upstream::start(script).await, Redis::start().await);
    let gateways = three(&upstream, &redis, &KEPT).await;

    gateways[0].exchange(named("a")).await;
    let again = gateways[1].exchange(named("a")).await;
    let other = gateways[2].exchange(named("a")).await;
    let reused = post(CHAT, &key("billing"))
        .header("Idempotency-Key", "a")
        .body(message());
    let reused = gateways[2].exchange(reused.to_bytes()).await;

    for answer in [again, other] {
        assert_eq!((answer.status, &answer.body[..]), (201, &b"{}"[..]));
        assert_eq!(answer.header("Idempotent-Replayed"), Some("true"));
    }
    assert_refused(&reused, 422, "idempotency-key-reused", "not_sent");
    upstream.ledger().only_request();
}

#[tokio::test]
async fn a_message_on_its_way_through_a_gateway_that_died_goes_through_no_other() {
    let (upstream, redis) = (Upstream::start(Script::hangs()).await, Redis::start().await);
    let other = one_of_three(&upstream, &redis, &KEPT).await;
    let home = Home::new(&upstream.url());
    let mut command = Portaria::serve(&home);
    for (name, value) in [&redis.settings("3")[..], &KEPT].concat() {
        command.env(format!("PORTARIA__{name}"), value);
    }
    let process = Portaria::start(command);
    process.await_line("Redis answers").await;
    let mut client = Client::connect(process.address().await).await;
    client.send(named("a")).await;
    upstream.ledger().await_requests(1).await;

    process.signal("KILL");
    process.exit().await;
    let again = other.exchange(named("a")).await;

    assert_refused(&again, 409, "idempotency-in-progress", "not_sent");
    upstream.ledger().only_request();
}

#[tokio::test]
async fn without_redis_only_messages_without_a_name_are_sent_and_with_it_again_all() {
    let (upstream, mut redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateway = one_of_three(&upstream, &redis, &KEPT).await;
    redis.kill();

    let refused = gateway.exchange(named("a")).await;
    let unnamed = gateway
        .exchange(post(CHAT, &key("billing")).to_bytes())
        .await;
    assert_refused(&refused, 503, "store-unavailable", "not_sent");
    assert_eq!(unnamed.status, 200);

    redis.restart().await;
    gateway.await_metric("portaria_limit_store_up 1").await;
    assert_eq!(gateway.exchange(named("a")).await.status, 200);
    let sent = upstream.ledger().deliveries_of(&message_saying("a"));
    assert_eq!(sent, 1);
}

#[tokio::test]
async fn a_redis_that_is_full_forgets_no_name_and_takes_no_new_one() {
    let (upstream, redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateway = one_of_three(&upstream, &redis, &KEPT).await;
    assert_eq!(gateway.exchange(named("a")).await.status, 200);

    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = gateway.exchange(named("b")).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    gateway.await_metric("portaria_limit_store_up 1").await;
    let again = gateway.exchange(named("a")).await;

    assert_refused(&refused, 503, "store-unavailable", "not_sent");
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
    assert_eq!(upstream.ledger().requests().len(), 1);
    assert_eq!(gateway.exchange(named("b")).await.status, 200);
}

#[tokio::test]
async fn a_claim_lapses_and_a_record_expires_by_the_clock_of_redis() {
    let redis = Redis::start().await;
    let (store, _keeper) = redis.store().await;
    let claim = |by| Claim {
        name: Digest([1; 32]),
        body: Digest([2; 32]),
        by: Uuid::from_u128(by),
    };
    let terms = Terms {
        ttl: Duration::from_millis(600),
        lease: Duration::from_millis(200),
        max_entries: 0,
        max_bytes: 0,
    };

    assert_eq!(store.claim(claim(1), terms).await.unwrap(), None);
    let mut fates = Vec::new();
    within("the record to expire", async {
        while let Some(record) = store.claim(claim(2), terms).await.unwrap() {
            assert_eq!((record.by, record.body), (claim(1).by, claim(1).body));
            if fates.last() != Some(&record.fate) {
                fates.push(record.fate);
            }
        }
    })
    .await;
    assert_eq!(fates, [Fate::Running, Fate::Unknown]);
}

#[tokio::test]
async fn a_record_in_redis_is_settled_once_and_by_the_claim_that_holds() {
    let redis = Redis::start().await;
    let (store, _keeper) = redis.store().await;
    let claim = |by| Claim {
        name: Digest([1; 32]),
        body: Digest([2; 32]),
        by: Uuid::from_u128(by),
    };
    let terms = Terms {
        ttl: Duration::from_secs(60),
        lease: Duration::from_secs(30),
        max_entries: 0,
        max_bytes: 0,
    };
    let answered = |text: &'static str| Outcome::Answered(Bytes::from_static(text.as_bytes()));
    let fate = async || {
        let found = store.claim(claim(9), terms).await.unwrap();
        found.map(|record| record.fate)
    };

    assert_eq!(store.claim(claim(1), terms).await.unwrap(), None);
    store.settle(claim(2), Outcome::Released).await.unwrap();
    assert_eq!(fate().await, Some(Fate::Running));
    store.settle(claim(1), Outcome::Released).await.unwrap();
    assert_eq!(store.claim(claim(3), terms).await.unwrap(), None);
    store.settle(claim(3), answered("a\r\n\0b")).await.unwrap();
    store.settle(claim(3), answered("another")).await.unwrap();
    store.settle(claim(3), Outcome::Released).await.unwrap();
    let kept = Bytes::from_static(b"a\r\n\0b");
    assert_eq!(fate().await, Some(Fate::Answered(kept)));
}

/// A message that says its own name.
fn named(name: &str) -> Vec<u8> {
    post(CHAT, &key("billing"))
        .header("Idempotency-Key", name)
        .body(message_saying(name))
        .to_bytes()
}
