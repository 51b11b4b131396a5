//! Where does one request end and the next begin?
//!
//! Two parties that answer this differently can be made to see different requests in the
//! same bytes (request smuggling). hyper answers it safely, but it forgives some of what
//! RFC 9112 lets a server refuse, and hides what it forgave. So a connection's bytes pass
//! through here before hyper sees them, and only those whose framing is beyond doubt get
//! on: lines end in CR LF, one plain `Content-Length` or one `Transfer-Encoding: chunked`
//! and never both, chunks without extensions, no trailers.
//!
//! What is refused is told like any other refusal. In its place hyper gets an empty
//! request, and [`Fault`] says beside it what was wrong: the pipeline refuses it, logs it
//! and counts it. After that nothing more is read on the connection.
//!
//! A connection that ends while its client still sends is read on for a moment: a reset
//! would take the answer away from the client before it has read it (RFC 9112 §9.6).

#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use memchr::{memchr, memchr_iter};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_util::io::poll_read_buf;

use crate::problem::RequestFault;

/// How much is read at once.
const READ: usize = 8 * 1024;
/// A chunk's size line: 16 hexadecimal digits say more than any body may hold.
const MAX_SIZE_LINE: usize = 16;
/// For how long, and how many bytes, a client that still sends is listened to.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER: usize = 2 * 1024 * 1024;

/// What was wrong with the framing of a connection's last request, if anything was.
#[derive(Clone, Debug, Default)]
pub struct Fault(Arc<OnceLock<RequestFault>>);

impl Fault {
    /// What it was.
    pub fn get(&self) -> Option<RequestFault> {
        self.0.get().copied()
    }
}

/// A connection whose requests are framed beyond doubt.
#[derive(Debug)]
pub struct Framed<S> {
    stream: S,
    max_head: usize,
    fault: Fault,
    /// What was read and not passed on.
    buffer: BytesMut,
    /// How much of it may be passed on.
    approved: usize,
    expected: Expected,
    linger: Option<Linger>,
}

