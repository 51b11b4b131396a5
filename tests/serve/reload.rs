//! What changes while it runs, and what does not?

use std::fs;

use serde_json::{Value, json};
use tokio::net::UnixDatagram;

use crate::support::*;

#[tokio::test]
async fn a_key_is_revoked_at_the_next_request_of_an_open_connection() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let gateway = Running::at(&home, []).await;
    let mut client = gateway.connect().await;
    let request = post(CHAT, &key("billing")).to_bytes();
    assert_eq!(client.exchange(&request).await.status, 200);

    home.edit(|text| text.replace("name = \"billing\"", "name = \"billing\"\ndisabled = true"));
    let reloaded = gateway.reload().await;

    assert_eq!(reloaded.status, 200);
    assert_refused(
        &client.exchange(&request).await,
        401,
        "invalid-key",
        "not_sent",
    );
}

#[tokio::test]
async fn a_new_token_goes_out_with_the_next_message_once_its_file_has_changed() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let gateway = Running::at(&home, []).await;
    let mut client = gateway.connect().await;
    let request = post(CHAT, &key("billing")).to_bytes();
    client.exchange(&request).await;

    let new = home.write("wegly-token~", "another-token");
    fs::rename(new, home.path("wegly-token")).unwrap();
    gateway
        .await_metric("portaria_reloads_total{result=\"ok\"} 1")
        .await;
    client.exchange(&request).await;

    let sent = upstream.ledger().requests();
    let tokens = sent.iter().map(|sent| sent.header("Authorization"));
    let old = format!("Bearer {TOKEN}");
    assert_eq!(tokens.collect::<Vec<_>>(), [&*old, "Bearer another-token"]);
    // The connection to the upstream went on, too.
    assert_eq!(upstream.ledger().connections(), 1);
    let status = status(&gateway).await;
    assert_eq!(status["credentials"][0]["tokens"][0]["generation"], 2);
    let file = home.path("wegly-token").display().to_string();
    assert_eq!(status["last_reload"]["changed"], json!([file]));
}

#[tokio::test]
async fn with_a_mistake_the_old_config_goes_on_and_says_why() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let gateway = Running::at(&home, []).await;
    let mut client = gateway.connect().await;
    let request = post(CHAT, &key("billing")).to_bytes();

    home.edit(|text| text.replace("[admin]", "hosts = [\"https://a\"]\n[admin]"));
    home.append("canary = 'x'");
    let refused = gateway.reload().await;

    assert_eq!(refused.status, 422);
    let told = refused.json();
    assert_eq!(told["result"], "failed");
    let mistakes = told["mistakes"].as_array().unwrap();
    let first = mistakes[0].as_str().unwrap();
    assert!(first.contains("portaria.toml:"), "{first}");
    assert_eq!(client.exchange(&request).await.status, 200);
    assert_eq!(gateway.admin("/readyz").await.status, 200);
    let last = &status(&gateway).await["last_reload"];
    assert_eq!(
        (&last["result"], &last["mistakes"]),
        (&json!("failed"), &told["mistakes"])
    );
}

#[tokio::test]
async fn nobody_gets_a_fresh_quota_by_a_reload_unless_the_quota_is_another() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    home.edit(|text| {
        let limit = "name = \"billing\"\nrate_limit = { rate = \"1/h\", burst = 1 }";
        text.replace("name = \"billing\"", limit)
    });
    let gateway = Running::at(&home, []).await;
    let request = post(CHAT, &key("billing")).to_bytes();
    assert_eq!(gateway.exchange(&request).await.status, 200);

    home.edit(|text| text.replace("[admin]", "hosts = [\"portaria.test\"]\n[admin]"));
    assert_eq!(gateway.reload().await.status, 200);
    let after_reload = gateway.exchange(&request).await;
    home.edit(|text| text.replace("1/h", "2/h"));
    assert_eq!(gateway.reload().await.status, 200);
    let after_change = gateway.exchange(&request).await;

    assert_refused(&after_reload, 429, "rate-limited", "not_sent");
    assert_eq!(after_change.status, 200);
}

#[tokio::test]
async fn a_request_keeps_the_config_with_which_it_began() {
    let gate = Gate::new();
    let answer = Step::Answer(Answer::standard());
    let script = Script::each([Step::ReadRequest, Step::Wait(gate.clone()), answer]);
    let upstream = Upstream::start(script).await;
    let home = Home::new(&upstream.url());
    let gateway = Running::at(&home, []).await;
    let mut client = gateway.connect().await;
    client.send(post(CHAT, &key("billing")).to_bytes()).await;
    upstream.ledger().await_requests(1).await;

    home.edit(|text| text.replace("name = \"billing\"", "name = \"billing\"\ndisabled = true"));
    assert_eq!(gateway.reload().await.status, 200);
    gate.open();

    assert_eq!(client.read_answer().await.status, 200);
}

