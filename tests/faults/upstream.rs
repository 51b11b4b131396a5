//! What may the upstream do to a message, and what does the application hear?
//!
//! "Not sent" is only said where no byte has left; "unknown" where one has and no head
//! of an answer came; and whatever happens, nobody sends the message again.

use crate::support::*;

// ---- No connection: certainly not sent.

#[tokio::test]
async fn u1_a_name_that_does_not_resolve_is_unreachable() {
    let home = Home::new("http://nonexistent.invalid");

    let gateway = Running::at(&home, [("UPSTREAM__PLAINTEXT", "true")]).await;

    assert_unreachable(&gateway.exchange(valid()).await);
}

#[tokio::test]
async fn u2_a_port_that_refuses_is_unreachable() {
    let refusing = Refusing::new();
    let home = Home::new(&format!("http://{}", refusing.address()));

    let gateway = Running::at(&home, []).await;

    assert_unreachable(&gateway.exchange(valid()).await);
}

#[tokio::test]
async fn u3_a_port_that_is_silent_is_unreachable() {
    let silent = Silent::new().await;
    let home = Home::new(&format!("http://{}", silent.address()));

    let gateway = Running::at(&home, [("UPSTREAM__CONNECT_TIMEOUT", "100ms")]).await;

    assert_unreachable(&gateway.exchange(valid()).await);
}

#[tokio::test]
async fn u3_no_connection_in_the_time_for_a_request_is_unreachable_too() {
    let silent = Silent::new().await;
    let home = Home::new(&format!("http://{}", silent.address()));
    let settings = [
        ("UPSTREAM__CONNECT_TIMEOUT", "60s"),
        ("SERVER__REQUEST_TIMEOUT", "500ms"),
    ];

    let gateway = Running::at(&home, settings).await;

    assert_unreachable(&gateway.exchange(valid()).await);
}

#[tokio::test]
async fn u4_a_certificate_of_the_named_authority_is_believed() {
    let upstream = Upstream::start_tls(&["127.0.0.1"], Script::serve()).await;

    let answer = exchange_trusting(upstream.ca(), &upstream).await;

    assert_eq!(answer.status, 200);
    upstream.ledger().only_request();
}

