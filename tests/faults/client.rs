//! What may a client do while its message is on its way?
//!
//! Before its body is there, nothing was asked for and nothing is sent. From then on,
//! the message is sent once and its outcome is counted, whoever still listens.

use tokio::net::TcpSocket;

use crate::support::*;

#[tokio::test]
async fn c1_a_client_that_leaves_before_its_body_is_there_has_asked_for_nothing() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let bytes = valid();

    let mut client = gateway.connect().await;
    client.send(&bytes[..bytes.len() - 1]).await;
    drop(client);

    gateway.await_metric(&requests(400)).await;
    upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn c1_a_client_that_leaves_between_two_chunks_has_asked_for_nothing() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let request = post(CHAT, &key("billing")).header("Transfer-Encoding", "chunked");
    let whole_but_for_its_end = chunks(&message(), 64).concat();

    let mut client = gateway.connect().await;
    client.send(request.body("").to_bytes()).await;
    client.send(whole_but_for_its_end).await;
    drop(client);

    gateway.await_metric(&requests(400)).await;
    upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn c2_a_message_is_sent_whole_and_once_though_its_client_is_gone() {
    let gate = Gate::new();
    let script = Script::each([
        Step::ReadRequest,
        Step::Wait(gate.clone()),
        Step::Answer(Answer::new(201)),
        Step::Hang,
    ]);
    let upstream = Upstream::start(script).await;
    let gateway = Running::before(&upstream).await;

    let mut client = gateway.connect().await;
    client.send(valid()).await;
    upstream.ledger().await_requests(1).await;
    drop(client);
    gate.open();

    gateway.await_metric(&requests(201)).await;
    assert_eq!(upstream.ledger().only_request().body, message());
}

#[tokio::test]
async fn c3_a_client_that_has_finished_sending_is_answered() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;

    let mut client = gateway.connect().await;
    client.send(valid()).await;
    client.finish_sending().await;

    assert_eq!(client.read_answer().await.body, Answer::standard().body);
    assert!(client.is_closed_by_peer().await);
    upstream.ledger().only_request();
}

#[tokio::test]
async fn c4_a_client_that_stops_reading_is_cut_off() {
    // More than the sockets of both sides hold.
    let large = Answer::new(200).with_body(vec![b'x'; 16 * 1024 * 1024]);
    let upstream = Upstream::start(Script::answers([large.clone()])).await;
    let settings = [
        ("UPSTREAM__MAX_RESPONSE", "16 MiB"),
        ("SERVER__WRITE_TIMEOUT", "300ms"),
        ("SERVER__MAX_CONNECTIONS", "1"),
    ];
    let gateway = Running::with(&upstream, settings).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(gateway.address()).await.unwrap();
    let mut client = Client::over(stream);

    client.send(valid()).await;
    gateway.await_metric(&requests(200)).await;
    gateway.await_metric("portaria_connections 0").await;

    // There was room for one connection only.
    let mut other = gateway.connect().await;
    assert_eq!(
        other
            .exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .status,
        404
    );
    assert!(client.read_to_end().await.len() < large.body.len());
}

#[tokio::test]
async fn c2_a_client_that_comes_back_with_the_same_name_finds_its_answer() {
    let gate = Gate::new();
    let script = Script::each([
        Step::ReadRequest,
        Step::Wait(gate.clone()),
        Step::Answer(Answer::new(201).with_body("{}")),
        Step::Hang,
    ]);
    let upstream = Upstream::start(script).await;
    let gateway = Running::before(&upstream).await;

    let mut client = gateway.connect().await;
    client.send(named()).await;
    upstream.ledger().await_requests(1).await;
    drop(client);
    gate.open();
    gateway.await_metric(&requests(201)).await;
    let again = gateway.exchange(named()).await;

    assert_eq!((again.status, &again.body[..]), (201, &b"{}"[..]));
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
    upstream.ledger().only_request();
}

#[tokio::test]
async fn c5_of_two_messages_with_one_name_at_once_one_is_sent() {
    let gate = Gate::new();
    let answer = Step::Answer(Answer::standard());
    let script = Script::each([Step::ReadRequest, Step::Wait(gate.clone()), answer]);
    let upstream = Upstream::start(script).await;
    let gateway = Running::before(&upstream).await;

    let mut first = gateway.connect().await;
    first.send(named()).await;
    upstream.ledger().await_requests(1).await;
    let second = gateway.exchange(named()).await;
    gate.open();

    assert_refused(&second, 409, "idempotency-in-progress", "not_sent");
    assert_eq!(second.header("Retry-After"), Some("1"));
    assert_eq!(first.read_answer().await.body, Answer::standard().body);
    upstream.ledger().only_request();
}

#[tokio::test]
async fn c6_a_message_whose_fate_is_unknown_is_not_sent_again_under_its_name() {
    let upstream = Upstream::start(Script::writes("").then([Step::Hang])).await;
    let gateway = Running::before(&upstream).await;

    let first = gateway.exchange(named()).await;
    let second = gateway.exchange(named()).await;

    assert_refused(&first, 502, "upstream-broke-off", "unknown");
    assert_refused(&second, 409, "idempotency-outcome-unknown", "unknown");
    upstream.ledger().only_request();
}

fn named() -> Vec<u8> {
    post(CHAT, &key("billing"))
        .header("Idempotency-Key", "\"order-7\"")
        .to_bytes()
}

fn valid() -> Vec<u8> {
    post(CHAT, &key("billing")).to_bytes()
}

/// A body in chunks of a size, without the last one that ends it.
fn chunks(body: &[u8], size: usize) -> Vec<Vec<u8>> {
    body.chunks(size)
        .map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .collect()
}

/// One request that was answered with this status.
fn requests(status: u16) -> String {
    format!(r#"portaria_requests_total{{route="interactive",key="billing",status="{status}"}} 1"#)
}
