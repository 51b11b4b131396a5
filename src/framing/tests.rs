use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[tokio::test]
async fn what_is_framed_beyond_doubt_passes_byte_for_byte() {
    for bytes in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length:3\r\n\r\n\n\n\nPOST / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding:\tChunked \r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        for at_once in [1, 2, 7, bytes.len()] {
            let (passed, fault) = pass(bytes, at_once).await;

            assert_eq!(passed, bytes, "{at_once} at once");
            assert_eq!(fault, None, "{bytes:?}");
        }
    }
}

#[tokio::test]
async fn empty_lines_before_a_request_are_dropped() {
    let (passed, fault) = pass("\r\n\r\nGET / HTTP/1.1\r\n\r\n", 3).await;

    assert_eq!((&*passed, fault), ("GET / HTTP/1.1\r\n\r\n", None));
}

#[tokio::test]
async fn a_doubtful_head_is_replaced_by_an_empty_request() {
    use RequestFault::{
        ContentLength, HeadTooLarge, LineEnd, Repeated, TargetForm, TransferEncoding, TwoLengths,
    };
    for (head, expected) in [
        ("POST / HTTP/1.1\nHost: a\r\n\r\n", LineEnd),
        ("POST / HTTP/1.1\r\nHost: a\n\r\n", LineEnd),
        ("POST / HTTP/1.1\r\nHost: a\rb\r\n\r\n", LineEnd),
        ("POST / HTTP/1.1\r\nHost: a\r\n\n", LineEnd),
        ("POST /#a HTTP/1.1\r\n\r\n", TargetForm),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            TwoLengths,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            TwoLengths,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            Repeated("content-length"),
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
            ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 010\r\n\r\n",
            ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
            ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n",
            ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: -0\r\n\r\n",
            ContentLength,
        ),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", ContentLength),
        (
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
            ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Repeated("transfer-encoding"),
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: ,chunked\r\n\r\n",
            TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
            TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\x0b\r\n\r\n",
            TransferEncoding,
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            TransferEncoding,
        ),
        (
            &format!("POST / HTTP/1.1\r\nx: {}", "y".repeat(2048)),
            HeadTooLarge,
        ),
    ] {
        let before = "GET / HTTP/1.1\r\n\r\n";
        let (passed, fault) =
            pass(&format!("{before}{head}GET /smuggled HTTP/1.1\r\n\r\n"), 5).await;

        assert_eq!(fault, Some(expected), "{head:?}");
        let replaced = passed.strip_prefix(before).unwrap();
        assert!(
            replaced.starts_with("POST / HTTP/1.1\r\nHost: portaria\r\n"),
            "{replaced:?}"
        );
        assert!(
            replaced.ends_with("\r\nConnection: close\r\n\r\n"),
            "{replaced:?}"
        );
        assert_eq!(replaced.matches("HTTP/1.1").count(), 1, "{replaced:?}");
    }
}

#[tokio::test]
async fn a_doubtful_body_ends_where_it_becomes_doubtful() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, passes) in [
        ("3;a=b\r\nabc\r\n0\r\n\r\n", ""),
        ("3;\r\nabc\r\n0\r\n\r\n", ""),
        ("3 \r\nabc\r\n0\r\n\r\n", ""),
        ("3\nabc\r\n0\r\n\r\n", ""),
        ("+3\r\nabc\r\n0\r\n\r\n", ""),
        ("0x3\r\nabc\r\n0\r\n\r\n", ""),
        ("\r\nabc\r\n0\r\n\r\n", ""),
        ("00000000000000003\r\nabc\r\n0\r\n\r\n", ""),
        ("3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc"),
        ("3\r\nabc\n0\r\n\r\n", "3\r\nabc"),
        ("3\r\nabc\r\n0\r\nX: y\r\n\r\n", "3\r\nabc\r\n0\r\n"),
        ("0\r\n\n", "0\r\n"),
    ] {
        for at_once in [1, 1000] {
            let (passed, fault) = pass(&format!("{head}{body}"), at_once).await;

            assert_eq!(passed, format!("{head}{passes}"), "{body:?}");
            assert_eq!(fault, Some(RequestFault::Chunk), "{body:?}");
        }
    }
}

#[tokio::test]
async fn the_empty_request_asks_for_the_language_of_the_doubtful_one() {
    let (passed, _) = pass(
        "POST / HTTP/1.1\r\nACCEPT-language: pt-BR;q=0.9\r\nContent-Length: x\r\n\r\n",
        99,
    )
    .await;

    assert!(
        passed.contains("\r\nAccept-Language: pt-BR;q=0.9\r\n"),
        "{passed:?}"
    );
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_alike_however_much_comes_at_once() {
    let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2048));

    for at_once in [1, 100, 8192] {
        let (passed, fault) = pass(&head, at_once).await;

        assert_eq!(fault, Some(RequestFault::HeadTooLarge), "{at_once} at once");
        assert!(passed.starts_with("POST / HTTP/1.1\r\nHost: portaria\r\n"));
    }
}

/// Sends bytes, so many at once; returns what hyper would see of them.
async fn pass(bytes: &str, at_once: usize) -> (String, Option<RequestFault>) {
    let (mut client, server) = tokio::io::duplex(at_once);
    let mut framed = Framed::new(server, 1024);
    let fault = framed.fault();
    let sending = async move {
        // Whoever was refused is not listened to.
        let _ = client.write_all(bytes.as_bytes()).await;
        drop(client);
    };
    let receiving = async move {
        let mut passed = String::new();
        framed.read_to_string(&mut passed).await.unwrap();
        passed
    };
    let ((), passed) = tokio::join!(sending, receiving);
    (passed, fault.get())
}
