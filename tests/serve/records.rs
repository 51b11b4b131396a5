//! What does a gateway remember that was killed?
//!
//! With `store = "file:…"`, all that it had said. What it had not come to say is unknown, and
//! is not sent again.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use crate::support::*;

#[tokio::test]
async fn an_answer_that_was_given_is_given_again_after_a_kill() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = home(&upstream);
    let process = Portaria::start(Portaria::serve(&home));
    let first = exchange(&process, named("a")).await;

    kill(process).await;
    let process = Portaria::start(Portaria::serve(&home));
    let again = exchange(&process, named("a")).await;

    assert_eq!(first.status, 200);
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
    assert_eq!(upstream.ledger().requests().len(), 1);
}

#[tokio::test]
async fn p4_a_message_that_was_on_its_way_at_a_kill_is_unknown_and_not_sent_again() {
    let upstream = Upstream::start(Script::hangs()).await;
    let home = home(&upstream);
    let process = Portaria::start(Portaria::serve(&home));
    let mut client = Client::connect(process.address().await).await;
    client.send(named("a")).await;
    upstream.ledger().await_requests(1).await;

    kill(process).await;
    let process = Portaria::start(Portaria::serve(&home));
    process
        .await_line("nobody knows whether they were sent")
        .await;
    let again = exchange(&process, named("a")).await;

    assert_refused(&again, 409, "idempotency-outcome-unknown", "unknown");
    assert_eq!(upstream.ledger().requests().len(), 1);
}

#[tokio::test]
async fn a_kill_at_any_moment_makes_no_message_go_out_twice_and_forgets_no_answer() {
    const MESSAGES: usize = 16;
    let upstream = Upstream::start(Script::serve()).await;
    let home = home(&upstream);
    for round in 0..10 {
        let process = Portaria::start(Portaria::serve(&home));
        let address = process.address().await;
        let before = upstream.ledger().requests().len();
        let mut senders = JoinSet::new();
        for number in 0..MESSAGES {
            let name = format!("{round}-{number}");
            let mut client = Client::connect(address).await;
            // Before the kill: nobody can send to whom is gone.
            client.send(named(&name)).await;
            senders.spawn(async move { (name, client.read_until_answer_or_end().await) });
        }
        // Some are answered by then, some are on their way, and some have not left.
        upstream.ledger().await_requests(before + 1 + round).await;
        kill(process).await;
        let told: BTreeMap<String, Option<Answer>> = senders.join_all().await.into_iter().collect();

        let process = Portaria::start(Portaria::serve(&home));
        for (name, told) in &told {
            let again = exchange(&process, named(name)).await;
            match (again.status, told) {
                (200, None) => {}
                (200, Some(answer)) => {
                    assert_eq!(again.body, answer.body, "{name}");
                    assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
                }
                (409, None) => assert_eq!(again.json()["code"], "idempotency-outcome-unknown"),
                (_, _) => panic!("{name} was told {told:?}, and then {again:?}"),
            }
            let sent = upstream.ledger().deliveries_of(&message_saying(name));
            assert!(sent <= 1, "{name} was sent {sent} times");
            assert!(again.status != 200 || sent == 1, "{name} was not sent");
        }
        kill(process).await;
    }
}

#[tokio::test]
async fn a_store_that_another_process_has_ends_this_one_before_it_begins() {
    let home = Home::new("http://127.0.0.1:1");
    home.append(STORE);
    let first = Portaria::start(Portaria::serve(&home));
    first.address().await;

    let exit = Portaria::start(Portaria::serve(&home)).exit().await;

    assert_eq!(exit.status.code(), Some(70), "{exit:?}");
    let file = home.path("sent.redb");
    let why = format!("{}, cannot be used: another process has it", file.display());
    assert!(exit.stderr.contains(&why), "{exit:?}");
}

#[tokio::test]
async fn nobody_else_may_read_the_answers_that_are_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new("http://127.0.0.1:1");
    home.append(STORE);
    let process = Portaria::start(Portaria::serve(&home));
    process.address().await;

    let file = std::fs::metadata(home.path("sent.redb")).unwrap();

    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

const STORE: &str = "[idempotency]\nstore = 'file:sent.redb'";

/// A gateway that remembers in a file beside its config.
fn home(upstream: &Upstream) -> Home {
    let home = Home::new(&upstream.url());
    home.append(STORE);
    home
}

async fn kill(process: Portaria) {
    process.signal("KILL");
    process.exit().await;
}

/// Sends a request on a connection of its own.
async fn exchange(process: &Portaria, request: Vec<u8>) -> Answer {
    let mut client = Client::connect(process.address().await).await;
    client.exchange(request).await
}

/// A message that says its own name.
fn named(name: &str) -> Vec<u8> {
    post(CHAT, &key("billing"))
        .header("Idempotency-Key", name)
        .body(message_saying(name))
        .to_bytes()
}
