//! What if something takes too long, is too much, or breaks?

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use futures_util::poll;
use http_body_util::StreamBody;
use portaria::http::Body;
use tokio::time::{Instant, timeout};

use crate::{
    gateway::{Gateway, Reply, Spoil as _, Stalled, Untouchable, application, post, post_by},
    support::{Answer, message},
};

const ANSWERED: &str = r#"portaria_requests_total{route="interactive",key="billing",status="200"}"#;

#[tokio::test(start_paused = true)]
async fn a_body_must_be_there_in_time() {
    for (config, start, expected) in [
        ("server = { body_timeout = '4s' }", "", 800),
        ("server = { body_timeout = '4s' }", "{\"body\":", 808),
        ("server = { request_timeout = '1s' }", "", 1000),
        ("", "", 2000),
    ] {
        let gateway = Gateway::new(&format!("{config}\n"));
        let began = Instant::now();

        let answer = gateway.send(post().stream(Stalled(start))).await;

        assert_eq!(answer.json()["code"], "body-timeout");
        assert_eq!(began.elapsed().as_millis(), expected, "{config}");
        assert!(gateway.wegly.received().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_its_pace_has_all_the_time_there_is() {
    for (bytes_a_second, kib, expected) in [
        (1024, 9, Ok(9000)),
        (1024, 11, Err(10_000)),
        // After fifteen pieces, 3875 ms, there should be the sixteenth.
        (512, 9, Err(3875)),
    ] {
        let gateway = Gateway::new("");
        let began = Instant::now();

        let body = dripping(kib * 1024, bytes_a_second);
        let answer = gateway.send(post().stream(body)).await;

        let took = began.elapsed().as_millis();
        match expected {
            Ok(all) => assert_eq!((answer.status, took), (200, all)),
            Err(early) => assert_eq!((answer.status, took), (408, early)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_request_runs_from_its_head_and_is_handed_on_to_the_upstream() {
    let gateway = Gateway::new("server = { request_timeout = '6s', body_timeout = '60s' }\n");
    gateway.wegly.will([Reply::Never]);
    let began = Instant::now();
    let late = StreamBody::new(futures_util::stream::once(async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(http_body::Frame::data(message().into()))
    }));

    let answer = gateway.send(post().stream(Box::pin(late))).await;

    assert_eq!(answer.json()["code"], "upstream-timeout");
    assert_eq!(answer.json()["delivery"], "unknown");
    assert_eq!(began.elapsed().as_secs(), 6);
}

#[tokio::test]
async fn a_body_that_breaks_off_was_no_request() {
    let gateway = Gateway::new("");
    let broken = futures_util::stream::iter([
        Ok(http_body::Frame::data("{".into())),
        Err("canary-text".into()),
    ]);

    let answer = gateway.send(post().stream(StreamBody::new(broken))).await;

    assert_eq!(answer.json()["code"], "malformed-request");
    assert!(gateway.wegly.received().is_empty());
}

#[tokio::test]
async fn a_body_is_cut_at_its_limit_even_if_it_did_not_announce_its_length() {
    for (length, expected) in [(65536, 200), (65537, 413)] {
        let gateway = Gateway::new("");
        let mut body = message();
        body.resize(length, b' ');

        let answer = gateway.send(post().stream(Body::full(body))).await;

        assert_eq!(answer.status, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_a_request_is_refused_at_once_and_room_is_made_by_an_answer() {
    let gateway = Gateway::new("server = { max_in_flight = 2 }\n");
    gateway.wegly.will([Reply::Waits, Reply::Waits]);
    let mut running = [gateway.begin(post()), gateway.begin(post())].map(Box::pin);
    for request in &mut running {
        assert!(poll!(request).is_pending());
    }
    assert_eq!(gateway.shared.room.in_flight(), 2);
    let began = Instant::now();

    let refused = gateway.send(post().stream(Untouchable)).await;

    assert_eq!(refused.json()["code"], "overloaded");
    assert_eq!(began.elapsed(), Duration::ZERO);
    gateway.wegly.answer();
    let [first, _] = running;
    assert_eq!(first.await.status, 200);
    assert_eq!(gateway.shared.room.in_flight(), 1);
    assert_eq!(gateway.send(post()).await.status, 200);
}

#[tokio::test]
async fn while_it_drains_what_runs_is_finished_and_nothing_new_is_begun() {
    let gateway = Gateway::new("");
    gateway.wegly.will([Reply::Waits]);
    let mut running = pin!(gateway.begin(post()));
    assert!(poll!(&mut running).is_pending());

    gateway.shared.room.drain();

    assert_eq!(gateway.send(post()).await.json()["code"], "draining");
    gateway.wegly.answer();
    assert_eq!(running.await.status, 200);
    assert_eq!(gateway.wegly.received().len(), 1);
}

/// The message was on its way, so what became of it is unknown.
#[tokio::test]
async fn a_step_that_panics_is_an_internal_problem_and_its_place_is_free_again() {
    let gateway = Gateway::new("server = { max_in_flight = 1 }\n");
    gateway.wegly.will([Reply::Panics]);

    let answer = gateway.send(post()).await;

    assert_eq!(answer.json()["code"], "internal");
    assert_eq!(answer.json()["delivery"], "unknown");
    assert_eq!(gateway.send(post()).await.status, 200);
    let refusals =
        r#"portaria_refusals_total{route="interactive",key="billing",reason="internal"}"#;
    assert_eq!(gateway.counted(refusals), 1);
}

#[tokio::test]
async fn a_step_that_panics_before_anything_was_sent_says_so() {
    let broken_clock: fn() -> SystemTime = || panic!("as the test wants it");
    let in_a_gate = Gateway::at("", broken_clock).send(post()).await;
    let in_a_stage = Gateway::new("").send(post().stream(Untouchable)).await;

    for answer in [in_a_gate, in_a_stage] {
        assert_eq!(answer.json()["code"], "internal");
        assert_eq!(answer.json()["delivery"], "not_sent");
    }
}

#[tokio::test]
async fn a_message_that_was_begun_is_finished_and_counted_after_its_client_is_gone() {
    let gateway = Gateway::new("server = { max_in_flight = 1 }\n");
    gateway.wegly.will([Reply::Waits]);
    let mut request = Box::pin(gateway.begin(post()));
    assert!(poll!(&mut request).is_pending());
    gateway.wegly.has_one().await;

    drop(request);
    assert_eq!(gateway.send(post()).await.json()["code"], "overloaded");
    assert_eq!(gateway.counted(ANSWERED), 0);
    gateway.wegly.answer();
    gateway.shared.tasks.finished().await;

    assert_eq!(gateway.counted(ANSWERED), 1);
    assert_eq!(gateway.wegly.received().len(), 1);
    assert_eq!(gateway.shared.room.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_its_body_is_complete_has_asked_for_nothing() {
    let gateway = Gateway::new("");
    let request = gateway.begin(post().stream(Stalled("{")));

    assert!(timeout(Duration::ZERO, request).await.is_err());
    gateway.shared.tasks.finished().await;

    assert!(gateway.wegly.received().is_empty());
    assert_eq!(gateway.shared.room.in_flight(), 0);
}

#[tokio::test]
async fn every_request_is_counted_once_under_names_of_ours() {
    let gateway = Gateway::new(
        &[
            application("billing", ""),
            application("shop", "allowed_domains = ['shop.example.com']"),
        ]
        .concat(),
    );
    gateway.wegly.will([Reply::Says(Answer::new(409))]);

    for request in [
        post(),
        post(),
        post(),
        post().with_body("{}"),
        post_by("shop"),
        post_by("nobody"),
        post().target("/a/canary-query"),
        post().with_method("PUT"),
    ] {
        gateway.send(request).await;
    }

    let page = gateway.shared.metrics.encode().unwrap();
    let mut counters: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("portaria_re") && line.contains("_total{"))
        .collect();
    counters.sort_unstable();
    assert_eq!(
        counters,
        [
            r#"portaria_refusals_total{route="interactive",key="billing",reason="invalid-message"} 1"#,
            r#"portaria_refusals_total{route="interactive",key="none",reason="unknown-key"} 1"#,
            r#"portaria_refusals_total{route="interactive",key="shop",reason="origin-not-allowed"} 1"#,
            r#"portaria_refusals_total{route="none",key="none",reason="method-not-allowed"} 1"#,
            r#"portaria_refusals_total{route="none",key="none",reason="no-such-route"} 1"#,
            r#"portaria_requests_total{route="interactive",key="billing",status="200"} 2"#,
            r#"portaria_requests_total{route="interactive",key="billing",status="409"} 1"#,
            r#"portaria_requests_total{route="interactive",key="billing",status="422"} 1"#,
            r#"portaria_requests_total{route="interactive",key="none",status="401"} 1"#,
            r#"portaria_requests_total{route="interactive",key="shop",status="403"} 1"#,
            r#"portaria_requests_total{route="none",key="none",status="404"} 1"#,
            r#"portaria_requests_total{route="none",key="none",status="405"} 1"#,
        ]
    );
    let seen = |key| format!(r#"portaria_key_last_seen_timestamp_seconds{{key="{key}"}}"#);
    assert!(page.contains(&seen("billing")));
    assert!(!page.contains(&seen("shop")), "its page was refused");
    assert!(page.contains("portaria_request_duration_seconds_count 8"));
}

/// A message that is as large as this, and comes four times a second.
fn dripping(
    length: usize,
    bytes_a_second: usize,
) -> impl http_body::Body<Data = bytes::Bytes, Error = tower::BoxError> {
    let mut body = message();
    body.resize(length, b' ');
    let pieces = bytes::Bytes::from(body);
    let piece = bytes_a_second / 4;
    StreamBody::new(Box::pin(futures_util::stream::unfold(
        pieces,
        move |mut left| async move {
            if left.is_empty() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            let next = left.split_to(piece);
            Some((Ok(http_body::Frame::data(next)), left))
        },
    )))
}