#[tokio::test]
async fn u4_a_certificate_of_another_authority_is_not_believed() {
    let upstream = Upstream::start_tls(&["127.0.0.1"], Script::serve()).await;
    let other = Upstream::start_tls(&["127.0.0.1"], Script::serve()).await;

    assert_unreachable(&exchange_trusting(other.ca(), &upstream).await);
    upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn u4_a_certificate_for_another_name_is_not_believed() {
    let upstream = Upstream::start_tls(&["wegly.test"], Script::serve()).await;

    assert_unreachable(&exchange_trusting(upstream.ca(), &upstream).await);
    upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn u4_a_server_without_tls_gets_no_message() {
    let upstream = Upstream::start(Script::each([Step::Hang])).await;
    let home = Home::new(&upstream.url().replace("http:", "https:"));
    let trusted = Upstream::start_tls(&["127.0.0.1"], Script::serve()).await;
    let ca = trust(&home, trusted.ca());
    let settings = [
        ("UPSTREAM__CA", &*ca),
        ("UPSTREAM__CONNECT_TIMEOUT", "500ms"),
    ];

    let gateway = Running::at(&home, settings).await;

    assert_unreachable(&gateway.exchange(valid()).await);
    // A TLS handshake is no request; what it would have carried must not be there.
    let received = upstream.ledger().requests();
    let received: Vec<u8> = received.into_iter().flat_map(|it| it.head).collect();
    assert!(!contains(&received, TOKEN));
    assert_eq!(upstream.ledger().deliveries_of(&message()), 0);
}

// ---- A connection that ends too early.

#[tokio::test]
async fn u5_not_sent_is_never_said_of_a_byte_that_left() {
    for _ in 0..20 {
        // It closes at once, and yet would see every byte.
        let script = Script::each([Step::HalfClose, Step::Hang]);
        let (answer, ledger) = tell(script).await;

        match answer.header("Portaria-Delivery") {
            Some("not_sent") => {
                assert_unreachable(&answer);
                ledger.await_closed(ledger.connections() - 1).await;
                ledger.assert_nothing_sent();
            }
            _ => {
                assert_refused(&answer, 502, "upstream-broke-off", "unknown");
                assert_eq!(ledger.connections(), 1);
            }
        }
    }
}

#[tokio::test]
async fn u6_a_connection_that_was_closed_while_idle_is_replaced() {
    let script = Script::each([
        Step::ReadRequest,
        Step::Answer(Answer::standard()),
        Step::HalfClose,
        Step::Hang,
    ]);
    let upstream = Upstream::start(script.then([Step::Serve(vec![Answer::standard()])])).await;
    let gateway = Running::before(&upstream).await;
    gateway.exchange(saying("first")).await;
    upstream.ledger().await_closed(0).await;

    let answer = gateway.exchange(saying("second")).await;

    assert_eq!(answer.status, 200);
    let sent = upstream.ledger().deliveries_of(&message_saying("second"));
    assert_eq!((sent, upstream.ledger().connections()), (1, 2));
    upstream.ledger().assert_clean();
}

#[tokio::test]
async fn u7_a_message_that_meets_a_closing_connection_is_sent_once_or_its_fate_is_unknown() {
    for _ in 0..20 {
        let closing = [Step::ReadRequest, Step::Answer(Answer::standard())];
        let script = Script::each(closing).then([Step::Serve(vec![Answer::standard()])]);
        let upstream = Upstream::start(script).await;
        let gateway = Running::before(&upstream).await;
        gateway.exchange(saying("first")).await;

        let answer = gateway.exchange(saying("second")).await;

        let sent = upstream.ledger().deliveries_of(&message_saying("second"));
        match answer.status {
            200 => assert_eq!(sent, 1),
            _ => {
                assert_refused(&answer, 502, "upstream-broke-off", "unknown");
                assert_eq!(sent, 0);
            }
        }
    }
}

#[tokio::test]
async fn u7_a_message_that_is_cut_on_a_used_connection_is_not_sent_again() {
    let script = Script::each([
        Step::ReadRequest,
        Step::Answer(Answer::standard()),
        Step::ReadBytes(1),
        Step::Reset,
    ]);
    let upstream = Upstream::start(script.then([Step::Serve(vec![Answer::standard()])])).await;
    let gateway = Running::before(&upstream).await;
    gateway.exchange(saying("first")).await;

    let answer = gateway.exchange(saying("second")).await;

    assert_refused(&answer, 502, "upstream-broke-off", "unknown");
    assert_eq!(upstream.ledger().connections(), 1);
}

#[tokio::test]
async fn u8_a_reset_within_the_request_leaves_its_fate_unknown() {
    for bytes in [1, 100, 1000] {
        let upstream = Upstream::start(Script::resets_after(bytes)).await;
        let gateway = Running::before(&upstream).await;

        let answer = gateway.exchange(saying(&"x".repeat(1000))).await;

        assert_refused(&answer, 502, "upstream-broke-off", "unknown");
        let ledger = upstream.ledger();
        assert_eq!((ledger.connections(), ledger.received(0)), (1, bytes));
    }
}

#[tokio::test]
async fn u9_an_answer_before_the_end_of_the_request_is_an_answer() {
    let early = Answer::new(400).with_body("too much");
    let script = Script::each([Step::ReadBytes(50), Step::Answer(early.clone()), Step::Hang]);

    let (answer, ledger) = tell(script).await;

    assert_eq!((answer.status, &answer.body), (400, &early.body));
    assert_eq!(answer.header("Portaria-Delivery"), Some("sent"));
    assert_eq!(ledger.connections(), 1);
}

#[tokio::test]
async fn u10_a_connection_that_ends_instead_of_an_answer_leaves_its_fate_unknown() {
    for end in [Step::Close, Step::Reset] {
        let (answer, ledger) = tell(Script::each([Step::ReadRequest, end.clone()])).await;

        assert_refused(&answer, 502, "upstream-broke-off", "unknown");
        assert_sent_once(&ledger);
    }
}

#[tokio::test]
async fn u11_no_answer_in_time_leaves_its_fate_unknown() {
    let half = Step::Write(b"HTTP/1.1 200 OK\r\nContent-".to_vec());
    for script in [
        Script::hangs(),
        Script::each([Step::ReadRequest, half, Step::Hang]),
    ] {
        let settings = [("UPSTREAM__RESPONSE_TIMEOUT", "500ms")];
        let (answer, ledger) = tell_with(script, settings).await;

        assert_refused(&answer, 504, "upstream-timeout", "unknown");
        // Nobody waits for it any more, and nobody sends it again.
        ledger.await_closed(0).await;
        assert_sent_once(&ledger);
    }
}

#[tokio::test]
async fn the_request_timeout_ends_the_wait_for_an_answer_too() {
    let settings = [("SERVER__REQUEST_TIMEOUT", "500ms")];
    let (answer, ledger) = tell_with(Script::hangs(), settings).await;

    assert_refused(&answer, 504, "upstream-timeout", "unknown");
    assert_sent_once(&ledger);
}

// ---- An answer that is none.

#[tokio::test]
async fn u12_a_continue_and_then_the_end_leaves_its_fate_unknown() {
    let (answer, ledger) = tell(Script::writes("HTTP/1.1 100 Continue\r\n\r\n")).await;

    assert_refused(&answer, 502, "upstream-broke-off", "unknown");
    assert_sent_once(&ledger);
}

#[tokio::test]
async fn u13_what_is_no_http_leaves_its_fate_unknown() {
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(256 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: x\r\n".repeat(101));
    for garbage in [
        "\0\0\0\0",
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 two hundred\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        &huge,
        &many,
    ] {
        let shown: String = garbage.chars().take(60).collect();
        let (answer, ledger) = tell(Script::writes(garbage)).await;

        assert_refused(&answer, 502, "upstream-broke-off", "unknown");
        assert_eq!(ledger.deliveries_of(&message()), 1, "{shown}");
        assert_eq!(ledger.connections(), 1, "{shown}");
    }
}

// ---- Half an answer: sent, and nobody sees the half.

#[tokio::test]
async fn u14_a_body_that_stalls_is_refused() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let script = Script::each([
        Step::ReadRequest,
        Step::Write(half.as_bytes().to_vec()),
        Step::Hang,
    ]);

    let settings = [("UPSTREAM__RESPONSE_TIMEOUT", "500ms")];
    let (answer, ledger) = tell_with(script, settings).await;

    assert_answer_refused(&answer, 200);
    assert_sent_once(&ledger);
}

#[tokio::test]
async fn u15_a_body_that_is_cut_off_is_refused() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhalf",
    ] {
        let (answer, ledger) = tell(Script::writes(cut)).await;

        assert_answer_refused(&answer, 200);
        assert!(!contains(&answer.body, "half"), "{cut}");
        assert_sent_once(&ledger);
    }
}

