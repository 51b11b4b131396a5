//! Do all gateways together allow what one would?

use crate::{
    PATIENT, one_of_three,
    support::{Answer, Authority, Home, Redis, Running, Script, Upstream, assert_refused},
    three, to_chat,
};

/// Ten at once of everything, and then one an hour.
const UPSTREAM: [crate::support::Setting<'static>; 3] = [
    PATIENT,
    ("LIMITS__UPSTREAM__RATE", "1/h"),
    ("LIMITS__UPSTREAM__BURST", "10"),
];

#[tokio::test]
async fn three_gateways_allow_together_what_one_would() {
    let (upstream, redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateways = three(&upstream, &redis, &UPSTREAM).await;

    let mut refused = 0;
    for turn in 0..30 {
        let answer = gateways[turn % 3].exchange(to_chat(turn)).await;
        if answer.status != 200 {
            assert_refused(&answer, 429, "rate-limited", "not_sent");
            assert_eq!(answer.json()["limit"], "upstream");
            refused += 1;
        }
    }

    assert_eq!(refused, 20);
    assert_eq!(upstream.ledger().requests().len(), 10);
}

#[tokio::test]
async fn a_message_that_all_together_may_not_send_costs_its_chat_nothing() {
    let (upstream, redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateway = one_of_three(&upstream, &redis, &UPSTREAM).await;
    for turn in 0..10 {
        assert_eq!(gateway.exchange(to_chat(turn)).await.status, 200);
    }

    assert_eq!(gateway.exchange(to_chat(11)).await.status, 429);

    let chats = redis.command(&["--raw", "KEYS", "portaria:{main}:chat:*"]);
    assert_eq!(chats.lines().count(), 10, "{chats}");
}

#[tokio::test]
async fn a_pause_that_one_was_asked_for_all_keep() {
    let busy = Answer::new(429).with_header("Retry-After", "50");
    let upstream = Upstream::start(Script::answers([busy])).await;
    let redis = Redis::start().await;
    let gateways = three(&upstream, &redis, &[PATIENT]).await;

    assert_eq!(gateways[0].exchange(to_chat(0)).await.status, 429);

    for gateway in &gateways {
        let answer = gateway.exchange(to_chat(0)).await;
        assert_refused(&answer, 503, "cooling-down", "not_sent");
        let seconds = answer.json()["retry_after"].as_u64().unwrap();
        assert!((40..=50).contains(&seconds), "{seconds}");
    }
    assert_eq!(upstream.ledger().requests().len(), 1);
}

/// That waits for a restart, and until then everything is as it was.
#[tokio::test]
async fn another_store_in_the_config_changes_no_limit_of_a_gateway_that_runs() {
    let (upstream, redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let [.., (_, url)] = redis.settings("10")[..] else {
        unreachable!("its address comes last")
    };
    let alone = "[limits]\nupstream = { rate = '1/h', burst = 10 }\n".to_owned();
    let together =
        format!("{alone}store = 'redis'\nreplicas = 10\n[redis]\nurl = '{url}'\ntimeout = '5s'\n");
    for (before, after) in [(&alone, &together), (&together, &alone)] {
        let home = Home::new(&upstream.url());
        home.append(before);
        let gateway = Running::at(&home, []).await;
        if before == &together {
            gateway.await_metric("portaria_limit_store_up 1").await;
        }
        for chat in 0..4 {
            assert_eq!(gateway.exchange(to_chat(chat)).await.status, 200);
        }
        home.edit(|text| text.replace(&**before, after));
        let reloaded = gateway.reload().await.json();
        assert!(
            reloaded["waiting"].to_string().contains("limits.store"),
            "{reloaded}"
        );

        let mut passed = 0;
        for chat in 0..11 {
            passed += usize::from(gateway.exchange(to_chat(chat)).await.status == 200);
        }
        assert_eq!(passed, 6);
    }
}

#[tokio::test]
async fn scripts_that_redis_has_forgotten_it_is_told_again() {
    let (upstream, redis) = (Upstream::start(Script::serve()).await, Redis::start().await);
    let gateway = one_of_three(&upstream, &redis, &UPSTREAM).await;
    for turn in 0..10 {
        redis.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(gateway.exchange(to_chat(turn)).await.status, 200);
    }

    assert_eq!(gateway.exchange(to_chat(0)).await.status, 429);
}

#[tokio::test]
async fn a_redis_with_tls_and_a_user_of_few_rights_is_enough() {
    let authority = Authority::new();
    let certificate = authority.issue("127.0.0.1", 2100);
    let redis = Redis::start_with_tls(&certificate, "desk", "p@ss").await;
    let upstream = Upstream::start(Script::serve()).await;
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), authority.pem()).unwrap();
    let ca = format!("file:{}", ca.path().display());
    let settings = [&UPSTREAM[..], &[("REDIS__CA", &ca)]].concat();

    let gateway = one_of_three(&upstream, &redis, &settings).await;
    for turn in 0..10 {
        assert_eq!(gateway.exchange(to_chat(turn)).await.status, 200);
    }

    assert_eq!(gateway.exchange(to_chat(0)).await.status, 429);
}
