//! What does the process do? The binary itself: its sockets, signals, log, exit codes.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::support::*;

const CLEANLY: Option<i32> = Some(0);
const WITH_REQUESTS_CUT: Option<i32> = Some(1);

#[tokio::test]
async fn a_message_goes_through_the_process_byte_for_byte() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let process = Portaria::start(Portaria::serve(&home));
    let mut client = Client::connect(process.address().await).await;

    for body in [
        message(),
        list_message(),
        message_saying("Olá 👋\u{200d} ok"),
    ] {
        let answer = client.exchange(with(&body)).await;

        assert_eq!(
            (answer.status, &answer.body),
            (200, &Answer::standard().body)
        );
        assert_eq!(upstream.ledger().deliveries_of(&body), 1);
    }

    upstream.ledger().assert_clean();
    let token = format!("Bearer {TOKEN}");
    for request in upstream.ledger().requests() {
        assert_eq!(request.header("Authorization"), token);
    }
}

#[tokio::test]
async fn each_listener_says_once_where_it_is() {
    let home = Home::new("http://127.0.0.1:1");
    home.edit(|text| text.replacen("\"127.0.0.1:0\"", "\"127.0.0.1:0\", \"[::1]:0\"", 1));
    let process = Portaria::start(Portaria::serve(&home));
    let (server, admin) = (process.address().await, process.admin_address().await);

    process.signal("TERM");
    let exit = process.exit().await;

    assert!(server.port() != 0 && admin.port() != 0 && server != admin);
    let lines = log(&exit).into_iter();
    let listening = lines.filter(|line| line["message"] == "listening");
    let listeners: Vec<Value> = listening.map(|line| line["listener"].clone()).collect();
    assert_eq!(listeners, ["server", "server", "admin"]);
}

#[tokio::test]
async fn a_signal_ends_an_idle_process_cleanly() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    for signal in ["TERM", "INT"] {
        let process = Portaria::start(Portaria::serve(&home));
        let mut client = Client::connect(process.address().await).await;
        client.exchange(with(&message())).await;

        process.signal(signal);
        let exit = process.exit().await;

        assert_eq!(exit.status.code(), CLEANLY, "{signal}: {exit:?}");
        assert_eq!(exit.stderr, "", "{signal}");
        assert!(client.is_closed_by_peer().await, "{signal}");
    }
}

#[tokio::test]
async fn a_request_that_runs_is_answered_before_the_process_ends() {
    let gate = Gate::new();
    let answer = Step::Answer(Answer::standard());
    let script = Script::each([Step::ReadRequest, Step::Wait(gate.clone()), answer]);
    let upstream = Upstream::start(script).await;
    let home = Home::new(&upstream.url());
    let process = Portaria::start(Portaria::serve(&home));
    let mut client = Client::connect(process.address().await).await;
    client.send(with(&message())).await;
    upstream.ledger().await_requests(1).await;

    process.signal("TERM");
    process.await_line("stopping").await;
    gate.open();

    assert_eq!(client.read_answer().await.status, 200);
    assert_eq!(process.exit().await.status.code(), CLEANLY);
}

#[tokio::test]
async fn a_process_that_has_to_cut_requests_says_so_by_its_exit_code() {
    let upstream = Upstream::start(Script::hangs()).await;
    let home = Home::new(&upstream.url());
    for has_second_signal in [false, true] {
        let mut command = Portaria::serve(&home);
        if !has_second_signal {
            command.env("PORTARIA__SERVER__DRAIN_TIMEOUT", "300ms");
        }
        let process = Portaria::start(command);
        let mut client = Client::connect(process.address().await).await;
        client.send(with(&message())).await;
        let sent = 1 + usize::from(has_second_signal);
        upstream.ledger().await_requests(sent).await;

        process.signal("TERM");
        if has_second_signal {
            process.await_line("stopping").await;
            process.signal("TERM");
        }
        let exit = process.exit().await;

        assert_eq!(exit.status.code(), WITH_REQUESTS_CUT, "{exit:?}");
        assert!(client.is_closed_by_peer().await);
    }
}

#[tokio::test]
async fn a_unix_socket_goes_with_its_process_and_outlives_a_kill_without_harm() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let (socket, admin) = on_sockets(&home);

    let killed = Portaria::start(Portaria::serve(&home));
    killed.await_line("listening").await;
    killed.signal("KILL");
    assert_eq!(killed.exit().await.status.code(), None);
    assert!(socket.exists() && admin.exists());

    let process = Portaria::start(Portaria::serve(&home));
    process.await_line("listening").await;
    let mut client = Client::connect_unix(&socket).await;
    assert_eq!(client.exchange(with(&message())).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.exit().await.status.code(), CLEANLY);
    assert!(!socket.exists() && !admin.exists());
}