#[tokio::test]
async fn an_answer_may_be_as_large_as_max_response_and_no_larger() {
    let whole = Answer::new(200).with_body("x".repeat(1024));
    let larger = Answer::new(200).with_body("x".repeat(1025));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n";
    let chunked = format!("{chunked}{}\r\n0\r\n\r\n", "x".repeat(1025));
    let settings = [("UPSTREAM__MAX_RESPONSE", "1 KiB")];

    let (answer, _) = tell_with(Script::answers([whole.clone()]), settings).await;
    assert_eq!((answer.status, answer.body), (200, whole.body));

    for script in [Script::answers([larger]), Script::writes(chunked)] {
        let (answer, ledger) = tell_with(script, settings).await;

        assert_answer_refused(&answer, 200);
        assert_sent_once(&ledger);
    }
}

#[tokio::test]
async fn u16_bytes_after_an_answer_are_nobodys_answer() {
    for _ in 0..20 {
        let more = Answer::new(200).with_body("a second answer");
        let both = [Answer::standard().to_bytes(), more.to_bytes()].concat();
        let script = Script::each([Step::ReadRequest, Step::Write(both), Step::Hang])
            .then([Step::Serve(vec![Answer::standard()])]);
        let upstream = Upstream::start(script).await;
        let gateway = Running::before(&upstream).await;

        for text in ["first", "second"] {
            let answer = gateway.exchange(saying(text)).await;

            assert_eq!(answer.body, Answer::standard().body);
            assert_eq!(upstream.ledger().deliveries_of(&message_saying(text)), 1);
        }
        assert_eq!(upstream.ledger().connections(), 2);
    }
}

// ---- Answers, passed on or not.

