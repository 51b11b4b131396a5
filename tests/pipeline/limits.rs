//! How does a caller stand with its limits?

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime},
};

use portaria::http::Request;
use tokio::time::advance;

use crate::{
    gateway::{Gateway, Reply, Spoil as _, application, noon, post, post_by, route},
    support::{Answer, CHAT},
};

/// 40 at once and 20 a second for the key; one an hour for each chat; three an hour
/// for all.
fn config() -> String {
    [
        "limits = { upstream = { rate = '1/h', burst = 3 } }\n",
        &route("per_chat = { rate = '1/h', burst = 1 }"),
        &application("billing", "rate_limit = { rate = '20/s', burst = 40 }"),
        &application("slow", "rate_limit = { rate = '1/min', burst = 1 }"),
        &application("free", ""),
    ]
    .concat()
}

const KEY: &str = r#""key";q=40;w=2"#;

#[tokio::test(start_paused = true)]
async fn from_the_sixth_step_on_every_answer_says_how_the_caller_stands() {
    let gateway = Gateway::new(&config());
    let with_chat = |policy: &str| format!("{KEY}, {policy}");
    let chat = with_chat(r#""chat";q=1;w=3600"#);
    let upstream = with_chat(r#""upstream";q=3;w=10800"#);
    let to = |request: Request, number: u8| {
        let chat = format!("{}{number}", &CHAT[..CHAT.len() - 1]);
        let target = request.uri().path().replace(CHAT, &chat);
        request.target(&target)
    };
    let anything = Answer::new(400);
    gateway.wegly.will([Reply::Says(anything)]);
    for (request, status, policy, standing) in [
        (post().add("x_y", "1"), 400, "", ""),
        (post().target("/nowhere"), 404, "", ""),
        (post().with_method("PUT"), 405, "", ""),
        (post().without("authorization"), 401, "", ""),
        (post().set("sec-fetch-site", "none"), 403, "", ""),
        (
            post().set("content-type", "a/b"),
            415,
            KEY,
            r#""key";r=39;t=2"#,
        ),
        (post().with_body("{"), 400, KEY, r#""key";r=38;t=2"#),
        (post().with_body("{}"), 422, KEY, r#""key";r=37;t=2"#),
        (to(post(), 1), 400, KEY, r#""key";r=36;t=2"#),
        (
            to(post(), 1),
            429,
            &chat,
            r#""key";r=35;t=2, "chat";r=0;t=3600"#,
        ),
        (to(post(), 2), 200, KEY, r#""key";r=34;t=2"#),
        (to(post(), 3), 200, KEY, r#""key";r=33;t=2"#),
        (
            to(post(), 4),
            429,
            &upstream,
            r#""key";r=32;t=2, "upstream";r=0;t=3600"#,
        ),
        (
            to(post_by("free"), 5),
            429,
            r#""upstream";q=3;w=10800"#,
            r#""upstream";r=0;t=3600"#,
        ),
        (
            post_by("slow").with_body("{}"),
            422,
            r#""key";q=1;w=60"#,
            r#""key";r=0;t=60"#,
        ),
        (
            post_by("slow").with_body("{}"),
            429,
            r#""key";q=1;w=60"#,
            r#""key";r=0;t=60"#,
        ),
    ] {
        let answer = gateway.send(request).await;

        let field = |name| answer.header(name).unwrap_or_default();
        assert_eq!(answer.status, status, "{standing}");
        assert_eq!(field("ratelimit-policy"), policy);
        assert_eq!(field("ratelimit"), standing);
    }
}

#[tokio::test(start_paused = true)]
async fn after_exactly_the_announced_seconds_one_more_passes() {
    let minute = "{ rate = '1/min', burst = 1 }";
    for (limit, config) in [
        (
            "key",
            application("billing", &format!("rate_limit = {minute}")),
        ),
        ("chat", route(&format!("per_chat = {minute}"))),
        ("upstream", format!("limits = {{ upstream = {minute} }}\n")),
    ] {
        let gateway = Gateway::new(&config);
        assert_eq!(gateway.send(post()).await.status, 200);

        let refused = gateway.send(post()).await;
        assert_eq!(refused.json()["limit"], limit);
        assert_eq!(refused.json()["retry_after"], 60);
        assert_eq!(refused.header("retry-after"), Some("60"));
        advance(Duration::from_secs(59)).await;
        let again = gateway.send(post()).await;
        assert_eq!(again.header("retry-after"), Some("1"), "{limit}");
        advance(Duration::from_secs(1)).await;

        assert_eq!(gateway.send(post()).await.status, 200, "{limit}");
        assert_eq!(gateway.send(post()).await.status, 429, "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_comes_before_what_the_upstream_says_of_its_own_limits() {
    let gateway = Gateway::new(&config());
    let says = Answer::new(200).with_header("ratelimit", r#""wegly";r=3;t=9"#);
    gateway.wegly.will([Reply::Says(says)]);

    let answer = gateway.send(post()).await;

    let items = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "ratelimit");
    let items: Vec<&str> = items.map(|(_, value)| &**value).collect();
    assert_eq!(items, [r#""key";r=39;t=2"#, r#""wegly";r=3;t=9"#]);
}

#[tokio::test(start_paused = true)]
async fn what_one_application_uses_up_another_still_has() {
    let gateway = Gateway::new(&config());

    assert_eq!(gateway.send(post_by("slow")).await.status, 200);
    assert_eq!(gateway.send(post_by("slow")).await.json()["limit"], "key");

    assert_eq!(gateway.send(post()).await.json()["limit"], "chat");
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_as_long_as_the_upstream_asks_for_and_never_longer_than_its_cap() {
    for (status, retry_after, expected) in [
        (429, Some("7"), Some(7)),
        (429, Some("3600"), Some(20)),
        (429, Some("soon"), Some(1)),
        (429, None, Some(1)),
        (429, Some("0"), None),
        (503, Some("5"), Some(5)),
        (503, Some("99999999999999999999"), Some(20)),
        (503, Some("soon"), None),
        (503, None, None),
        (500, Some("5"), None),
        (200, Some("5"), None),
        (409, Some("5"), None),
    ] {
        let gateway = Gateway::new("upstream = { cool_down_cap = '20s' }\n");
        let mut says = Answer::new(status).with_body("busy");
        if let Some(seconds) = retry_after {
            says = says.with_header("retry-after", seconds);
        }
        gateway.wegly.will([Reply::Says(says)]);

        let first = gateway.send(post()).await;
        let second = gateway.send(post()).await;

        let case = format!("{status} {retry_after:?}");
        assert_eq!(first.status, status, "{case}");
        assert_eq!(first.body, b"busy", "{case}");
        assert_eq!(first.header("retry-after"), retry_after, "{case}");
        assert_eq!(first.header("portaria-delivery"), Some("sent"), "{case}");
        let Some(seconds) = expected else {
            assert_eq!(second.status, 200, "{case}");
            continue;
        };
        assert_eq!(second.json()["code"], "cooling-down", "{case}");
        assert_eq!(second.json()["retry_after"], seconds, "{case}");
        advance(Duration::from_secs(seconds) - Duration::from_nanos(1)).await;
        assert_eq!(gateway.send(post()).await.status, 503, "{case}");
        advance(Duration::from_nanos(1)).await;
        assert_eq!(gateway.send(post()).await.status, 200, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_one_credential_is_none_of_another() {
    let gateway = Gateway::new(
        &[
            "credentials = { main = { token = 'env:TOKEN' }, spare = { token = 'env:NEXT_TOKEN' } }\n",
            &application("billing", "credential = 'main'"),
            &application("shop", "credential = 'main'"),
            &application("spare", "credential = 'spare'"),
        ]
        .concat(),
    );
    gateway.wegly.will([Reply::Says(Answer::new(429))]);
    gateway.send(post()).await;

    for (name, expected) in [("billing", 503), ("shop", 503), ("spare", 200)] {
        assert_eq!(gateway.send(post_by(name)).await.status, expected, "{name}");
    }
}

/// By how many hours the wall clock has been set forward.
static HOURS: AtomicI64 = AtomicI64::new(0);

#[tokio::test(start_paused = true)]
async fn p16_a_wall_clock_that_is_set_moves_the_last_day_of_a_key_and_no_limit() {
    let wall_clock: fn() -> SystemTime = || {
        let hours = HOURS.load(Ordering::Relaxed);
        let by = Duration::from_secs(3600 * hours.unsigned_abs());
        if hours < 0 { noon() - by } else { noon() + by }
    };
    let fields = "expires_at = 2026-12-01T00:00:00Z\nrate_limit = { rate = '1/min', burst = 1 }";
    let gateway = Gateway::at(&application("billing", fields), wall_clock);
    assert_eq!(gateway.send(post()).await.status, 200);

    for (hours, expected) in [
        (1, 429),
        (-1, 429),
        (-30 * 24, 429),
        (30 * 24, 401),
        (0, 429),
    ] {
        HOURS.store(hours, Ordering::Relaxed);

        assert_eq!(gateway.send(post()).await.status, expected, "{hours}");
    }
    advance(Duration::from_secs(60)).await;
    HOURS.store(-24, Ordering::Relaxed);
    assert_eq!(gateway.send(post()).await.status, 200);
}
