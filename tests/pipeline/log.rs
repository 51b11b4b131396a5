//! What is written down, and what never?

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use portaria::{problem::Code, telemetry};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{
    Registry,
    fmt::{FormatEvent, format::DefaultFields},
};

use crate::{
    gateway::{
        CANARIES, Gateway, Reply, Spoil as _, TEXT, application, assert_no_canary, post, post_by,
        route,
    },
    refusals::provoke,
    support::{Answer, CHAT, TOKEN, message, message_saying},
};

#[tokio::test(start_paused = true)]
async fn an_answered_request_leaves_one_line() {
    let (log, _guard) = Log::capture();
    let gateway = Gateway::new("");

    let answer = gateway.send(post().set("x-request-id", "order-7")).await;

    let [line] = &log.requests()[..] else {
        panic!("there is one line");
    };
    let line = line.as_object().unwrap();
    let mut expected = json!({
        "target": "portaria::request",
        "level": "INFO",
        "message": "answered",
        "request_id": answer.header("x-request-id"),
        "client_request_id": "order-7",
        "route": "interactive",
        "key": "billing",
        "chat": CHAT,
        "outcome": "answered",
        "status": 200,
        "delivery": "sent",
        "duration_ms": 0.0,
        "upstream_ms": 0.0,
        "own_ms": 0.0,
        "generation": 1,
        "body_bytes": message_saying(TEXT).len(),
        "answer_bytes": answer.body.len(),
    });
    expected["timestamp"] = line["timestamp"].clone();
    assert_eq!(Some(line), expected.as_object());
}