#[tokio::test]
async fn u17_an_answer_passes_whatever_its_status() {
    for status in [
        200, 201, 202, 400, 402, 403, 404, 409, 413, 422, 500, 502, 503, 504, 599,
    ] {
        let theirs = Answer::new(status)
            .with_header("Content-Type", "application/json")
            .with_header("X-Wegly-Trace", "7")
            .with_body(r#"{ "message" : "Não" }"#);

        let (answer, ledger) = tell(Script::answers([theirs.clone()])).await;

        assert_eq!((answer.status, &answer.body), (status, &theirs.body));
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        assert_eq!(answer.header("X-Wegly-Trace"), Some("7"));
        assert_eq!(answer.header("Portaria-Delivery"), Some("sent"));
        assert_sent_once(&ledger);
    }
}

#[tokio::test]
async fn an_answer_without_a_body_passes() {
    let (answer, _) = tell(Script::answers([Answer::new(204)])).await;

    assert_eq!((answer.status, &answer.body[..]), (204, &b""[..]));
    assert_eq!(answer.header("Content-Length"), None);
}

#[tokio::test]
async fn u18_u19_an_upstream_that_asks_for_a_pause_gets_one() {
    for (status, asked, told, pause) in [
        (429, Some("7"), Some("7"), 1..=7),
        (429, Some("86400"), Some("86400"), 1..=60),
        (429, None, None, 1..=1),
        (503, Some("7"), Some("7"), 1..=7),
    ] {
        let mut theirs = Answer::new(status).with_body("slowly");
        if let Some(asked) = asked {
            theirs = theirs.with_header("Retry-After", asked);
        }
        let upstream = Upstream::start(Script::answers([theirs])).await;
        let gateway = Running::before(&upstream).await;

        let first = gateway.exchange(valid()).await;
        let second = gateway.exchange(valid()).await;

        assert_eq!((first.status, &first.body[..]), (status, &b"slowly"[..]));
        assert_eq!(first.header("Retry-After"), told);
        assert_eq!(first.header("Portaria-Delivery"), Some("sent"));
        assert_refused(&second, 503, "cooling-down", "not_sent");
        let seconds: u64 = second.header("Retry-After").unwrap().parse().unwrap();
        assert!(pause.contains(&seconds), "{status} {asked:?}: {seconds}");
        assert_sent_once(upstream.ledger());
    }
}

#[tokio::test]
async fn a_503_that_asks_for_no_pause_gets_none() {
    let upstream = Upstream::start(Script::answers([Answer::new(503)])).await;
    let gateway = Running::before(&upstream).await;

    let first = gateway.exchange(valid()).await;
    let second = gateway.exchange(valid()).await;

    assert_eq!((first.status, second.status), (503, 503));
    assert_eq!(upstream.ledger().requests().len(), 2);
}

#[tokio::test]
async fn u20_a_401_is_a_fault_of_the_token_and_not_of_the_application() {
    let theirs = Answer::new(401)
        .with_header("WWW-Authenticate", "Bearer")
        .with_body("no such token");

    let (answer, ledger) = tell(Script::answers([theirs])).await;

    assert_refused(&answer, 502, "upstream-rejected-credential", "not_sent");
    assert_eq!(answer.header("WWW-Authenticate"), None);
    assert!(!contains(&answer.body, "no such token"));
    assert_sent_once(&ledger);
}

#[tokio::test]
async fn a_401_is_tried_once_more_with_the_next_token() {
    let theirs = [Answer::new(401), Answer::standard()];
    let upstream = Upstream::start(Script::answers(theirs)).await;
    let home = Home::new(&upstream.url());
    let next = home.write("next-token", "the-next-token");
    let next = format!("file:{}", next.display());
    let gateway = Running::at(&home, [("CREDENTIALS__MAIN__NEXT_TOKEN", &*next)]).await;

    let first = gateway.exchange(saying("first")).await;
    home.set_up_server("request_timeout = '29s'");
    assert_eq!(gateway.reload().await.status, 200);
    let second = gateway.exchange(saying("second")).await;

    assert_eq!((first.status, second.status), (200, 200));
    upstream.ledger().assert_clean();
    let requests = upstream.ledger().requests();
    let tokens: Vec<&str> = requests
        .iter()
        .map(|request| request.header("Authorization"))
        .collect();
    // The second message begins with the token that was accepted, a reload or not.
    let (old, new) = (format!("Bearer {TOKEN}"), "Bearer the-next-token");
    assert_eq!(tokens, [&*old, new, new]);
}

#[tokio::test]
async fn u21_a_redirect_is_neither_followed_nor_shown() {
    let other = Upstream::start(Script::serve()).await;
    for status in [300, 301, 302, 303, 304, 307, 308] {
        let theirs = Answer::new(status)
            .with_header("Location", &format!("{}/elsewhere", other.url()))
            .with_header("Content-Length", "0");

        let (answer, ledger) = tell(Script::answers([theirs])).await;

        assert_answer_refused(&answer, status);
        assert_eq!(answer.header("Location"), None);
        assert!(!contains(&answer.body, "elsewhere"));
        assert_sent_once(&ledger);
    }
    assert_eq!(other.ledger().connections(), 0);
}

#[tokio::test]
async fn an_answer_that_wants_another_protocol_is_refused() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";

    let (answer, ledger) = tell(Script::writes(switch)).await;

    assert_answer_refused(&answer, 101);
    assert_sent_once(&ledger);
}

