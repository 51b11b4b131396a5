//! What may one HTTP/2 connection take?
//!
//! Every limit is set here, whatever the defaults of hyper and h2 are. What neither has is
//! an end: a connection on which nothing is asked is told to go (GOAWAY) after
//! `head_timeout`, and that includes one whose request never becomes whole. It has
//! `write_timeout` to take what it has not read yet; then it is cut off. One that never
//! asked anything has nothing to take.

#[cfg(test)]
mod tests;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use ::http::header;
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::watch, time::timeout};
use tower::BoxError;

use super::{Limits, Server, Stream, chatter::Chatter, places::Guest};
use crate::{app::Tasks, http::Body, middleware::key::failures::Peer};

/// Requests at once on one connection.
const MAX_STREAMS: u32 = 64;
/// Of bodies that nobody has read yet: per request, and per connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Of an answer that waits for its client.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// The smallest that the protocol allows.
const MAX_FRAME: u32 = 16 * 1024;
const HEADER_TABLE: u32 = 4 * 1024;
/// Requests that were reset before they were looked at (rapid reset).
const MAX_PENDING_RESETS: usize = 20;
/// Requests that we had to reset for what a client did to them (made-you-reset).
const MAX_LOCAL_RESETS: usize = 20;
/// Whether a client is still there.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// For a connection that never asked anything to hear that it should go.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(super) async fn serve(
    server: Server,
    stream: impl Stream,
    peer: Peer,
    guest: Arc<Guest>,
) -> Result<(), BoxError> {
    let Server {
        limits,
        serving,
        tasks,
        ..
    } = server;
    let leave = guest.leave();
    let running = Running::default();
    let service = service_fn({
        let running = running.clone();
        move |req: ::http::Request<Incoming>| {
            let one = (running.begin(), guest.is_asked());
            let mut req = req.map(Body::from);
            req.extensions_mut().insert(peer);
            let pipeline = serving.borrow().pipeline.clone();
            let answer = pipeline.answer(req);
            async move {
                let mut response = answer.await;
                drop(one);
                // Where the next request begins is never in doubt here, and the field is
                // not allowed (RFC 9113 §8.2.2).
                response.headers_mut().remove(header::CONNECTION);
                Ok::<_, Infallible>(response)
            }
        }
    });
    let connection =
        builder(&limits, tasks).serve_connection(TokioIo::new(Chatter::new(stream)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = leave.cancelled() => {}
        () = running.none_for(limits.head_timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    let patience = if running.have_begun() {
        limits.write_timeout
    } else {
        GOODBYE
    };
    tokio::select! {
        ended = connection => Ok(ended?),
        () = running.none_for(patience) => Err("it did not go when it was told".into()),
    }
}

fn builder(limits: &Limits, tasks: Tasks) -> http2::Builder<Owned> {
    // As with HTTP/1, a little more gets in, so that it can be told what is wrong.
    let max_head = u32::try_from(2 * limits.max_head).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(Owned(tasks));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .header_table_size(HEADER_TABLE)
        .max_header_list_size(max_head)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Starts what hyper wants to run beside a connection.
#[derive(Clone, Debug)]
struct Owned(Tasks);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Owned {
    fn execute(&self, work: F) {
        self.0.start(work);
    }
}

/// The requests of a connection, from their head to the head of their answer.
#[derive(Clone, Debug)]
struct Running(Arc<watch::Sender<Count>>);

#[derive(Debug, Default)]
struct Count {
    begun: usize,
    ended: usize,
}

impl Default for Running {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Count::default())))
    }
}

impl Running {
    fn begin(&self) -> One {
        self.0.send_modify(|count| count.begun += 1);
        One(self.clone())
    }

    fn have_begun(&self) -> bool {
        0 < self.0.borrow().begun
    }

    /// Waits until none has run for so long.
    async fn none_for(&self, time: Duration) {
        let mut count = self.0.subscribe();
        loop {
            // It fails only without its sender, and we hold that.
            let _ = count.wait_for(|count| count.begun == count.ended).await;
            if timeout(time, count.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// A request that runs.
struct One(Running);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| count.ended += 1);
    }
}
