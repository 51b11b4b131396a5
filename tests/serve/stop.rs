//! How does a gateway end, and how does a unix socket?

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::net::UnixListener,
    path::Path,
};

use portaria::app::{App, Ended};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn a_gateway_without_requests_ends_at_once_and_closes_its_connections() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let mut fresh = gateway.connect().await;
    let mut used = gateway.connect().await;
    used.exchange(valid()).await;

    gateway.stop();

    assert!(fresh.is_closed_by_peer().await);
    assert!(used.is_closed_by_peer().await);
    assert_eq!(gateway.ended().await, Ended::Cleanly);
}

#[tokio::test]
async fn a_request_that_runs_is_answered_and_no_other_is_begun() {
    let gate = Gate::new();
    let upstream = Upstream::start(held_by(&gate)).await;
    let gateway = Running::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.send([valid(), saying("later")].concat()).await;
    upstream.ledger().await_requests(1).await;

    gateway.stop();
    within("new connections to be refused", async {
        while TcpStream::connect(gateway.address()).await.is_ok() {}
    })
    .await;
    let ready = gateway.admin("/readyz").await;
    let live = gateway.admin("/livez").await;
    gate.open();
    let answer = client.read_answer().await;

    assert_eq!((ready.status, live.status), (503, 200));
    assert_eq!(ready.json()["ready"], json!(false));
    assert_eq!(ready.json()["not_draining"], json!(false));
    assert_eq!(answer.body, Answer::standard().body);
    assert!(client.is_closed_by_peer().await);
    assert_eq!(gateway.ended().await, Ended::Cleanly);
    assert_eq!(upstream.ledger().only_request().body, message());
}

#[tokio::test]
async fn a_request_that_has_arrived_when_the_stop_comes_hears_that_it_was_not_sent() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.exchange(valid()).await;

    // Neither lets the gateway run in between: it learns of both at once.
    client.send(saying("later")).await;
    gateway.stop();
    let answer = client.read_answer().await;

    assert_eq!(answer.json()["code"], "draining");
    assert_eq!(answer.header("portaria-delivery"), Some("not_sent"));
    assert!(client.is_closed_by_peer().await);
    assert_eq!(gateway.ended().await, Ended::Cleanly);
    assert_eq!(upstream.ledger().only_request().body, message());
}

#[tokio::test]
async fn a_connection_that_nobody_has_accepted_when_the_stop_comes_is_answered() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;

    // Without an `await`: to the gateway, all this happens at once.
    let mut stream = std::net::TcpStream::connect(gateway.address()).unwrap();
    stream.write_all(&valid()).unwrap();
    gateway.stop();
    stream.set_nonblocking(true).unwrap();
    let mut client = Client::over(TcpStream::from_std(stream).unwrap());
    let answer = client.read_answer().await;

    assert_eq!(answer.json()["code"], "draining");
    assert!(client.is_closed_by_peer().await);
    assert_eq!(gateway.ended().await, Ended::Cleanly);
    assert_eq!(upstream.ledger().connections(), 0);
}

#[tokio::test]
async fn a_message_whose_client_is_gone_is_waited_for() {
    let gate = Gate::new();
    let upstream = Upstream::start(held_by(&gate)).await;
    let gateway = Running::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(valid()).await;
    upstream.ledger().await_requests(1).await;

    drop(client);
    gateway.stop();
    gate.open();

    assert_eq!(gateway.ended().await, Ended::Cleanly);
    upstream.ledger().only_request();
}

#[tokio::test]
async fn a_request_that_runs_for_too_long_is_cut() {
    let upstream = Upstream::start(Script::hangs()).await;
    let gateway = Running::with(&upstream, [("SERVER__DRAIN_TIMEOUT", "300ms")]).await;
    let mut client = gateway.connect().await;
    client.send(valid()).await;
    upstream.ledger().await_requests(1).await;

    gateway.stop();

    assert_eq!(gateway.ended().await, Ended::WithRequestsCut);
}

#[tokio::test]
async fn a_second_stop_waits_for_nothing() {
    let upstream = Upstream::start(Script::hangs()).await;
    let gateway = Running::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(valid()).await;
    upstream.ledger().await_requests(1).await;

    gateway.stop();
    gateway.stop();

    assert_eq!(gateway.ended().await, Ended::WithRequestsCut);
}

#[tokio::test]
async fn a_unix_socket_serves_and_its_file_goes_with_it() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = on_socket(&upstream);
    let socket = home.path("portaria.sock");
    let gateway = Running::at(&home, []).await;
    assert_eq!(gateway.socket(), socket);

    let mut client = Client::connect_unix(&socket).await;
    assert_eq!(client.exchange(valid()).await.status, 200);

    gateway.stop();
    assert_eq!(gateway.ended().await, Ended::Cleanly);
    assert!(!socket.exists() && !home.path("admin.sock").exists());
    upstream.ledger().only_request();
}

#[tokio::test]
async fn a_socket_that_a_crash_left_behind_is_replaced() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = on_socket(&upstream);
    let socket = home.path("portaria.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());

    let _gateway = Running::at(&home, []).await;

    let mut client = Client::connect_unix(&socket).await;
    assert_eq!(client.exchange(valid()).await.status, 200);
}

#[tokio::test]
async fn a_file_that_is_no_forgotten_socket_is_left_alone() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = on_socket(&upstream);
    let socket = home.path("portaria.sock");

    fs::write(&socket, "mine").unwrap();
    assert_eq!(bind_error(&home, &socket).await, ErrorKind::AddrInUse);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");

    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    assert_eq!(bind_error(&home, &socket).await, ErrorKind::AddrInUse);
    assert!(socket.exists());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let taken = upstream.address().to_string();
    home.edit(|text| text.replacen("127.0.0.1:0", &taken, 1));

    let error = App::bind(plan(&home, [])).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&taken), "{error}");
}

async fn bind_error(home: &Home, socket: &Path) -> ErrorKind {
    let error = App::bind(plan(home, [])).await.unwrap_err();
    assert!(error.to_string().contains(&socket.display().to_string()));
    error.kind()
}

/// A home whose gateway listens on `portaria.sock` and `admin.sock` in it.
fn on_socket(upstream: &Upstream) -> Home {
    let home = Home::new(&upstream.url());
    for name in ["portaria.sock", "admin.sock"] {
        let socket = format!("unix:{}", home.path(name).display());
        home.edit(|text| text.replacen("127.0.0.1:0", &socket, 1));
    }
    home
}

/// An upstream that answers once the gate is open.
fn held_by(gate: &Gate) -> Script {
    Script::each([
        Step::ReadRequest,
        Step::Wait(gate.clone()),
        Step::Answer(Answer::standard()),
        Step::Serve(vec![Answer::standard()]),
    ])
}

fn valid() -> Vec<u8> {
    post(CHAT, &key("billing")).to_bytes()
}

fn saying(text: &str) -> Vec<u8> {
    post(CHAT, &key("billing"))
        .body(message_saying(text))
        .to_bytes()
}
