//! Does a connection say the same, however its bytes are cut?

use std::{
    io,
    iter::Cycle,
    pin::Pin,
    slice,
    task::{Context, Poll},
};

use portaria::{framing::Framed, problem::RequestFault};
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use crate::{cases, run, wire};

/// The largest head.
const MAX_HEAD: usize = 256;

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn however_a_connection_is_cut_it_says_the_same(
        bytes in connection(),
        cuts in vec(1_usize..40, 1..20),
    ) {
        let whole = pass(&bytes, &[bytes.len().max(1)]);

        let (bytewise, cut) = (pass(&bytes, &[1]), pass(&bytes, &cuts));

        prop_assert_eq!(&bytewise, &whole);
        prop_assert_eq!(&cut, &whole);
    }

    #[test]
    fn what_passes_says_what_was_said_and_no_more(bytes in connection()) {
        let passed = pass(&bytes, &[bytes.len().max(1)]);

        prop_assert!(passed.fault.is_some() || !wire::is_length_in_doubt(&bytes));
        let asked = wire::requests(&bytes);
        let mut answered = wire::requests(&passed.bytes);
        if passed.fault.is_none() {
            prop_assert_eq!(answered, asked);
        } else if !asked.starts_with(&answered) {
            // Only what stands instead of a doubtful request is new.
            let instead = answered.pop().unwrap();
            prop_assert_eq!((&*instead.target, instead.body), ("/", Vec::new()));
            prop_assert!(asked.starts_with(&answered));
        }
    }
}

/// Pieces of requests, good and bad, in any order.
fn connection() -> impl Strategy<Value = Vec<u8>> {
    // Together they make heads that are too large in one way or another.
    let long = format!("X: {}\r\n", "y".repeat(MAX_HEAD));
    let longer = format!("GET /{} HTTP/1.1\r\n{long}", "z".repeat(MAX_HEAD));
    let pieces = [
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "\0",
        "\x0b",
        ":",
        ";",
        ",",
        "#",
        "a",
        "0",
        "3",
        "abc",
        "POST / HTTP/1.1\r\n",
        "POST / HTTP/1.0\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n\r\n",
        "Content-Length: 3\r\n",
        "content-length:0\r\n",
        "Content-Length: 03\r\n\r\n",
        "Content-Length : 3\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Accept-Language: pt\r\n",
        "3\r\nabc\r\n",
        "A\r\n0123456789\r\n",
        "0\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "3;a=b\r\nabc\r\n",
        "ffffffffffffffff\r\n",
        "00000000000000003\r\n",
        &*long,
        &*longer,
    ];
    let piece = select(pieces.map(String::from).to_vec());
    vec(prop_oneof![3 => piece, 1 => request()], 0..16)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

/// Requests with up to three fields that say how long they are.
fn request() -> impl Strategy<Value = String> {
    let version = select(vec!["1.1", "1.1", "1.0"]);
    let fields = select(vec![
        "Content-Length: 3\r\n",
        "content-length:\t3 \r\n",
        "Content-Length: 13\r\n",
        "Content-Length: 3, 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:CHUNKED\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Host: a\r\n",
    ]);
    let body = select(vec!["", "abc", "3\r\nabc\r\n0\r\n\r\n"]);
    (version, vec(fields, 0..4), body).prop_map(|(version, fields, body)| {
        format!("POST / HTTP/{version}\r\n{}\r\n{body}", fields.concat())
    })
}

#[derive(Debug, PartialEq)]
struct Passed {
    /// Without the language of a refusal, which may stand in bytes still to come.
    bytes: Vec<u8>,
    fault: Option<RequestFault>,
}

/// What gets through, if it is read in pieces of these lengths, over and over.
fn pass(bytes: &[u8], cuts: &[usize]) -> Passed {
    let pieces = Pieces {
        bytes,
        cuts: cuts.iter().cycle(),
    };
    let mut framed = Framed::new(pieces, MAX_HEAD);
    let fault = framed.fault();
    let mut passed = Vec::new();
    run(framed.read_to_end(&mut passed)).unwrap();
    if let (Some(_), Some(start)) = (fault.get(), find(&passed, b"\r\nHost: portaria\r\n")) {
        let rest = passed[start..].to_vec();
        let language = start + find(&rest, b"\r\nAccept-Language:").unwrap();
        let end = start + find(&rest, b"\r\nConnection: close").unwrap();
        passed.drain(language..end);
    }
    Passed {
        bytes: passed,
        fault: fault.get(),
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).rposition(|window| window == part)
}

/// Bytes that arrive in pieces.
struct Pieces<'a> {
    bytes: &'a [u8],
    cuts: Cycle<slice::Iter<'a, usize>>,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.cuts.next().copied().unwrap_or(1);
        let length = length.min(self.bytes.len()).min(into.remaining());
        let (now, later) = self.bytes.split_at(length);
        into.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}
