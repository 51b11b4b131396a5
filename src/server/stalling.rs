//! What if a client stops reading its answer?
//!
//! Then its connection fails, after `write_timeout`: it would hold a place for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

pin_project! {
    /// A stream whose writes fail when the other side has read nothing for too long.
    #[derive(Debug)]
    pub(crate) struct Stalling<S> {
        #[pin]
        stream: S,
        stalled: Pin<Box<Sleep>>,
        is_stalled: bool,
        write_timeout: Duration,
    }
}

impl<S> Stalling<S> {
    pub(crate) fn new(stream: S, write_timeout: Duration) -> Self {
        Self {
            stream,
            stalled: Box::pin(tokio::time::sleep(write_timeout)),
            is_stalled: false,
            write_timeout,
        }
    }

    /// Passes on what a write says, unless it has said "not now" for too long.
    fn judge<T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let this = self.project();
        if progress.is_ready() {
            *this.is_stalled = false;
            return progress;
        }
        if !*this.is_stalled {
            *this.is_stalled = true;
            this.stalled
                .as_mut()
                .reset(Instant::now() + *this.write_timeout);
        }
        ready!(this.stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead> AsyncRead for Stalling<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().stream.poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = self.as_mut().project().stream.poll_write(cx, bytes);
        self.judge(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = self
            .as_mut()
            .project()
            .stream
            .poll_write_vectored(cx, slices);
        self.judge(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = self.as_mut().project().stream.poll_flush(cx);
        self.judge(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = self.as_mut().project().stream.poll_shutdown(cx);
        self.judge(cx, progress)
    }
}
