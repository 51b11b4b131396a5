//! Can the judge be trusted? The support, tested against itself: what it must notice,
//! it notices.

use std::{io::ErrorKind, pin::pin, process::Command, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::*;

#[tokio::test]
async fn one_message_sent_once_is_one_clean_request() {
    let upstream = Upstream::start(Script::serve()).await;
    let mut client = Client::connect(upstream.address()).await;

    let answer = client.exchange(valid()).await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["records"][0]["status"], "sent");
    let request = upstream.ledger().only_request();
    assert_eq!(request.method, "POST");
    assert!(request.target.contains(CHAT));
    assert_eq!(
        request.header("authorization"),
        format!("Bearer {}", key("billing"))
    );
    assert_eq!(request.body, message());
}

#[tokio::test]
async fn two_deliveries_of_one_message_are_counted_on_one_connection() {
    let upstream = Upstream::start(Script::serve()).await;
    let mut client = Client::connect(upstream.address()).await;

    client.send([valid(), valid()].concat()).await;
    client.read_answer().await;
    client.read_answer().await;

    assert_eq!(upstream.ledger().deliveries_of(&message()), 2);
    assert_eq!(upstream.ledger().deliveries_of(&list_message()), 0);
}

#[tokio::test]
async fn two_deliveries_of_one_message_are_counted_on_two_connections() {
    let upstream = Upstream::start(Script::hangs()).await;
    let mut clients = Vec::new();

    for _ in 0..2 {
        let mut client = Client::connect(upstream.address()).await;
        client.send(valid()).await;
        clients.push(client);
    }

    upstream.ledger().await_requests(2).await;
    assert_eq!(upstream.ledger().deliveries_of(&message()), 2);
    assert_eq!(upstream.ledger().connections(), 2);
}

#[tokio::test]
#[should_panic(expected = "not exactly one complete request")]
async fn two_requests_are_not_the_only_one() {
    let upstream = Upstream::start(Script::serve()).await;
    let mut client = Client::connect(upstream.address()).await;
    client.exchange(valid()).await;
    client.exchange(valid()).await;

    upstream.ledger().only_request();
}

#[tokio::test]
async fn a_cut_body_is_a_request_and_no_delivery() {
    let upstream = Upstream::start(Script::serve()).await;
    let bytes = valid();
    let sent = bytes.len() - 1;

    let mut client = Client::connect(upstream.address()).await;
    client.send(&bytes[..sent]).await;
    drop(client);

    upstream.ledger().await_closed(0).await;
    let requests = upstream.ledger().requests();
    assert_eq!(requests.len(), 1);
    assert!(!requests[0].is_complete);
    assert_eq!(requests[0].body, message()[..message().len() - 1]);
    assert_eq!(upstream.ledger().received(0), sent);
    assert_eq!(upstream.ledger().deliveries_of(&message()), 0);
}

