//! What would a strict server make of these bytes?
//!
//! Cuts what arrived on a connection into requests (RFC 9112) and notes
//! everything a strict server would refuse, and everything the gateway promises
//! not to do. It reads on where it can, so that a second request behind a broken
//! first one is counted too. What is noted names headers, never their values.

/// What a request has exactly once when the gateway sent it.
const ONCE: [&str; 3] = ["Host", "Content-Length", "Authorization"];

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// On which connection, from 0.
    pub connection: usize,
    /// The bytes of its head, with the empty line.
    pub head: Vec<u8>,
    /// The method.
    pub method: String,
    /// The request target.
    pub target: String,
    /// The headers, in order, spelt as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// Whether all of it came.
    pub is_complete: bool,
    /// What a strict server would refuse it for.
    pub violations: Vec<String>,
}

impl Received {
    /// The value of the only header with this name. Panics where there is none, or more.
    pub fn header(&self, name: &str) -> &str {
        match self.values(name)[..] {
            [value] => str::from_utf8(value).unwrap(),
            ref values => panic!("{name} is there {} times", values.len()),
        }
    }

    /// The values of all headers with this name.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let same = self
            .headers
            .iter()
            .filter(|header| header.0.eq_ignore_ascii_case(name));
        same.map(|header| &header.1[..]).collect()
    }

    fn note(&mut self, violation: impl Into<String>) {
        self.violations.push(violation.into());
    }
}

/// The first request in `bytes` and its length there; `None` where there are no bytes.
pub fn first_request(bytes: &[u8]) -> Option<(Received, usize)> {
    if bytes.is_empty() {
        return None;
    }
    let Some(head) = head_length(bytes) else {
        let request = Received {
            head: bytes.to_vec(),
            ..Received::default()
        };
        return Some((request, bytes.len()));
    };
    let mut request = parse_head(&bytes[..head]);
    let rest = &bytes[head..];
    let length = body_length(&mut request);
    // Without a length that can be trusted, everything that follows is body, and
    // never complete: where the next request begins is a guess.
    request.is_complete = length.is_some_and(|length| rest.len() >= length);
    let there = rest.len().min(length.unwrap_or(usize::MAX));
    request.body = rest[..there].to_vec();
    Some((request, head + there))
}

/// The length of the head that `bytes` begin with, or `None` while its empty line
/// is missing. A bare LF ends a line here, to be noted by [`parse_head`].
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        length += line.len();
        match line {
            b"\n" | b"\r\n" => return Some(length),
            _ => {}
        }
    }
    None
}

fn parse_head(head: &[u8]) -> Received {
    let mut request = Received {
        head: head.to_vec(),
        ..Received::default()
    };
    let mut lines = Vec::new();
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => lines.push(line),
            None => {
                request.note("a line ends with a bare LF");
                lines.push(&line[..line.len() - 1]);
            }
        }
    }
    parse_request_line(&mut request, lines[0]);
    for line in lines.iter().skip(1).filter(|line| !line.is_empty()) {
        parse_header(&mut request, line);
    }
    for name in ONCE {
        let count = request.values(name).len();
        if count != 1 {
            request.note(format!("{name} is there {count} times"));
        }
    }
    request
}

fn parse_request_line(request: &mut Received, line: &[u8]) {
    let line = String::from_utf8_lossy(line).into_owned();
    match line.split(' ').collect::<Vec<_>>()[..] {
        [method, target, "HTTP/1.1"]
            if is_token(method.as_bytes())
                && target.starts_with('/')
                && target.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            request.method = method.to_owned();
            request.target = target.to_owned();
        }
        _ => request.note("the request line is not `METHOD /target HTTP/1.1`"),
    }
}

fn parse_header(request: &mut Received, line: &[u8]) {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return request.note("a header is folded over two lines");
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return request.note("a header line has no colon");
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if !is_token(name) {
        request.note("a header name is no token");
    }
    let name = String::from_utf8_lossy(name).into_owned();
    if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        request.note(format!("the value of {name} is not visible ASCII"));
    }
    request.headers.push((name, value.to_vec()));
}

/// RFC 9110, section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// How long the body is, or `None` where two servers could disagree.
fn body_length(request: &mut Received) -> Option<usize> {
    if !request.values("Transfer-Encoding").is_empty() {
        // With Content-Length or without: the gateway has the whole body before it
        // sends, and promises a length.
        request.note("Transfer-Encoding is there");
        return None;
    }
    let lengths = request.values("Content-Length");
    let Some(first) = lengths.first() else {
        return Some(0);
    };
    let length = str::from_utf8(first)
        .ok()
        .and_then(|digits| digits.parse::<usize>().ok());
    let is_canonical = length.is_some_and(|length| length.to_string().as_bytes() == *first);
    let is_agreed = lengths.iter().all(|other| other == first);
    if !is_canonical {
        request.note("Content-Length is not a plain number");
        return None;
    }
    length.filter(|_| is_agreed)
}