#[tokio::test]
async fn interim_answers_stay_here() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
    let script = Script::each([
        Step::ReadRequest,
        Step::Write(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Step::Write(hints.as_bytes().to_vec()),
        Step::Answer(Answer::standard()),
    ]);

    let (answer, _) = tell(script).await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, Answer::standard().body);
    assert_eq!(answer.header("Link"), None);
}

#[tokio::test]
async fn u25_an_upstream_that_slows_down_gets_no_more_than_there_are_places() {
    let gate = Gate::new();
    let script = Script::each([
        Step::ReadRequest,
        Step::Wait(gate.clone()),
        Step::Answer(Answer::standard()),
        Step::Serve(vec![Answer::standard()]),
    ]);
    let upstream = Upstream::start(script).await;
    let gateway = Running::with(&upstream, [("SERVER__MAX_IN_FLIGHT", "4")]).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut client = gateway.connect().await;
        client.send(valid()).await;
        waiting.push(client);
    }
    upstream.ledger().await_requests(4).await;

    for _ in 0..20 {
        let shed = gateway.exchange(saying("too much")).await;

        assert_refused(&shed, 503, "overloaded", "not_sent");
        assert_eq!(shed.header("Retry-After"), Some("1"));
    }
    gate.open();

    for client in &mut waiting {
        assert_eq!(client.read_answer().await.status, 200);
    }
    gateway.await_metric("portaria_requests_in_flight 0").await;
    assert_eq!(gateway.exchange(saying("after")).await.status, 200);
    let of = |text| upstream.ledger().deliveries_of(&message_saying(text));
    assert_eq!((of("too much"), of("after")), (0, 1));
    assert_eq!(upstream.ledger().requests().len(), 5);
}

