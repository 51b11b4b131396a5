//! Over which connection does a request go?
//!
//! HTTP/1.1: the one that was used last, or a new one. HTTP/2: the one that there is. A
//! connection that has waited for `pool_idle_timeout` is closed, so that we seldom meet
//! one which the upstream is closing at that moment: of a message that does, nobody can
//! say what became of it.
//!
//! Nothing here runs beside a request, and a connection over HTTP/1.1 belongs to one
//! request at a time.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::http::Uri;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    rt::Executor as _,
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::connect::{Connection as _, HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, sleep_until, timeout};
use tower::{BoxError, ServiceExt as _};

use super::Asked;
use crate::config::HttpVersion;

/// About the largest head of an answer; hyper alone would take 400 KiB.
const MAX_ANSWER_HEAD: usize = 64 * 1024;

/// Opens connections, and keeps those that wait.
pub(super) struct Pool {
    pub(super) connector: HttpsConnector<HttpConnector>,
    /// Scheme and authority of the upstream.
    pub(super) target: Uri,
    pub(super) http_version: HttpVersion,
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) state: State,
}

#[derive(Default)]
pub(super) struct State {
    idle: Mutex<Idle>,
    /// Whether the upstream chose HTTP/2 the last time that it had the choice.
    chose_http2: AtomicBool,
    /// One request opens the connection that all will share.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Idle {
    /// Used last, taken first.
    http1: Vec<(Instant, http1::SendRequest<Asked>)>,
    http2: Option<(Instant, http2::SendRequest<Asked>)>,
    is_swept: bool,
}

/// A connection, for one request.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    /// Whether it may have been closed since it was used last.
    pub(super) is_used: bool,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Asked>),
    Http2(http2::SendRequest<Asked>),
}

impl Connection {
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    pub(super) async fn send(
        &mut self,
        req: ::http::Request<Asked>,
    ) -> Result<::http::Response<Incoming>, TrySendError<::http::Request<Asked>>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(req).await,
            Sender::Http2(sender) => sender.try_send_request(req).await,
        }
    }
}

impl Pool {
    /// A connection that waits, or a new one.
    ///
    /// # Errors
    /// There is none to be had within `connect_timeout`.
    pub(super) async fn connection(&self) -> Result<Connection, BoxError> {
        if let Some(sender) = self.waiting() {
            return Ok(Connection {
                sender,
                is_used: true,
            });
        }
        timeout(self.connect_timeout, self.open())
            .await
            .map_err(|_elapsed| "no connection within the time for one")?
    }

    fn waiting(&self) -> Option<Sender> {
        let mut idle = self.idle();
        let now = Instant::now();
        let is_kept = |used: Instant| now - used < self.idle_timeout;
        if let Some((used, sender)) = &mut idle.http2
            && is_kept(*used)
            && !sender.is_closed()
        {
            *used = now;
            return Some(Sender::Http2(sender.clone()));
        }
        for index in (0..idle.http1.len()).rev() {
            let (used, sender) = &idle.http1[index];
            // What was given back a moment ago may not be ready yet; it will be.
            if sender.is_ready() && is_kept(*used) {
                return Some(Sender::Http1(idle.http1.remove(index).1));
            }
        }
        None
    }

    async fn open(&self) -> Result<Connection, BoxError> {
        let is_shared = match self.http_version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => self.state.chose_http2.load(Ordering::Relaxed),
        };
        let _opening = if is_shared {
            let turn = self.state.opening.lock().await;
            if let Some(sender) = self.waiting() {
                return Ok(Connection {
                    sender,
                    is_used: true,
                });
            }
            Some(turn)
        } else {
            None
        };
        let stream = self.connector.clone().oneshot(self.target.clone()).await?;
        let is_http2 = match self.http_version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => stream.connected().is_negotiated_h2(),
        };
        self.state.chose_http2.store(is_http2, Ordering::Relaxed);
        let sender = if is_http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .handshake(stream)
                .await?;
            TokioExecutor::new().execute(async {
                let _ = connection.await;
            });
            self.idle().http2 = Some((Instant::now(), sender.clone()));
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(MAX_ANSWER_HEAD)
                .handshake(stream)
                .await?;
            TokioExecutor::new().execute(async {
                let _ = connection.await;
            });
            Sender::Http1(sender)
        };
        Ok(Connection {
            sender,
            is_used: false,
        })
    }

    /// Gives a connection back, once its answer has been read.
    pub(super) fn give_back(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.idle();
        match connection.sender {
            Sender::Http1(sender) => idle.http1.push((Instant::now(), sender)),
            Sender::Http2(_) => {}
        }
        if !idle.is_swept {
            idle.is_swept = true;
            let (pool, idle_timeout) = (Arc::downgrade(self), self.idle_timeout);
            TokioExecutor::new().execute(sweep(pool, idle_timeout));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.state
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    /// Drops what is closed, and what was used last before `end`. When was the oldest of
    /// the others?
    fn forget(&mut self, end: Instant) -> Option<Instant> {
        self.http1
            .retain(|(used, sender)| end < *used && !sender.is_closed());
        self.http2
            .take_if(|(used, sender)| *used <= end || sender.is_closed());
        let http1 = self.http1.first().map(|(used, _)| *used);
        let http2 = self.http2.as_ref().map(|(used, _)| *used);
        http1.into_iter().chain(http2).min()
    }
}

/// Closes connections when their time has come, until there are none, or no pool.
async fn sweep(pool: Weak<Pool>, idle_timeout: Duration) {
    let mut next = Instant::now() + idle_timeout;
    loop {
        sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        let Some(oldest) = idle.forget(Instant::now() - idle_timeout) else {
            idle.is_swept = false;
            return;
        };
        next = oldest + idle_timeout;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
