//! Over which connection does a request go?
//!
//! HTTP/1.1: the one that was used last, or a new one. HTTP/2: the one that there is. A
//! connection that has waited for `pool_idle_timeout` is closed, so that we seldom meet
//! one which the upstream is closing at that moment: of a message that does, nobody can
//! say what became of it. None is kept for longer than [`MAX_AGE`], however busy: a new
//! connection goes to where the upstream is now.
//!
//! A connection over HTTP/1.1 belongs to one request at a time, and is run by it: what is
//! to be written or read happens while the request waits for it ([`Connection::beside`]),
//! and no other task has to be woken. One that waits is looked at when it is taken.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::http::Uri;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    rt::Executor as _,
};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connection as _, HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tower::{BoxError, ServiceExt as _};

use super::{Asked, resolver::Resolver};
use crate::config::HttpVersion;

/// About the largest head of an answer; hyper alone would take 400 KiB.
const MAX_ANSWER_HEAD: usize = 64 * 1024;

/// How long a connection is used, counted from when it was opened.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Opens connections, and keeps those that wait.
pub(super) struct Pool {
    pub(super) connector: HttpsConnector<HttpConnector<Resolver>>,
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
    http1: Vec<Kept<Http1>>,
    http2: Option<Kept<http2::SendRequest<Asked>>>,
    is_swept: bool,
}

struct Kept<C> {
    connection: C,
    opened: Instant,
    used: Instant,
}

/// A connection, for one request.
pub(super) struct Connection {
    kind: Kind,
    opened: Instant,
    /// Whether it may have been closed since it was used last.
    pub(super) is_used: bool,
}

enum Kind {
    Http1(Http1),
    Http2(http2::SendRequest<Asked>),
}

struct Http1 {
    sender: http1::SendRequest<Asked>,
    /// Reads and writes. None once the connection has ended.
    driver: Option<Pin<Box<http1::Connection<Wire, Asked>>>>,
}

type Wire = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Http1 {
    /// Lets it read and write what it can at once.
    fn turn(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    /// Whether it is still open and takes a request.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.turn(cx);
            Poll::Ready(self.driver.is_some() && self.sender.is_ready())
        })
        .await
    }
}

impl Connection {
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.kind, Kind::Http2(_))
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        req: ::http::Request<Asked>,
    ) -> Result<::http::Response<Incoming>, TrySendError<::http::Request<Asked>>> {
        match &mut self.kind {
            Kind::Http1(http1) => {
                let answer = pin!(http1.sender.try_send_request(req));
                self.beside(answer).await
            }
            Kind::Http2(sender) => sender.try_send_request(req).await,
        }
    }

    /// Waits for what comes over this connection, and lets the connection get on meanwhile.
    pub(super) async fn beside<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        poll_fn(|cx| {
            let done = work.as_mut().poll(cx);
            match &mut self.kind {
                Kind::Http1(http1) if done.is_pending() => {
                    http1.turn(cx);
                    work.as_mut().poll(cx)
                }
                Kind::Http1(_) | Kind::Http2(_) => done,
            }
        })
        .await
    }
}

impl Pool {
    /// A connection that waits, or a new one.
    ///
    /// # Errors
    /// There is none to be had within `connect_timeout`.
    pub(super) async fn connection(&self) -> Result<Connection, BoxError> {
        if let Some(connection) = self.waiting().await {
            return Ok(connection);
        }
        // In a box: all that may happen there needs more room than a request does, and is
        // seldom needed.
        timeout(self.connect_timeout, Box::pin(self.open()))
            .await
            .map_err(|_elapsed| "no connection within the time for one")?
    }

    async fn waiting(&self) -> Option<Connection> {
        let now = Instant::now();
        let used = |kind, opened| Connection {
            kind,
            opened,
            is_used: true,
        };
        if let Some(kept) = &mut self.idle().http2
            && kept.is_fit(now, self.idle_timeout)
            && !kept.connection.is_closed()
        {
            kept.used = now;
            return Some(used(Kind::Http2(kept.connection.clone()), kept.opened));
        }
        loop {
            let mut kept = self.idle().http1.pop()?;
            if kept.is_fit(now, self.idle_timeout) && kept.connection.is_ready().await {
                return Some(used(Kind::Http1(kept.connection), kept.opened));
            }
        }
    }

    async fn open(&self) -> Result<Connection, BoxError> {
        let is_shared = match self.http_version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => self.state.chose_http2.load(Ordering::Relaxed),
        };
        let _opening = if is_shared {
            let turn = self.state.opening.lock().await;
            if let Some(connection) = self.waiting().await {
                return Ok(connection);
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
        let opened = Instant::now();
        let kind = if is_http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .handshake(stream)
                .await?;
            TokioExecutor::new().execute(async {
                let _ = connection.await;
            });
            self.idle().http2 = Some(Kept {
                connection: sender.clone(),
                opened,
                used: opened,
            });
            Kind::Http2(sender)
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(MAX_ANSWER_HEAD)
                .handshake(stream)
                .await?;
            Kind::Http1(Http1 {
                sender,
                driver: Some(Box::pin(connection)),
            })
        };
        Ok(Connection {
            kind,
            opened,
            is_used: false,
        })
    }

    /// Gives a connection back, once its answer has been read.
    pub(super) fn give_back(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.idle();
        match connection.kind {
            Kind::Http1(http1) => idle.http1.push(Kept {
                connection: http1,
                opened: connection.opened,
                used: Instant::now(),
            }),
            Kind::Http2(_) => {}
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

impl<C> Kept<C> {
    fn is_fit(&self, now: Instant, idle_timeout: Duration) -> bool {
        now - self.used < idle_timeout && now - self.opened < MAX_AGE
    }
}

impl Idle {
    /// Drops what has waited or lived for too long. When was the oldest of the others used?
    fn forget(&mut self, now: Instant, idle_timeout: Duration) -> Option<Instant> {
        self.http1.retain(|kept| kept.is_fit(now, idle_timeout));
        self.http2
            .take_if(|kept| !kept.is_fit(now, idle_timeout) || kept.connection.is_closed());
        let http1 = self.http1.first().map(|kept| kept.used);
        let http2 = self.http2.as_ref().map(|kept| kept.used);
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
        let Some(oldest) = idle.forget(Instant::now(), idle_timeout) else {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_fit_until_it_has_waited_or_lived_for_too_long() {
        let (now, idle_timeout) = (Instant::now() + 10 * MAX_AGE, Duration::from_secs(3));
        for (lived, waited, expected) in [
            (MAX_AGE - Duration::from_secs(1), Duration::ZERO, true),
            (MAX_AGE, Duration::ZERO, false),
            (idle_timeout, idle_timeout - Duration::from_nanos(1), true),
            (idle_timeout, idle_timeout, false),
        ] {
            let kept = Kept {
                connection: (),
                opened: now - lived,
                used: now - waited,
            };

            assert_eq!(
                kept.is_fit(now, idle_timeout),
                expected,
                "{lived:?} {waited:?}"
            );
        }
    }
}