#[tokio::test]
async fn a_log_that_nobody_takes_stops_no_request() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let (socket, _) = on_sockets(&home);
    let serve = Portaria::serve(&home);
    for sink in [">/dev/full", ">&-", ">&- 2>&-"] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$@\" {sink}"), "sh"]);
        command.arg(serve.get_program()).args(serve.get_args());
        let process = Portaria::start(command);
        await_socket(&socket).await;

        let mut client = Client::connect_unix(&socket).await;
        for _ in 0..10 {
            let status = client.exchange(with(&message())).await.status;
            assert_eq!(status, 200, "{sink}");
        }

        process.signal("TERM");
        assert_eq!(process.exit().await.status.code(), CLEANLY, "{sink}");
    }
}

#[tokio::test]
async fn p17_a_process_that_was_frozen_goes_on_as_if_nothing_had_been() {
    let gate = Gate::new();
    let frozen = Step::Wait(gate.clone());
    let answer = Step::Answer(Answer::standard());
    let serve = Step::Serve(vec![Answer::standard()]);
    // While it is frozen, one connection is answered, and one that waits is closed.
    let answered = [
        Step::ReadRequest,
        frozen.clone(),
        answer.clone(),
        serve.clone(),
    ];
    let closed = [
        Step::ReadRequest,
        answer,
        frozen.clone(),
        Step::HalfClose,
        Step::Hang,
    ];
    // This one is the test's own, to see when that has happened.
    let script = Script::each(answered)
        .then(closed)
        .then([frozen])
        .then([serve]);
    let upstream = Upstream::start(script).await;
    let home = Home::new(&upstream.url());
    let process = Portaria::start(Portaria::serve(&home));
    let mut running = Client::connect(process.address().await).await;
    running.send(with(&message_saying("running"))).await;
    upstream.ledger().await_requests(1).await;
    let mut other = Client::connect(process.address().await).await;
    other.exchange(with(&message())).await;
    let mut witness = Client::connect(upstream.address()).await;

    process.signal("STOP");
    gate.open();
    assert!(witness.is_closed_by_peer().await);
    other.send(with(&message_saying("late"))).await;
    process.signal("CONT");

    assert_eq!(running.read_answer().await.status, 200);
    assert_eq!(other.read_answer().await.status, 200);
    for text in ["running", "late"] {
        let sent = upstream.ledger().deliveries_of(&message_saying(text));
        assert_eq!(sent, 1, "{text}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_process_before_it_begins() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let taken = upstream.address().to_string();
    home.edit(|text| text.replacen("127.0.0.1:0", &taken, 1));

    let exit = Portaria::start(Portaria::serve(&home)).exit().await;

    assert_eq!(exit.status.code(), Some(70), "{exit:?}");
    assert!(exit.stderr.contains(&taken), "{exit:?}");
}

#[tokio::test]
async fn a_crash_leaves_no_token_on_disk() {
    let home = Home::new("http://127.0.0.1:1");
    let process = Portaria::start(Portaria::serve(&home));
    process.address().await;

    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();

    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let sizes: Vec<&str> = core.unwrap().split_whitespace().skip(4).collect();
    assert_eq!(sizes, ["0", "0", "bytes"]);
}

#[tokio::test]
async fn a_token_that_everybody_can_read_is_warned_about() {
    let home = Home::new("http://127.0.0.1:1");
    for (mode, warnings) in [(0o600, 0), (0o644, 1)] {
        fs::set_permissions(home.path("wegly-token"), Permissions::from_mode(mode)).unwrap();
        let process = Portaria::start(Portaria::serve(&home));
        process.address().await;
        process.signal("TERM");

        let lines = log(&process.exit().await);

        let warned = lines.iter().filter(|line| line["level"] == "WARN");
        let warned: Vec<&Value> = warned.map(|line| &line["credential"]).collect();
        assert_eq!(warned, vec!["main"; warnings], "{mode:o}");
    }
}

#[tokio::test]
async fn each_request_is_one_line_that_says_what_became_of_it() {
    let cut = [Step::ReadBytes(1), Step::Reset];
    let script = [Step::ReadRequest, Step::Answer(Answer::standard())];
    let upstream = Upstream::start(Script::each([&script[..], &cut].concat()).then(cut)).await;
    let home = Home::new(&upstream.url());
    let process = Portaria::start(Portaria::serve(&home));
    let mut client = Client::connect(process.address().await).await;
    let sent = post(CHAT, &key("billing")).header("X-Request-Id", "order-7");
    let strange = post(CHAT, &key("stranger")).header("X-Request-Id", "{\"a\":1}");
    let invalid = post(CHAT, &key("billing")).body("{}");

    let sent = client.exchange(sent.to_bytes()).await;
    let strange = client.exchange(strange.to_bytes()).await;
    let invalid = client.exchange(invalid.to_bytes()).await;
    let lost = client.exchange(with(&message())).await;
    process.signal("TERM");
    let exit = process.exit().await;

    let lines: Vec<Value> = log(&exit)
        .into_iter()
        .filter(|line| line["target"] == "portaria::request")
        .collect();
    let always = "timestamp level message target request_id route outcome status delivery \
                  duration_ms upstream_ms own_ms answer_bytes chat";
    let told = [
        (
            &sent,
            "key body_bytes generation client_request_id",
            json!("answered"),
            Value::Null,
            "sent",
        ),
        (
            &strange,
            "reason step",
            json!("refused"),
            json!("unknown-key"),
            "not_sent",
        ),
        (
            &invalid,
            "key body_bytes reason step",
            json!("refused"),
            json!("invalid-message"),
            "not_sent",
        ),
        (
            &lost,
            "key body_bytes generation reason step cause",
            json!("failed"),
            json!("upstream-broke-off"),
            "unknown",
        ),
    ];
    assert_eq!(lines.len(), told.len(), "{}", exit.stdout);
    for (line, (answer, more, outcome, reason, delivery)) in lines.iter().zip(told) {
        let fields: BTreeSet<&str> = line
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected = format!("{always} {more}");
        assert_eq!(fields, expected.split_whitespace().collect(), "{line}");
        assert_eq!(line["request_id"], answer.header("X-Request-Id").unwrap());
        assert_eq!(line["status"], answer.status);
        assert_eq!(line["answer_bytes"], answer.body.len());
        assert_eq!(
            (&line["route"], &line["chat"]),
            (&json!("interactive"), &json!(CHAT))
        );
        assert_eq!(
            (&line["outcome"], &line["reason"]),
            (&outcome, &reason),
            "{line}"
        );
        assert_eq!(line["delivery"], delivery);
        let is_warning = outcome == "failed";
        assert_eq!(line["level"], if is_warning { "WARN" } else { "INFO" });
    }
    assert_eq!(lines[0]["client_request_id"], "order-7");
    assert_eq!(lines[0]["key"], "billing");
    assert_eq!(lines[0]["body_bytes"], message().len());
}

#[tokio::test]
async fn nothing_that_is_secret_or_private_is_ever_printed() {
    let answers = [
        Answer::new(200).with_body(r#"{"reference_wamid":"wamid.canary-1"}"#),
        Answer::new(500)
            .with_body("canary-2")
            .with_header("X-Canary", "canary-3"),
        Answer::new(200).with_body(TOKEN),
        Answer::new(401).with_body("canary-4"),
        Answer::new(302).with_header("Location", "https://canary-5.test/"),
    ];
    let upstream = Upstream::start(Script::answers(answers)).await;
    let home = Home::new(&upstream.url());
    let mut command = Portaria::serve(&home);
    command.env("PORTARIA__LOG__LEVEL", "trace");
    let process = Portaria::start(command);
    let address = process.address().await;
    let valid = || post(CHAT, &key("billing")).body(message_saying("canary-6"));
    let mut requests = vec![
        valid().header("Cookie", "canary-7"),
        valid().header("User-Agent", "canary-8"),
        valid().header("X-Request-Id", "canary 9"),
        valid(),
        valid(),
        valid().body(r#"{"canary-10":"canary-11"}"#),
        valid().body("{\"canary-12"),
        valid().line("POST /canary-13 HTTP/1.1"),
        valid().line("POST /?canary-14 HTTP/1.1"),
        valid().line("CANARY-15 / HTTP/1.1"),
        valid().header("Host", "canary-16.test"),
        valid().header("Origin", "https://canary-17.test/path"),
        post(CHAT, "canary-18"),
        post(CHAT, &key("stranger")),
        post("canary-19", &key("billing")),
        valid().header("Content_Canary-20", "x"),
        valid().header("Content-Length", "canary-21"),
        post(CHAT, &key("shop")).header("Referer", "https://shop.example.org/canary-22"),
    ];
    requests.push(post(CHAT, &key("shop")).header("Origin", "https://refused.test"));

    for request in &requests {
        let mut client = Client::connect(address).await;
        client.send(request.to_bytes()).await;
        client.finish_sending().await;
        client.read_to_end().await;
    }
    process.signal("TERM");
    let exit = process.exit().await;

    let printed = format!("{}{}", exit.stdout, exit.stderr);
    let lines = log(&exit);
    let told = lines
        .iter()
        .filter(|line| line["target"] == "portaria::request");
    assert_eq!(told.count(), requests.len(), "{printed}");
    for secret in [TOKEN, "ptr_", "canary", "Canary", "CANARY", "wamid"] {
        assert!(!printed.contains(secret), "{secret}: {printed}");
    }
    // The one exception.
    assert!(printed.contains("refused.test"));
}

/// The lines of the log; each is one JSON object.
fn log(exit: &Exit) -> Vec<Value> {
    exit.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

/// Puts both listeners of a home on unix sockets in it; returns them.
fn on_sockets(home: &Home) -> (std::path::PathBuf, std::path::PathBuf) {
    let (server, admin) = (home.path("portaria.sock"), home.path("admin.sock"));
    for socket in [&server, &admin] {
        let address = format!("unix:{}", socket.display());
        home.edit(|text| text.replacen("127.0.0.1:0", &address, 1));
    }
    (server, admin)
}

/// Waits until somebody listens on a socket.
async fn await_socket(socket: &Path) {
    within("the socket to be listened on", async {
        while UnixStream::connect(socket).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn with(body: &[u8]) -> Vec<u8> {
    post(CHAT, &key("billing")).body(body).to_bytes()
}