#[tokio::test]
#[should_panic(expected = "something was sent")]
async fn a_single_byte_is_something() {
    let upstream = Upstream::start(Script::resets_after(1)).await;
    let mut client = Client::connect(upstream.address()).await;
    client.send("P").await;
    client.read_to_end().await;

    upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn what_a_strict_server_would_refuse_is_a_violation() {
    let body = r#"{"a":1}"#;
    let request = || post(CHAT, "k").body(body);
    let text = String::from_utf8(request().to_bytes()).unwrap();
    let spoilt = [
        (
            request().header("Authorization", "Bearer x"),
            "Authorization is there 2 times",
        ),
        (
            request().without("Authorization"),
            "Authorization is there 0 times",
        ),
        (
            request().header("host", "other.test"),
            "Host is there 2 times",
        ),
        (request().without("Host"), "Host is there 0 times"),
        (
            request()
                .header("Content-Length", "7")
                .header("Content-Length", "7"),
            "Content-Length is there 2 times",
        ),
        (
            request().header("Content-Length", "007"),
            "Content-Length is not a plain number",
        ),
        (
            request().header("Content-Length", "+7"),
            "Content-Length is not a plain number",
        ),
        (
            request()
                .header("Content-Length", "7")
                .header("Transfer-Encoding", "chunked"),
            "Transfer-Encoding is there",
        ),
        (request().header("X", "a\r\n b"), "a header is folded"),
        (request().header("X ", "a"), "a header name is no token"),
        (
            request().header("X", "a\rb"),
            "the value of X is not visible ASCII",
        ),
        (
            request().header("X", "\0"),
            "the value of X is not visible ASCII",
        ),
        (
            request().header("X", "a\r\nno colon"),
            "a header line has no colon",
        ),
        (
            request().line("POST  / HTTP/1.1"),
            "the request line is not",
        ),
        (
            request().line("POST http://a/ HTTP/1.1"),
            "the request line is not",
        ),
        (request().line("POST / HTTP/1.0"), "the request line is not"),
    ];
    let spoilt = spoilt.map(|(request, violation)| (request.to_bytes(), violation));
    let bare_lf = (
        text.replacen("\r\n", "\n", 1).into_bytes(),
        "a line ends with a bare LF",
    );
    let all_bare = (
        text.replace("\r\n", "\n").into_bytes(),
        "a line ends with a bare LF",
    );

    for (bytes, violation) in spoilt.into_iter().chain([bare_lf, all_bare]) {
        let ledger = ledger_of(&bytes).await;

        let requests = ledger.requests();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(requests.len(), 1, "{text}");
        let violations = &requests[0].violations;
        assert!(
            violations.iter().any(|it| it.contains(violation)),
            "{violations:?}: {text}"
        );
    }
}

#[tokio::test]
async fn a_request_whose_lengths_disagree_is_never_complete() {
    let shorter = message().len() - 1;
    let request = post(CHAT, "k").header("Content-Length", shorter.to_string());
    let bytes = request
        .header("Content-Length", message().len().to_string())
        .to_bytes();

    let requests = ledger_of(&bytes).await.requests();

    assert!(!requests[0].is_complete);
    assert_eq!(requests[0].body, message());
}

#[tokio::test]
async fn not_one_byte_is_read_beyond_those_of_the_script() {
    let upstream = Upstream::start(Script::resets_after(70)).await;
    let mut client = Client::connect(upstream.address()).await;

    client.send(valid()).await;

    assert!(client.is_closed_by_peer().await);
    assert_eq!(upstream.ledger().received(0), 70);
}

#[tokio::test]
#[should_panic(expected = "Authorization is there 2 times")]
async fn a_doubled_authorization_is_not_clean() {
    let bytes = post(CHAT, "a")
        .header("authorization", "Bearer b")
        .to_bytes();

    ledger_of(&bytes).await.assert_clean();
}

#[tokio::test]
async fn a_report_shows_no_header_value() {
    let bytes = post(CHAT, TOKEN).header("Authorization", TOKEN).to_bytes();

    let report = ledger_of(&bytes).await.report();

    assert!(report.contains("Authorization is there 2 times"));
    assert!(!report.contains(TOKEN));
}

#[tokio::test]
async fn answers_come_in_turn_whatever_the_connection() {
    let answers = [Answer::new(401), Answer::standard()];
    let upstream = Upstream::start(Script::answers(answers)).await;

    let mut statuses = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(upstream.address()).await;
        statuses.push(client.exchange(valid()).await.status);
    }

    assert_eq!(statuses, [401, 200, 200]);
}

#[tokio::test]
async fn connections_follow_their_own_steps_and_the_last_repeats() {
    let script = Script::each([Step::ReadRequest, Step::Close])
        .then([Step::ReadHead, Step::Reset])
        .then([Step::Serve(vec![Answer::new(204)])]);
    let upstream = Upstream::start(script).await;

    for _ in 0..2 {
        let mut client = Client::connect(upstream.address()).await;
        client.send(valid()).await;
        assert!(client.is_closed_by_peer().await);
    }
    for _ in 0..2 {
        let mut client = Client::connect(upstream.address()).await;
        assert_eq!(
            client.exchange(valid()).await,
            Answer::new(204).with_header("Content-Length", "0")
        );
    }

    assert_eq!(upstream.ledger().connections(), 4);
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_close_is_not() {
    let script = Script::each([Step::ReadBytes(1), Step::Reset]).then([Step::ReadBytes(1)]);
    let upstream = Upstream::start(script).await;

    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
        stream.write_all(b"P").await.unwrap();
        let end = within("the end", stream.read(&mut [0])).await;
        ends.push(end.map_err(|error| error.kind()));
    }

    assert_eq!(ends, [Err(ErrorKind::ConnectionReset), Ok(0)]);
}

