//! What may one connection take, and what may all?
//!
//! A connection that gives nothing is closed, a request too many is refused at once,
//! and operators are answered meanwhile.

use std::pin::pin;

use crate::support::*;

#[tokio::test]
async fn a_connection_that_sends_no_head_is_closed() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::with(&upstream, [("SERVER__HEAD_TIMEOUT", "300ms")]).await;
    let request = valid();

    for bytes in [0, 1, request.len() / 2] {
        let mut client = gateway.connect().await;
        client.send(&request[..bytes]).await;

        assert!(client.is_closed_by_peer().await, "after {bytes} bytes");
    }
    upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn a_connection_that_stays_unused_is_closed() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::with(&upstream, [("SERVER__HEAD_TIMEOUT", "500ms")]).await;
    let mut client = gateway.connect().await;

    assert_eq!(client.exchange(valid()).await.status, 200);

    assert!(client.is_closed_by_peer().await);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused_and_the_connection_closed() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::with(&upstream, [("SERVER__BODY_TIMEOUT", "300ms")]).await;
    let request = valid();

    for missing in [1, message().len()] {
        let mut client = gateway.connect().await;
        let answer = client.exchange(&request[..request.len() - missing]).await;

        assert_refused(&answer, 408, "body-timeout", "not_sent");
        assert_eq!(answer.header("Connection"), Some("close"));
        assert!(client.is_closed_by_peer().await);
    }
    upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn connections_that_only_wait_give_way_to_new_ones() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::with(&upstream, [("SERVER__MAX_CONNECTIONS", "2")]).await;
    let mut unused = gateway.connect().await;
    unused.exchange(valid()).await;
    let mut slow = gateway.connect().await;
    slow.send("POST /").await;

    let mut newcomers = [gateway.connect().await, gateway.connect().await];
    for newcomer in &mut newcomers {
        assert_eq!(newcomer.exchange(valid()).await.status, 200);
    }

    assert!(unused.is_closed_by_peer().await);
    assert!(slow.is_closed_by_peer().await);
    assert_eq!(upstream.ledger().requests().len(), 3);
}

#[tokio::test]
async fn a_connection_too_many_waits_for_those_that_are_asked_something() {
    let gate = Gate::new();
    let script = Script::each([
        Step::ReadRequest,
        Step::Wait(gate.clone()),
        Step::Answer(Answer::standard()),
        Step::Serve(vec![Answer::standard()]),
    ]);
    let upstream = Upstream::start(script).await;
    let gateway = Running::with(&upstream, [("SERVER__MAX_CONNECTIONS", "1")]).await;
    let mut first = gateway.connect().await;
    first.send(valid()).await;
    upstream.ledger().await_requests(1).await;

    let mut second = gateway.connect().await;
    second.send(valid()).await;
    gateway.await_metric("portaria_connections 1").await;
    let is_early = futures_util::poll!(pin!(second.read_answer())).is_ready();
    gate.open();

    assert!(!is_early);
    assert_eq!(first.read_answer().await.status, 200);
    assert_eq!(second.read_answer().await.status, 200);
    assert!(first.is_closed_by_peer().await);
}

#[tokio::test]
async fn a_request_too_many_is_refused_at_once_while_operators_are_answered() {
    let gate = Gate::new();
    let script = Script::each([
        Step::ReadRequest,
        Step::Wait(gate.clone()),
        Step::Answer(Answer::standard()),
        Step::Serve(vec![Answer::standard()]),
    ]);
    let upstream = Upstream::start(script).await;
    let gateway = Running::with(&upstream, [("SERVER__MAX_IN_FLIGHT", "1")]).await;
    let mut first = gateway.connect().await;
    first.send(valid()).await;
    upstream.ledger().await_requests(1).await;

    let mut second = gateway.connect().await;
    let refused = second.exchange(valid()).await;
    gateway.await_metric("portaria_requests_in_flight 1").await;
    let ready = gateway.admin("/readyz").await;

    assert_refused(&refused, 503, "overloaded", "not_sent");
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(ready.status, 200);
    upstream.ledger().only_request();

    gate.open();
    assert_eq!(first.read_answer().await.status, 200);
    gateway.await_metric("portaria_requests_in_flight 0").await;
    // The connection of the refused one is as good as before.
    assert_eq!(second.exchange(valid()).await.status, 200);
}

#[tokio::test]
async fn a_client_that_waits_holds_no_place_of_another() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::with(&upstream, [("SERVER__MAX_IN_FLIGHT", "1")]).await;
    // Not one of these has sent a head.
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut client = gateway.connect().await;
        client.send("POST /").await;
        waiting.push(client);
    }

    assert_eq!(gateway.exchange(valid()).await.status, 200);
}

fn valid() -> Vec<u8> {
    post(CHAT, &key("billing")).to_bytes()
}