#[tokio::test]
async fn a_stricter_schema_holds_for_the_next_message() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    home.write("rules.json", r#"{ "type": "object" }"#);
    home.append(
        r#"[[routes]]
name = "interactive"
path = "/integrations/external/chats/{id}/messages/interactive"
schema = "rules.json""#,
    );
    let gateway = Running::at(&home, []).await;
    let mut client = gateway.connect().await;
    let request = post(CHAT, &key("billing")).to_bytes();
    assert_eq!(client.exchange(&request).await.status, 200);

    home.write("rules.json", r#"{ "type": "object", "required": ["tag"] }"#);
    assert_eq!(gateway.reload().await.status, 200);

    assert_refused(
        &client.exchange(&request).await,
        422,
        "invalid-message",
        "not_sent",
    );
}

#[tokio::test]
async fn what_waits_for_a_restart_is_said() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let gateway = Running::at(&home, []).await;

    home.edit(|text| text.replacen("127.0.0.1:0", "[::1]:0", 1));
    home.set_up_server("max_in_flight = 7");
    let reloaded = gateway.reload().await;

    let waiting = json!(["server.listen", "server.max_in_flight"]);
    assert_eq!(
        (reloaded.status, &reloaded.json()["waiting"]),
        (200, &waiting)
    );
    let status = status(&gateway).await;
    assert_eq!(status["config"]["waiting_for_restart"], waiting);
}

#[tokio::test]
async fn a_page_of_somebody_else_reloads_nothing() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;

    let page = "POST /reload HTTP/1.1\r\nHost: a\r\nSec-Fetch-Site: cross-site\r\n\r\n";
    let answer = gateway.connect_admin().await.exchange(page).await;

    assert_eq!(answer.status, 403);
    assert_eq!(status(&gateway).await["last_reload"], Value::Null);
}

#[tokio::test]
async fn the_status_says_who_was_here_and_tells_no_secret() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    home.edit(|text| text.replace("name = \"shop\"", "name = \"shop\"\ndisabled = true"));
    let gateway = Running::at(&home, []).await;
    gateway
        .exchange(post(CHAT, &key("billing")).to_bytes())
        .await;

    let answer = gateway.admin("/status").await;

    let status = answer.json();
    let [billing, shop] = [0, 1].map(|index| &status["keys"][index]);
    assert_eq!(
        (&billing["name"], &billing["state"]),
        (&json!("billing"), &json!("active"))
    );
    assert_eq!(
        (&shop["name"], &shop["state"]),
        (&json!("shop"), &json!("disabled"))
    );
    assert!(billing["hashes"][0]["last_seen"].is_string());
    assert_eq!(shop["hashes"][0]["last_seen"], Value::Null);
    let hash = billing["hashes"][0]["hash"].as_str().unwrap();
    assert_eq!(hash.len(), "sha256:".len() + 8);
    assert_eq!(status["routes"][0]["name"], "interactive");
    assert_eq!(status["credentials"][0]["tokens"][0]["in_use"], true);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(!text.contains("canary") && !text.contains("ptr_"), "{text}");
}

#[tokio::test]
async fn a_hangup_reloads_the_process_and_does_not_end_it() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let process = Portaria::start(Portaria::serve(&home));
    let mut client = Client::connect(process.address().await).await;
    let request = post(CHAT, &key("billing")).to_bytes();
    client.exchange(&request).await;

    process.signal("HUP");
    process.await_line("\"reloaded\"").await;
    assert_eq!(client.exchange(&request).await.status, 200);
    home.append("canary = 'secret'");
    process.signal("HUP");
    let told = process.await_line("not reloaded").await;

    assert!(told.contains("unknown field"), "{told}");
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(client.exchange(&request).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.exit().await.status.code(), Some(0));
}

/// As with `Type=notify-reload` and `WatchdogSec=` in a unit.
#[tokio::test]
async fn a_supervisor_hears_that_it_serves_lives_reloads_and_stops() {
    let home = Home::new("http://127.0.0.1:1");
    let path = home.path("notify.sock");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    let mut command = Portaria::serve(&home);
    command.env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", "1000000");
    let process = Portaria::start(command);

    // Whatever else it says in between.
    let hears = async |words: &str| {
        within(words, async {
            let mut said = [0; 256];
            loop {
                let length = supervisor.recv(&mut said).await.unwrap();
                let said = str::from_utf8(&said[..length]).unwrap();
                if said.lines().any(|line| line.starts_with(words)) {
                    return said.to_owned();
                }
            }
        })
        .await
    };
    hears("READY=1").await;
    hears("WATCHDOG=1").await;
    process.signal("HUP");
    let reloading = hears("RELOADING=1").await;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    hears("READY=1").await;
    process.signal("TERM");
    hears("STOPPING=1").await;
    assert_eq!(process.exit().await.status.code(), Some(0));
}

async fn status(gateway: &Running) -> Value {
    gateway.admin("/status").await.json()
}
