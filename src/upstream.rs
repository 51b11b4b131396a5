//! The last step: the wire.
//!
//! A message is written at most once. What went wrong is told apart by one question:
//! may a byte of it have left? hyper asks for a request's body before it writes any of
//! the request, so over HTTP/1.1 a body that was never asked for never left ([`Asked`]).
//! Over HTTP/2 it may have, unless there was no connection or the upstream says that it
//! refused the request unseen.
//!
//! A connection that turns out to have been closed while it waited gives the request back
//! unsent, and another takes it ([`pool`]). What never left for another reason is tried
//! once more, by [`credential`](crate::middleware::credential).

use std::{
    error::Error,
    future::{poll_fn, ready},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::http::{
    HeaderValue, StatusCode, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::{Instant, sleep_until, timeout_at};
use tower::{BoxError, Service};

use self::{
    pool::{Connection, Pool},
    resolver::Resolver,
};
use crate::{
    config::HttpVersion,
    http::{Body, Request, Response},
    problem::{AnswerFault, Problem},
    trail::{Step, Trail},
};

pub mod headers;
mod pool;
mod resolver;

/// How the upstream is reached.
#[derive(Debug)]
pub struct Settings {
    /// http or https.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Which HTTP to speak.
    pub http_version: HttpVersion,
    /// The trust anchors, for https.
    pub tls: rustls::ClientConfig,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the request written to the head of the answer.
    pub response_timeout: Duration,
    /// The largest answer.
    pub max_response: usize,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
}

/// The upstream, as a service.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Arc<Pool>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    response_timeout: Duration,
    max_response: usize,
}

impl Upstream {
    /// Makes the pool. No connection is opened yet.
    ///
    /// # Errors
    /// The authority is no header value.
    pub fn new(settings: &Settings) -> Result<Self, ::http::Error> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::default());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(settings.tls.clone())
            .https_or_http();
        let connector = match settings.http_version {
            HttpVersion::Http1 => https.enable_http1().wrap_connector(tcp),
            HttpVersion::Http2 => https.enable_http2().wrap_connector(tcp),
            HttpVersion::Auto => https.enable_all_versions().wrap_connector(tcp),
        };
        let target = Uri::builder()
            .scheme(settings.scheme.clone())
            .authority(settings.authority.clone())
            .path_and_query("/")
            .build()?;
        Ok(Self(Arc::new(Inner {
            pool: Arc::new(Pool {
                connector,
                target,
                http_version: settings.http_version,
                connect_timeout: settings.connect_timeout,
                idle_timeout: settings.pool_idle_timeout,
                state: pool::State::default(),
            }),
            host: HeaderValue::from_str(settings.authority.as_str())?,
            scheme: settings.scheme.clone(),
            authority: settings.authority.clone(),
            response_timeout: settings.response_timeout,
            max_response: settings.max_response,
        })))
    }
}

impl Service<Request> for Upstream {
    type Response = Response;
    type Error = Problem;
    type Future = BoxFuture<'static, Result<Response, Problem>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request) -> Self::Future {
        match Trail::of(&req) {
            Ok(trail) => Box::pin(send(self.0.clone(), trail.clone(), req)),
            Err(problem) => Box::pin(ready(Err(problem))),
        }
    }
}

/// Sends a request and reads its answer.
async fn send(upstream: Arc<Inner>, trail: Arc<Trail>, req: Request) -> Result<Response, Problem> {
    trail.enter(Step::Send);
    trail.sending();
    let began = Instant::now();
    let begun = Arc::new(Begun::default());
    let exchanged = {
        let exchange = pin!(upstream.exchange(req, &begun));
        upstream.in_time(&trail, &begun, exchange).await
    };
    let answer = match exchanged {
        Ok((answer, mut connection)) => {
            trail.answered();
            let read = pin!(upstream.read(&trail, answer));
            let answer = connection.beside(read).await;
            if answer.is_ok() {
                upstream.pool.give_back(connection);
            }
            answer
        }
        Err(ended) => Err(ended.problem(&trail, &begun)),
    };
    trail.waited_for_upstream(began.elapsed());
    if let Some(trace) = &trail.trace {
        trace.exchanged(began, &answer);
    }
    answer
}

impl Inner {
    /// Waits for an exchange: until the request must be answered, and no longer than
    /// `response_timeout` once it has begun to be written.
    async fn in_time<T>(
        &self,
        trail: &Trail,
        begun: &Begun,
        mut exchange: Pin<&mut impl Future<Output = Result<T, Ended>>>,
    ) -> Result<T, Ended> {
        let mut late = pin!(sleep_until(trail.deadline));
        let mut is_begun = false;
        poll_fn(|cx| {
            let ended = exchange.as_mut().poll(cx);
            if ended.is_ready() {
                return ended;
            }
            if begun.is_set() && !is_begun {
                is_begun = true;
                let due = Instant::now() + self.response_timeout;
                late.as_mut().reset(due.min(trail.deadline));
            }
            late.as_mut().poll(cx).map(|()| Err(Ended::Late))
        })
        .await
    }