#[tokio::test]
async fn a_gate_holds_the_answer_until_it_is_opened() {
    let gate = Gate::new();
    let answer = Step::Answer(Answer::standard());
    let script = Script::each([Step::ReadRequest, Step::Wait(gate.clone()), answer.clone()])
        .then([Step::ReadRequest, answer]);
    let upstream = Upstream::start(script).await;
    let mut held = Client::connect(upstream.address()).await;
    held.send(valid()).await;
    upstream.ledger().await_requests(1).await;
    // A whole exchange later, an answer that was not held would be there.
    let mut other = Client::connect(upstream.address()).await;
    other.exchange(valid()).await;

    let is_early = futures_util::poll!(pin!(held.read_answer())).is_ready();
    gate.open();

    assert!(!is_early);
    assert_eq!(held.read_answer().await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_is_dropped_closes_and_refuses() {
    let upstream = Upstream::start(Script::hangs()).await;
    let address = upstream.address();
    let mut client = Client::connect(address).await;
    client.send(valid()).await;
    upstream.ledger().await_requests(1).await;

    drop(upstream);

    assert!(client.is_closed_by_peer().await);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_tls_upstream_answers_who_trusts_its_ca_and_uses_its_name() {
    let upstream = Upstream::start_tls(&["wegly.test"], Script::serve()).await;

    let tls = tls_connect(&upstream, "wegly.test").await.unwrap();
    let answer = Client::over(tls).exchange(valid()).await;
    let wrong_name = tls_connect(&upstream, "other.test").await;

    assert_eq!(answer.status, 200);
    assert!(wrong_name.is_err());
    assert!(upstream.url().starts_with("https://127.0.0.1:"));
    upstream.ledger().only_request();
}

#[tokio::test]
async fn a_refusing_port_refuses() {
    let refusing = Refusing::new();

    let error = TcpStream::connect(refusing.address()).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_silent_port_leaves_a_connection_waiting() {
    let silent = Silent::new().await;
    tokio::time::pause();

    let connection = TcpStream::connect(silent.address());
    let result = tokio::time::timeout(Duration::from_secs(1), connection).await;

    assert!(result.is_err());
}

#[tokio::test]
async fn the_client_reads_chunks_and_goes_on() {
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let script = Script::each([
        Step::ReadRequest,
        Step::Write(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Step::Write(chunked.to_vec()),
        Step::Serve(vec![Answer::standard()]),
    ]);
    let upstream = Upstream::start(script).await;
    let mut client = Client::connect(upstream.address()).await;

    assert_eq!(client.exchange(valid()).await.status, 100);
    assert_eq!(client.read_answer().await.body, b"abcde");
    assert_eq!(client.exchange(valid()).await.body, Answer::standard().body);
}

#[tokio::test]
#[should_panic(expected = "the connection ended within an answer")]
async fn half_an_answer_is_no_answer() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let upstream = Upstream::start(Script::writes(half)).await;

    Client::connect(upstream.address())
        .await
        .exchange(valid())
        .await;
}

#[tokio::test]
async fn the_client_hears_an_answer_after_it_has_finished_sending() {
    let upstream = Upstream::start(Script::serve()).await;
    let mut client = Client::connect(upstream.address()).await;

    client.send(valid()).await;
    client.finish_sending().await;

    assert_eq!(client.read_answer().await.status, 200);
    assert!(client.is_closed_by_peer().await);
}

#[tokio::test]
async fn a_process_is_heard_signalled_and_awaited() {
    let line = r#"{"level":"INFO","fields":{"message":"listening","listener":"server","address":"127.0.0.1:81"}}"#;
    let flat = r#"{"message":"listening","listener":"admin","address":"127.0.0.1:82"}"#;
    let process = shell(&format!(
        "echo '{line}'; echo '{flat}' >&2; exec tail -f /dev/null"
    ));

    assert_eq!(process.address().await.port(), 81);
    assert_eq!(process.admin_address().await.port(), 82);
    process.signal("TERM");
    let exit = process.exit().await;

    assert_eq!(exit.status.code(), None);
    assert_eq!(exit.stdout, format!("{line}\n"));
    assert_eq!(exit.stderr, format!("{flat}\n"));
}

#[tokio::test]
#[should_panic(expected = "the process ended without the address of the server listener")]
async fn a_process_that_ends_too_early_is_reported() {
    shell("echo no config").address().await;
}

#[tokio::test]
async fn a_process_that_is_dropped_is_gone() {
    let process = shell("exec tail -f /dev/null");
    let id = process.id();

    drop(process);

    let kill = Command::new("sh")
        .args(["-c", &format!("kill -0 {id}")])
        .output()
        .unwrap();
    assert!(!kill.status.success());
}

#[test]
fn a_home_holds_a_config_that_can_be_changed() {
    let home = Home::new("http://127.0.0.1:1");

    home.append("[limits]\nupstream = { rate = \"1/s\", burst = 1 }");
    home.edit(|text| text.replace("127.0.0.1:1", "127.0.0.1:2"));

    let text = std::fs::read_to_string(home.config()).unwrap();
    let config = text.parse::<toml::Table>().unwrap();
    assert_eq!(
        config["upstream"]["url"].as_str(),
        Some("http://127.0.0.1:2")
    );
    assert_eq!(config["limits"]["upstream"]["burst"].as_integer(), Some(1));
    assert!(!text.contains(TOKEN));
    assert!(!text.contains(&key("billing")));
}

#[test]
fn every_name_has_its_own_key_with_a_right_checksum() {
    let known = "ptr_0123456789ABCDEFGHIJKLMNOPQRSTUV0FoORv";

    assert_eq!(key("0123456789ABCDEFGHIJKLMNOPQRSTUV"), known);
    assert_eq!(key("a-name_with-signs").len(), known.len());
    assert_ne!(key("billing"), key("shop"));
}

fn valid() -> Vec<u8> {
    post(CHAT, &key("billing")).to_bytes()
}

/// The ledger after these bytes and the end of the connection.
async fn ledger_of(bytes: &[u8]) -> Ledger {
    let upstream = Upstream::start(Script::hangs()).await;
    let mut client = Client::connect(upstream.address()).await;
    client.send(bytes).await;
    drop(client);
    upstream.ledger().await_closed(0).await;
    upstream.ledger().clone()
}

async fn tls_connect(
    upstream: &Upstream,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(upstream.ca().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(upstream.address()).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

fn shell(script: &str) -> Portaria {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Portaria::start(command)
}