#[tokio::test(start_paused = true)]
async fn a_line_names_the_trace_that_its_request_begins_or_continues() {
    let (log, _guard) = Log::capture();
    let gateway = Gateway::new("[traces]\nendpoint = 'http://127.0.0.1:9'\nsample = 0");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-00");

    gateway.send(post()).await;
    gateway.send(post().set("traceparent", &parent)).await;
    gateway.send(post().set("traceparent", "canary")).await;

    let lines = log.requests();
    for line in [&lines[0], &lines[2]] {
        let request_id = line["request_id"].as_str().unwrap();
        assert_eq!(line["trace_id"], request_id.replace('-', ""));
    }
    assert_eq!(lines[1]["trace_id"], trace);
    assert_silent(&log, &gateway);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_leaves_one_line_with_its_reason_and_nothing_that_was_sent() {
    for &code in Code::ALL {
        let (log, _guard) = Log::capture();

        let (gateway, answer) = provoke(code, "en").await;

        let lines = log.requests();
        let line = lines.last().unwrap();
        let reason = match code.name() {
            "invalid-key" => "unknown-key",
            name => name,
        };
        assert_eq!(line["reason"], reason);
        assert_eq!(line["request_id"], answer.json()["request_id"], "{reason}");
        assert_eq!(line["status"], answer.status, "{reason}");
        assert_eq!(line["delivery"], answer.json()["delivery"], "{reason}");
        let (outcome, level) = match answer.status {
            500.. => ("failed", "WARN"),
            _ => ("refused", "INFO"),
        };
        assert_eq!(line["outcome"], outcome, "{reason}");
        assert_eq!(line["level"], level, "{reason}");
        assert_silent(&log, &gateway);
    }
}

/// At the finest level, which a library may use to print what it sees.
#[tokio::test(start_paused = true)]
async fn no_line_and_no_metric_ever_holds_what_is_secret() {
    for capture in [Log::capture, Log::capture_text] {
        let (log, _guard) = capture();

        let gateway = show_everything().await;

        assert_eq!(log.text().matches("portaria::request").count(), 20);
        assert_silent(&log, &gateway);
        let shown = format!("{:?} {:?}", gateway.plan, gateway.shared);
        assert!(shown.contains("billing"), "so there is something to see");
        assert_no_canary(shown);
    }
}

/// Sends canaries in every place where a client or the upstream can put them.
async fn show_everything() -> Gateway {
    let page = "allowed_domains = ['shop.example.com']";
    let gateway = Gateway::new(
        &[
            "[credentials.main]\ntoken = 'env:TOKEN'\nnext_token = 'env:NEXT_TOKEN'\n",
            &application("billing", ""),
            &application("shop", page),
            &application("old", "expires_at = 2020-01-01T00:00:00Z"),
            &application("lenient", &format!("{page}\ndomain_mode = 'report'")),
        ]
        .concat(),
    );
    let rejected = || Reply::Says(Answer::new(401).with_body(TOKEN));
    let echo = Answer::new(200)
        .with_header("x-echo", TOKEN)
        .with_body("canary-answer");
    gateway.wegly.will([
        rejected(),
        rejected(),
        rejected(),
        Reply::Says(echo),
        Reply::Says(Answer::new(400).with_body("canary-answer")),
    ]);
    let wamid = String::from_utf8(message()).unwrap();
    let wamid = wamid.replacen('{', "{\"reference_wamid\":\"wamid.canary\",", 1);

    for request in [
        post(),
        post(),
        post(),
        post().with_body(&wamid),
        post().with_body(wamid.replace("button", "canary")),
        post().set("cookie", "canary"),
        post().set("x-request-id", "canary canary"),
        post().set("authorization", "Basic canary"),
        post().set("authorization", "Bearer canary"),
        post()
            .without("authorization")
            .set("x-portaria-key", "canary"),
        post().set("x-portaria-key", "canary"),
        post().set("content-type", "canary/canary"),
        post().set("host", "canary@canary"),
        post().set("traceparent", "canary"),
        post().target("/canary-path"),
        post().target("/a?canary-query"),
        post_by("old"),
        post_by("shop").set("referer", "https://other.example/canary?canary"),
        post_by("shop").set("origin", "https://other.example/canary"),
        post_by("lenient").set("origin", "https://canary@other.example"),
    ] {
        gateway.send(request).await;
    }
    gateway
}

#[tokio::test]
async fn a_rule_in_report_mode_lets_through_counts_and_tells_the_log() {
    let gateway = Gateway::new(
        &[
            route("schema_mode = 'report'"),
            application(
                "shop",
                "allowed_domains = ['shop.example.com']\ndomain_mode = 'report'",
            ),
            application("billing", ""),
        ]
        .concat(),
    );
    let (page, message) = ("origin-not-allowed", "invalid-message");
    for (request, key, reasons) in [
        (post().with_body("{}"), "billing", &[message][..]),
        (post_by("shop"), "shop", &[page]),
        (post_by("shop").set("origin", "null"), "shop", &[page]),
        (post_by("shop").with_body("{}"), "shop", &[page, message]),
    ] {
        let (log, _guard) = Log::capture();
        let counted = |kind: &str, reason: &str| {
            gateway.counted(&format!(
                r#"portaria_{kind}_total{{route="interactive",key="{key}",reason="{reason}"}}"#
            ))
        };
        let before = [page, message].map(|reason| counted("reported", reason));

        let answer = gateway.send(request).await;

        assert_eq!(answer.status, 200);
        for (reason, before) in [page, message].into_iter().zip(before) {
            let now = before + u64::from(reasons.contains(&reason));
            assert_eq!(counted("reported", reason), now, "{reason} of {reasons:?}");
            assert_eq!(counted("refusals", reason), 0);
        }
        assert_eq!(log.requests()[0]["reported"], reasons.join(", "));
        assert_eq!(log.requests()[0]["outcome"], "answered");
    }
    let kept = post_by("shop").set("origin", "https://shop.example.com");
    let (log, _guard) = Log::capture();
    gateway.send(kept).await;
    assert_eq!(log.requests()[0].get("reported"), None);
    // What is no JSON at all breaks more than the rules of a schema.
    assert_eq!(gateway.send(post().with_body("{")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_as_documented_passes_and_is_told_by_its_shape() {
    for (answer, kinds, shown) in [
        (Answer::standard(), &[][..], None),
        (Answer::new(400).with_body("canary"), &[], None),
        (
            Answer::new(200).with_body("canary"),
            &["no-json"],
            Some("no-json"),
        ),
        (
            Answer::new(201).with_body(r#"{"total":"canary","records":[]}"#),
            &["wrong-type"],
            Some("wrong-type /total is string"),
        ),
        (
            Answer::new(200).with_body(
                r#"{"total":1,"canary":1,"records":[{"status":1,"canary":{},"canary 2":{}}]}"#,
            ),
            &["missing-member", "unknown-member", "wrong-type"],
            Some(
                "missing-member /records/0/id, unknown-member, unknown-member /records/0, \
                 wrong-type /records/0/status is number",
            ),
        ),
    ] {
        let (log, _guard) = Log::capture();
        let gateway = Gateway::new("");
        gateway.wegly.will([Reply::Says(answer.clone())]);

        let passed = gateway.send(post()).await;

        assert_eq!((passed.status, passed.body), (answer.status, answer.body));
        assert_eq!(log.requests()[0]["surprises"].as_str(), shown);
        for kind in ["missing-member", "no-json", "unknown-member", "wrong-type"] {
            let counter = format!(
                r#"portaria_upstream_surprises_total{{route="interactive",kind="{kind}"}}"#
            );
            let expected = u64::from(kinds.contains(&kind));
            assert_eq!(gateway.counted(&counter), expected, "{kind}");
        }
        assert_silent(&log, &gateway);
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_gateway_looks_at_a_hundred_answers_a_second() {
    let gateway = Gateway::new(&route(""));
    let counter = r#"portaria_upstream_surprises_total{route="interactive",kind="no-json"}"#;
    let surprising = || Reply::Says(Answer::new(200));

    for expected in [1, 2] {
        gateway.wegly.will([surprising(), surprising()]);
        gateway.send(post()).await;
        gateway.send(post()).await;

        assert_eq!(gateway.counted(counter), expected);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
}

/// Neither the log nor the metrics hold a canary of any kind.
#[track_caller]
fn assert_silent(log: &Log, gateway: &Gateway) {
    let text = log.text();
    let metrics = gateway.shared.metrics.encode().unwrap();
    for canary in CANARIES.into_iter().chain(["canary"]) {
        assert!(!text.contains(canary), "{canary} in {text}");
        assert!(!metrics.contains(canary), "{canary} in {metrics}");
    }
}

/// What this thread has logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// From now on, as lines of JSON.
    fn capture() -> (Self, DefaultGuard) {
        Self::capture_as(telemetry::Json)
    }

    /// The same as text.
    fn capture_text() -> (Self, DefaultGuard) {
        Self::capture_as(telemetry::Text)
    }

    fn capture_as<F>(form: F) -> (Self, DefaultGuard)
    where
        F: FormatEvent<Registry, DefaultFields> + Send + Sync + 'static,
    {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(form)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines of requests.
    fn requests(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["target"] == "portaria::request")
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
