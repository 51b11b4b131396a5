//! What goes out, and what comes back?

use portaria::problem::Problem;

use crate::{
    gateway::{Gateway, NEXT_TOKEN, Reply, Spoil as _, TEXT, application, post, post_by},
    support::{Answer, CHAT, Received, TOKEN, list_message, message_saying},
};

const ROTATING: &str = "
[credentials.main]
token = 'env:TOKEN'
next_token = 'env:NEXT_TOKEN'
";

#[tokio::test]
async fn what_goes_out_is_what_the_contract_lists_and_no_more() {
    let gateway = Gateway::new("");
    let everything = [
        ("accept", "application/json, */*;q=0.5"),
        ("accept", "text/plain"),
        ("accept-charset", "utf-8"),
        ("accept-encoding", "gzip"),
        ("accept-language", "pt-BR"),
        ("cache-control", "no-cache"),
        (
            "connection",
            "authorization, content-length, x-request-id, host",
        ),
        ("cookie", "a=b"),
        ("expect", "100-continue"),
        ("forwarded", "for=10.0.0.1"),
        ("idempotency-key", "\"order-1\""),
        ("if-match", "\"a\""),
        ("keep-alive", "timeout=5"),
        ("origin", "https://shop.example.com"),
        ("proxy-authorization", "Basic YTpi"),
        ("range", "bytes=0-1"),
        ("referer", "https://shop.example.com/"),
        ("te", "trailers"),
        ("trailer", "authorization"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("tracestate", "a=b"),
        ("upgrade", "h2c"),
        ("user-agent", "shop/1.0"),
        ("via", "1.1 other"),
        ("x-api-key", "a"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "other.example"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/other"),
        ("x-real-ip", "10.0.0.1"),
        ("x-request-id", "order-1"),
    ];
    let request = everything
        .into_iter()
        .fold(post(), |request, (name, value)| request.add(name, value))
        .set("content-type", "application/json; charset=utf-8");

    let answer = gateway.send(request).await;

    let length = message_saying(TEXT).len().to_string();
    let id = answer.header("x-request-id").unwrap();
    let [received] = &gateway.wegly.received()[..] else {
        panic!("there is one message");
    };
    assert_eq!(
        fields(received),
        [
            // The place is kept for it, first; the wire knows it.
            ("host", ""),
            ("accept", "application/json, */*;q=0.5"),
            ("accept", "text/plain"),
            ("accept-language", "pt-BR"),
            ("content-type", "application/json; charset=utf-8"),
            ("content-length", &*length),
            (
                "user-agent",
                concat!("portaria/", env!("CARGO_PKG_VERSION"))
            ),
            ("via", "1.1 portaria"),
            ("x-request-id", id),
            ("authorization", &*format!("Bearer {TOKEN}")),
        ]
    );
    assert_ne!(id, "order-1");
}

#[tokio::test]
async fn the_path_is_made_anew_and_the_bytes_are_those_that_came() {
    let gateway = Gateway::new("");
    let odd = "\r\n { \"interactive_type\" :\"list\",\t\"body\":{\"text\":\"\\u00e9 \u{e9} \\/\"},\
               \"action\":{\"button\":\"a\",\"sections\":[{\"rows\":[{\"id\":\"1\",\"title\":\"a\"}]}]}}\n ";
    let path = post().uri().path().replace(CHAT, &CHAT.to_uppercase());
    let bodies = [odd.as_bytes().to_vec(), list_message(), message_saying("ã")];

    for body in &bodies {
        let request = post().target(&path).with_body(body);
        assert_eq!(gateway.send(request).await.status, 200);
    }

    let received = gateway.wegly.received();
    for (received, body) in received.iter().zip(&bodies) {
        assert_eq!(received.method, "POST");
        assert_eq!(received.target, post().uri().path());
        assert_eq!(&received.body, body);
    }
    assert_eq!(received.len(), bodies.len());
}

#[tokio::test]
async fn the_origin_goes_out_as_the_credential_says() {
    let page = Some("https://shop.example.com");
    for (origin, sent, expected) in [
        ("", page, None),
        ("", None, None),
        (
            "origin = 'https://app.example.com'",
            page,
            Some("https://app.example.com"),
        ),
        (
            "origin = 'https://app.example.com'",
            None,
            Some("https://app.example.com"),
        ),
        ("origin = 'forward'", page, page),
        ("origin = 'forward'", None, None),
    ] {
        let gateway = Gateway::new(&format!("{MAIN}{origin}\n"));
        let request = match sent {
            Some(sent) => post().set("origin", sent),
            None => post(),
        };

        gateway.send(request).await;

        let received = &gateway.wegly.received()[0];
        let fields = fields(received);
        let found = fields.iter().find(|(name, _)| *name == "origin");
        assert_eq!(found.map(|(_, value)| *value), expected, "{origin}");
        assert_eq!(fields.last().unwrap().0, "authorization");
    }
}

const MAIN: &str = "[credentials.main]\ntoken = 'env:TOKEN'\n";

#[tokio::test]
async fn after_a_401_the_next_token_is_tried_once_and_the_accepted_one_stays_first() {
    let gateway = Gateway::new(ROTATING);
    let says = |status| Reply::Says(Answer::new(status));
    gateway.wegly.will([says(401), says(201), says(200)]);

    let first = gateway.send(post()).await;
    let second = gateway.send(post()).await;
    assert_eq!([first.status, second.status], [201, 200]);
    assert_eq!(gateway.wegly.tokens(), [TOKEN, NEXT_TOKEN, NEXT_TOKEN]);

    // The first one is still known, should the second be the one that goes.
    gateway.wegly.will([says(401), says(400)]);
    assert_eq!(gateway.send(post()).await.status, 400);
    assert_eq!(gateway.wegly.tokens()[3..], [NEXT_TOKEN, TOKEN]);

    let received = gateway.wegly.received();
    assert_eq!(received[0].body, received[1].body);
    let ids = received
        .iter()
        .map(|received| received.header("x-request-id"));
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_no_fault_of_the_application() {
    for (config, tried) in [(MAIN, &[TOKEN][..]), (ROTATING, &[TOKEN, NEXT_TOKEN])] {
        let gateway = Gateway::new(config);
        let challenge = Answer::new(401).with_header("www-authenticate", "Bearer");
        gateway
            .wegly
            .will([challenge.clone(), challenge].map(Reply::Says));

        let answer = gateway.send(post()).await;

        assert_eq!(answer.json()["code"], "upstream-rejected-credential");
        assert_eq!(answer.json()["delivery"], "not_sent");
        assert_eq!(answer.header("www-authenticate"), None);
        assert_eq!(gateway.wegly.tokens(), tried);
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_left_is_tried_once_more() {
    let unreachable = || {
        let source = "test".into();
        Reply::Fails(Problem::UpstreamUnreachable { source })
    };
    for (failures, status) in [(1, 200), (2, 502), (3, 502)] {
        let gateway = Gateway::new(MAIN);
        gateway.wegly.will((0..failures).map(|_| unreachable()));

        let answer = gateway.send(post()).await;

        assert_eq!(answer.status, status);
        assert_eq!(gateway.wegly.tokens(), [TOKEN, TOKEN]);
    }
}

#[tokio::test]
async fn nothing_but_a_401_makes_a_message_go_out_twice() {
    let source = || "test".into();
    let failures = [
        Problem::UpstreamBrokeOff { source: source() },
        Problem::UpstreamTimeout,
    ];
    let statuses = [200, 202, 400, 403, 404, 409, 422, 429, 500, 502, 503, 504];
    let replies = statuses.map(|status| Reply::Says(Answer::new(status)));
    for reply in replies.into_iter().chain(failures.map(Reply::Fails)) {
        let gateway = Gateway::new(ROTATING);
        gateway.wegly.will([reply]);

        gateway.send(post()).await;

        assert_eq!(gateway.wegly.tokens(), [TOKEN]);
    }

    let gateway = Gateway::new(ROTATING);
    gateway.wegly.will([
        Reply::Says(Answer::new(401)),
        Reply::Fails(Problem::UpstreamTimeout),
    ]);
    let answer = gateway.send(post()).await;
    assert_eq!(answer.json()["delivery"], "unknown");
    assert_eq!(gateway.wegly.tokens(), [TOKEN, NEXT_TOKEN]);
}

#[tokio::test]
async fn an_answer_of_weglys_comes_through_untouched() {
    for status in [
        200, 201, 202, 400, 402, 403, 404, 409, 410, 422, 429, 500, 502, 503,
    ] {
        let gateway = Gateway::new("");
        let says = Answer::new(status)
            .with_header("content-type", "application/json; charset=utf-8")
            .with_header("x-wegly-trace", "7")
            .with_header("x-wegly-trace", "8")
            .with_header("x-request-id", "weglys-own")
            .with_header("portaria-delivery", "weglys-own")
            .with_body("{ \"id\" : \"\u{e9}\" }\n");
        gateway.wegly.will([Reply::Says(says.clone())]);

        let answer = gateway.send(post()).await;

        assert_eq!(answer.status, status);
        assert_eq!(answer.body, says.body);
        let ours = ["x-request-id", "portaria-delivery"];
        let (ours, theirs): (Vec<_>, Vec<_>) = answer
            .headers
            .into_iter()
            .partition(|(name, _)| ours.contains(&&**name));
        assert_eq!(theirs, says.headers[..3], "{status}");
        assert_eq!(ours.len(), 2, "{status}");
        assert!(ours.contains(&("portaria-delivery".to_owned(), "sent".to_owned())));
    }
}

#[tokio::test]
async fn an_answer_that_holds_a_token_is_not_shown() {
    let body = |token: &str| format!("{{\"seen\": \"Bearer {token}\"}}");
    for says in [
        Answer::new(200).with_body(body(TOKEN)),
        Answer::new(400).with_body(body(NEXT_TOKEN)),
        Answer::new(500).with_header("x-seen", TOKEN),
        Answer::new(429).with_header("x-seen", &format!("Bearer {NEXT_TOKEN}.")),
    ] {
        let gateway = Gateway::new(ROTATING);
        let status = says.status;
        gateway.wegly.will([Reply::Says(says)]);

        // What is sent is looked through for tokens.
        let answer = gateway.send(post()).await;

        assert_eq!(answer.json()["code"], "upstream-answer-refused");
        assert_eq!(answer.json()["upstream_status"], status);
        assert_eq!(answer.json()["delivery"], "sent");
    }
}

#[tokio::test]
async fn each_application_knocks_with_the_token_of_its_own_credential() {
    let gateway = Gateway::new(
        &[
            "credentials = { main = { token = 'env:TOKEN' }, spare = { token = 'env:NEXT_TOKEN' } }\n",
            &application("billing", "credential = 'main'"),
            &application("shop", "credential = 'spare'"),
        ]
        .concat(),
    );

    gateway.send(post_by("shop")).await;
    gateway.send(post()).await;

    assert_eq!(gateway.wegly.tokens(), [NEXT_TOKEN, TOKEN]);
}

fn fields(received: &Received) -> Vec<(&str, &str)> {
    let fields = received.headers.iter();
    fields
        .map(|(name, value)| (&**name, str::from_utf8(value).unwrap()))
        .collect()
}