    /// Sends a request and waits for the head of its answer.
    async fn exchange(
        &self,
        req: Request,
        begun: &Arc<Begun>,
    ) -> Result<(::http::Response<Incoming>, Connection), Ended> {
        let mut req = req.map(|body| Asked {
            body,
            begun: begun.clone(),
        });
        loop {
            let mut connection = self.pool.connection().await.map_err(Ended::Broken)?;
            self.address(&mut req, &connection)
                .map_err(|error| Ended::Broken(error.into()))?;
            if connection.is_http2() {
                // There the head is written before the body is asked for.
                begun.set();
            }
            let mut error = match connection.send(req).await {
                Ok(answer) => return Ok((answer, connection)),
                Err(error) => error,
            };
            // It was closed while it waited, and gives back what it has not begun to write.
            let unsent = error.take_message();
            if unsent.is_some() {
                begun.unset();
            }
            match unsent {
                Some(unsent) if connection.is_used => req = unsent,
                Some(_) | None => return Err(Ended::Broken(error.into_error().into())),
            }
        }
    }

    /// Makes it a request to our one authority. Whatever made the request, it cannot go
    /// anywhere else, and so cannot its token.
    fn address(
        &self,
        req: &mut ::http::Request<Asked>,
        connection: &Connection,
    ) -> Result<(), ::http::Error> {
        let path = req.uri().path_and_query().cloned();
        let path = path.unwrap_or(PathAndQuery::from_static("/"));
        if connection.is_http2() {
            *req.uri_mut() = Uri::builder()
                .scheme(self.scheme.clone())
                .authority(self.authority.clone())
                .path_and_query(path)
                .build()?;
            *req.version_mut() = Version::HTTP_2;
            req.headers_mut().remove(header::HOST);
        } else {
            *req.uri_mut() = path.into();
            *req.version_mut() = Version::HTTP_11;
            req.headers_mut().insert(header::HOST, self.host.clone());
        }
        Ok(())
    }

    /// Reads the answer whole, so that nobody ever sees half of one.
    async fn read(
        &self,
        trail: &Trail,
        answer: ::http::Response<Incoming>,
    ) -> Result<Response, Problem> {
        let status = answer.status();
        let refused = |fault| Problem::UpstreamAnswerRefused { status, fault };
        if status.is_redirection() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(AnswerFault::Redirect));
        }
        let (mut parts, body) = answer.into_parts();
        let deadline = trail.deadline.min(Instant::now() + self.response_timeout);
        let body = match timeout_at(deadline, Limited::new(body, self.max_response).collect()).await
        {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(refused(AnswerFault::TooLarge));
            }
            Ok(Err(_)) | Err(_) => return Err(refused(AnswerFault::CutOff)),
        };
        headers::strip_answer(&mut parts.headers);
        // With them goes the reason phrase, which nobody looks at for the token.
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        Ok(Response::from_parts(parts, Body::full(body)))
    }
}

/// Whether the upstream says that it has not looked at the request: HTTP/2's
/// `REFUSED_STREAM` (RFC 9113 §8.7).
fn was_refused_unseen(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}

/// How an exchange ends without an answer.
enum Ended {
    Broken(BoxError),
    Late,
}

impl Ended {
    fn problem(self, trail: &Trail, begun: &Begun) -> Problem {
        match self {
            Self::Broken(error) if begun.is_set() && !was_refused_unseen(&*error) => {
                Problem::UpstreamBrokeOff { source: error }
            }
            Self::Late if begun.is_set() => Problem::UpstreamTimeout,
            ended @ (Self::Broken(_) | Self::Late) => {
                trail.never_left();
                Problem::UpstreamUnreachable {
                    source: match ended {
                        Self::Broken(error) => error,
                        Self::Late => "no connection within the time of the request".into(),
                    },
                }
            }
        }
    }
}

/// Whether a request has begun to be written.
#[derive(Debug, Default)]
struct Begun(AtomicBool);

impl Begun {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// It has not, after all.
    fn unset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body that notes when it is first asked for. (One without a byte is never asked for,
/// but strict JSON has at least one.)
#[derive(Debug)]
struct Asked {
    body: Body,
    begun: Arc<Begun>,
}

impl http_body::Body for Asked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.begun.set();
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
