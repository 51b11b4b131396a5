//! Does anything that is refused ever leave?

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::*;

/// Closed without an answer: what came is not even a request.
const NO_ANSWER: u16 = 0;

#[tokio::test]
async fn nothing_that_is_refused_reaches_the_upstream() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::with(&upstream, [("SERVER__HEAD_TIMEOUT", "1s")]).await;

    for (name, expected, request) in refused() {
        let mut client = gateway.connect().await;
        client.send(request).await;
        client.finish_sending().await;
        let heard = client.read_to_end().await;

        let heard = String::from_utf8(heard).unwrap();
        let status = heard
            .split(' ')
            .nth(1)
            .map_or(NO_ANSWER, |status| status.parse().unwrap());
        assert_eq!(status, expected, "{name}: {heard}");
        let is_problem = heard.contains("content-type: application/problem+json");
        let says_so = heard.contains("portaria-delivery: not_sent");
        assert_eq!(is_problem, says_so, "{name}: {heard}");
    }

    assert_eq!(upstream.ledger().connections(), 0);
}

/// Requests with one thing wrong each, and the status that they get.
#[rustfmt::skip] // a table reads best as a table
fn refused() -> Vec<(&'static str, u16, Vec<u8>)> {
    let path = format!("/integrations/external/chats/{CHAT}/messages/interactive");
    let text = String::from_utf8(message()).unwrap();
    let length = text.len().to_string();
    let line = |line: &str| valid().line(line.replace("PATH", &path));
    let with = |name, value: &str| valid().without(name).header(name, value);
    let too = |name, value: &str| valid().header(name, value);
    let lengths = |first: &str, second: &str| too("Content-Length", first).header("Content-Length", second);
    let chunks = |body| with("Transfer-Encoding", "chunked").body(body);
    let page = |origin| post(CHAT, &key("shop")).header("Origin", origin);
    let body = |body: &str| valid().body(body);
    let rows = [
        // Framing that can be read in two ways.
        ("no host", 400, valid().without("Host")),
        ("two hosts", 400, too("Host", "portaria.test")),
        ("no plain host", 400, with("Host", "a@b")),
        ("two lengths", 400, lengths(&length, "4")),
        ("one length twice", 400, lengths(&length, &length)),
        ("one length in a list", 400, too("Content-Length", &format!("{length}, {length}"))),
        ("a length with a sign", 400, too("Content-Length", &format!("+{length}"))),
        ("a length with a zero", 400, too("Content-Length", &format!("0{length}"))),
        ("a length and chunks", 400, chunked("chunked", &message()).header("Content-Length", &length)),
        ("chunks twice", 400, chunked("chunked", &message()).header("Transfer-Encoding", "chunked")),
        ("chunks of something", 400, chunked("gzip, chunked", &message())),
        ("chunks, and identity first", 400, chunked("identity, chunked", &message())),
        ("chunks and then something", 400, chunked("chunked, gzip", &message())),
        ("no chunks at all", 400, too("Transfer-Encoding", "identity")),
        ("chunks in HTTP/1.0", 400, chunked("chunked", &message()).line(format!("POST {path} HTTP/1.0"))),
        ("a chunk without a size", 400, chunks("x\r\n\r\n")),
        ("a chunk longer than it says", 400, chunks("1\r\n{}\r\n0\r\n\r\n")),
        ("a chunk with an extension", 400, chunks("2;a=b\r\n{}\r\n0\r\n\r\n")),
        ("a chunk with a bare line feed", 400, chunks("2\n{}\r\n0\r\n\r\n")),
        ("a trailer", 400, chunks("2\r\n{}\r\n0\r\nX-A: b\r\n\r\n")),
        ("no last chunk", 400, chunks("2\r\n{}\r\n")),
        ("a bare line feed", 400, too("X-A", "a\nX-B: b")),
        ("a bare carriage return", 400, too("X-A", "a\rX-B: b")),
        ("a folded field", 400, too("X-A", "a\r\n b")),
        ("a space before the colon", 400, too("X-A ", "a")),
        ("a field name with an underscore", 400, too("Content_Length", "3")),
        ("a field with other bytes", 400, valid().header("X-A", b"Jos\xe9")),
        ("two content types", 400, too("Content-Type", "application/json")),
        ("two origins", 400, page("https://shop.example.com").header("Origin", "https://shop.example.com")),
        // What is called.
        ("a query", 400, line("POST PATH?key=1 HTTP/1.1")),
        ("a fragment", 400, line("POST PATH#x HTTP/1.1")),
        ("an absolute form", 400, line("POST http://wegly.testPATH HTTP/1.1")),
        ("a dot segment", 400, line("POST /x/..PATH HTTP/1.1")),
        ("a backslash", 400, line("POST /a\\PATH HTTP/1.1")),
        ("a parameter", 400, line("POST PATH;a HTTP/1.1")),
        ("letters beyond ASCII", 400, line("POST /é/PATH HTTP/1.1")),
        ("no slash", 400, line("POST x HTTP/1.1")),
        ("an escape", 400, line("POST PATH%20 HTTP/1.1")),
        ("an empty segment", 400, line("POST /PATH HTTP/1.1")),
        ("no plain UUID", 400, line(&format!("POST {} HTTP/1.1", path.replace('-', "")))),
        ("another path", 404, line("POST / HTTP/1.1")),
        ("a longer path", 404, line("POST PATH/x HTTP/1.1")),
        ("another method", 405, line("PUT PATH HTTP/1.1")),
        ("a method in lower case", 405, line("post PATH HTTP/1.1")),
        ("CONNECT", 400, line("CONNECT wegly.test:443 HTTP/1.1")),
        ("TRACE", 400, line("TRACE PATH HTTP/1.1")),
        ("a star", 400, line("OPTIONS * HTTP/1.1")),
        ("HTTP/0.9", 400, line("POST PATH")),
        ("HTTP/3", 400, line("POST PATH HTTP/3.0")),
        ("two spaces", 400, line("POST  PATH HTTP/1.1")),
        // Who is calling.
        ("no key", 401, valid().without("Authorization")),
        ("a key of nobody", 401, post(CHAT, &key("stranger"))),
        ("nothing after Bearer", 401, post(CHAT, "")),
        ("half a key", 401, post(CHAT, &key("billing")[..20])),
        ("the token", 401, post(CHAT, TOKEN)),
        ("another scheme", 401, with("Authorization", "Basic eDp5")),
        ("two keys", 400, too("X-Portaria-Key", &key("billing"))),
        ("two fields with a key", 400, too("Authorization", "Bearer x")),
        // From which page.
        ("a page's key, from none", 403, post(CHAT, &key("shop"))),
        ("a page's key, from another", 403, page("https://shop.example.com.evil.test")),
        ("a page's key, from null", 403, page("null")),
        ("a server's key, from a page", 403, too("Sec-Fetch-Site", "same-origin")),
        // With what.
        ("text", 415, with("Content-Type", "text/plain")),
        ("no content type", 415, valid().without("Content-Type")),
        ("another charset", 415, with("Content-Type", "application/json; charset=latin1")),
        ("compressed", 415, too("Content-Encoding", "gzip")),
        ("another expectation", 417, too("Expect", "200-ok")),
        ("nothing", 400, body("")),
        ("half a message", 400, body(&text[..40])),
        ("a message and more", 400, body(&format!("{text}{text}"))),
        ("a byte order mark", 400, body(&format!("\u{feff}{text}"))),
        ("a member twice", 400, body(&text.replacen('{', r#"{"body":{},"#, 1))),
        ("a member twice, once in disguise", 400, body(&text.replacen('{', r#"{"bod\u0079":{},"#, 1))),
        ("half a surrogate pair", 400, body(&text.replace("Podemos", r"\ud83d"))),
        ("no UTF-8", 400, valid().body(b"{\"a\":\"\xff\"}")),
        ("a title too long", 422, body(&text.replace("Confirmar", &"x".repeat(21)))),
        ("no message", 422, body("{}")),
        ("no object", 422, body("[]")),
        // Too much of it.
        ("a body too large", 413, body(&" ".repeat(64 * 1024 + 1))),
        ("a target too long", 414, line(&format!("POST /{} HTTP/1.1", "x".repeat(2048)))),
        ("a field too long", 431, too("X-A", &"x".repeat(16 * 1024))),
        ("a field far too long", 431, too("X-A", &"x".repeat(100 * 1024))),
        ("too many fields", 431, fields(65)),
        ("far too many fields", 431, fields(300)),
    ];
    // What is no request at all.
    let no_requests: [(_, _, &[u8]); 5] = [
        ("HTTP/2", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        ("TLS", 400, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n"),
        ("noise", 400, b"\0\0\0\0\r\n\r\n"),
        ("half a head", NO_ANSWER, b"POST /integrations"),
        ("nothing at all", NO_ANSWER, b""),
    ];
    let rows = rows.map(|(name, status, request)| (name, status, request.to_bytes()));
    let no_requests = no_requests.map(|(name, status, bytes)| (name, status, bytes.to_vec()));
    rows.into_iter().chain(no_requests).collect()
}

#[tokio::test]
async fn what_is_as_large_as_it_may_be_passes() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let mut body = message();
    body.resize(64 * 1024, b' ');
    let head = valid().to_bytes().len() - message().len();
    for (name, request) in [
        ("a body of 64 KiB", valid().body(&body)),
        ("a body of 64 KiB in a chunk", chunked("chunked", &body)),
        ("64 fields", fields(64)),
        // Nearly 16 KiB of head, with what is left for the line end of this field.
        (
            "a large head",
            valid().header("X-A", "x".repeat(16 * 1024 - head - 64)),
        ),
    ] {
        let answer = gateway.exchange(request.to_bytes()).await;

        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
    let long = format!("POST /{} HTTP/1.1", "x".repeat(2047));
    let answer = gateway.exchange(valid().line(long).to_bytes()).await;
    assert_refused(&answer, 404, "no-such-route", "not_sent");
    assert_eq!(upstream.ledger().deliveries_of(&body), 2);
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_before_it_comes() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let head = valid().header("Content-Length", "65537").body("");

    let mut client = gateway.connect().await;
    let answer = client.exchange(head.to_bytes()).await;

    assert_refused(&answer, 413, "body-too-large", "not_sent");
    assert_eq!(answer.header("Connection"), Some("close"));
    assert!(client.is_closed_by_peer().await);
}

#[tokio::test]
async fn a_body_without_a_length_is_read_as_far_as_it_may_go() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let head = valid().header("Transfer-Encoding", "chunked").body("");
    let chunk = [b"400\r\n", &[b' '; 1024][..], b"\r\n"].concat();

    let mut client = gateway.connect().await;
    client.send(head.to_bytes()).await;
    client.send(chunk.repeat(65)).await;
    let answer = client.read_answer().await;

    assert_refused(&answer, 413, "body-too-large", "not_sent");
    upstream.ledger().assert_nothing_sent();
}

/// A connection that is closed while its client still sends is reset, and the reset may
/// overtake the answer. So it is read on for a moment.
#[tokio::test]
async fn a_client_that_goes_on_sending_is_not_reset() {
    let upstream = Upstream::start(Script::serve()).await;
    let gateway = Running::before(&upstream).await;
    let part = vec![b' '; 100 * 1024];
    for (request, status) in [
        (valid(), "413"),
        (post(CHAT, &key("stranger")), "401"),
        (valid().header("Content-Length", "1"), "400"),
    ] {
        let length = (2 * part.len()).to_string();
        let head = request.header("Content-Length", length).body("").to_bytes();
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let mut heard = String::new();
        within("the answer and the rest of the body", async {
            stream.write_all(&head).await?;
            stream.read_to_string(&mut heard).await?;
            stream.write_all(&part).await?;
            // Had the first part met a closed connection, this one would fail.
            stream.write_all(&part).await
        })
        .await
        .unwrap();

        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
    }
    upstream.ledger().assert_nothing_sent();
}

fn valid() -> Request {
    post(CHAT, &key("billing"))
}

/// With this body in one chunk, said to be encoded so.
fn chunked(encoding: &str, body: &[u8]) -> Request {
    let size = format!("{:x}\r\n", body.len());
    let chunk = [size.as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    valid().header("Transfer-Encoding", encoding).body(chunk)
}

/// With so many fields, `Content-Length` included.
fn fields(count: usize) -> Request {
    (4..count).fold(valid(), |request, number| {
        request.header(&format!("X-{number}"), "x")
    })
}