/// What comes next on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// A head, of which so much has been looked at.
    Head(HeadScan),
    /// So much of a body.
    Body(u64),
    /// The size line of a chunk.
    ChunkSize,
    /// So much of a chunk, and its line end.
    Chunk(u64),
    /// The empty line after the last chunk.
    ChunkedEnd,
    /// Nothing that will be read.
    Nothing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct HeadScan {
    /// Where the current line begins.
    line: usize,
    /// Whether the request line is behind it.
    is_past_request_line: bool,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

/// What looking at the buffer led to.
enum Step {
    /// Something was approved, or something else is expected now.
    On,
    /// More bytes are needed.
    More,
}

impl<S> Framed<S> {
    /// A connection at its beginning. A head larger than twice `max_head` is not waited
    /// for; the pipeline refuses those above `max_head`.
    pub fn new(stream: S, max_head: usize) -> Self {
        Self {
            stream,
            max_head,
            fault: Fault::default(),
            buffer: BytesMut::new(),
            approved: 0,
            expected: Expected::Head(HeadScan::default()),
            linger: None,
        }
    }

    /// Where it says what was wrong.
    pub fn fault(&self) -> Fault {
        self.fault.clone()
    }

    fn step(&mut self) -> Step {
        match self.expected {
            Expected::Head(scan) => self.head(scan),
            Expected::Body(length) => self.body(length),
            Expected::ChunkSize => self.chunk_size(),
            Expected::Chunk(0) => {
                if !self.line_end() {
                    return self.more_or_refuse_after(2);
                }
                self.expected = Expected::ChunkSize;
                Step::On
            }
            Expected::Chunk(length) => {
                let here = self.take(length);
                self.expected = Expected::Chunk(length - here);
                if here == 0 { Step::More } else { Step::On }
            }
            Expected::ChunkedEnd => {
                if !self.line_end() {
                    return self.more_or_refuse_after(2);
                }
                self.expected = Expected::Head(HeadScan::default());
                Step::On
            }
            Expected::Nothing => Step::On,
        }
    }

    /// Looks at whole lines until the one that ends the head.
    fn head(&mut self, mut scan: HeadScan) -> Step {
        loop {
            let length = memchr(b'\n', &self.buffer[scan.line..]);
            // The same verdict, however much of the head came at once.
            let seen = length.map_or(self.buffer.len(), |length| scan.line + length + 1);
            if 2 * self.max_head < seen {
                self.refuse_head(RequestFault::HeadTooLarge);
                return Step::On;
            }
            let Some(length) = length else {
                self.expected = Expected::Head(scan);
                return Step::More;
            };
            let line = &self.buffer[scan.line..scan.line + length];
            let Some(line) = line
                .strip_suffix(b"\r")
                .filter(|line| !line.contains(&b'\r'))
            else {
                self.refuse_head(RequestFault::LineEnd);
                return Step::On;
            };
            let is_empty = line.is_empty();
            scan.line += length + 1;
            match (is_empty, scan.is_past_request_line) {
                // Empty lines before a request are a habit of old clients (RFC 9112 §2.2).
                (true, false) => {
                    self.buffer.advance(scan.line);
                    scan.line = 0;
                }
                (true, true) => break,
                (false, _) => scan.is_past_request_line = true,
            }
        }
        match judge(&self.buffer[..scan.line]) {
            Ok(next) => {
                self.approved = scan.line;
                self.expected = next;
                // Mostly the body is here already, and then it goes on with its head.
                if let Expected::Body(length) = next {
                    self.body(length);
                }
            }
            Err(fault) => self.refuse_head(fault),
        }
        Step::On
    }

    fn chunk_size(&mut self) -> Step {
        let rest = &self.buffer[self.approved..];
        let digits = rest
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        if digits == rest.len() && digits <= MAX_SIZE_LINE {
            return Step::More;
        }
        let size = std::str::from_utf8(&rest[..digits])
            .ok()
            .filter(|digits| digits.len() <= MAX_SIZE_LINE)
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let Some(size) = size else {
            return self.refuse_body();
        };
        match &rest[digits..] {
            [b'\r', b'\n', ..] => {}
            [b'\r'] => return Step::More,
            _ => return self.refuse_body(),
        }
        self.approved += digits + 2;
        self.expected = match size {
            0 => Expected::ChunkedEnd,
            size => Expected::Chunk(size),
        };
        Step::On
    }

    /// Approves up to so many bytes, and says how many.
    fn take(&mut self, length: u64) -> u64 {
        let here = (self.buffer.len() - self.approved) as u64;
        let here = here.min(length);
        self.approved += here as usize;
        here
    }

    fn body(&mut self, length: u64) -> Step {
        let here = self.take(length);
        self.expected = match length - here {
            0 => Expected::Head(HeadScan::default()),
            left => Expected::Body(left),
        };
        if here == 0 { Step::More } else { Step::On }
    }

    /// Approves a line end, if one is there.
    fn line_end(&mut self) -> bool {
        let is_there = self.buffer[self.approved..].starts_with(b"\r\n");
        if is_there {
            self.approved += 2;
        }
        is_there
    }

    fn more_or_refuse_after(&mut self, wanted: usize) -> Step {
        let rest = &self.buffer[self.approved..];
        if rest.len() < wanted && b"\r\n".starts_with(rest) {
            Step::More
        } else {
            self.refuse_body()
        }
    }

    /// Puts an empty request where a doubtful one was, in the language of its client.
    fn refuse_head(&mut self, fault: RequestFault) {
        let _ = self.fault.0.set(fault);
        let language = accept_language(&self.buffer).unwrap_or_default().to_vec();
        self.buffer.clear();
        for part in [
            &b"POST / HTTP/1.1\r\nHost: portaria\r\nContent-Length: 0\r\nAccept-Language: "[..],
            &language,
            b"\r\nConnection: close\r\n\r\n",
        ] {
            self.buffer.extend_from_slice(part);
        }
        self.approved = self.buffer.len();
        self.expected = Expected::Nothing;
    }

    /// Ends a body where it became doubtful: to hyper it is cut off.
    fn refuse_body(&mut self) -> Step {
        let _ = self.fault.0.set(RequestFault::Chunk);
        self.buffer.truncate(self.approved);
        self.expected = Expected::Nothing;
        Step::On
    }

    /// Whether the client may still be sending something that nobody will read.
    fn is_mid_message(&self) -> bool {
        !self.buffer.is_empty() || self.expected != Expected::Head(HeadScan::default())
    }
}

/// What follows a head, or what is doubtful about it.
fn judge(head: &[u8]) -> Result<Expected, RequestFault> {
    let mut from = 0;
    let mut lines = memchr_iter(b'\n', head).map(|end| {
        let line = head[from..end].trim_ascii_end();
        from = end + 1;
        line
    });
    let request_line = lines.next().unwrap_or_default();
    let is_http_11 = request_line.ends_with(b" HTTP/1.1");
    // A fragment never belongs into a request (RFC 9112 §3.2), and hyper cuts it off.
    if memchr(b'#', request_line).is_some() {
        return Err(RequestFault::TargetForm);
    }
    let (mut length, mut is_chunked) = (None, false);
    for line in lines {
        let Some(colon) = memchr(b':', line) else {
            continue; // Only the empty last line; the rest is for hyper to refuse.
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.is_some() {
                return Err(RequestFault::Repeated("content-length"));
            }
            length = Some(parse_length(value).ok_or(RequestFault::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked {
                return Err(RequestFault::Repeated("transfer-encoding"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") || !is_http_11 {
                return Err(RequestFault::TransferEncoding);
            }
            is_chunked = true;
        }
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(RequestFault::TwoLengths),
        (None, true) => Ok(Expected::ChunkSize),
        (None | Some(0), false) => Ok(Expected::Head(HeadScan::default())),
        (Some(length), false) => Ok(Expected::Body(length)),
    }
}

/// Digits alone, without a leading zero (RFC 9110 §8.6).
fn parse_length(value: &[u8]) -> Option<u64> {
    let is_plain = !value.is_empty()
        && value.iter().all(u8::is_ascii_digit)
        && (value[0] != b'0' || value.len() == 1);
    is_plain
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

/// The languages that a head asks for, as far as they can be repeated without doubt.
fn accept_language(head: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"accept-language:";
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        let value = value.trim_ascii();
        let is_plain = value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-,;=.* ".contains(byte));
        (name.eq_ignore_ascii_case(NAME) && is_plain).then_some(value)
    })
}

impl<S: AsyncRead + Unpin> Framed<S> {
    /// Waits for the first request: until its head is whole, or there will be none.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn begun(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_approved(cx)).await
    }

    /// Looks at what comes until some of it may be passed on, or nothing comes any more.
    fn poll_approved(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.approved == 0 && self.expected != Expected::Nothing {
            match self.step() {
                Step::On => {}
                Step::More => {
                    if ready!(self.poll_fill(cx))? == 0 {
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more into the buffer. At the end of the stream it reads nothing.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(READ);
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.buffer);
        // A connection that waits for a request holds no buffer: there may be thousands.
        if read.is_pending() && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        read
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_approved(cx))?;
        let length = this.approved.min(into.remaining());
        into.put_slice(&this.buffer[..length]);
        this.buffer.advance(length);
        this.approved -= length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.is_mid_message() {
                return Poll::Ready(Ok(()));
            }
            this.linger = Some(Linger {
                until: Box::pin(sleep(LINGER)),
                bytes: 0,
            });
        }
        loop {
            this.buffer.clear();
            let read = match this.poll_fill(cx) {
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(_)) => 0,
                Poll::Pending => {
                    let is_over = this
                        .linger
                        .as_mut()
                        .is_none_or(|linger| linger.until.as_mut().poll(cx).is_ready());
                    return if is_over {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    };
                }
            };
            let is_over = this.linger.as_mut().is_none_or(|linger| {
                linger.bytes += read;
                MAX_LINGER <= linger.bytes || linger.until.deadline() <= Instant::now()
            });
            if read == 0 || is_over {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
