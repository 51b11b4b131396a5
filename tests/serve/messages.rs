//! Does a message arrive as it was sent?

use crate::support::*;

#[tokio::test]
async fn a_message_arrives_byte_for_byte_whatever_it_looks_like() {
    let bodies = [
        message(),
        list_message(),
        b"\r\n\t { \"interactive_type\" :\"button\",\n\"body\":{\"text\":\"a\"} ,\"action\":\t{\"buttons\":[{\"id\":\"1\",\"title\":\"b\"}]}}\n \n".to_vec(),
        br#"{"interactive_type":"button","body":{"text":"Ol\u00e1 \ud83d\ude00 \/ \u0061"},"action":{"buttons":[{"id":"\u0031","title":"b"}]}}"#.to_vec(),
        message_saying("Olá 👩‍👩‍👧‍👦 \u{202e}e\u{301}"),
        message_saying(&"ç".repeat(1024)),
    ];
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let mut client = gateway.connect().await;

    for body in &bodies {
        let answer = client.exchange(with(body)).await;

        let shown = String::from_utf8_lossy(body);
        assert_eq!(answer.status, 200, "{shown}: {answer:?}");
        assert_eq!(answer.body, Answer::standard().body);
        assert_eq!(answer.header("Portaria-Delivery"), Some("sent"));
        assert_eq!(upstream.ledger().deliveries_of(body), 1, "{shown}");
    }

    upstream.ledger().assert_clean();
    assert_eq!(upstream.ledger().requests().len(), bodies.len());
}

#[tokio::test]
async fn nothing_of_a_clients_head_arrives_but_what_is_listed() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let chat = CHAT.to_uppercase();
    let request = post(&chat, &key("billing"))
        .header("Accept", "application/json")
        .header("Accept-Language", "pt-BR")
        .header("Connection", "authorization, content-length, keep-alive")
        .header("Cookie", "session=1")
        .header("Forwarded", "for=192.0.2.1")
        .header("Idempotency-Key", "7")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("TE", "trailers")
        .header("Traceparent", "00-0-0-00")
        .header("Upgrade", "h2c")
        .header("User-Agent", "mine/1.0")
        .header("Via", "1.1 mine")
        .header("X-Forwarded-For", "192.0.2.1")
        .header("X-HTTP-Method-Override", "DELETE")
        .header("X-Original-URL", "/elsewhere")
        .header("X-Request-Id", "mine");

    let answer = gateway.exchange(request.to_bytes()).await;

    assert_eq!(answer.status, 200);
    let received = upstream.ledger().only_request();
    let id = answer.header("X-Request-Id").unwrap();
    let host = upstream.address().to_string();
    let length = message().len().to_string();
    let version = concat!("portaria/", env!("CARGO_PKG_VERSION"));
    let token = format!("Bearer {TOKEN}");
    let mut headers: Vec<(String, &str)> = received
        .headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), str::from_utf8(value).unwrap()))
        .collect();
    headers.sort();
    assert_eq!(received.method, "POST");
    assert_eq!(
        received.target,
        format!("/integrations/external/chats/{CHAT}/messages/interactive")
    );
    assert_eq!(
        headers,
        [
            ("accept", "application/json"),
            ("accept-language", "pt-BR"),
            ("authorization", &token),
            ("content-length", &length),
            ("content-type", "application/json"),
            ("host", &host),
            ("user-agent", version),
            ("via", "1.1 portaria"),
            ("x-request-id", id),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    );
}

#[tokio::test]
async fn a_key_may_come_in_a_field_of_its_own() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let request = post(CHAT, "")
        .without("Authorization")
        .header("X-Portaria-Key", key("billing"));

    let answer = gateway.exchange(request.to_bytes()).await;

    assert_eq!(answer.status, 200);
    let received = upstream.ledger().only_request();
    assert_eq!(received.header("Authorization"), format!("Bearer {TOKEN}"));
    assert!(received.values("X-Portaria-Key").is_empty());
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let mut client = gateway.connect().await;

    for _ in 0..5 {
        let answer = client.exchange(with(&message())).await;

        assert_eq!(answer.status, 200);
        assert_ne!(answer.header("Connection"), Some("close"));
    }

    let requests = upstream.ledger().requests();
    let connections: Vec<usize> = requests.iter().map(|it| it.connection).collect();
    assert_eq!(connections, [0; 5]);
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_turn() {
    let answers = [201, 202, 203].map(Answer::new);
    let upstream = Upstream::start(Script::answers(answers)).await;
    let gateway = Running::before(&upstream).await;
    let texts = ["first", "second", "third"];
    let mut client = gateway.connect().await;

    client
        .send(texts.map(|text| with(&message_saying(text))).concat())
        .await;

    for (text, status) in texts.into_iter().zip([201, 202, 203]) {
        assert_eq!(client.read_answer().await.status, status);
        assert_eq!(upstream.ledger().deliveries_of(&message_saying(text)), 1);
    }
    upstream.ledger().assert_clean();
}

#[tokio::test]
async fn a_body_in_chunks_arrives_with_a_length() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let body = message();
    let (first, second) = body.split_at(7);
    let chunked = [
        b"07\r\n",
        first,
        format!("\r\n{:X}\r\n", second.len()).as_bytes(),
        second,
        b"\r\n000\r\n\r\n",
    ]
    .concat();
    let request = post(CHAT, &key("billing"))
        .header("Transfer-Encoding", "chunked")
        .body(chunked)
        .to_bytes();

    // On one connection, so that the second shows where the first has ended.
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        assert_eq!(client.exchange(&request).await.status, 200);
    }

    upstream.ledger().assert_clean();
    assert_eq!(upstream.ledger().deliveries_of(&body), 2);
}

#[tokio::test]
async fn a_body_is_only_asked_for_from_a_caller_who_may_come_in() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let length = message().len().to_string();
    let head = |key: &str| {
        post(CHAT, key)
            .header("Expect", "100-continue")
            .header("Content-Length", &length)
            .body("")
            .to_bytes()
    };

    let mut client = gateway.connect().await;
    assert_eq!(client.exchange(head(&key("billing"))).await.status, 100);
    assert_eq!(client.exchange(message()).await.status, 200);

    let mut stranger = gateway.connect().await;
    let answer = stranger.exchange(head(&key("stranger"))).await;
    assert_refused(&answer, 401, "invalid-key", "not_sent");
    upstream.ledger().only_request();
}

#[tokio::test]
async fn each_request_has_a_name_of_its_own() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let mut client = gateway.connect().await;

    let mut told = Vec::new();
    for _ in 0..3 {
        let answer = client.exchange(with(&message())).await;
        told.push(answer.header("X-Request-Id").unwrap().to_owned());
    }

    let requests = upstream.ledger().requests();
    let seen: Vec<&str> = requests
        .iter()
        .map(|it| it.header("X-Request-Id"))
        .collect();
    assert_eq!(seen, told);
    // A UUIDv7 sorts by its time.
    assert!(
        told.is_sorted() && told[0] < told[1] && told[1] < told[2],
        "{told:?}"
    );
}

fn with(body: &[u8]) -> Vec<u8> {
    post(CHAT, &key("billing")).body(body).to_bytes()
}
