//! What reaches the upstream, and what the client, whatever a request says?
//!
//! Over the real server and the whole pipeline; [`exchange`] itself holds what must hold
//! for every connection.

use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    cases,
    connection::{ACCEPTED, Sent, exchange, key},
};

const CHAT: &str = "3c90c3cc-0d44-4b50-8888-8dd25736052a";
const MESSAGE: &str = r#"{"interactive_type":"button","body":{"text":"Oi"},"action":{"buttons":[{"id":"a","title":"Sim"}]}}"#;
const CANARY: &str = "canary-of-the-client";

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_good_request_is_sent_whatever_the_fields_beside_its_own(
        fields in vec(harmless_field(), 0..20).prop_shuffle(),
    ) {
        let (answers, sent) = exchange(&post(target(CHAT), &fields, MESSAGE));

        prop_assert_eq!(answers[0].status, ACCEPTED);
        prop_assert_eq!(&sent[0].body, MESSAGE.as_bytes());
    }

    #[test]
    fn the_order_of_fields_changes_nothing(
        fields in vec(hostile_field(), 0..8),
        seed: u64,
    ) {
        // Fields of one name keep their order: that has a meaning (RFC 9110 §5.3).
        let mut moved = fields.clone();
        moved.sort_by_key(|(name, _)| {
            name.bytes().fold(seed, |rank, byte| {
                rank.wrapping_mul(31)
                    .wrapping_add(byte.to_ascii_lowercase().into())
            })
        });

        let (answers, sent) = exchange(&post(target(CHAT), &fields, MESSAGE));
        let (answers_moved, sent_moved) = exchange(&post(target(CHAT), &moved, MESSAGE));

        prop_assert_eq!(answers[0].status, answers_moved[0].status);
        prop_assert_eq!(without_id(&sent), without_id(&sent_moved));
    }

    #[test]
    fn a_target_that_was_tampered_with_is_refused_or_means_the_chat_that_it_names(
        changes in vec(change(), 1..4),
    ) {
        let mut target = target(CHAT).into_bytes();
        for change in &changes {
            apply(change, &mut target);
        }

        // `exchange` compares what was sent with what a strict server reads.
        exchange(&post(&target, &[], MESSAGE));
    }

    #[test]
    fn a_request_that_was_tampered_with_says_the_same_to_everybody(
        changes in vec(change(), 1..6),
        is_chunked: bool,
    ) {
        let mut bytes = if is_chunked {
            let body = format!("{:x}\r\n{MESSAGE}\r\n0\r\n\r\n", MESSAGE.len());
            post(target(CHAT), &[("Transfer-Encoding".into(), "chunked".into())], &body)
        } else {
            post(target(CHAT), &[], MESSAGE)
        };
        bytes.extend(post(target(&CHAT.replace('3', "f")), &[], MESSAGE));
        for change in &changes {
            apply(change, &mut bytes);
        }

        exchange(&bytes);
    }

    #[test]
    fn no_refusal_repeats_what_a_client_sent(
        place in 0..10_usize,
        spoilt in select(vec!["Content-Type: text/plain", "Accept-Language: pt", "Expect: x", "Origin: null", "A: b"]),
    ) {
        let (spoilt_name, spoilt) = spoilt.split_once(": ").unwrap();
        let mut fields = vec![(spoilt_name.to_owned(), spoilt.to_owned())];
        let mut add = |name: &str| fields.push((name.to_owned(), CANARY.to_owned()));
        let mut body = MESSAGE.to_owned();
        let mut target = target(CHAT);
        match place {
            0 => add("Authorization"),
            1 => add("X-Portaria-Key"),
            2 => add("Origin"),
            3 => add("Host"),
            4 => add("Content-Type"),
            5 => add("X-Request-Id"),
            6 => add(CANARY),
            7 => target += &format!("?{CANARY}"),
            8 => body = body.replace("\"Sim\"", &format!("\"{CANARY} that is longer than twenty characters\"")),
            _ => body = body.replace("button\"", &format!("{CANARY}\"")),
        }

        let (answers, _) = exchange(&post(&target, &fields, &body));

        let shown = format!("{answers:?}");
        prop_assert!(!shown.contains(CANARY), "{}", shown);
        for answer in answers {
            let text = String::from_utf8(answer.body).unwrap();
            prop_assert!(!text.contains(CANARY), "{}", text);
        }
    }
}

fn target(chat: &str) -> String {
    format!("/integrations/external/chats/{chat}/messages/interactive")
}

