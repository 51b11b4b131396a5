//! What does a collector of traces hear?
//!
//! A stand-in keeps what is posted to it, and what it kept is read with the definitions
//! that OpenTelemetry publishes.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;

use crate::support::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TEMPLATE: &str = "/integrations/external/chats/{id}/messages/interactive";

#[tokio::test]
async fn a_message_is_a_span_with_its_steps_and_its_exchange_below_it() {
    let collector = Upstream::start(Script::serve()).await;
    let upstream = Upstream::start(Script::serve()).await;
    let request = post(CHAT, &key("billing")).header("Traceparent", PARENT);

    let answers = traced(&collector, &upstream.url(), 0.0, [request]).await;

    let [server, client] = &told(&collector)[..] else {
        panic!("there are two spans");
    };
    let request_id = answers[0].header("X-Request-Id").unwrap();
    let path = TEMPLATE.replace("{id}", CHAT);
    assert_eq!(server.name, format!("POST {TEMPLATE}"));
    assert_eq!(server.kind(), SpanKind::Server);
    assert_eq!(hex(&server.trace_id), TRACE);
    assert_eq!(hex(&server.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(server.flags, 0x301);
    assert_eq!(
        said(&server.attributes),
        [
            "http.request.method=POST".to_owned(),
            "http.response.status_code=200".to_owned(),
            format!("http.route={TEMPLATE}"),
            "network.protocol.version=1.1".to_owned(),
            "portaria.delivery=sent".to_owned(),
            "portaria.key=billing".to_owned(),
            "portaria.outcome=answered".to_owned(),
            format!("portaria.request_id={request_id}"),
            format!("url.path={path}"),
            "url.scheme=http".to_owned(),
        ]
    );
    assert_eq!(server.status, None);
    let steps: Vec<&str> = server.events.iter().map(|event| &*event.name).collect();
    let first_and_last = (steps.first(), steps.last());
    assert_eq!(first_and_last, (Some(&"room"), Some(&"send")));
    assert!(steps.contains(&"schema"), "{steps:?}");
    let times = server.events.iter().map(|event| event.time_unix_nano);
    let times: Vec<u64> = [server.start_time_unix_nano]
        .into_iter()
        .chain(times)
        .chain([server.end_time_unix_nano])
        .collect();
    assert!(times.is_sorted(), "{times:?}");

    assert_eq!(client.name, "POST");
    assert_eq!(client.kind(), SpanKind::Client);
    assert_eq!(client.trace_id, server.trace_id);
    assert_eq!(client.parent_span_id, server.span_id);
    assert_ne!(client.span_id, server.span_id);
    assert_eq!(client.flags, 0x101);
    assert_eq!(
        said(&client.attributes),
        [
            "http.request.method=POST".to_owned(),
            "http.response.status_code=200".to_owned(),
            "server.address=127.0.0.1".to_owned(),
            format!("server.port={}", upstream.address().port()),
            format!("url.full={}{path}", upstream.url()),
        ]
    );
    assert_eq!(client.status, None);
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.start_time_unix_nano <= client.end_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    let sent = upstream.ledger().only_request();
    assert!(sent.values("traceparent").is_empty());
}

#[tokio::test]
async fn what_failed_says_so_and_what_was_refused_is_no_failure() {
    let collector = Upstream::start(Script::serve()).await;
    let nobody = Refusing::new();
    let url = format!("http://{}", nobody.address());
    let requests = [
        post(CHAT, &key("billing")),
        post(CHAT, &key("billing")).body("{}"),
        post(CHAT, &key("billing")).line("CANARY /canary HTTP/1.1"),
    ];

    let answers = traced(&collector, &url, 1.0, requests).await;

    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [502, 422, 404]);
    let spans = told(&collector);
    let [failed, first, second, invalid, unknown] = &spans[..] else {
        panic!("there are five spans: {spans:?}");
    };
    let request_id = answers[0].header("X-Request-Id").unwrap();
    assert_eq!(hex(&failed.trace_id), request_id.replace('-', ""));
    assert!(failed.parent_span_id.is_empty());
    for span in [failed, first, second] {
        let status = span.status.as_ref().unwrap();
        assert_eq!(status.code(), StatusCode::Error);
        let error = "error.type=upstream-unreachable".to_owned();
        assert!(said(&span.attributes).contains(&error), "{span:?}");
    }
    let resent = "http.request.resend_count=1".to_owned();
    assert!(!said(&first.attributes).contains(&resent));
    assert!(said(&second.attributes).contains(&resent));
    assert_eq!(invalid.status, None);
    let reason = "portaria.reason=invalid-message".to_owned();
    assert!(said(&invalid.attributes).contains(&reason));
    assert_eq!(invalid.events.last().unwrap().name, "schema");
    assert_eq!(unknown.name, "HTTP");
    let method = "http.request.method=_OTHER".to_owned();
    assert!(said(&unknown.attributes).contains(&method));
}

#[tokio::test]
async fn whoever_began_a_trace_decides_whether_it_is_recorded() {
    let collector = Upstream::start(Script::serve()).await;
    let upstream = Upstream::start(Script::serve()).await;
    let not_recorded = PARENT.replace("-01", "-00");
    let requests = [None, Some(&*not_recorded), Some("garbage"), Some(PARENT)].map(|parent| {
        let request = post(CHAT, &key("billing"));
        match parent {
            None => request,
            Some(parent) => request.header("Traceparent", parent),
        }
    });

    traced(&collector, &upstream.url(), 0.0, requests).await;

    let spans = told(&collector);
    assert_eq!(spans.len(), 2);
    assert_eq!(hex(&spans[0].trace_id), TRACE);
}

#[tokio::test]
async fn nothing_that_is_secret_or_a_clients_own_is_told() {
    let collector = Upstream::start(Script::serve()).await;
    let upstream = Upstream::start(Script::answers([
        Answer::standard(),
        Answer::new(400).with_body("canary"),
        Answer::new(200).with_body(TOKEN),
    ]))
    .await;
    let wamid = r#"{"reference_wamid":"wamid.canary","interactive_type":"canary"}"#;
    let valid = || post(CHAT, &key("billing")).body(message_saying("canary"));
    let requests = [
        valid()
            .header("Tracestate", "canary=1")
            .header("Baggage", "canary=1")
            .header("User-Agent", "canary")
            .header("X-Request-Id", "canary")
            .header("Traceparent", PARENT),
        valid(),
        valid(),
        post(CHAT, &key("billing")).body(wamid),
        post("canary", &key("billing")),
        post(CHAT, "canary"),
        post(CHAT, &key("billing")).line("CANARY /canary?canary HTTP/1.1"),
        post(CHAT, &key("shop")).header("Origin", "https://canary.test"),
        post(CHAT, &key("billing"))
            .without("Host")
            .header("Host", "canary.test"),
    ];

    traced(&collector, &upstream.url(), 1.0, requests).await;

    let spans = told(&collector);
    assert!(9 < spans.len());
    let shown = format!("{spans:?}").to_lowercase();
    for canary in ["canary", "ptr_", "bearer"] {
        assert!(!shown.contains(canary), "{canary} in {shown}");
    }
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_counted_and_disturbs_nobody() {
    let collector = Upstream::start(Script::answers([Answer::new(400)])).await;
    let upstream = Upstream::start(Script::serve()).await;
    let home = home(&collector, &upstream.url(), 1.0);
    let gateway = Running::at(&home, []).await;

    let answer = gateway
        .exchange(post(CHAT, &key("billing")).to_bytes())
        .await;

    assert_eq!(answer.status, 200);
    gateway
        .await_metric("portaria_traces_total{result=\"dropped\"} 1")
        .await;
}

#[tokio::test]
async fn a_collector_that_is_away_for_a_while_misses_nothing() {
    let answers = [Answer::new(503), Answer::new(200)];
    let collector = Upstream::start(Script::answers(answers)).await;
    let upstream = Upstream::start(Script::serve()).await;
    let home = home(&collector, &upstream.url(), 1.0);
    let gateway = Running::at(&home, []).await;

    let request = post(CHAT, &key("billing")).to_bytes();
    assert_eq!(gateway.exchange(request).await.status, 200);
    gateway
        .await_metric("portaria_traces_total{result=\"exported\"} 1")
        .await;

    let [first, again] = &collector.ledger().requests()[..] else {
        panic!("{}", collector.ledger().report())
    };
    assert_eq!(first.body, again.body);
}

/// With a certificate that one of the system's authorities has signed.
#[tokio::test]
async fn a_collector_may_speak_tls() {
    let collector = Upstream::start_tls(&["127.0.0.1"], Script::serve()).await;
    let upstream = Upstream::start(Script::serve()).await;
    let home = home(&collector, &upstream.url(), 1.0);
    let authorities = home.write("authorities.pem", collector.ca());
    let mut command = Portaria::serve(&home);
    command.env("SSL_CERT_FILE", authorities);
    let process = Portaria::start(command);

    let mut client = Client::connect(process.address().await).await;
    let request = post(CHAT, &key("billing")).to_bytes();
    assert_eq!(client.exchange(request).await.status, 200);
    process.signal("TERM");
    assert_eq!(process.exit().await.status.code(), Some(0));

    assert!(!told(&collector).is_empty());
}

#[tokio::test]
async fn a_duration_shows_a_trace_that_took_so_long() {
    let collector = Upstream::start(Script::serve()).await;
    let upstream = Upstream::start(Script::serve()).await;
    let home = home(&collector, &upstream.url(), 0.0);
    let gateway = Running::at(&home, []).await;
    let request = post(CHAT, &key("billing")).header("Traceparent", PARENT);
    gateway.exchange(request.to_bytes()).await;

    let page = gateway.admin("/metrics").await.body;

    let page = String::from_utf8(page).unwrap();
    for name in ["request", "upstream"] {
        let bucket = format!("portaria_{name}_duration_seconds_bucket");
        let mut buckets = page.lines().filter(|line| line.starts_with(&bucket));
        let exemplar = format!(" # {{trace_id=\"{TRACE}\"}} ");
        assert!(buckets.any(|line| line.contains(&exemplar)), "{page}");
    }
}

/// Sends requests through a gateway that traces, one after the other, and stops it. So all
/// that it had to tell has been told.
async fn traced(
    collector: &Upstream,
    upstream: &str,
    sample: f64,
    requests: impl IntoIterator<Item = Request>,
) -> Vec<Answer> {
    let home = home(collector, upstream, sample);
    let gateway = Running::at(&home, []).await;
    let mut answers = Vec::new();
    for request in requests {
        answers.push(gateway.exchange(request.to_bytes()).await);
    }
    gateway.stop();
    gateway.ended().await;
    answers
}

fn home(collector: &Upstream, upstream: &str, sample: f64) -> Home {
    let home = Home::new(upstream);
    let endpoint = format!("{}/v1/traces", collector.url());
    home.append(&format!(
        "[traces]\nendpoint = '{endpoint}'\nsample = {sample:?}"
    ));
    home
}

/// The spans that the collector has, in the order in which they came.
fn told(collector: &Upstream) -> Vec<Span> {
    let mut spans = Vec::new();
    for post in collector.ledger().requests() {
        assert_eq!(
            (&*post.method, &*post.target, post.header("Content-Type")),
            ("POST", "/v1/traces", "application/x-protobuf")
        );
        let told = ExportTraceServiceRequest::decode(&*post.body).unwrap();
        for resource_spans in told.resource_spans {
            let about = said(&resource_spans.resource.unwrap().attributes);
            assert_eq!(about[0], "service.name=portaria");
            for scope_spans in resource_spans.scope_spans {
                assert_eq!(scope_spans.scope.unwrap().name, "portaria");
                spans.extend(scope_spans.spans);
            }
        }
    }
    spans
}

/// `name=value`, by name.
fn said(attributes: &[KeyValue]) -> Vec<String> {
    let shown = |attribute: &KeyValue| {
        let name = &attribute.key;
        let value = attribute.value.as_ref().unwrap().value.as_ref().unwrap();
        if let Value::StringValue(text) = value {
            format!("{name}={text}")
        } else if let Value::IntValue(number) = value {
            format!("{name}={number}")
        } else {
            panic!("{name} is {value:?}")
        }
    };
    let mut said: Vec<String> = attributes.iter().map(shown).collect();
    said.sort();
    said
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
