//! Does a client talk instead of asking?
//!
//! h2 bounds what requests are made of, and resets of them. PING and SETTINGS it answers
//! without end, and frames of a kind that it does not know it reads without end. So frames
//! are counted on their way in, by their headers alone (RFC 9113 §4.1): whoever sends more
//! than any client has reason to is cut off. What a window update costs is its bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// Frames that ask for nothing, in a second. Browsers and libraries send a few.
const MOST: usize = 100;
const WHILE: Duration = Duration::from_secs(1);
/// `PRI * HTTP/2.0…` comes before the first frame.
const PREFACE: usize = 24;
const HEADER: usize = 9;

/// An HTTP/2 connection whose client may not chatter.
#[derive(Debug)]
pub(super) struct Chatter<S> {
    stream: S,
    frames: Frames,
    /// Since when they are counted, and how many there were.
    since: Instant,
    count: usize,
}

/// Where in the frames a connection is.
#[derive(Debug)]
struct Frames {
    /// Bytes until the next header.
    skip: usize,
    /// What is there of it.
    header: Vec<u8>,
}

impl<S> Chatter<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Frames {
                skip: PREFACE,
                header: Vec::with_capacity(HEADER),
            },
            since: Instant::now(),
            count: 0,
        }
    }

    /// Whether there are too many, with these bytes.
    fn is_too_much(&mut self, bytes: &[u8]) -> bool {
        let more = self.frames.count_chatter(bytes);
        if WHILE <= self.since.elapsed() {
            self.since = Instant::now();
            self.count = 0;
        }
        self.count += more;
        MOST < self.count
    }
}

impl Frames {
    /// How many headers of chatter end in these bytes.
    fn count_chatter(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let [high, middle, low, kind, _flags, _stream @ ..] = &*self.header
                && self.header.len() == HEADER
            {
                self.skip =
                    usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
                count += usize::from(is_chatter(*kind));
                self.header.clear();
            }
        }
        count
    }
}

/// Neither part of a request, nor a window update, nor a reset, which h2 counts.
fn is_chatter(kind: u8) -> bool {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const WINDOW_UPDATE: u8 = 8;
    const CONTINUATION: u8 = 9;
    !matches!(
        kind,
        DATA | HEADERS | RST_STREAM | WINDOW_UPDATE | CONTINUATION
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for Chatter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if self.is_too_much(&into.filled()[before..]) {
            let error = "more control frames than any client has reason to send";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Chatter<S> {
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
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