/// A good request with these fields before its own; those replace its own framing.
fn post(target: impl AsRef<[u8]>, fields: &[(String, String)], body: &str) -> Vec<u8> {
    let mut bytes = [b"POST ", target.as_ref(), b" HTTP/1.1\r\n"].concat();
    let mut field = |name: &str, value: &str| {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    };
    for (name, value) in fields {
        field(name, value);
    }
    field("Host", "desk");
    field("Authorization", &format!("Bearer {}", key(false)));
    let has = |wanted: &str| fields.iter().any(|(name, _)| name == wanted);
    if !has("Content-Type") {
        field("Content-Type", "application/json");
    }
    if !has("Transfer-Encoding") {
        field("Content-Length", &body.len().to_string());
    }
    [&bytes, b"\r\n".as_slice(), body.as_bytes()].concat()
}

/// Fields that must change nothing.
fn harmless_field() -> impl Strategy<Value = (String, String)> {
    let name = select(vec![
        "Connection",
        "connection",
        "Keep-Alive",
        "TE",
        "Upgrade",
        "HTTP2-Settings",
        "Trailer",
        "Proxy-Authorization",
        "Proxy-Connection",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Real-IP",
        "Via",
        "Cookie",
        "User-Agent",
        "Accept-Encoding",
        "Cache-Control",
        "Range",
        "X-HTTP-Method-Override",
        "X-Original-URL",
        "X-Api-Key",
        "Traceparent",
        "Prefer",
        "If-Match",
        "Accept",
        "Accept-Language",
        "Content-Language",
        "Content-Location",
        "X-A",
    ]);
    (name, value()).prop_map(|(name, value)| (name.to_owned(), value))
}

/// Those, and some that refuse the request or mean to.
fn hostile_field() -> impl Strategy<Value = (String, String)> {
    let name = select(vec![
        "aUTHORIZATION",
        "Authorization",
        "X-Portaria-Key",
        "X_Portaria_Key",
        "Host",
        "Expect",
        "Origin",
        "Referer",
        "Sec-Fetch-Site",
        "Content-Encoding",
        "Idempotency-Key",
        "X-Request-Id",
    ]);
    let hostile = (name, value()).prop_map(|(name, value)| (name.to_owned(), value));
    prop_oneof![2 => harmless_field(), 1 => hostile]
}

fn value() -> impl Strategy<Value = String> {
    let listed = select(vec![
        "",
        "close",
        "keep-alive",
        "authorization",
        "Authorization, content-length, host, via",
        "upgrade, HTTP2-Settings",
        "h2c",
        "websocket",
        "trailers",
        "chunked",
        "gzip",
        "100-continue",
        "Bearer x",
        "Basic YTpi",
        "1.1 portaria",
        "https://shop.example.com",
        "null",
        "same-origin",
        "DELETE",
        "/other",
        "*/*",
        "pt-BR, en;q=0.5",
        "\"a\"",
        "a\tb",
        "application/json",
    ]);
    prop_oneof![
        4 => listed.prop_map(str::to_owned),
        1 => "[ -~]{0,40}".prop_map(|text| text.trim().to_owned()),
        1 => (0_usize..1000).prop_map(|length| "a".repeat(length)),
    ]
}

/// What was sent, without what is new in every request.
fn without_id(sent: &[Sent]) -> Vec<Vec<(String, Vec<u8>)>> {
    let fields = sent.iter().map(|sent| {
        let mut fields = sent.fields.clone();
        fields.retain(|(name, _)| name != "x-request-id");
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        fields
    });
    fields.collect()
}

/// Something done to bytes.
#[derive(Clone, Debug)]
enum Change {
    Put(prop::sample::Index, Vec<u8>),
    Replace(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let piece = select(vec![
        &b"\r\n"[..],
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\0",
        b"/",
        b"//",
        b"/.",
        b"/..",
        b"%2f",
        b"%2e",
        b"%",
        b"\\",
        b";",
        b"?",
        b"#",
        b"\xc3\xa9",
        b"\xff",
        b"A",
        b"0",
        b"-",
        b"{",
        b":",
        b",",
        b"@",
        b"*",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\nContent-Length: 0",
        b"\r\nX: y",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"HTTP/1.1",
        b"POST ",
    ]);
    prop_oneof![
        (any::<prop::sample::Index>(), piece)
            .prop_map(|(at, piece)| Change::Put(at, piece.to_vec())),
        (any::<prop::sample::Index>(), any::<u8>())
            .prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<prop::sample::Index>(), 1_usize..4)
            .prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<prop::sample::Index>(), 1_usize..60)
            .prop_map(|(at, count)| Change::Repeat(at, count)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Put(at, piece) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, piece.iter().copied());
        }
        Change::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Change::Remove(at, count) => {
            let at = at.index(bytes.len());
            bytes.drain(at..bytes.len().min(at + count));
        }
        Change::Repeat(at, count) => {
            let at = at.index(bytes.len());
            let part = bytes[at..bytes.len().min(at + count)].to_vec();
            bytes.splice(at..at, part);
        }
    }
}