#[tokio::test]
async fn u26_what_is_not_for_the_application_does_not_reach_it() {
    let dropped = [
        ("Set-Cookie", "session=1"),
        ("Server", "secret/1.0"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Upgrade", "h2c"),
        ("Trailer", "X-Later"),
        ("Proxy-Authenticate", "Basic"),
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Credentials", "true"),
    ];
    let mut theirs = Answer::standard()
        .with_header("Connection", "keep-alive, x-hop")
        .with_header("X-Request-Id", "theirs")
        .with_header("Portaria-Delivery", "theirs");
    for (name, value) in dropped {
        theirs = theirs.with_header(name, value);
    }

    let (answer, ledger) = tell(Script::answers([theirs])).await;

    assert_eq!(answer.body, Answer::standard().body);
    for (name, _) in dropped {
        assert_eq!(answer.header(name), None, "{name}");
    }
    let values = |name: &str| {
        let named = |header: &&(String, String)| header.0.eq_ignore_ascii_case(name);
        let found = answer.headers.iter().filter(named);
        found.map(|header| header.1.clone()).collect::<Vec<_>>()
    };
    let id = ledger.only_request().header("X-Request-Id").to_owned();
    assert_eq!(values("X-Request-Id"), [id]);
    assert_eq!(values("Portaria-Delivery"), ["sent"]);
}

#[tokio::test]
async fn u26_an_answer_that_holds_the_token_is_refused() {
    let in_body = Answer::new(200).with_body(format!("you are {TOKEN}!"));
    let in_header = Answer::standard().with_header("X-Debug", &format!("Bearer {TOKEN}"));
    for theirs in [in_body, in_header] {
        let (answer, ledger) = tell(Script::answers([theirs])).await;

        assert_answer_refused(&answer, 200);
        assert!(!contains(format!("{answer:?}").as_bytes(), TOKEN));
        assert_sent_once(&ledger);
    }
}

#[tokio::test]
async fn a_reason_phrase_does_not_come_through() {
    let theirs = format!("HTTP/1.1 200 {TOKEN}\r\nContent-Length: 0\r\n\r\n");
    let upstream = Upstream::start(Script::writes(theirs)).await;
    let gateway = Running::before(&upstream).await;

    let mut client = gateway.connect().await;
    client.send(valid()).await;
    client.finish_sending().await;

    let heard = client.read_to_end().await;
    assert!(heard.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(!contains(&heard, TOKEN));
}

#[tokio::test]
async fn an_answer_in_chunks_becomes_whole() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{chunked}3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n");

    let (answer, _) = tell(Script::writes(chunked)).await;

    assert_eq!((answer.status, &answer.body[..]), (200, &b"abcde"[..]));
    assert_eq!(answer.header("Content-Length"), Some("5"));
    assert_eq!(answer.header("Transfer-Encoding"), None);
    assert_eq!(answer.header("X-Trailer"), None);
}

#[tokio::test]
async fn an_answer_that_only_the_end_ends_is_whole() {
    let (answer, _) = tell(Script::writes("HTTP/1.1 200 OK\r\n\r\nabcde")).await;

    assert_eq!((answer.status, &answer.body[..]), (200, &b"abcde"[..]));
    assert_eq!(answer.header("Content-Length"), Some("5"));
}

#[tokio::test]
async fn an_upstream_that_recovers_is_used_again() {
    let script = Script::each([Step::ReadRequest, Step::Reset])
        .then([Step::Serve(vec![Answer::standard()])]);
    let upstream = Upstream::start(script).await;
    let gateway = Running::before(&upstream).await;

    let first = gateway.exchange(saying("first")).await;
    let second = gateway.exchange(saying("second")).await;

    assert_refused(&first, 502, "upstream-broke-off", "unknown");
    assert_eq!(second.status, 200);
}

/// One message through a gateway, to an upstream that behaves so.
async fn tell(script: Script) -> (Answer, Ledger) {
    tell_with(script, []).await
}

async fn tell_with<'a>(
    script: Script,
    settings: impl IntoIterator<Item = Setting<'a>>,
) -> (Answer, Ledger) {
    let upstream = Upstream::start(script).await;
    let gateway = Running::with(&upstream, settings).await;
    let answer = gateway.exchange(valid()).await;
    (answer, upstream.ledger().clone())
}

/// One message to an upstream with TLS, through a gateway that trusts this authority.
async fn exchange_trusting(ca: &str, upstream: &Upstream) -> Answer {
    let home = Home::new(&upstream.url());
    let ca = trust(&home, ca);
    let gateway = Running::at(&home, [("UPSTREAM__CA", &*ca)]).await;
    gateway.exchange(valid()).await
}

/// Writes a certificate authority; returns where it is, as the config has it.
fn trust(home: &Home, ca: &str) -> String {
    format!("file:{}", home.write("ca.pem", ca).display())
}

fn valid() -> Vec<u8> {
    post(CHAT, &key("billing")).to_bytes()
}

fn saying(text: &str) -> Vec<u8> {
    post(CHAT, &key("billing"))
        .body(message_saying(text))
        .to_bytes()
}

#[track_caller]
fn assert_unreachable(answer: &Answer) {
    assert_refused(answer, 502, "upstream-unreachable", "not_sent");
}

#[track_caller]
fn assert_answer_refused(answer: &Answer, upstream_status: u16) {
    assert_refused(answer, 502, "upstream-answer-refused", "sent");
    assert_eq!(answer.json()["upstream_status"], upstream_status);
}

/// The message arrived whole, once, over one connection.
#[track_caller]
fn assert_sent_once(ledger: &Ledger) {
    assert_eq!(ledger.only_request().body, message());
    assert_eq!(ledger.connections(), 1, "{}", ledger.report());
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
