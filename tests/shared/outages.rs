//! What if Redis is away, slow or full?

use crate::{
    PATIENT, one_of_three,
    support::{Redis, Running, Script, Setting, Upstream, assert_refused},
    to_chat,
};

/// Thirty at once for all gateways together, ten for each alone.
const THIRTY: [Setting<'static>; 2] = [
    ("LIMITS__UPSTREAM__RATE", "1/h"),
    ("LIMITS__UPSTREAM__BURST", "30"),
];

#[tokio::test]
async fn while_redis_is_away_each_gateway_allows_its_part() {
    let (upstream, mut redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateway = one_of_three(&upstream, &redis, &with(PATIENT)).await;
    assert_eq!(gateway.exchange(to_chat(0)).await.status, 200);

    redis.kill();
    gateway.await_metric("portaria_limit_store_up 0").await;
    assert_eq!(passed_of_40(&gateway).await, 10);

    redis.restart().await;
    gateway.await_metric("portaria_limit_store_up 1").await;
    assert_eq!(passed_of_40(&gateway).await, 30);
    upstream.ledger().assert_clean();
}

#[tokio::test]
async fn a_redis_that_is_paused_is_away_until_it_goes_on() {
    let (upstream, redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateway = one_of_three(&upstream, &redis, &THIRTY).await;

    redis.pause();
    assert_eq!(passed_of_40(&gateway).await, 10);
    gateway.await_metric("portaria_limit_store_up 0").await;

    redis.resume();
    gateway.await_metric("portaria_limit_store_up 1").await;
}

#[tokio::test]
async fn a_redis_that_is_full_is_away_until_there_is_room() {
    let (upstream, redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateway = one_of_three(&upstream, &redis, &with(PATIENT)).await;

    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(passed_of_40(&gateway).await, 10);
    gateway.await_metric("portaria_limit_store_up 0").await;

    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    gateway.await_metric("portaria_limit_store_up 1").await;
    assert_eq!(passed_of_40(&gateway).await, 30);
}

#[tokio::test]
async fn a_gateway_starts_without_redis_and_finds_it_later() {
    let (upstream, mut redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    redis.kill();
    let gateway = Running::with(
        &upstream,
        [&redis.settings("3")[..], &with(PATIENT)].concat(),
    )
    .await;

    assert_eq!(passed_of_40(&gateway).await, 10);

    redis.restart().await;
    gateway.await_metric("portaria_limit_store_up 1").await;
    assert_eq!(passed_of_40(&gateway).await, 30);
}

#[tokio::test]
async fn where_the_config_says_so_nothing_goes_out_while_redis_is_away() {
    let (upstream, mut redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let refuse = [PATIENT, ("LIMITS__ON_STORE_FAILURE", "refuse")];
    let gateway = one_of_three(&upstream, &redis, &refuse).await;

    redis.kill();
    let answer = gateway.exchange(to_chat(0)).await;

    assert_refused(&answer, 503, "store-unavailable", "not_sent");
    assert_eq!(answer.header("Retry-After"), Some("1"));
    upstream.ledger().assert_nothing_sent();
}

fn with(setting: Setting<'static>) -> Vec<Setting<'static>> {
    [&THIRTY[..], &[setting]].concat()
}

/// How many of forty messages, each to a chat of its own, the gateway lets through.
async fn passed_of_40(gateway: &Running) -> usize {
    let mut passed = 0;
    for chat in 0..40 {
        let answer = gateway.exchange(to_chat(chat)).await;
        match answer.status {
            200 => passed += 1,
            _ => assert_refused(&answer, 429, "rate-limited", "not_sent"),
        }
    }
    passed
}
